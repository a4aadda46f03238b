"""``LOG/log.toml``: all that an operator may set, each with its unit in its name; unknown members are refused."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from teelog.errors import ConfigError, MalformedError
from teelog.log_server.limits import Limits, Retention
from teelog.statement import names
from teelog.tlog.policy import Policy
from teelog.tlog.vkey import VerifierKey

NAME = "log.toml"
_MAY_BE_0 = ("min_interval_s", "grace_ms", "seal_min_ms", "min_free_bytes", "max_lag_entries", "nice")
MAX_LENGTH = 65_536  # bytes


class Intervals(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """batch_ms: from one sealed batch to the next. checkpoint_ms: from one published checkpoint to the next.

    republish_s: after which an unchanged checkpoint is cosigned anew. seal_min_ms: the least from one batch to the
    next, when seal_entries wait already. retry_ms: from a round of witnesses without quorum to the next.
    """

    batch_ms: int = 250
    checkpoint_ms: int = 1_000
    republish_s: int = 600
    seal_min_ms: int = 20
    retry_ms: int = 1_000


class Pool(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """max_entries, max_bytes: submitted and not yet answered. seal_entries: as many are a batch before its interval
    is over. batch_entries: at most in one batch.
    """

    max_entries: int = 32_768
    max_bytes: int = 33_554_432
    seal_entries: int = 256
    batch_entries: int = 4_096


class Witnesses(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """timeout_ms: for one exchange with a witness. grace_ms: for the others, once the quorum is met.

    min_interval_s: from one request to a witness to the next; min_interval_s_by_name: the same for single ones, by
    their name in the policy. fail_open: publish without the quorum; False unless an operator decides so.
    """

    timeout_ms: int = 5_000
    grace_ms: int = 100
    min_interval_s: float = 0.0
    min_interval_s_by_name: dict[str, float] = {}
    fail_open: bool = False


class Disk(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """min_free_bytes: below it nothing is taken (503); it must hold more than the pool does."""

    min_free_bytes: int = 268_435_456


class Admission(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """raw: ``POST /add`` takes any bytes. private_results: attestation results may hold raw evidence, nonces and chip
    ids. Both as entry 0 states; they cannot be changed later.
    """

    raw: bool = False
    private_results: bool = False


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of the index under ``serve --index-policy``. max_lag_entries: published and not yet indexed; above it nothing is
    sealed until the index has caught up; 0: the log never waits for its index. retain_s: that a published index is
    still answered from after the next one is. nice: added to the niceness of the process that indexes.
    """

    max_lag_entries: int = 65_536
    retain_s: int = 120
    nice: int = 10


class MirrorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mirror that what is published is pushed to. url: its submission prefix. vkey: its key, or a list of its keys.

    index: the index log is pushed too, which the mirror has to know as a log of its own.
    """

    url: str
    vkey: str | tuple[str, ...]
    index: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    origin: str
    intervals: Intervals = Intervals()
    pool: Pool = Pool()
    witnesses: Witnesses = Witnesses()
    disk: Disk = Disk()
    admission: Admission = Admission()
    index: Index = Index()
    mirror: tuple[MirrorSettings, ...] = ()
    limits: dict[str, Any] = {}
    retention: dict[str, Any] = {}


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A log's configuration, checked."""

    origin: str
    intervals: Intervals = Intervals()
    pool: Pool = Pool()
    witnesses: Witnesses = Witnesses()
    disk: Disk = Disk()
    admission: Admission = Admission()
    index: Index = Index()
    mirror: tuple[MirrorSettings, ...] = ()
    limits: Limits = Limits()
    retention: Retention = Retention()


def load(directory: Path) -> Config:
    """The configuration of the log in ``directory``. Raises ConfigError."""
    path = directory / NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            f"{directory} is no log",
            expected=f"a directory with {NAME}",
            hint=f"teelog log init {directory} --origin ORIGIN",
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", actual=error.strerror) from error
    return parse(data, str(path))


