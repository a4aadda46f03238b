"""The demo's last villain but one: an operator who keeps a withdrawal out of the log's index.

The log itself is honest: everyone sees one tree, and the withdrawal is in it. The index, which clients ask because they
can't read a whole log, says that there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.server
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from teelog.cli.demo_attacks import ask
from teelog.tlog import note, rfc6962, tiles, witness
from teelog.tlog.checkpoint import parse_body
from teelog.tlog.tiles import Edge

WAIT = 120.0  # seconds for witnesses that are catching up


def hide(log: Path, liar: Path) -> bytes:
    """A copy of what ``log`` (stopped) shows, with one more leaf of the index, without the log's last entry.

    Returns the add-checkpoint request for the index log's semantic witnesses, signed with the log's own keys.
    """
    from teelog.log_server.directory import LogDirectory

    directory = LogDirectory(log)
    shutil.copytree(directory.public, liar)
    entries = read_entries(liar)
    leaves = read_entries(liar / "index")
    old = len(leaves)
    leaves.append(_lie(entries, (liar / "checkpoint").read_bytes()))
    hashes = [rfc6962.leaf_hash(leaf) for leaf in leaves]
    _write(liar / "index", leaves)
    origin = parse_body(note.parse((liar / "index" / "checkpoint").read_bytes()).claimed_text()).origin
    signer = directory.index.signer(origin)
    body, lines = signer.sign(len(leaves), rfc6962.root_of_leaves(hashes), int(time.time()))
    signed = note.encode(body, lines)
    (liar / "index" / "checkpoint").write_bytes(signed)

    def read(nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        return [rfc6962.root_of_leaves(hashes[place << level : (place + 1) << level]) for level, place in nodes]

    proof = rfc6962.prove_consistency(old, len(leaves), read)
    return witness.AddCheckpoint(old, tuple(proof), signed).encode()


def _lie(entries: list[bytes], main: bytes) -> bytes:
    """An index leaf over all entries whose map leaves the last one out."""
    from teelog.index.leaf import IndexLeaf
    from teelog.testing.ledger import IndexMap, hiding

    parsed = note.parse(main)
    origin = parse_body(parsed.claimed_text()).origin
    index = IndexMap(origin, hiding(len(entries) - 1))
    for place, entry in enumerate(entries):
        index.take(entry, place)
    own = next(line for line in parsed.signatures if line.name == origin)  # Ed25519 comes first
    return IndexLeaf.make(index.root(), parsed, own).encode()


def read_entries(public: Path) -> list[bytes]:
    from teelog.client.log import LogReader
    from teelog.client.source import DirectorySource

    async def read() -> list[bytes]:
        source = DirectorySource(public)
        head = parse_body(note.parse(await source.checkpoint()).claimed_text())
        return [entry async for _, entry in LogReader(source, head.size, head.root).entries()]

    return asyncio.run(read())


def _write(public: Path, leaves: list[bytes]) -> None:
    _, new = Edge().append([rfc6962.leaf_hash(leaf) for leaf in leaves])
    files = {tile.path: data for tile, data in new.items()}
    for bundle in tiles.new_bundles_between(0, len(leaves)):
        start = bundle.index * tiles.WIDTH
        files[bundle.path] = tiles.encode_bundle(leaves[start : start + bundle.width])
    for path, data in files.items():
        target = public / path
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def answers(request: bytes, liar: Path, port: int, witnesses: Mapping[str, int]) -> dict[str, str]:
    """What each semantic witness says to it, while the copy stands where the log stood: at ``port``."""
    with served(liar, port):
        deadline = time.monotonic() + WAIT
        while True:
            found = asyncio.run(ask(request, witnesses))
            if time.monotonic() > deadline or not any("cannot answer now" in answer for answer in found.values()):
                return found
            time.sleep(0.3)  # 503: it is reading the log


@contextlib.contextmanager
def served(folder: Path, port: int) -> Iterator[None]:
    """A log is a folder of files: any web server will do."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
