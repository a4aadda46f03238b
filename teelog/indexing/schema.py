"""Tables of ``index.db``. A file of another version is not migrated: it is derived data, and built again.

meta       key -> value: origin
state      one row: the newest version, published or not; next_page: no page has a number from here on
version    published versions: index_size; replaced: POSIX seconds when a newer one was published
page       number -> body (teelog.index.pages)
freed      seq -> (number, born) of the pages that this version had no longer, little-endian uint64 pairs
spare      numbers of pages that no version needs, uint64, in pieces
head       rows of the effective state (teelog.statement.effective)
list       lists too long for a page: count, last index, frontier (hashes of the complete subtrees, largest first)
list_tile  their tiles: level 0: indices, big-endian uint64; above: hashes; 256 a tile (as c2sp.org/tlog-tiles)
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from teelog.errors import ConfigError
from teelog.index.trie import EMPTY_ROOT

APPLICATION = 0x7465_6978
VERSION = 1
_CHECKPOINT = 16_384  # pages of the WAL, 64 MiB, until SQLite writes them to the file
_CACHE = 8_192  # KiB of SQLite's own page cache
BUSY_TIMEOUT = 5.0  # seconds

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, input_size INTEGER NOT NULL,
    map_root BLOB NOT NULL, root_page INTEGER NOT NULL, next_page INTEGER NOT NULL);
CREATE TABLE version (index_size INTEGER PRIMARY KEY, seq INTEGER NOT NULL, input_size INTEGER NOT NULL,
    map_root BLOB NOT NULL, root_page INTEGER NOT NULL, replaced REAL);
CREATE TABLE page (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE freed (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE spare (piece INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE head (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE list (id INTEGER PRIMARY KEY, count INTEGER NOT NULL, last INTEGER NOT NULL, frontier BLOB NOT NULL);
CREATE TABLE list_tile (list INTEGER NOT NULL, level INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (list, level, number)) WITHOUT ROWID;
"""


def create(path: Path, origin: str) -> None:
    """Makes the file for the log ``origin``. Raises ConfigError if it is there."""
    if path.exists():
        raise ConfigError(f"{path} exists already")
    db = _connect(path, "rwc")
    try:
        db.executescript(
            f"PRAGMA application_id={APPLICATION:d}; PRAGMA user_version={VERSION:d}; BEGIN; {_TABLES} COMMIT;"
        )
        with db:
            db.execute("INSERT INTO meta VALUES ('origin', ?)", (origin,))
            db.execute("INSERT INTO state VALUES (1, 0, 0, ?, 0, 1)", (EMPTY_ROOT,))
    finally:
        db.close()


def open_writer(path: Path, origin: str) -> sqlite3.Connection:
    """The one writing connection. Raises ConfigError."""
    db = _checked(path, "rw")
    try:
        found = db.execute("SELECT value FROM meta WHERE key = 'origin'").fetchone()
        if found is None or found[0] != origin:
            raise ConfigError(f"{path} is the index of another log", expected=origin, actual=found and found[0])
        # R-31, the exception: what a power cut takes from this file is replayed, so no commit waits for the disk.
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT:d}")
        db.execute(f"PRAGMA journal_size_limit={_CHECKPOINT * 4096:d}")
        db.execute(f"PRAGMA cache_size=-{_CACHE:d}")
    except BaseException:
        db.close()
        raise
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises ConfigError."""
    return _checked(path, "ro")


def _checked(path: Path, mode: str) -> sqlite3.Connection:
    hint = f"delete {path} and build it again from the log's entries"
    if not path.exists():
        raise ConfigError(f"{path} does not exist")
    try:
        db = _connect(path, mode)
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{path} is damaged", actual=str(error), hint=hint) from error
    try:
        found = tuple(db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    except sqlite3.DatabaseError as error:
        db.close()
        raise ConfigError(f"{path} is damaged", actual=str(error), hint=hint) from error
    if found != (APPLICATION, VERSION):
        db.close()
        raise ConfigError(f"{path} is no index of this version of teelog", hint=hint)
    return db


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT, check_same_thread=False)
    try:
        if mode != "ro":
            db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA trusted_schema=OFF")
        db.execute("PRAGMA cell_size_check=ON")
    except BaseException:
        db.close()
        raise
    return db