def parse(data: bytes, where: str = NAME) -> Config:
    """Raises ConfigError."""
    try:
        if len(data) > MAX_LENGTH:
            raise ValueError(f"longer than {MAX_LENGTH} bytes")
        file = msgspec.convert(tomllib.loads(data.decode()), _File)
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"{where} is not a log's configuration", actual=str(error)) from error
    try:
        names.origin(file.origin)
    except MalformedError as error:
        raise ConfigError(f"{where}: {error.message}", expected=error.expected, actual=file.origin) from error
    _check(file, where)
    return Config(
        origin=file.origin,
        intervals=file.intervals,
        pool=file.pool,
        witnesses=file.witnesses,
        disk=file.disk,
        admission=file.admission,
        index=file.index,
        mirror=file.mirror,
        limits=_table(file.limits, Limits, "limits", where),
        retention=_table(file.retention, Retention, "retention", where),
    )


def check_policy(policy: Policy, vkeys: Sequence[VerifierKey]) -> None:
    """A policy under which this log publishes lists its keys or no log at all. Raises ConfigError."""
    own = {str(key) for key in vkeys}
    listed = [log.key for log in policy.logs if log.key.name == vkeys[0].name]
    if policy.logs and not listed:
        raise ConfigError("the policy is for another log", expected=vkeys[0].name, actual=", ".join(policy.origins()))
    for key in listed:
        if str(key) not in own:
            raise ConfigError(
                "the policy lists another key for this log", expected=", ".join(sorted(own)), actual=str(key)
            )


def _table(values: dict[str, Any], kind: type[Any], name: str, where: str) -> Any:
    known = {item.name for item in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(
            f"{where}: [{name}] has an unknown member", expected=", ".join(sorted(known)), actual=unknown[0]
        )
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: [{name}] is wrong", actual=str(error)) from error


def _check(file: _File, where: str) -> None:
    for table in (file.intervals, file.pool, file.witnesses, file.disk, file.index):
        for name, value in msgspec.structs.asdict(table).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if value < 0 or (value == 0 and name not in _MAY_BE_0):
                raise ConfigError(f"{where}: {name} is out of range", expected="above 0", actual=value)
    if any(value < 0 for value in file.witnesses.min_interval_s_by_name.values()):
        raise ConfigError(f"{where}: min_interval_s_by_name is out of range", expected="0 or above")
    if file.pool.max_bytes < 65_535:
        raise ConfigError(f"{where}: pool.max_bytes has no room for one entry", expected="at least 65535")


def template(origin: str, admission: Admission) -> bytes:
    """A new log.toml: what was chosen, and every default as a comment."""
    text = _TEMPLATE.replace("@ORIGIN@", json.dumps(origin)).replace("@RAW@", json.dumps(admission.raw))
    text = text.replace("@PRIVATE@", json.dumps(admission.private_results))
    parse(text.encode())
    return text.encode()


_TEMPLATE = """\
# A teelog log. Every setting with its default; docs/operations.md explains them.
origin = @ORIGIN@

[admission]
raw = @RAW@    # stated in entry 0; not to be changed
private_results = @PRIVATE@    # likewise

[intervals]
# batch_ms = 250
# checkpoint_ms = 1000
# republish_s = 600
# seal_min_ms = 20
# retry_ms = 1000

[pool]
# max_entries = 32768
# max_bytes = 33554432
# seal_entries = 256
# batch_entries = 4096

[witnesses]
# timeout_ms = 5000
# grace_ms = 100
# min_interval_s = 0.0
# fail_open = false

[disk]
# min_free_bytes = 268435456

[index]
# max_lag_entries = 65536
# retain_s = 120
# nice = 10

[limits]

[retention]

# [[mirror]]    # one for each
# url = "https://mirror.example"
# vkey = "VKEY"
# index = false
"""
