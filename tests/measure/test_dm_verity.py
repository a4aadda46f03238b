"""Root hashes: those of veritysetup, those of a tree written out level by level, and bad images."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import MalformedError, TeelogError
from teelog.measure import dm_verity
from teelog.measure.dm_verity import Parameters
from tests.commands import teelog
from tests.measure.damage import unharmed
from tests.measure.releases import stating
from tests.vectors import vectors

FOLDER = "measure/dm-verity"


def root(image: bytes, how: Parameters) -> bytes:
    return dm_verity.root_hash(io.BytesIO(image).read, how)


@pytest.mark.parametrize("row", range(7))
def test_data_img_yields_the_root_hash_that_veritysetup_2_6_1_states_recomputed(row: int, tmp_path: Path):
    line = vectors(f"{FOLDER}/veritysetup-2.6.1-expected.txt").read_text().splitlines()[row]
    words, stated = line.split("::")
    algorithm, form, salt, block, blocks = words.split()
    (tmp_path / "data.img").write_bytes(gzip.decompress(vectors(f"{FOLDER}/data.img.gz").read_bytes()))
    sizes = ("--data-block-size", block, "--hash-block-size", block, "--data-blocks", blocks)
    more = ("--hash", algorithm, "--format", form, "--salt", salt, *sizes, "--json")
    ran = teelog("measure", "dm-verity", tmp_path / "data.img", *more)
    assert ran.code == 0, ran.stderr
    assert ran.json == {
        "schema": "teelog-measured/v1",
        "kind": "dm-verity",
        "values": [
            {
                "when": {
                    "hash": algorithm,
                    "format": int(form),
                    "salt": salt,
                    "data_block": int(block),
                    "hash_block": int(block),
                },
                "values": {"root_hash": stated.split()[-1]},
                "how": "recomputed",
            }
        ],
    }


def level_by_level(image: bytes, how: Parameters) -> bytes:
    def digest(block: bytes) -> bytes:
        return hashlib.new(how.algorithm, how.salt + block if how.format else block + how.salt).digest()

    digests = [digest(image[place : place + how.data_block]) for place in range(0, len(image), how.data_block)]
    slot = {20: 32, 32: 32, 48: 64, 64: 64}[len(digests[0])]
    per = how.hash_block // slot
    while len(digests) > 1:
        rows = [digests[place : place + per] for place in range(0, len(digests), per)]
        padded = [[each.ljust(slot, b"\0") if how.format else each for each in row] for row in rows]
        digests = [digest(b"".join(row).ljust(how.hash_block, b"\0")) for row in padded]
    return digests[0]


@pytest.mark.parametrize("blocks", [1, 2, 15, 16, 17, 32, 255, 256, 257, 300])
@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("algorithm", dm_verity.ALGORITHMS)
def test_root_is_that_of_the_tree_written_out(blocks: int, form: int, algorithm: str):
    image = hashlib.shake_128(b"image").digest(512 * blocks)
    how = Parameters(algorithm, form, b"salt", 512, 512)
    assert root(image, how) == level_by_level(image, how)


def superblock(algorithm: bytes = b"sha256", blocks: int = 2, salt: bytes = b"salt", **fields: bytes) -> bytes:
    head = struct.pack("<8sII16s32sIIQH6x", b"verity\0\0", 1, 1, b"u" * 16, algorithm, 512, 1024, blocks, len(salt))
    raw = bytearray((head + salt).ljust(512, b"\0"))
    for place, value in fields.items():
        raw[int(place[1:]) : int(place[1:]) + len(value)] = value
    return bytes(raw)


def test_superblock_states_the_parameters(tmp_path: Path):
    assert dm_verity.superblock(superblock()) == Parameters("sha256", 1, b"salt", 512, 1024, 2)
    (tmp_path / "hashes").write_bytes(superblock() + bytes(4096))
    (tmp_path / "data").write_bytes(b"d" * 1536)  # the third block is not hashed
    ran = teelog("measure", "dm-verity", tmp_path / "data", "--hash-device", tmp_path / "hashes", "--json")
    wanted = level_by_level(b"d" * 1024, Parameters("sha256", 1, b"salt", 512, 1024))
    assert ran.json["values"][0]["values"]["root_hash"] == wanted.hex()
    both = ("--hash-device", tmp_path / "hashes", "--salt", "-")
    assert teelog("measure", "dm-verity", tmp_path / "data", *both).code == 2
    assert teelog("measure", "dm-verity", tmp_path / "data").code == 2


@pytest.mark.parametrize(
    "bad",
    [
        b"", superblock()[:-1], superblock(_0=b"V"), superblock(_8=b"\2"), superblock(_12=b"\2"),
        superblock(b"md5"), superblock(b"sha256\0x"), superblock(blocks=0), superblock(blocks=1 << 40),
        superblock(_64=b"\1"), superblock(_68=b"\0\0\0\0"), superblock(_80=b"\xff\xff"), superblock(_85=b"x"),
        superblock(_511=b"x"),
    ],
)  # fmt: skip
def test_bad_superblock_is_refused(bad: bytes):
    with pytest.raises(TeelogError):
        dm_verity.superblock(bad)


@pytest.mark.parametrize(
    ("size", "how"),
    [
        (0, Parameters()), (4095, Parameters()), (4097, Parameters()), (4096, Parameters(blocks=2)),
        (4096, Parameters(data_block=4095)), (4096, Parameters(hash_block=256)), (4096, Parameters(salt=bytes(257))),
        (4096, Parameters(blocks=-1)), (4096, Parameters(blocks=1 << 25)),
    ],
)  # fmt: skip
def test_image_that_does_not_fit_is_malformed(size: int, how: Parameters):
    with pytest.raises(MalformedError):
        root(bytes(size), how)


def test_A_48_damaged_images_have_another_root_and_damaged_superblocks_raise_nothing_else():
    assert unharmed(b"d" * 2048, lambda image: root(image, Parameters(data_block=512, hash_block=512))) == 0
    assert unharmed(superblock(), dm_verity.superblock) < 200  # the UUID


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600))
def test_A_48_arbitrary_bytes_raise_nothing_else(junk: bytes):
    for raw in (junk, superblock()[:64] + junk):
        try:
            dm_verity.superblock(raw)
        except TeelogError:
            continue


def test_expect_compares_with_the_subjects(tmp_path: Path):
    (tmp_path / "data").write_bytes(bytes(4096))
    own = root(bytes(4096), Parameters()).hex()
    for digest, code in (({"dm-verity": own}, 0), ({"dm-verity": "00" * 32}, 1), ({"sha256": own}, 3)):
        release = stating(tmp_path / "release.json", digest=digest)
        ran = teelog("measure", "dm-verity", tmp_path / "data", "--salt", "-", "--expect", release)
        assert ran.code == code, ran.stderr
