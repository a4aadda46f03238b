"""The index's trie and filippo.io/torchwood's mpt: same roots and proofs, byte for byte, each checks the other's.

Release v0.10.0 has the package as ignored files (``//go:build ignore``): its source is taken from Go's module cache,
and built without that line.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from teelog.errors import TeelogError
from teelog.index import trie
from teelog.index.proof import verify_lookup, verify_prefix
from tests.interop.conftest import GO_DIR, go_environment

MODULE = "filippo.io/torchwood"
SOURCES = ("tree.go", "mem.go")
pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

Pairs = dict[bytes, bytes]
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def package(go: str) -> Path:
    done = subprocess.run(
        [go, "mod", "download", "-json", MODULE],
        cwd=GO_DIR,
        env=go_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"{MODULE} cannot be had here: {done.stderr.strip()[:200]}")
    return Path(json.loads(done.stdout)["Dir"]) / "mpt"


@pytest.fixture(scope="module")
def ask(go: str, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    folder = tmp_path_factory.mktemp("mpt")
    shutil.copytree(Path(__file__).parent / "mpt", folder, dirs_exist_ok=True)
    (folder / "mpt").mkdir()
    for name in SOURCES:
        text = (package / name).read_text().replace("//go:build ignore\n", "")
        (folder / "mpt" / name).write_text(text)
    subprocess.run([go, "build", "-o", "ask", "."], cwd=folder, env=go_environment(), check=True, timeout=600)
    with subprocess.Popen([folder / "ask"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def answer(**question: Any) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            found: dict[str, Any] = json.loads(process.stdout.readline())
            return found

        yield answer
        process.stdin.close()


def _trie(pairs: Pairs) -> trie.Trie:
    made = trie.Trie()
    for key, value in pairs.items():
        made.set(key, value)
    return made


def _trees() -> Iterator[tuple[Pairs, list[bytes]]]:
    rng = random.Random(4)
    for count in (0, 1, 2, 3, 10, 100, 500):
        pairs = {b"about\n%064x\n" % rng.getrandbits(256): rng.randbytes(40) for _ in range(count)}
        yield pairs, [*list(pairs)[:20], b"about\n", b"about\n4", b"about\n00", b"absent\n", b"", b"zzz"]
    alphabets = (b"ab\n", b"\x00\xff", bytes(range(256)))
    for number in range(60):
        alphabet = alphabets[number % 3]
        keys = [bytes(rng.choices(alphabet, k=rng.randrange(6))) for _ in range(rng.randrange(30))]
        asked = [bytes(rng.choices(alphabet, k=rng.randrange(6))) for _ in range(15)]
        yield {key: rng.randbytes(rng.randrange(4)) for key in keys}, [*keys[:15], *asked]


def test_roots_proofs_and_scans_are_the_same_bytes(ask: Ask):
    for pairs, asked in _trees():
        ours = _trie(pairs)
        texts = [key.hex() for key in asked]
        theirs = ask(pairs=[[k.hex(), v.hex()] for k, v in pairs.items()], lookup=texts, prefix=texts)
        assert theirs["root"] == ours.root().hex()
        for key, found in zip(asked, theirs["lookup"], strict=True):
            value = pairs.get(key)
            assert found["value"] == (None if value is None else value.hex())
            assert found["proof"] == ours.prove_lookup(key).hex()
        for prefix, found in zip(asked, theirs["prefix"], strict=True):
            held = ours.scan(prefix)
            assert found["keys"] == [key.hex() for key, _ in held]
            assert found["hash"] == trie.tree_hash(held).hex()
            assert found["proof"] == ours.prove_prefix(prefix).hex()
            verify_prefix(ours.root(), prefix, held, bytes.fromhex(found["proof"]))


def test_their_verifier_takes_our_proofs_and_refuses_what_ours_refuses(ask: Ask):
    rng = random.Random(5)
    claims, expected = [], []
    for pairs, asked in _trees():
        ours = _trie(pairs)
        root = ours.root()
        for key in asked[:10]:
            proof, value = ours.prove_lookup(key), pairs.get(key)
            broken = bytearray(proof or b"\x00")
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
            for told, shown in (
                (value, proof),
                (b"lie", proof),
                (None if value is not None else b"", proof),
                (value, bytes(broken)),
                (value, proof[:-1]),
                (value, proof + b"\x00" * 33),
            ):
                claims.append((root, key, told, shown))
                expected.append(_holds(root, key, told, shown))
    assert any(expected)
    assert not all(expected)
    theirs = ask(
        verify=[
            {"root": r.hex(), "key": k.hex(), "value": None if v is None else v.hex(), "proof": p.hex()}
            for r, k, v, p in claims
        ]
    )["verify"]
    # Ours is the stricter one: what it takes, theirs does.
    assert [one for one, other in zip(expected, theirs, strict=True) if one and not other] == []
    assert sum(theirs) - sum(expected) <= len(theirs) // 100


def test_numbers_in_more_bytes_than_they_need_are_where_we_are_stricter(ask: Ask):
    pairs = {b"about\n%064x\n" % number: b"v" for number in range(9)}
    ours = _trie(pairs)
    key = next(iter(pairs))
    proof = ours.prove_lookup(key)
    # The first number takes two bytes: a third one that adds nothing.
    assert proof[0] >= 0x80
    longer = bytes([proof[0], proof[1] | 0x80, 0]) + proof[2:]
    claim = {"root": ours.root().hex(), "key": key.hex(), "value": b"v".hex(), "proof": longer.hex()}
    assert ask(verify=[claim])["verify"] == [True]
    assert not _holds(ours.root(), key, b"v", longer)


def test_their_prefix_proof_of_too_large_a_subtree_is_where_we_are_stricter(ask: Ask):
    pairs = {b"a\n": b"1", b"b\n": b"2"}
    root = _trie(pairs).root()
    claim = {"root": root.hex(), "key": b"a".hex(), "hash": root.hex(), "proof": ""}
    assert ask(verify_prefix=[claim])["verify_prefix"] == [True]
    with pytest.raises(TeelogError):
        verify_prefix(root, b"a", list(pairs.items()), b"")


def _holds(root: bytes, key: bytes, value: bytes | None, proof: bytes) -> bool:
    try:
        verify_lookup(root, key, value, proof)
    except TeelogError:
        return False
    return True


def test_their_published_prefix_vectors(package: Path):
    checked = 0
    pairs: Pairs = {}
    snapped, prefix, digest = _trie({}), b"", b""
    fresh = True
    for line in (package / "testdata" / "prefix.txt").read_text().replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        if not word or word == "#" or word.startswith("#"):
            continue
        if word == "kv":
            if fresh:
                pairs, fresh = {}, False
            key, value = (b"" if part == "''" else bytes.fromhex(part) for part in rest.split())
            pairs[key] = value
            continue
        data = b"" if rest.strip() == "''" else bytes.fromhex(rest)
        if word == "snap":
            if fresh:
                pairs = {}
            snapped, fresh = _trie(pairs), True
            assert snapped.root() == data
        elif word == "prefix":
            prefix = data
        elif word == "hash":
            digest = data
        else:
            held = snapped.scan(prefix)
            assert trie.tree_hash(held) == digest
            assert snapped.prove_prefix(prefix) == data
            verify_prefix(snapped.root(), prefix, held, data)
            checked += 1
    assert checked > 500
