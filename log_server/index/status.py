"""What an index log's directory says, live or not; part of ``log status``."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass

from teelog.errors import TeelogError, UnavailableError
from teelog.index.leaf import IndexLeaf
from teelog.log_server.directory import LogDirectory
from teelog.log_server.lock import held
from teelog.log_server.state import read_only
from teelog.log_server.store import Files
from teelog.log_server.tree import Tree
from teelog.tlog import note
from teelog.tlog.checkpoint import parse_body
from teelog.tlog.tiles import WIDTH


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """running: whether a process keeps it. size: committed leaves. published_size: of the newest published checkpoint.

    input_size: entries of the main log that its last leaf covers. cosigners: key names with a line in it.
    """

    origin: str
    running: bool
    size: int
    published_size: int
    input_size: int
    cosigners: tuple[str, ...]


def status(main: LogDirectory) -> IndexStatus | None:
    """None for a log that has no index log. Raises ConfigError, UnavailableError."""
    directory = main.index
    if not directory.state.exists():
        return None
    try:
        with closing(read_only(directory.state)) as db:
            origin, size, published = db.execute("SELECT origin, size, published FROM log WHERE id = 1").fetchone()
        shown = note.parse(published)
        published_size = parse_body(shown.claimed_text()).size
        input_size = 0
        if published_size:
            last = published_size - 1
            leaves = Tree(Files(directory.public)).bundle(last // WIDTH, published_size)
            input_size = IndexLeaf.parse(leaves[last % WIDTH]).claimed().size
    except (sqlite3.Error, TypeError, TeelogError) as error:
        raise UnavailableError(f"{directory.path} cannot be read now", actual=str(error)) from error
    cosigners = dict.fromkeys(line.name for line in shown.signatures if line.name != origin)
    return IndexStatus(origin, held(directory.path), size, published_size, input_size, tuple(cosigners))
