"""Tables of the witness's two databases and how an older file becomes a newer one."""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database, Migrations

_state = Migrations("teelog.witness.state")
_published = Migrations("teelog.witness.published")


@_state(name="0001-initial")
def _initial_state(db: Database) -> None:
    db.table("meta").create({"key": str, "value": str}, pk="key", not_null={"value"}, strict=True)
    db.table("logs").create(
        {"origin": str, "vkeys": str, "url": str, "contact": str, "per_day": int, "disabled": int},
        pk="origin",
        not_null={"vkeys", "disabled"},
        strict=True,
    )
    db.table("state").create(
        {"origin": str, "size": int, "root": bytes, "timestamp": int, "note": bytes},
        pk="origin",
        not_null={"size", "root", "timestamp", "note"},
        strict=True,
    )


@_state(name="0002-semantic")
def _semantic_state(db: Database) -> None:
    db.table("logs").add_column("main", str)


@_published(name="0001-initial")
def _initial_published(db: Database) -> None:
    db.table("published").create(
        {"origin_hash": str, "origin": str, "size": int, "root": bytes, "timestamp": int, "note": bytes},
        pk="origin_hash",
        not_null={"origin", "size", "root", "timestamp", "note"},
        strict=True,
    )


def migrate(db: sqlite3.Connection) -> None:
    """Brings ``state.db`` up to date."""
    _state.apply(Database(db))


def migrate_published(db: sqlite3.Connection) -> None:
    """Brings ``published.db`` up to date."""
    _published.apply(Database(db))
