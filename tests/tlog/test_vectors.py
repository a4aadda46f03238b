"""Vectors of other implementations: transparency-dev/merkle, RFC 6962 known answers, a log that Tessera wrote."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from teelog.errors import ConfigError, MalformedError, ProofError
from teelog.tlog import note, rfc6962, subtree, tiles, vkey
from teelog.tlog.checkpoint import Checkpoint, open_checkpoint, parse_body
from teelog.tlog.tile_tree import TileTree
from teelog.tlog.tiles import Bundle, Edge, Tile
from tests.vectors import vectors

COUNTS = {"inclusion": 98, "consistency": 98, "subtreeinclusion": 204, "subtreeconsistency": 118}


def kat() -> Any:
    return json.loads(vectors("tlog/kat/kat.json").read_bytes())


def unb64(text: str) -> bytes:
    return base64.b64decode(text)


def root(text: str) -> bytes:
    """A root; where a vector puts words in its place ("dont care 1"), their hash, which is equal where they are."""
    value = unb64(text)
    return value if len(value) == 32 else hashlib.sha256(value).digest()


def hashes(case: dict[str, Any]) -> list[bytes]:
    return [unb64(item) for item in case["proof"] or []]


def run(kind: str, case: dict[str, Any]) -> None:
    if kind == "inclusion":
        leaf, top = unb64(case["leafHash"]), root(case["root"])
        rfc6962.verify_inclusion(case["leafIdx"], case["treeSize"], leaf, hashes(case), top)
    elif kind == "consistency":
        first, second = root(case["root1"]), root(case["root2"])
        rfc6962.verify_consistency(case["size1"], first, case["size2"], second, hashes(case))
    elif kind == "subtreeinclusion":
        # A leaf within the subtree [start, end): an inclusion proof in the tree that the subtree is.
        start, end, index = case["start"], case["end"], case["leafIdx"]
        if not subtree.is_valid(start, end):
            raise ProofError("no valid subtree")
        leaf, top = unb64(case["leafHash"]), root(case["root"])
        rfc6962.verify_inclusion(index - start, end - start, leaf, hashes(case), top)
    else:
        first, second = root(case["root1"]), root(case["root2"])
        subtree.verify(case["start"], case["end"], case["size"], first, second, hashes(case))


@pytest.mark.parametrize("kind", COUNTS)
def test_PR_13_WS_06_merkle_vectors(kind: str):
    folder = vectors(f"tlog/merkle/testdata/{kind}")
    paths = sorted(folder.rglob("*.json"))
    assert len(paths) == COUNTS[kind]
    passed, wrong = 0, []
    for path in paths:
        case = json.loads(path.read_bytes())
        # RFC 6962 has no proof from the empty tree; the collection accepts the pair (0, 0) of equal empty roots.
        want_error = case["wantErr"] or (kind == "consistency" and case["size1"] == 0)
        try:
            run(kind, case)
            failed = False
            passed += 1
        except ProofError:
            failed = True
        if failed != want_error:
            wrong.append(f"{path.relative_to(folder)}: {case['desc']}")
    assert not wrong
    assert passed


def test_TT_11_known_answers_of_rfc6962():
    given = kat()
    known = given["rfc6962_hashing"]
    assert rfc6962.EMPTY_ROOT.hex() == known["empty_root"]
    assert rfc6962.leaf_hash(b"").hex() == known["leaf_empty"]
    assert rfc6962.leaf_hash(b"L123456").hex() == known["leaf_L123456"]
    # Node hashes over other than 32 bytes exist in this known answer only.
    assert subtree.node_hash(b"N123", b"N456").hex() == known["node_N123_N456"]
    tree = given["rfc6962_tree8"]
    leaves = [rfc6962.leaf_hash(bytes.fromhex(entry)) for entry in tree["leaf_inputs_hex"]]
    assert [leaf.hex() for leaf in leaves] == tree["leaf_hashes"]
    assert [rfc6962.root_of_leaves(leaves[:size]).hex() for size in range(9)] == tree["roots_by_size"]


def test_SN_01_known_notes_open_to_their_text():
    given = kat()["signed_note"]
    example, peter, enoch = given
    opened = note.open_note(example["note"].encode(), [vkey.parse(example["vkey"])])
    assert opened.text == b"This is an example message.\n"
    both = [vkey.parse(peter["vkey"]), vkey.parse(enoch["vkey"])]
    opened = note.open_note(peter["note"].encode(), both)
    assert opened.text.startswith(b"If you think")
    assert opened.text.endswith(b"problem is.\n")
    assert [signature.verifier for signature in opened.signatures] == both
    for key in both:
        assert note.open_note(peter["note"].encode(), [key]).text == opened.text


def test_SN_21_known_bad_vkeys_are_refused():
    for text in kat()["bad_vkeys"]:
        with pytest.raises(ConfigError):
            vkey.parse(text)


def test_CP_02_an_origin_with_spaces_is_an_origin():
    given = kat()["checkpoint_text"]
    text = f"{given['origin']}\n{given['size']}\n{given['root_b64']}\n".encode()
    head = parse_body(text)
    assert (head.origin, head.size, head.root) == (given["origin"], given["size"], rfc6962.leaf_hash(b"hello world"))
    assert head.body() == text


def test_TT_06_TT_07_TT_08_known_tile_paths():
    given = kat()
    for level, rest, number, index, width in given["tile_paths_ok"]:
        path = f"tile/{level}/{rest}"
        assert tiles.parse_path(path) == Tile(number, index, width)
        assert Tile(number, index, width).path == path
    for level, rest in given["tile_paths_bad"]:
        with pytest.raises(MalformedError):
            tiles.parse_path(f"tile/{level}/{rest}")


def test_TT_15_known_tile_counts():
    given = kat()["tiles_for_size"]
    for size, levels in ((int(size), levels) for size, levels in given.items() if size != "_fmt"):
        found = list(tiles.new_between(0, size))
        for level, full, partial in levels:
            at_level = [tile for tile in found if tile.level == int(level)]
            assert sum(tile.width == tiles.WIDTH for tile in at_level) == full
            assert [tile.width for tile in at_level if tile.width < tiles.WIDTH] == ([partial] if partial else [])
        assert {tile.level for tile in found} == {int(level) for level, _, _ in levels}


# -- a log written by Tessera -----------------------------------------------------------------------------------------


def tessera_log() -> tuple[Path, vkey.VerifierKey]:
    folder = vectors("tlog/tessera-testlog")
    return folder / "testdata/log", vkey.parse((folder / "vkey.txt").read_text().strip())


def opened(folder: Path, size: int, key: vkey.VerifierKey) -> Checkpoint:
    found = open_checkpoint((folder / f"checkpoint.{size}").read_bytes(), [key], key.name).checkpoint
    assert found.size == size
    return found


def test_TT_22_TT_23_every_tile_bundle_and_checkpoint_of_tesseras_log():
    folder, key = tessera_log()
    edge = Edge()
    assert opened(folder, 0, key).root == rfc6962.EMPTY_ROOT == edge.root()
    for size in range(1, 16):
        head = opened(folder, size, key)
        tile, bundle = tiles.tile_for(0, 0, size), tiles.bundle_for(0, size)
        data = (folder / tile.path).read_bytes()
        entries = tiles.parse_bundle((folder / bundle.path).read_bytes(), bundle.width)
        assert tiles.encode_bundle(entries) == (folder / bundle.path).read_bytes()
        assert [rfc6962.leaf_hash(entry) for entry in entries] == tiles.parse_tile(data, size)
        edge, new = edge.append([rfc6962.leaf_hash(entries[-1])])
        assert new == {tile: data}
        assert edge.root() == head.root
        tree = TileTree(size, head.root)
        assert tree.missing([]) == [tile]
        tree.add(tile, data)
        for index in range(size):
            proof = rfc6962.prove_inclusion(index, size, tree.read)
            rfc6962.verify_inclusion(index, size, rfc6962.leaf_hash(entries[index]), proof, head.root)
        for old in range(1, size):
            before = opened(folder, old, key)
            proof = rfc6962.prove_consistency(old, size, tree.read)
            rfc6962.verify_consistency(old, before.root, size, head.root, proof)
    present = sorted(path.relative_to(folder).as_posix() for path in (folder / "tile").rglob("*") if path.is_file())
    assert present == sorted([Tile(0, 0, n).path for n in range(1, 16)] + [Bundle(0, n).path for n in range(1, 16)])
    assert opened(folder, 15, key).body() in (folder / "checkpoint").read_bytes()
