"""``teelog-registers/v1``: what measuring yields and a release statement takes in.

    {"schema": "teelog-registers/v1",
     "variants": [{"platform": "sev-snp", "when": {"vcpus": 4, "cpu": "EPYC-v4", "vmm": "qemu"},
                   "registers": {"measurement": "<96 hex>"}, "how": "recomputed"}]}

One value per register; an alternative is a further variant. ``when`` labels a variant for people and is never checked
by a verifier. ``how``: ``recomputed`` from the artifact's bytes, or ``extracted`` from a claim inside it that hardware
enforces. Which registers a platform has, and must have, is the release statement's rule (protocol section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from teelog.errors import MalformedError
from teelog.statement import registers as platforms
from teelog.statement import strict_json

SCHEMA: Literal["teelog-registers/v1"] = "teelog-registers/v1"
MAX_BYTES = 1 << 20
MAX_VARIANTS = 200  # as many as a release takes

Name = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9_.-]{0,62}\Z")]
Hex = Annotated[str, msgspec.Meta(pattern=r"\A(?:any|(?:[0-9a-f]{2}){1,64})\Z")]
Text = Annotated[str, msgspec.Meta(max_length=256)]
Label = Text | strict_json.Int53
When = Annotated[dict[Name, Label], msgspec.Meta(max_length=32)]
Values = Annotated[dict[Name, Hex], msgspec.Meta(min_length=1, max_length=64)]


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way the artifact can be launched. platform: as in a release. registers: name -> lower-case hex,
    or ``any`` where the vendor has left a register open by hand."""

    platform: Name
    when: When
    registers: Values
    how: Literal["recomputed", "extracted"]


class Registers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole document."""

    schema: Literal["teelog-registers/v1"]
    variants: Annotated[tuple[Variant, ...], msgspec.Meta(min_length=1, max_length=MAX_VARIANTS)]


def is_complete(variants: Sequence[Variant]) -> bool:
    """Whether a release may state them: known platforms, all registers that those require."""
    try:
        for variant in variants:
            platforms.check(variant.platform, variant.registers)
    except MalformedError:
        return False
    return True


_decoder = msgspec.json.Decoder(Registers)


def decode(data: bytes) -> Registers:
    """The document in ``data``, at most MAX_BYTES of strict JSON; raises MalformedError."""
    document = strict_json.decode(data, _decoder, limit=MAX_BYTES)
    for index, variant in enumerate(document.variants):
        platforms.check(variant.platform, variant.registers, f"/variants/{index}")
    return document


def encode(registers: Registers) -> bytes:
    """Compact JSON, members in the order of the schema."""
    return strict_json.encode(registers)
