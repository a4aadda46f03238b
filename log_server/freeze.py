"""``log freeze``: the log's last policy enters the log, and nothing after it (protocol section 3)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from teelog.errors import ConfigError, UnavailableError
from teelog.log_server import config
from teelog.log_server.directory import ALGORITHMS, OPERATOR, LogDirectory
from teelog.log_server.enter import Entered, enter
from teelog.log_server.seams import LOG_POLICY, Clock
from teelog.log_server.state import read_only
from teelog.log_server.store import DirectoryStore
from teelog.log_server.tree import Tree
from teelog.statement import admit, chain, dsse, log_policy
from teelog.statement.dsse import Signer
from teelog.statement.log_policy import LogPolicy


@dataclass(frozen=True, slots=True)
class Ended:
    """The policy that ended the log. entered: where it is; ``fresh`` False if the log had ended before."""

    origin: str
    policy: LogPolicy
    entered: Entered

    @property
    def successor(self) -> str | None:
        frozen = self.policy.predicate.frozen
        return None if frozen is None else frozen.successor


def newest_policy(path: Path) -> tuple[LogPolicy, bytes]:
    """The log's newest policy, committed, and its entry; beside a running server, too. Raises ConfigError."""
    directory = LogDirectory(path)
    try:
        with closing(read_only(directory.state)) as db:
            entry = _newest(db, directory)
    except sqlite3.Error as error:
        raise UnavailableError(f"{directory.state} cannot be read now", actual=str(error)) from error
    envelope = dsse.parse(entry)
    return log_policy.restore(envelope.claimed()), entry


def _newest(db: sqlite3.Connection, directory: LogDirectory) -> bytes:
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'tip'").fetchone():
        row = db.execute("SELECT entry FROM tip WHERE kind = ?", (LOG_POLICY,)).fetchone()
        if row is not None:
            return bytes(row[0])
    (size,) = db.execute("SELECT published_size FROM log").fetchone()
    if not size:
        raise ConfigError("the log's first entry is not published yet", hint="teelog log serve")
    return Tree(DirectoryStore(directory.public, directory.scratch)).bundle(0, size)[0]


def operator(path: Path) -> Signer:
    """The operator's key as ``log init`` left it in the directory. Raises ConfigError."""
    return LogDirectory(path).key(OPERATOR, config.load(path).origin, ALGORITHMS[OPERATOR])


def policy_file(path: Path, successor: str | None, signers: Sequence[Signer]) -> bytes:
    """The entry that ends the log in ``path``, signed; the one that did, if the log has ended for this successor.

    Raises ConfigError (no policy to follow, ended otherwise), UntrustedKey (not enough operators), MalformedError.
    """
    last, entry = newest_policy(path)
    frozen = last.predicate.frozen
    if frozen is not None:
        if frozen.successor != successor:
            raise ConfigError(
                "the log has ended already",
                expected=f"successor {frozen.successor or 'none'}",
                actual=f"successor {successor or 'none'}",
            )
        return entry
    if successor == last.predicate.log:
        raise ConfigError("a log cannot be its own successor", expected="another origin", actual=successor)
    envelope = dsse.sign(dsse.PAYLOAD_TYPE, log_policy.payload(chain.freeze(last, successor)), signers)
    admit.check_log_policy_next(admit.classify(envelope.file), last)
    return envelope.file


async def freeze(path: Path, file: bytes, clock: Clock) -> Ended:
    """Logs what ``policy_file`` made. Raises ConfigError, RefusedError, UnavailableError."""
    envelope = dsse.parse(file)
    entered = await enter(path, file, clock)
    return Ended(config.load(path).origin, log_policy.restore(envelope.claimed()), entered)
