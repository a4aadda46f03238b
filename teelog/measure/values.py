"""``teelog-measured/v1``: what measuring yields where that is no set of registers that a release's variant can have.

    {"schema": "teelog-measured/v1", "kind": "dm-verity",
     "values": [{"when": {"salt": "00"}, "values": {"root_hash": "<hex>"}, "how": "recomputed"}]}

kind: of what was measured. Several values of one thing are alternatives, which ``when`` tells apart. ``how`` is as in
``teelog-registers/v1``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from teelog.measure.registers import When

SCHEMA: Literal["teelog-measured/v1"] = "teelog-measured/v1"


class Value(msgspec.Struct, frozen=True):
    """values: name -> lower-case hex."""

    when: When
    values: dict[str, str]
    how: Literal["recomputed", "extracted"]


class Measured(msgspec.Struct, frozen=True):
    schema: Literal["teelog-measured/v1"]
    kind: str
    values: tuple[Value, ...]
