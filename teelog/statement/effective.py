"""What is in force after the first n entries of a log: all that the map function knows of the past.

The state is a set of rows, key -> value, so that whoever keeps it (memory, a table) needs to understand none of them:
an entry that takes effect has an ``Effect``, an effect is one row, and ``Rows`` answers from a function that looks a
row up. A row is replaced, never removed:

    log-policy LF                  payload of the last effective log policy
    namespace LF ns LF             payload of the namespace's last effective version
    status LF ns LF p LF c LF      StatusHead of the stream, JSON
    release-id LF id LF            stream of the effective release with this statement id
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import msgspec

from teelog.index import keys
from teelog.statement import log_policy, namespace, status, strict_json
from teelog.statement.log_policy import LogPolicy
from teelog.statement.namespace import Namespace
from teelog.statement.status import StatusHead

Row = tuple[bytes, bytes]
"""Key and value. Keys: at most 320 bytes; values: at most 49,151 bytes."""


class Effective(Protocol):
    """The state left by all earlier entries."""

    @property
    def origin(self) -> str:
        """Of the log whose entries are mapped."""

    def log_policy(self) -> LogPolicy | None:
        """The last effective one."""

    def namespace(self, name: str) -> Namespace | None:
        """The version now current."""

    def status(self, stream: str) -> StatusHead | None:
        """The last effective status of ``namespace/product/channel``."""

    def release(self, statement_id: str) -> str | None:
        """The stream in whose list this release is."""


@dataclass(frozen=True, slots=True)
class LogPolicyEffect:
    """A log policy that is now the last one. payload: as signed."""

    payload: bytes

    @property
    def key(self) -> bytes:
        """Of the list that grows."""
        return keys.key(keys.Kind.LOG_POLICY)

    @property
    def row(self) -> Row:
        return self.key, self.payload


@dataclass(frozen=True, slots=True)
class NamespaceEffect:
    """A version that is now the current one. payload: as signed."""

    name: str
    payload: bytes

    @property
    def key(self) -> bytes:
        return keys.namespace_key(self.name)

    @property
    def row(self) -> Row:
        return self.key, self.payload


@dataclass(frozen=True, slots=True)
class StatusEffect:
    """A status that is now the stream's last one."""

    stream: str
    head: StatusHead

    @property
    def key(self) -> bytes:
        return keys.status_key(self.stream)

    @property
    def row(self) -> Row:
        return self.key, strict_json.encode(self.head)


@dataclass(frozen=True, slots=True)
class ReleaseEffect:
    """A release that statuses of its stream may allow from now on."""

    stream: str
    statement_id: str

    @property
    def key(self) -> bytes:
        return keys.release_key(self.stream)

    @property
    def row(self) -> Row:
        return release_row_key(self.statement_id), self.stream.encode()


Effect = LogPolicyEffect | NamespaceEffect | StatusEffect | ReleaseEffect
"""What an entry changes. ``key``: the effective list that it enters. ``row``: what the state has to keep of it."""


def release_row_key(statement_id: str) -> bytes:
    """No key of the index: the kind is none of its."""
    return b"release-id\n%b\n" % statement_id.encode()


class Rows:
    """``Effective`` over rows.

    origin: of the log. get: the value of a row, None if there is none; an effect counts as soon as it finds its row.
    """

    def __init__(self, origin: str, get: Callable[[bytes], bytes | None]) -> None:
        self._origin = origin
        self._get = get

    @property
    def origin(self) -> str:
        return self._origin

    def log_policy(self) -> LogPolicy | None:
        row = self._get(keys.key(keys.Kind.LOG_POLICY))
        return None if row is None else _log_policy(row)

    def namespace(self, name: str) -> Namespace | None:
        row = self._get(keys.namespace_key(name))
        return None if row is None else _namespace(row)

    def status(self, stream: str) -> StatusHead | None:
        row = self._get(keys.status_key(stream))
        return None if row is None else _head_decoder.decode(row)

    def release(self, statement_id: str) -> str | None:
        row = self._get(release_row_key(statement_id))
        return None if row is None else row.decode()


class MemoryState(Rows):
    """A state in memory, of an empty log at first."""

    def __init__(self, origin: str) -> None:
        self.rows: dict[bytes, bytes] = {}
        super().__init__(origin, self.rows.get)

    def apply(self, effect: Effect) -> None:
        key, value = effect.row
        self.rows[key] = value


# The payload decides all, so what was parsed once may be kept for all states.
_namespace = lru_cache(1_024)(namespace.restore)
_log_policy = lru_cache(64)(log_policy.restore)
_head_decoder = msgspec.json.Decoder(status.StatusHead)
