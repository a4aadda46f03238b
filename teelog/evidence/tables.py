"""Tables of demands (the trust file's ``[platform.NAME]``, a release's ``require``): what of them means something."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import msgspec

from teelog.errors import ConfigError
from teelog.verdict import Check, Finding, failed, not_established

Policy = TypeVar("Policy", bound=msgspec.Struct)


def read(
    table: Mapping[str, object], kind: type[Policy], nested: Collection[str] = ()
) -> tuple[Policy, tuple[str, ...]]:
    """The table's meaning, and the members that have none here.

    nested: members that are tables, of which each member counts for itself; told of as ``table.member``.
    """
    known: dict[str, object] = {}
    unknown: list[str] = []
    for name, value in table.items():
        if name in nested and isinstance(value, Mapping):
            inner = {key: one for key, one in value.items() if one is not None and _means({name: {key: one}}, kind)}
            unknown += [f"{name}.{key}" for key in value if key not in inner]
            known[name] = inner
        elif value is not None and _means({name: value}, kind):  # null demands nothing, so nobody means it
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


def check_floor(platform: str, table: Mapping[str, object], kind: type[Policy], nested: Collection[str] = ()) -> Policy:
    """Raises ConfigError for a member that means nothing here."""
    policy, unknown = read(table, kind, nested)
    if unknown:
        known = ", ".join(kind.__struct_fields__)
        raise ConfigError(f"[platform.{platform}] {unknown[0]} is not understood", expected=known)
    return policy


def breach(cause: str, expected: object, actual: object) -> Finding:
    """What evidence that does not meet a demand makes of ``configuration``."""
    return failed(Check.CONFIGURATION, cause, expected=expected, actual=actual)


def unchecked(unknown: Sequence[str]) -> Finding:
    """What a release's members without a meaning here (at least one) make of ``configuration``."""
    return not_established(Check.CONFIGURATION, f"the release requires {unknown[0]}, which this version cannot check")
