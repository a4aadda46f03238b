"""Vectors of the index's format for other implementations: ``python -m tests.index.make_vectors``.

Every case has ``why``; cases under ``bad`` must be refused.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from teelog.index import keys, trie
from teelog.index.keys import Kind
from teelog.index.leaf import IndexLeaf, origin_of
from teelog.index.lists import List
from teelog.keys import Algorithm, private_key_from_seed
from teelog.tlog import note
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.vkey import NoteSigner, SignatureType

FILE = Path(__file__).parent / "golden" / "index.json"
ORIGIN = "log.example/tee"
Json = dict[str, Any]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def example() -> tuple[trie.Trie, dict[bytes, List]]:
    """A small index: two streams, registers, and a crowd under ``about``."""
    lists: dict[bytes, List] = {
        keys.key(Kind.LOG_POLICY): List([0]),
        keys.namespace_key("acme.example"): List([1, 7]),
        keys.namespace_key("acme.example.example"): List([2]),
        keys.release_key("acme.example/inference/stable"): List([3, 4, 9]),
        keys.status_key("acme.example/inference/stable"): List([5, 8]),
        keys.release_key("acme.example/inference/stable-2"): List([6]),
        keys.key(Kind.REGISTER, "sev-snp", "measurement", digest("m") + digest("n")[:32]): List([3]),
        keys.key(Kind.SIGNER, digest("signer")): List(list(range(1, 1_400, 2))),
    }
    lists |= {keys.key(Kind.ABOUT, digest(f"about {at}")): List([10 + at]) for at in range(40)}
    made = trie.Trie()
    for key, held in lists.items():
        made.set(key, held.value().encode())
    return made, lists


def _keys() -> Json:
    good = [
        (Kind.LOG_POLICY, ()),
        (Kind.NAMESPACE, ("acme.example",)),
        (Kind.STATUS, ("acme.example", "inference", "stable")),
        (Kind.RELEASE, ("acme.example", "inference", "stable")),
        (Kind.REGISTER, ("sev-snp", "measurement", "0f" * 48)),
        (Kind.REGISTER, ("sgx", "isvsvn", "0001")),
        (Kind.SUBJECT, ("gitCommit", "0f" * 20)),
        (Kind.EVIDENCE, ("sha256", "0f" * 32)),
        (Kind.SIGNER, ("0f" * 32,)),
        (Kind.ABOUT, ("0f" * 32,)),
    ]
    bad = [
        ("no final newline", b"log-policy"),
        ("one component too many", b"log-policy\n\n"),
        ("one component too few", b"status\nacme.example\ninference\n"),
        ("upper case", b"about\n" + b"0F" * 32 + b"\n"),
        ("register left open", b"register\nsev-snp\nmeasurement\nany\n"),
        ("register of another length", b"register\nsev-snp\nmeasurement\n" + b"0f" * 32 + b"\n"),
        ("unknown kind", b"observation\nx\n"),
        ("carriage return", b"namespace\nacme.example\r\n"),
    ]
    return {
        "good": [{"kind": kind, "components": parts, "key": keys.key(kind, *parts).hex()} for kind, parts in good],
        "bad": [{"why": why, "key": key.hex()} for why, key in bad],
    }


def _lists() -> Json:
    good, bad = [], []
    for count in (1, 2, 5, 256, 257, 700):
        made = List([3 * at + 1 for at in range(count)])
        value = made.value()
        last = count - 1
        case: Json = {"indices": f"3 i + 1 for i < {count}", "value": value.encode().hex()}
        case["elements"] = [
            {"position": at, "index": made.indices[at], "path": _hex(made.prove(at))} for at in sorted({0, last})
        ]
        pages = [made.page(at) for at in range((count + 255) // 256)]
        case["pages"] = [{"page": at, "path": _hex(path)} for at, (_, path) in enumerate(pages)]
        good.append(case)
        if count == 257:
            indices, path = pages[0]
            for why, told in (("one left out", indices[1:]), ("two swapped", [4, 1, *indices[2:]])):
                bad.append({"why": why, "value": value.encode().hex(), "page": 0, "indices": told, "path": _hex(path)})
    return {"good": good, "bad": bad}


def _hex(hashes: list[bytes]) -> list[str]:
    return [each.hex() for each in hashes]


def _lookup(key: bytes, value: bytes | None, proof: bytes, **more: str) -> Json:
    return {**more, "key": key.hex(), "value": None if value is None else value.hex(), "proof": proof.hex()}


def _leaf(key: bytes, value: bytes) -> bytes:
    return trie.uvarint(len(key)) + key + trie.uvarint(len(value)) + value


def _trie() -> Json:
    made, lists = example()
    status = keys.status_key("acme.example/inference/stable")
    value = lists[status].value().encode()
    absent = keys.status_key("acme.example/inference/beta")
    about = keys.key(Kind.ABOUT, digest("about 1"))
    proof, none = made.prove_lookup(status), made.prove_lookup(absent)
    assert proof[0] < 0x80 or proof[1] < 0x80
    width = 1 if proof[0] < 0x80 else 2
    longer = proof[: width - 1] + bytes([proof[width - 1] | 0x80, 0]) + proof[width:]
    last = len(proof) - 33 if proof[-33] < 0x80 and (len(proof) == 33 or proof[-34] < 0x80) else len(proof) - 34
    other = lists[about].value().encode()
    shorter = List([5]).value().encode()
    return {
        "pairs": [[key.hex(), held.value().encode().hex()] for key, held in sorted(lists.items())],
        "root": made.root().hex(),
        "lookup": {
            "good": [_lookup(key, made.get(key), made.prove_lookup(key)) for key in (status, about, absent, b"zz\n")],
            "bad": [
                _lookup(status, value, longer, why="a number in more bytes than it needs"),
                _lookup(status, value, proof + proof[:33], why="more steps"),
                _lookup(status, value, proof[:-1], why="cut"),
                _lookup(status, value, proof[last:] + proof[:last], why="steps in another order"),
                _lookup(status, shorter, proof, why="a shorter list: the newest status left out"),
                _lookup(status, None, none, why="absence of a key that is there"),
                _lookup(status, None, _leaf(status, value) + proof, why="absence shown by the key itself"),
                _lookup(absent, None, _leaf(about, other) + made.prove_lookup(about), why="absence by a far leaf"),
                _lookup(absent, None, b"", why="no proof"),
            ],
        },
        "prefix": _prefixes(made),
    }


def _prefixes(made: trie.Trie) -> Json:
    def case(prefix: bytes, pairs: list[tuple[bytes, bytes]], proof: bytes, **more: str) -> Json:
        told = [[key.hex(), value.hex()] for key, value in pairs]
        return {**more, "prefix": prefix.hex(), "pairs": told, "proof": proof.hex()}

    releases = keys.prefix(Kind.RELEASE, "acme.example")
    namespace = keys.namespace_key("acme.example")
    asked = [releases, namespace, keys.prefix(Kind.RELEASE, "other.example"), b"", keys.prefix(Kind.ABOUT)]
    held, proof = made.scan(releases), made.prove_prefix(releases)
    first = held[0]
    return {
        "good": [case(prefix, made.scan(prefix), made.prove_prefix(prefix)) for prefix in asked],
        "bad": [
            case(releases, made.scan(b""), b"", why="the whole tree for a prefix: keys without it"),
            case(releases, held[:1], made.prove_lookup(first[0]), why="a part of the prefix"),
            case(releases, held[::-1], proof, why="another order"),
            case(releases, [first, *held], proof, why="a key twice"),
            case(releases, [], _leaf(*first) + made.prove_lookup(first[0]), why="absence shown by a key with it"),
        ],
    }


def _leaves() -> Json:
    log = NoteSigner.of(ORIGIN, SignatureType.ED25519, private_key_from_seed(Algorithm.ED25519, bytes([1]) * 32))
    text = Checkpoint(ORIGIN, 1_400, hashlib.sha256(b"entries").digest()).body()
    signed = note.encode(text, [log.sign(text, 0)])
    root = example()[0].root()
    good = IndexLeaf(root, signed).encode()
    bad = [
        ("map root in upper case", root.hex().upper().encode() + b"\n" + signed),
        ("no newline after the map root", root.hex().encode() + signed),
        ("no signature line", root.hex().encode() + b"\n" + text + b"\n"),
        ("two signature lines", good + signed[len(text) + 1 :]),
        ("bytes behind", good + b"\n"),
    ]
    return {
        "main_origin": ORIGIN,
        "index_origin": origin_of(ORIGIN),
        "main_vkey": str(log.verifier),
        "good": [{"leaf": good.decode(), "map_root": root.hex(), "input_size": 1_400}],
        "bad": [{"why": why, "leaf": leaf.decode()} for why, leaf in bad],
    }


def make() -> Json:
    return {"schema": "teelog-index-vectors/v1", "keys": _keys(), "lists": _lists(), "trie": _trie(), "leaf": _leaves()}


def text() -> str:
    return json.dumps(make(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text())
