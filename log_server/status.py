"""``log status``: what a log's directory says, live or not, without disturbing it.

The state is read through one read-only connection (a second writer or checkpointer is never opened on a live file).
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from teelog.errors import UnavailableError
from teelog.log_server import config, lock
from teelog.log_server.directory import LogDirectory
from teelog.log_server.index import status as index_status
from teelog.log_server.index.status import IndexStatus
from teelog.log_server.state import read_only
from teelog.tlog import note
from teelog.tlog.checkpoint import parse_body


@dataclass(frozen=True, slots=True)
class Status:
    """size, root: last_signed. published_size, published_root: of the newest published checkpoint.

    published_at: POSIX seconds, 0 if unknown. cosigners: key names with a line in it. staged_batches: committed and not
    yet published. namespaces: (name, version, index). running: whether a process holds the directory. free: bytes.
    frozen: the log has ended. successor: the origin of the log that goes on then, if any.
    """

    origin: str
    vkeys: tuple[str, ...]
    size: int
    root: bytes
    published_size: int
    published_root: bytes
    published_at: int
    cosigners: tuple[str, ...]
    staged_batches: int
    namespaces: tuple[tuple[str, int, int], ...]
    epoch: int
    dedup_upto: int
    running: bool
    free: int
    raw: bool
    index: IndexStatus | None
    frozen: bool = False
    successor: str | None = None


def status(path: Path) -> Status:
    """Raises ConfigError, UnavailableError."""
    from sqlite_utils import Database

    settings = config.load(path)
    directory = LogDirectory(path)
    vkeys = tuple(directory.vkeys.read_text("ascii").split("\n")[:-1])
    try:
        with closing(read_only(directory.state)) as connection:
            connection.execute("BEGIN")  # one moment of the log, however busy it is
            db = Database(connection)
            row = next(iter(db.query("SELECT * FROM log WHERE id = 1")))
            staged = next(iter(db.query("SELECT count(*) AS n FROM staged")))["n"]
            names = tuple(
                (item["name"], item["version"], item["idx"])
                for item in db.query("SELECT name, version, idx FROM namespace ORDER BY idx")
            )
            ended: list[dict[str, Any]] = []
            if "tip" in db.table_names():
                ended = list(db.query("SELECT successor FROM tip WHERE kind = 'log-policy' AND ended"))
            connection.execute("ROLLBACK")
    except (sqlite3.Error, StopIteration) as error:
        raise UnavailableError(f"{directory.state} cannot be read now", actual=str(error)) from error
    published = note.parse(row["published"])
    shown = parse_body(published.claimed_text())
    disk = os.statvfs(directory.public)
    return Status(
        origin=settings.origin,
        vkeys=vkeys,
        size=row["size"],
        root=row["root"],
        published_size=shown.size,
        published_root=shown.root,
        published_at=_time(published, settings.origin),
        cosigners=tuple(dict.fromkeys(s.name for s in published.signatures if s.name != settings.origin)),
        staged_batches=staged,
        namespaces=names,
        epoch=row["epoch"],
        dedup_upto=row["dedup_upto"],
        running=lock.held(path),
        free=disk.f_bavail * disk.f_frsize,
        raw=settings.admission.raw,
        index=index_status.status(directory),
        frozen=bool(ended),
        successor=ended[0]["successor"] if ended else None,
    )


def _time(published: note.UnverifiedNote, origin: str) -> int:
    """The time in the log's own ML-DSA-44 line."""
    for line in published.signatures:
        if line.name == origin and len(line.blob) == 8 + 2420:
            return int.from_bytes(line.blob[:8])
    return 0
