"""A log that may lie, and a witness on real files, driven without and with HTTP."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from teelog import keys
from teelog.keys import Algorithm
from teelog.tlog import note, rfc6962
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.vkey import NoteSigner, SignatureType
from teelog.tlog.witness import AddCheckpoint
from teelog.witness import admin, decide, directory
from teelog.witness.decide import Answer
from teelog.witness.directory import Witness
from teelog.witness.engine import Engine
from teelog.witness.metrics import Metrics

ORIGIN = "log.example/tee"
WITNESS = "witness.example/w1"
NOW = 1_800_000_000


def signer(seed: str, name: str = ORIGIN, kind: SignatureType = SignatureType.ED25519) -> NoteSigner:
    """A key that is the same in every run."""
    algorithm = Algorithm.ML_DSA_44 if kind is SignatureType.COSIGNATURE_ML_DSA_44 else Algorithm.ED25519
    return NoteSigner.of(name, kind, keys.private_key_from_seed(algorithm, hashlib.sha256(seed.encode()).digest()))


@dataclass
class Log:
    """A log in memory. view: tells the histories of a lying log apart from the entry numbered ``forked_at`` on."""

    origin: str = ORIGIN
    signers: Sequence[NoteSigner] = ()
    view: str = "A"
    forked_at: int = 0
    extensions: tuple[str, ...] = ()
    _leaves: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.signers = self.signers or (signer("log", self.origin),)

    @property
    def vkeys(self) -> tuple[str, ...]:
        return tuple(str(one.verifier) for one in self.signers)

    def leaves(self, size: int) -> list[bytes]:
        for index in range(len(self._leaves), size):
            view = self.view if index >= self.forked_at else "A"
            self._leaves.append(rfc6962.leaf_hash(f"{self.origin} {view} {index}".encode()))
        return self._leaves[:size]

    def root(self, size: int) -> bytes:
        return rfc6962.root_of_leaves(self.leaves(size))

    def body(self, size: int, root: bytes | None = None) -> bytes:
        return Checkpoint(self.origin, size, self.root(size) if root is None else root, self.extensions).body()

    def note(self, size: int, root: bytes | None = None, extra: Sequence[note.Signature] = ()) -> bytes:
        return self.sign(self.body(size, root), extra)

    def sign(self, body: bytes, extra: Sequence[note.Signature] = ()) -> bytes:
        return body + b"\n" + b"".join(line.line() for line in (*(one.sign(body, NOW) for one in self.signers), *extra))

    def proof(self, old: int, new: int) -> list[bytes]:
        leaves = self.leaves(new)

        def read(nodes: Sequence[tuple[int, int]]) -> list[bytes]:
            return [rfc6962.root_of_leaves(leaves[i << level : (i + 1) << level]) for level, i in nodes]

        return rfc6962.prove_consistency(old, new, read)

    def request(self, old: int, new: int, *, note: bytes | None = None, proof: Sequence[bytes] | None = None) -> bytes:
        """An add-checkpoint body."""
        hashes = self.proof(old, new) if proof is None else proof
        return AddCheckpoint(old, tuple(hashes), self.note(new) if note is None else note).encode()


@dataclass
class Clock:
    seconds: int = NOW

    def __call__(self) -> int:
        return self.seconds


class Desk:
    """A witness's engine on its folder, without HTTP."""

    def __init__(
        self,
        path: Path,
        *logs: Log,
        extensions: bool = False,
        step: Callable[[str], None] = lambda _: None,
        start: bool = True,
    ) -> None:
        self.path = path
        self.clock = Clock()
        self.monotonic = 0.0
        self.extensions = extensions
        self.step = step
        if not (path / directory.CONFIG).exists():
            init(path)
        for log in logs:
            self.add_log(log)
        self.engine: Engine | None = None
        if start:
            self.start()

    def add_log(self, log: Log, **more: object) -> None:
        admin.run(self.path, admin.AddLog(log.vkeys, **more))  # type: ignore[arg-type]

    def start(self) -> Engine:
        self.witness = directory.load(self.path)
        self.metrics = Metrics()
        store = directory.open_state(self.witness)
        published = directory.open_published(self.path)
        self.engine = Engine(
            store,
            published,
            self.witness.evidence,
            self.witness.signers,
            now=self.clock,
            monotonic=lambda: self.monotonic,
            metrics=self.metrics,
            extensions=self.extensions,
            step=lambda name: self.step(name),
        )
        try:
            self.engine.start()
        except BaseException:
            self.engine.stop()
            self.engine = None
            raise
        return self.engine

    def stop(self) -> None:
        if self.engine is not None:
            self.engine.stop()
            self.engine = None

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def post(self, body: bytes) -> Answer:
        """What the service does with an add-checkpoint body."""
        assert self.engine is not None
        request = decide.read(body)
        if isinstance(request, Answer):
            return request
        return self.engine.submit(request).result(timeout=120)

    def cosign(self, log: Log, old: int, new: int) -> Answer:
        answer = self.post(log.request(old, new))
        assert answer.status == 200, answer
        return answer

    def size(self, origin: str = ORIGIN) -> int | None:
        """The stored size, read beside the engine."""
        with directory.read_state(self.path) as store:
            head = store.head(origin)
        return None if head is None else head.size

    def published(self, origin: str = ORIGIN) -> bytes | None:
        reader = published_reader(self.path)
        try:
            return reader.note(hashlib.sha256(origin.encode()).hexdigest())
        finally:
            reader.close()

    def state_bytes(self) -> dict[str, bytes]:
        """Every byte of the two databases."""
        return {name: (self.path / name).read_bytes() for name in STATE_FILES if (self.path / name).exists()}


STATE_FILES = tuple(f"{name}{suffix}" for name in (directory.STATE, directory.PUBLISHED) for suffix in ("", "-wal"))


def published_reader(path: Path):  # type: ignore[no-untyped-def]
    from teelog.witness.published import Published

    return Published.open_reader(path / directory.PUBLISHED)


def init(path: Path, name: str = WITNESS) -> None:
    directory.init(path, name)


def copy_folder(source: Path, target: Path) -> None:
    """A backup as an operator makes one, with the witness stopped."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("lock", "*.sock"))


def verified_cosignatures(answer: Answer, checkpoint: bytes, witness: Witness) -> list[note.VerifiedSignature]:
    """W-31: the answer appended to the request's note, opened with the witness's keys."""
    opened = note.open_note(checkpoint + answer.body, [one.verifier for one in witness.signers])
    return list(opened.signatures)
