"""A ledger over HTTP: its files, and the paths of its index, as a log server has them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

from teelog.index.lists import List
from teelog.index.trie import order
from teelog.testing.ledger import Ledger, View
from tests.client.peers import Asked, Peer, Reply

Lie = Callable[[dict[str, Any]], dict[str, Any]]


class Served:
    """peer: answers what ``show`` was last given. lie: what becomes of the index's answers."""

    def __init__(self, peer: Peer, ledger: Ledger) -> None:
        self.peer = peer
        self.ledger = ledger
        self.view: View | None = None
        self.lie: Lie = lambda answer: answer
        self.moments: dict[int, bytes] = {}
        peer.fallback = self.index

    def publish(self, now: int, **how: Any) -> View:
        view = self.ledger.publish(now, **how)
        self.show(view)
        return view

    def show(self, view: View) -> None:
        self.view = view
        self.moments.setdefault(view.size, view.main)
        self.peer.serve(self.ledger.files())
        self.peer.answers["/checkpoint"] = view.main
        self.peer.answers["/index/checkpoint"] = view.index

    def index(self, asked: Asked) -> bytes | Reply:
        parts = asked.path.split("/")
        view = self.view
        if parts[:4] == ["", "index", "v1", "since"]:
            sizes = [size for size in self.moments if size > int(parts[4])]
            return self.moments[min(sizes)] if sizes else Reply(b"none kept", 404, {"Content-Type": "text/plain"})
        if view is None or parts[:3] != ["", "index", "v1"] or int(parts[3]) != view.index_size:
            return Reply(b"not here", 404, {"Content-Type": "text/plain"})
        if parts[4] == "main":
            return view.main
        key = bytes.fromhex(parts[5])
        if parts[4] == "list":
            made = self.page(view, key, int(parts[6]))
        else:
            made = (self.lookup if parts[4] == "lookup" else self.prefix)(view, key)
        return json.dumps(self.lie(made)).encode()

    def lookup(self, view: View, key: bytes) -> dict[str, Any]:
        found = view.elements(key)
        answer: dict[str, Any] = {"count": str(len(found)), "list_root": None, "last": None}
        if found:
            lookup = view.lookup(key)
            answer |= {"list_root": _b64(lookup.list_root), "trie_proof": _b64(lookup.trie_proof)}
            return answer | {"last": {"index": str(found[-1]), "path": _hashes(lookup.list_path)}}
        return answer | {"trie_proof": _b64(view.trie.prove_lookup(key))}

    def page(self, view: View, key: bytes, number: int) -> dict[str, Any]:
        indices, path = List(view.elements(key)).page(number)
        return {"indices": [str(each) for each in indices], "path": _hashes(path)}

    def prefix(self, view: View, prefix: bytes) -> dict[str, Any]:
        keys = [key for key in self.ledger.shown.lists if key.startswith(prefix) and view.elements(key)]
        pairs = [
            {"key": key.hex(), "value": _b64(List(view.elements(key)).value().encode())}
            for key in sorted(keys, key=order)
        ]
        return {"pairs": pairs, "proof": _b64(view.trie.prove_prefix(prefix))}


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _hashes(path: Sequence[bytes]) -> list[str]:
    return [_b64(each) for each in path]
