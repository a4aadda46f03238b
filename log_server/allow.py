"""``log allow``: a namespace's first version enters the log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from teelog.errors import MalformedError, RefusedError
from teelog.log_server import config
from teelog.log_server.enter import Entered, enter
from teelog.log_server.seams import Clock
from teelog.statement import admit
from teelog.statement.admit import Kind
from teelog.statement.namespace import Namespace
from teelog.tlog.tiles import MAX_ENTRY


@dataclass(frozen=True, slots=True)
class Allowed:
    """The namespace whose first version is logged."""

    namespace: str
    statement_id: str
    entered: Entered


def judge(entry: bytes, origin: str) -> Namespace:
    """The namespace whose version 0 this is, signed by its owners, for this log.

    Raises MalformedError, VerificationError, SignatureError, UntrustedKey, RefusedError.
    """
    if len(entry) > MAX_ENTRY:
        raise MalformedError("entry is too large", expected=f"at most {MAX_ENTRY} bytes", actual=len(entry))
    parsed = admit.classify(entry)
    if parsed.kind is not Kind.NAMESPACE:
        raise RefusedError("not a namespace statement", status=422, expected="a namespace", actual=str(parsed.kind))
    return admit.check_namespace_v0(parsed, origin)


async def allow(path: Path, entry: bytes, clock: Clock) -> Allowed:
    """Raises as ``judge``; ConfigError; RefusedError if the namespace exists; UnavailableError."""
    namespace = judge(entry, config.load(path).origin)
    return Allowed(namespace.name, namespace.statement_id, await enter(path, entry, clock))
