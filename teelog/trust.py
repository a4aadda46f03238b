"""The verifier's trust file (TOML, protocol section 5): everything that is a choice, and no server's business.

    main  = "main.policy"          # C2SP tlog-policy: exactly one log, its witnesses, the quorum
    index = "index.policy"         # the same for the log's index; optional
    max_age = "24h"                # of cosignatures that count as fresh
    max_next_update = "30d"        # how far ahead a status may put its next update; 30 days if absent
    [[namespace]]
    name = "acme.example"
    pin = "<statement id of any version>"
    [[stream]]
    name = "acme.example/inference/stable"
    min_svn = 3
    grace = false                  # refuses releases in their period of grace; accepted if absent
    deny = ["<statement id of a release>"]
    [platform.sev-snp]
    min_tcb = { bl = 4, tee = 0, snp = 23, ucode = 213 }
    # roots = { Milan = "<SHA-256 of a root certificate>" }     in place of the vendor's, which are built in
    [checks]
    binding = "off"                # every check that is not named here is required

Members other than these are refused. Pure: the policies that the file names are read through an argument. Every error
is a ConfigError, as the file is the verifier's own.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from teelog import strict
from teelog.errors import ConfigError, MalformedError
from teelog.evidence import platform
from teelog.evidence.platform import Roots
from teelog.statement import names
from teelog.statement.strict_json import Count, pointer_of
from teelog.tlog.policy import Policy, parse_policy
from teelog.tlog.policy_lint import lint
from teelog.verdict import Check

MAX_LENGTH = 65_536  # bytes
MAX_TABLES = 256  # namespaces, streams
MAX_DENIED = 1_024  # statement ids of one stream
MAX_AGE = 366 * 86_400  # seconds
MAX_NEXT_UPDATE = 30 * 86_400  # seconds, where the file says nothing
INDEX_SUFFIX = "/index/v1"
OFF = "off"
ROOTS = "roots"
MAX_ROOTS = 32  # of one platform

_AGE = re.compile(r"([1-9][0-9]{0,8})(s|m|h|d)")
_UNIT = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class StreamRule:
    """min_svn: releases below it are refused. deny: statement ids of releases that are refused.

    grace: whether a release counts as allowed in its period of grace.
    """

    min_svn: int = 0
    deny: frozenset[str] = frozenset()
    grace: bool = True


@dataclass(frozen=True, slots=True)
class Trust:
    """A trust file that was read.

    main: policy of exactly one log. index: of its index, or None. max_age: seconds. namespaces: name -> pin (statement
    id), None while there is none. streams: by name. floors: platform -> its table. roots: platform -> whom to believe
    in place of the vendor's built-in roots. off: checks switched off by name. max_next_update: seconds.
    """

    main: Policy
    index: Policy | None
    max_age: int
    namespaces: Mapping[str, str | None]
    streams: Mapping[str, StreamRule]
    floors: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    roots: Mapping[str, Roots] = field(default_factory=dict)
    off: frozenset[Check] = frozenset()
    max_next_update: int = MAX_NEXT_UPDATE

    @property
    def origin(self) -> str:
        """Of the one main log."""
        return self.main.origins()[0]


class _Namespace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    pin: str | None = None


class _Stream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    min_svn: Count = 0
    deny: tuple[str, ...] = ()
    grace: bool = True


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    main: str
    max_age: str
    index: str | None = None
    max_next_update: str | None = None
    namespace: tuple[_Namespace, ...] = ()
    stream: tuple[_Stream, ...] = ()
    platform: dict[str, dict[str, Any]] = {}
    checks: dict[str, str] = {}


def parse(data: bytes, read: Callable[[str], bytes]) -> Trust:
    """A trust file from its bytes.

    read: gives the bytes of a policy file by the path that stands in the trust file; what it raises passes through.
    Raises ConfigError.
    """
    file = _decode(data)
    main = _policy("main", file.main, read)
    index = None if file.index is None else _policy("index", file.index, read)
    if index is not None and index.origins() != [main.origins()[0] + INDEX_SUFFIX]:
        raise ConfigError(
            "index: the policy is not that of the main log's index",
            expected=main.origins()[0] + INDEX_SUFFIX,
            actual=index.origins()[0],
        )
    namespaces = _namespaces(file.namespace)
    return Trust(
        main,
        index,
        age(file.max_age),
        namespaces,
        _streams(file.stream, namespaces),
        _floors(file.platform),
        {name: _roots(name, table[ROOTS]) for name, table in file.platform.items() if ROOTS in table},
        _off(file.checks),
        MAX_NEXT_UPDATE if file.max_next_update is None else age(file.max_next_update, "max_next_update"),
    )


def _decode(data: bytes) -> _File:
    if len(data) > MAX_LENGTH:
        raise ConfigError("the trust file is too long", expected=f"at most {MAX_LENGTH} bytes", actual=len(data))
    try:
        tree = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError("the trust file is not TOML", actual=str(error)[:200] or None) from error
    try:
        return msgspec.convert(tree, _File)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        where = "" if not path else f"{pointer_of(path.rstrip('`'))[1:]}: "
        raise ConfigError(f"{where}{text[:1].lower()}{text[1:]}", hint="docs/formats/trust-file.md") from error


def _policy(name: str, path: str, read: Callable[[str], bytes]) -> Policy:
    try:
        found = parse_policy(read(path))
    except (ConfigError, MalformedError) as error:
        raise ConfigError(
            f"{name}: {path}: {error.message}", expected=error.expected, actual=error.actual, hint=error.hint
        ) from error
    if len(found.origins()) != 1:
        raise ConfigError(
            f"{name}: {path}: the policy does not list exactly one log",
            expected="one log",
            actual=", ".join(found.origins()) or "none",
        )
    twice = lint(found).counted_twice
    # Protocol, "Who is trusted for what": all vkeys of one key name count once.
    if twice:
        raise ConfigError(
            f"{name}: {path}: one operator would count several times",
            expected="all keys of one name in a group of their own, with the threshold any",
            actual=", ".join(twice[:4]),
            hint="teelog policy new, or teelog policy check",
        )
    return found


def age(text: str, member: str = "max_age") -> int:
    """A duration as it stands in the file, such as 90s, 10m, 24h, 7d, in seconds. Raises ConfigError."""
    match = _AGE.fullmatch(text)
    seconds = int(match[1]) * _UNIT[match[2]] if match else 0
    if not 0 < seconds <= MAX_AGE:
        raise ConfigError(
            f"{member}: not a duration", expected="such as 10m, 24h or 7d, at most 366d", actual=text[:40]
        )
    return seconds


def _namespaces(tables: tuple[_Namespace, ...]) -> dict[str, str | None]:
    _check_count(len(tables), "namespace")
    found: dict[str, str | None] = {}
    for place, table in enumerate(tables):
        try:
            names.namespace(table.name)
            pin = None if table.pin is None else names.statement_id(table.pin)
        except MalformedError as error:
            raise _located(error, f"namespace/{place}") from error
        if table.name in found:
            raise ConfigError("namespace: listed twice", actual=table.name)
        found[table.name] = pin
    return found


def _streams(tables: tuple[_Stream, ...], namespaces: Mapping[str, str | None]) -> dict[str, StreamRule]:
    _check_count(len(tables), "stream")
    found: dict[str, StreamRule] = {}
    for place, table in enumerate(tables):
        if len(table.deny) > MAX_DENIED:
            raise ConfigError(f"stream/{place}/deny: too long", expected=f"at most {MAX_DENIED}")
        try:
            stream = names.stream(table.name)
            deny = frozenset(names.statement_id(text) for text in table.deny)
        except MalformedError as error:
            raise _located(error, f"stream/{place}") from error
        if stream.namespace not in namespaces:
            raise ConfigError(
                "stream: its namespace is not listed", expected=f"[[namespace]] {stream.namespace}", actual=table.name
            )
        if table.name in found:
            raise ConfigError("stream: listed twice", actual=table.name)
        found[table.name] = StreamRule(table.min_svn, deny, table.grace)
    return found


def _floors(tables: dict[str, dict[str, Any]]) -> dict[str, Mapping[str, object]]:
    floors = {name: {key: table[key] for key in table if key != ROOTS} for name, table in tables.items()}
    for name, table in floors.items():
        try:
            platform.check_floor(name, table)
        except ConfigError as error:
            raise ConfigError(
                f"platform.{name[:40]}: {error.message}", expected=error.expected, actual=error.actual
            ) from error
    return dict(floors)


def _roots(name: str, table: object) -> Roots:
    """label -> SHA-256 of a root certificate's DER, in hex: these and no others are believed."""
    try:
        pins = msgspec.convert(table, dict[str, str])
        if not 1 <= len(pins) <= MAX_ROOTS:
            raise MalformedError("wrong number of roots", expected=f"1 to {MAX_ROOTS}", actual=len(pins))
        return Roots({label: strict.unhex(pin, "root", 32) for label, pin in pins.items()})
    except msgspec.ValidationError as error:
        raise ConfigError(f"platform.{name[:40]}.roots: not a table of fingerprints", actual=str(error)) from error
    except MalformedError as error:
        raise _located(error, f"platform.{name[:40]}.roots") from error


def _off(checks: dict[str, str]) -> frozenset[Check]:
    for name, value in checks.items():
        if name not in tuple(Check):
            raise ConfigError("checks: no such check", expected=", ".join(Check), actual=name[:40])
        # A check is required, or it is off by name: there is nothing in between.
        if value != OFF:
            raise ConfigError(f"checks: {name} has no such setting", expected=f'"{OFF}"', actual=value[:40])
    return frozenset(map(Check, checks))


def _check_count(count: int, what: str) -> None:
    if count > MAX_TABLES:
        raise ConfigError(f"{what}: too many", expected=f"at most {MAX_TABLES}", actual=count)


def _located(error: MalformedError, where: str) -> ConfigError:
    return ConfigError(f"{where}: {error.message}", expected=error.expected, actual=error.actual)
