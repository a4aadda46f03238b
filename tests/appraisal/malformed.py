"""A good bundle, written in every way in which no bundle is written."""

from __future__ import annotations

import cbor2

from tests.appraisal.story import told


def _raw() -> bytes:
    story, release = told()
    return story.bundle(release).encode()


RAW = _raw()


def tree() -> dict[int, object]:
    found: dict[int, object] = cbor2.loads(RAW)
    return found


def changed(key: int, value: object) -> bytes:
    return cbor2.dumps(tree() | {key: value})


def without(key: int) -> bytes:
    return cbor2.dumps({k: v for k, v in tree().items() if k != key})


BUNDLES = {
    "unknown field": changed(10, b""),
    "missing field": without(9),
    "repeated field": b"\xab" + RAW[1:] + b"\x00\x60",
    "fields out of order": cbor2.dumps(dict(reversed(tree().items()))),
    "a key that is text": cbor2.dumps({str(k): v for k, v in tree().items()}),
    "a key that is a boolean": cbor2.dumps({(True if k == 1 else k): v for k, v in tree().items()}),
    "a key that is a float": cbor2.dumps({(1.0 if k == 1 else k): v for k, v in tree().items()}),
    "another version": changed(0, "teelog-bundle/v2"),
    "text for bytes": changed(1, "text"),
    "no namespace": changed(5, []),
    "too many namespaces": changed(5, tree()[5] * 257),  # type: ignore[operator]
    "a path of half hashes": changed(4, bytes(31)),
    "a path that is too long": changed(4, bytes(32 * 64)),
    "a negative index": changed(7, {**tree()[7], 1: -1}),  # type: ignore[dict-item]
    "an index that is a boolean": changed(7, {**tree()[7], 1: True}),  # type: ignore[dict-item]
    "an index that is a float": changed(7, {**tree()[7], 1: 3.0}),  # type: ignore[dict-item]
    "an index above the largest": changed(7, {**tree()[7], 1: 2**63}),  # type: ignore[dict-item]
    "an index that is a bignum": changed(7, {**tree()[7], 1: 2**64}),  # type: ignore[dict-item]
    "an entry that no log takes": changed(9, {**tree()[9], 0: bytes(65_536)}),  # type: ignore[dict-item]
    "a list root of another length": changed(8, {**tree()[8], 1: bytes(31)}),  # type: ignore[dict-item]
    "a trie proof that is too long": changed(8, {**tree()[8], 3: bytes(65_537)}),  # type: ignore[dict-item]
    "a tag": b"\xd9\xd9\xf7" + RAW,
    "a byte more": RAW + b"\x00",
    "indefinite length": b"\xbf" + RAW[1:] + b"\xff",
    "a long form": b"\xb8\x0a" + RAW[1:],
    "an array": cbor2.dumps(list(tree().values())),
    "nothing": b"",
    "too long": changed(3, bytes(1 << 20)),
    "nested too deeply": b"\x81" * 100_000,
}
