"""The schema of ``state.db`` and its migrations (sqlite-utils), applied by ``log init`` and by the server's open.

log        one row: origin, key_hash, epoch, size, root (last_signed), published, published_size, dedup_upto
staged     one row a committed, unpublished batch: lo, count, size, root, bundle
known      (first 8 bytes of a leaf hash or statement id as a signed big-endian integer, entry index)
namespace  every committed namespace statement
tip        the newest statement of each stream's statuses and of the log's policies
"""

from __future__ import annotations

import sqlite3
from typing import Any

VERSION = 2
"""``PRAGMA user_version`` of a database on which every migration has run."""


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the database to VERSION. Costs one PRAGMA where it is there already."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
        return
    # Loaded here: it takes longer than everything else at start.
    from sqlite_utils import Database

    _migrations().apply(Database(connection))
    connection.execute(f"PRAGMA user_version = {VERSION:d}")


def _migrations() -> Any:
    from sqlite_utils import Database, Migrations

    migrations = Migrations("teelog-log")

    @migrations()
    def m001_first(db: Database) -> None:
        db.table("log").create(
            {
                "id": int,
                "origin": str,
                "key_hash": bytes,
                "epoch": int,
                "size": int,
                "root": bytes,
                "published": bytes,
                "published_size": int,
                "dedup_upto": int,
            },
            pk="id",
            not_null={"origin", "key_hash", "epoch", "size", "root", "published", "published_size", "dedup_upto"},
        )
        db.table("staged").create(
            {"lo": int, "count": int, "size": int, "root": bytes, "bundle": bytes},
            pk="lo",
            not_null={"count", "size", "root", "bundle"},
        )
        db.table("namespace").create(
            {"name": str, "version": int, "statement": bytes, "idx": int, "entry": bytes},
            pk=("name", "version"),
            not_null={"statement", "idx", "entry"},
        )
        # Not through create(): sqlite-utils has no WITHOUT ROWID, which halves this, the one table that grows.
        db.execute(
            "CREATE TABLE known (prefix INTEGER NOT NULL, idx INTEGER NOT NULL, PRIMARY KEY (prefix, idx))"
            " WITHOUT ROWID"
        )

    @migrations()
    def m002_tips(db: Database) -> None:
        db.table("tip").create(
            {
                "kind": str,
                "name": str,
                "position": int,
                "statement": bytes,
                "idx": int,
                "ended": int,
                "successor": str,
                "entry": bytes,
            },
            pk=("kind", "name"),
            not_null={"position", "statement", "idx", "ended", "entry"},
        )

    return migrations
