"""Tables of demands (the trust file's ``[platform.NAME]``, a release's ``require``): what of them means something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from teelog.errors import ConfigError

Policy = TypeVar("Policy", bound=msgspec.Struct)


def read(table: Mapping[str, object], kind: type[Policy]) -> tuple[Policy, tuple[str, ...]]:
    """The table's meaning, and the members that have none here."""
    known: dict[str, object] = {}
    unknown: list[str] = []
    for name, value in table.items():
        if value is not None and _means({name: value}, kind):  # null demands nothing, so nobody means it
            known[name] = value
        else:
            unknown.append(name)
    return msgspec.convert(known, kind), tuple(unknown)


def _means(table: Mapping[str, object], kind: type[Policy]) -> bool:
    try:
        msgspec.convert(table, kind)
    except msgspec.ValidationError:
        return False
    return True


def check_floor(platform: str, table: Mapping[str, object], kind: type[Policy]) -> Policy:
    """Raises ConfigError for a member that means nothing here."""
    policy, unknown = read(table, kind)
    if unknown:
        known = ", ".join(kind.__struct_fields__)
        raise ConfigError(f"[platform.{platform}] {unknown[0]} is not understood", expected=known)
    return policy
