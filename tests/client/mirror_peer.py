"""A mirror as c2sp.org/tlog-mirror describes it, over real HTTP and in memory: for clients that push to it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field

from teelog.errors import TeelogError
from teelog.keys import Algorithm
from teelog.tlog import rfc6962, subtree
from teelog.tlog.checkpoint import Checkpoint, open_checkpoint
from teelog.tlog.mirror import MirrorInfo
from teelog.tlog.vkey import NoteSigner, SignatureType, VerifierKey
from teelog.tlog.witness import encode_answer, encode_conflict, parse_add_checkpoint
from tests.client import logs
from tests.client.peers import Asked, Peer, Reply

SIGNER = NoteSigner.of("mirror.example/m1", SignatureType.COSIGNATURE_ED25519, logs.key("mirror"))
PQ = NoteSigner.of(
    "mirror.example/m1", SignatureType.COSIGNATURE_ML_DSA_44, logs.key("mirror pq", Algorithm.ML_DSA_44)
)


@dataclass
class Upload:
    """A request that came. packages: as many as were in it."""

    start: int
    end: int
    ticket: bytes
    packages: int


@dataclass
class MirrorPeer:
    """peer: through which it answers. most: packages that it takes of a request. answer: in place of its own."""

    peer: Peer
    key: VerifierKey = logs.LOG.verifier
    signers: tuple[NoteSigner, ...] = (SIGNER,)
    most: int = 1 << 30
    witness: bool = False
    pending: list[Checkpoint] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)
    size: int = -1
    uploads: list[Upload] = field(default_factory=list)
    answer: Callable[[Asked], Reply | None] = lambda _: None

    def __post_init__(self) -> None:
        self.peer.answers["/add-checkpoint"] = self._checkpoint
        self.peer.answers["/add-entries"] = self._entries

    def _checkpoint(self, asked: Asked) -> Reply:
        given = self.answer(asked)
        if given is not None:
            return given
        request = parse_add_checkpoint(asked.body)
        opened = open_checkpoint(request.checkpoint, [self.key], logs.ORIGIN)
        head = opened.checkpoint
        known = self.pending[-1] if self.pending else Checkpoint(logs.ORIGIN, 0, rfc6962.EMPTY_ROOT)
        if request.old != known.size:
            return Reply(encode_conflict(known.size), 409, {"Content-Type": "text/x.tlog.size"})
        try:
            subtree.verify(0, known.size, head.size, known.root, head.root, request.proof)
        except TeelogError as error:
            return Reply(str(error).encode(), 422)
        self.pending.append(head)
        return Reply(encode_answer([logs.WITNESSES[0].sign(head.body(), logs.NOW)])) if self.witness else Reply(b"")

    def info(self, size: int, status: int) -> Reply:
        body = MirrorInfo(size, len(self.entries), b"ticket of %d" % size).encode()
        return Reply(body, status, {"Content-Type": "text/x.tlog.mirror-info"})

    def _entries(self, asked: Asked) -> Reply:
        given = self.answer(asked)
        if given is not None:
            return given
        assert asked.headers["Content-Type"] == "application/octet-stream"
        body = gzip.decompress(asked.body) if asked.headers.get("Content-Encoding") == "gzip" else asked.body
        length = int.from_bytes(body[:2], "big")
        origin, body = body[2 : 2 + length].decode(), body[2 + length :]
        start, end = (int.from_bytes(body[at : at + 8], "big") for at in (0, 8))
        length = int.from_bytes(body[16:18], "big")
        ticket, body = body[18 : 18 + length], body[18 + length :]
        self.uploads.append(Upload(start, end, ticket, 0))
        if origin != logs.ORIGIN:
            return Reply(b"unknown log", 404)
        if not self.pending:
            return Reply(b"no checkpoint", 422)
        heads = {head.size: head for head in self.pending}
        if end not in heads or end < self.size or start > len(self.entries):
            return self.info(end if end in heads and end >= self.size else self.pending[-1].size, 409)
        return self._packages(body, start, heads[end])

    def _packages(self, body: bytes, start: int, head: Checkpoint) -> Reply:
        at, end = start, head.size
        while at < end and body and self.uploads[-1].packages < self.most:
            rounded, stop = at - at % 256, min(end, at - at % 256 + 256)
            new: list[bytes] = []
            for _ in range(at, stop):
                length = int.from_bytes(body[:2], "big")
                new.append(body[2 : 2 + length])
                body = body[2 + length :]
            proof = [body[1 + 32 * n : 33 + 32 * n] for n in range(body[0])]
            body = body[1 + 32 * len(proof) :]
            root = rfc6962.root_of_leaves(rfc6962.leaf_hash(each) for each in [*self.entries[rounded:at], *new])
            try:
                subtree.verify(rounded, stop, end, root, head.root, proof)
            except TeelogError as error:
                return Reply(str(error).encode(), 422)
            self.entries[at:stop] = new
            self.uploads[-1].packages += 1
            at = stop
        if at < end:
            return self.info(end, 202)
        assert rfc6962.root_of_leaves(map(rfc6962.leaf_hash, self.entries[:end])) == head.root
        self.size = end
        return Reply(encode_answer([signer.sign(head.body(), logs.NOW) for signer in self.signers]))
