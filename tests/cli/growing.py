"""A log over HTTP that takes whatever it is given: the commands that publish have to judge by themselves."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from teelog.testing.ledger import MAIN_POLICY, Ledger
from teelog.tlog.proof import parse_proof
from teelog.tlog.rfc6962 import leaf_hash
from tests.client import logs
from tests.client.peers import Asked, Peer, Reply, peer
from tests.client.served import Served
from tests.commands import Ran, teelog


@dataclass
class Growing:
    """A log with its index. refuse: answers in place of taking an entry. lag: the index publishes nothing new."""

    peer: Peer
    folder: Path
    entries: list[bytes]
    refuse: Reply | None = None
    lag: bool = False
    batches: list[list[bytes]] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)

    def serve(self) -> None:
        """Publishes what ``entries`` holds now: more of the same log, or another one."""
        held = len(self.ledger.entries)
        if self.entries[:held] != self.ledger.entries:
            self.ledger, held = Ledger(), 0
        for entry in self.entries[held:]:
            self.ledger.append(entry)
        fallback = self.peer.fallback
        served = Served(self.peer, self.ledger)
        self.peer.answers["/entries"] = self._take
        self.peer.answers["/entries/batch"] = self._take_all
        view = self.ledger.publish(int(time.time()))
        index = {path: data for path, data in self.peer.answers.items() if path.startswith("/index/")}
        served.show(view)
        if self.lag:
            self.peer.answers.update(index)
            self.peer.fallback = fallback

    def _take(self, asked: Asked) -> Reply:
        if self.refuse is not None:
            return self.refuse
        new = asked.body not in self.entries
        if new:
            self.entries.append(asked.body)
            self.serve()
        return Reply(logs.proof(self.entries, self.entries.index(asked.body), self.checkpoint), 201 if new else 200)

    def _take_all(self, asked: Asked) -> Reply:
        if self.refuse is not None:
            return self.refuse
        rest, entries = asked.body, []
        while rest:
            size = int.from_bytes(rest[:2], "big")
            entries.append(rest[2 : 2 + size])
            rest = rest[2 + size :]
        self.batches.append(entries)
        start = len(self.entries)
        self.entries += entries
        self.serve()
        results = [self._verdict(start + place, entry) for place, entry in enumerate(entries)]
        answer = {"schema": "teelog-batch/v1", "checkpoints": [self.checkpoint.decode()], "results": results}
        return Reply(json.dumps(answer).encode())

    @property
    def checkpoint(self) -> bytes:
        found = self.peer.answers["/checkpoint"]
        assert isinstance(found, bytes)
        return found

    def _verdict(self, index: int, entry: bytes) -> dict[str, Any]:
        hashes = parse_proof(logs.proof(self.entries, index)).hashes
        return {
            "status": 201,
            "leaf": leaf_hash(entry).hex(),
            "index": str(index),
            "checkpoint": 0,
            "proof": [base64.b64encode(each).decode() for each in hashes],
        }

    def run(self, *words: object, code: int = 0) -> Ran:
        ran = teelog(*map(str, words))
        assert ran.code == code, (ran.code, ran.text, ran.stderr)
        return ran

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def key(self, name: str, key: Any) -> Path:
        """A private key's file, its public half beside it."""
        path = self.folder / name
        path.touch(0o600)
        path.write_bytes(key.to_pem())
        (self.folder / f"{name}.pub").write_bytes(key.public.to_pem())
        return path


@contextlib.contextmanager
def growing(folder: Path, entries: list[bytes]) -> Iterator[Growing]:
    with peer() as found:
        made = Growing(found, folder, list(entries))
        made.serve()
        for name, data in made.ledger.policies().items():
            made.write(name, data)
        made.write("policy.txt", made.ledger.policies()[MAIN_POLICY])
        with patch.dict(os.environ, {"TEELOG_LOG": found.url}):
            yield made
