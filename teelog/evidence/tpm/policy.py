"""Third cut: an authentic quote against what the verifier asks for: the trust file's ``[platform.tpm]`` and a
``require`` block, in one form, both of which apply.

A TPM vouches for registers and isolates nothing, so nothing holds always; the facts say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec

from teelog.evidence import tables
from teelog.evidence.tpm.quote import Quote
from teelog.verdict import Check, Finding, verified

_Name = Annotated[str, msgspec.Meta(pattern=r"\Apcr(?:[0-9]|1[0-9]|2[0-3])\Z")]
_Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Any = msgspec.Meta(min_length=1, max_length=256)


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """pcrs: register -> its value in hex, or the list of those that are accepted; it must be quoted. firmware_version:
    of the TPM, as its quote says, accepted values in hex. safe: true demands a clock that has surely not gone back.
    """

    pcrs: Annotated[dict[_Name, _Digest | Annotated[list[_Digest], _Any]], _Any] | None = None
    firmware_version: Annotated[list[Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{16}\Z")]], _Any] | None = None
    safe: bool | None = None


def check_floor(table: Mapping[str, object]) -> None:
    """Raises ConfigError for a member that means nothing here."""
    tables.check_floor("tpm", table, Policy)


def configuration(
    quote: Quote, registers: Mapping[str, bytes], floor: Mapping[str, object], require: Mapping[str, object]
) -> Finding:
    """See `teelog.evidence.platform.Evidence.configuration`. Raises ConfigError for a floor that is not understood."""
    trust = tables.check_floor("tpm", floor, Policy)
    release, unknown = tables.read(require, Policy)
    for policy in (trust, release):
        for finding in _breaches(quote, registers, policy):
            return finding
    if unknown:
        return tables.unchecked(unknown)
    return verified(Check.CONFIGURATION, *facts(quote))


def _breaches(quote: Quote, registers: Mapping[str, bytes], policy: Policy) -> Iterator[Finding]:
    for name, value in (policy.pcrs or {}).items():
        accepted = [value] if isinstance(value, str) else value
        own = registers.get(name, b"")
        if own.hex() not in accepted:
            yield tables.breach(f"{name} is another", " or ".join(accepted), own.hex() or "not quoted")
    version = f"{quote.firmware_version:016x}"
    if policy.firmware_version is not None and version not in policy.firmware_version:
        yield tables.breach("the TPM's firmware is another", " or ".join(policy.firmware_version), version)
    if policy.safe and not quote.safe:
        yield tables.breach("the TPM's clock may have gone back", "safe", "not safe")


def facts(quote: Quote) -> tuple[str, ...]:
    """What the quote says, in plain words."""
    count = len(quote.selected)
    return (
        "isolation: NONE, a TPM vouches for what was started and hides no memory from anybody",
        f"registers quoted: {count} of 24" if count != 24 else "registers quoted: all",
        f"started {quote.reset_count} times since the TPM was made, {quote.restart_count} times resumed since",
        f"firmware of the TPM: {quote.firmware_version:016x}",
    )
