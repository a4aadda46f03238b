"""Signed release statements of 1 KiB, all distinct, by one Ed25519 key of one namespace; written to a file once a run.

They are built from a template, as signing through the command line would take longer than the measurement; the first
one is read back by the project's own reader.
"""

from __future__ import annotations

import base64
import hashlib
import mmap
import struct
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from teelog import keys
from teelog.keys import Algorithm
from teelog.statement import admit, dsse, namespace, release
from teelog.statement.intoto import Subject
from teelog.statement.namespace import NamespacePredicate, Role
from teelog.statement.release import Coverage, Material, ReleasePredicate, Validity, Variant

SIZE = 1_024
"""Bytes of an entry."""
ORIGIN = "log.example/bench"
NAMESPACE = "acme.example"
KEY = keys.private_key_from_seed(Algorithm.ED25519, hashlib.sha256(b"bench vendor").digest())

_MARK = "0" * 64


def namespace_file() -> bytes:
    """Version 0 of the namespace, for ``teelog log allow``."""
    roles = (Role.OWNER, Role.RELEASE, Role.STATUS, Role.RESULT)
    held = namespace.Key(KEY.public.to_pem().decode(), roles, None)
    predicate = NamespacePredicate(NAMESPACE, ORIGIN, 0, None, (held,), dict.fromkeys(roles, 1))
    return dsse.sign(dsse.PAYLOAD_TYPE, namespace.payload(predicate), [KEY]).file


def _template() -> bytes:
    """A payload with a digest of zeros in it, of a length that makes the envelope ``SIZE`` bytes."""

    def payload(padding: str) -> bytes:
        predicate = ReleasePredicate(
            stream=f"{NAMESPACE}/inference/stable",
            version="1.4.2",
            svn=3,
            validity=Validity("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            variants=(Variant(platform="sev-snp", registers={"measurement": "ab" * 48}),),
            coverage=Coverage(("firmware", "kernel"), ()),
            materials=(Material(name=padding),) if padding else (),
        )
        return release.payload(predicate, (Subject("disk.img", {"sha256": _MARK}),))

    # Base64 grows in steps of four bytes: the padding that gives exactly SIZE, or the longest that stays below.
    best = payload("")
    for length in range(1, SIZE):
        found = payload("m" * length)
        if len(_seal(found)) > SIZE:
            break
        best = found
    return best


def _seal(payload: bytes) -> bytes:
    signature = base64.b64encode(KEY.sign(dsse.pae(payload)))
    return b'{"payload":"%b","payloadType":"%b","signatures":[{"keyid":"%b","sig":"%b"}]}' % (
        base64.b64encode(payload),
        dsse.PAYLOAD_TYPE.encode(),
        KEY.public.fingerprint.encode(),
        signature,
    )


def _make(bounds: tuple[int, int]) -> bytes:
    head, tail = _template().split(_MARK.encode())
    made = []
    for number in range(*bounds):
        made.append(_seal(head + hashlib.sha256(b"%d" % number).hexdigest().encode() + tail))
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in made)


def write(path: Path, count: int) -> None:
    """``count`` entries, each behind its big-endian uint16 length."""
    first = _make((0, 1))[2:]
    parsed = admit.classify(first)
    parsed.envelope.verify({KEY.public.fingerprint: KEY.public})
    step = 2_000
    parts = [(low, min(count, low + step)) for low in range(0, count, step)]
    with ProcessPoolExecutor() as pool, path.open("wb") as file:
        for made in pool.map(_make, parts):
            file.write(made)


def one() -> bytes:
    """The first entry."""
    return _make((0, 1))[2:]


def unsigned(low: int, high: int) -> Iterator[bytes]:
    """Distinct entries of ``SIZE`` bytes that nobody signed, for what happens after admission."""
    for number in range(low, high):
        yield hashlib.shake_256(b"%d" % number).digest(SIZE)


class Entries:
    """The entries of a file, by number. All have the same length."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._length = int.from_bytes(self._map[:2], "big")

    def __len__(self) -> int:
        return len(self._map) // (self._length + 2)

    def __getitem__(self, number: int) -> bytes:
        at = number * (self._length + 2)
        return self._map[at + 2 : at + 2 + self._length]

    def framed(self, low: int, high: int) -> bytes:
        """Entries [low, high) as a batch submission carries them."""
        return self._map[low * (self._length + 2) : high * (self._length + 2)]


def unbase64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
