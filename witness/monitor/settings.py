"""What a monitor's owner chose: ``M/settings.json``, replaced as a whole, read again at each look.

Commands write it while the monitor runs. Nothing in it is a secret: those are files of their own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from teelog import durable
from teelog.errors import ConfigError, MalformedError, UnavailableError
from teelog.tlog import policy as policies
from teelog.tlog.policy import Policy
from teelog.witness.monitor import watches
from teelog.witness.monitor.watches import Watch

FILE = "settings.json"
MAX_LENGTH = 8 << 20  # bytes
MAX_KNOWN = 64 << 20  # bytes of a list of statement ids
MAX_WATCHES = 10_000
MAX_SINKS = 64


class SinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told. name: unique here. kind: webhook, atom or jsonl. target: URL or path.

    allow_local: a webhook may be on this machine, over plain http. after: alerts up to this number are not told.
    """

    name: str
    kind: str
    target: str
    allow_local: bool = False
    after: int = 0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """place: the log's URL, or a directory. policy, index_policy: their texts. mirrors: URLs of copies.

    watched: subject and value. known: path of a list of expected statement ids, relative to the folder's parent or
    absolute; None: all are expected. settled: events up to this number were dealt with. ahead, max_age, behind:
    seconds, see ``follow``.
    """

    place: str
    policy: str
    index_policy: str | None = None
    mirrors: tuple[str, ...] = ()
    watched: tuple[tuple[str, str], ...] = ()
    known: str | None = None
    settled: int = 0
    ahead: float = 86_400.0
    max_age: float = 86_400.0
    behind: float = 3_600.0
    sinks: tuple[SinkSettings, ...] = ()
    schema: str = "teelog-monitor-settings/v1"

    def watches(self) -> frozenset[Watch]:
        """Raises ConfigError."""
        try:
            return frozenset(watches.parse(subject, value) for subject, value in self.watched)
        except MalformedError as error:
            raise ConfigError(f"{FILE}: {error.message}", expected=error.expected, actual=error.actual) from error

    def main(self) -> Policy:
        """Raises ConfigError."""
        return policies.parse_policy(self.policy.encode())

    def index(self) -> Policy | None:
        """Raises ConfigError."""
        return None if self.index_policy is None else policies.parse_policy(self.index_policy.encode())


def read(folder: Path) -> Settings:
    """Raises ConfigError, UnavailableError."""
    path = folder / FILE
    try:
        data = path.read_bytes()
        found = msgspec.json.decode(data[: MAX_LENGTH + 1], type=Settings)
    except FileNotFoundError as error:
        hint = f"teelog monitor init {folder} --policy POLICY"
        raise ConfigError(f"{folder} is no monitor's folder: it has no {FILE}", hint=hint) from error
    except OSError as error:
        raise UnavailableError(f"cannot read {path}", actual=error.strerror) from error
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} cannot be read", actual=str(error)[:200]) from error
    if found.schema != Settings.__struct_defaults__[-1] or len(found.watched) > MAX_WATCHES:
        raise ConfigError(f"{path} is of another version", actual=found.schema[:80])
    if len(found.sinks) > MAX_SINKS or len({sink.name for sink in found.sinks}) != len(found.sinks):
        raise ConfigError(f"{path} has too many outlets, or one twice", expected=f"at most {MAX_SINKS}")
    return found


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[Settings]:
    """The settings, for one command at a time that is about to replace them. Raises ConfigError, UnavailableError."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        hint = f"teelog monitor init {folder} --policy POLICY"
        raise ConfigError(f"{folder} is no monitor's folder", actual=error.strerror, hint=hint) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield read(folder)
    finally:
        os.close(descriptor)


def write(folder: Path, settings: Settings) -> None:
    """Replaces the settings durably. Raises UnavailableError."""
    try:
        durable.replace(folder / FILE, msgspec.json.format(msgspec.json.encode(settings), indent=2))
    except OSError as error:
        raise UnavailableError(f"cannot write {folder / FILE}", actual=error.strerror) from error
