"""RIM of Arm CCA realms: the published values, the steps against a second reading of the specification, bad input."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import MalformedError, TeelogError
from teelog.measure import cca, realm, registers
from teelog.measure.cca import Data, Hash, Params, Rec, Ripas
from tests.commands import teelog
from tests.vectors import vectors

EXPECTED = "measure/cca/expected.json"
EMPTY: dict[str, Any] = {"schema": "teelog-realm/v1", "ipa_bits": 48, "num_bps": 2, "num_wps": 2}
PARAMS = Params(Hash.SHA_256, 48, 2, 2)


@pytest.mark.parametrize(("place", "name"), [(0, "sha-256"), (1, "sha-512")])
def test_realm_yields_what_is_stated_recomputed(place: int, name: str, tmp_path: Path):
    stated = json.loads(vectors(EXPECTED).read_bytes())["verified"][place]
    assert stated["alg"] == name.replace("-", "")
    (tmp_path / "realm.json").write_text(json.dumps({**EMPTY, "hash_algorithm": name}))
    ran = teelog("measure", "cca", tmp_path / "realm.json", "--json")
    assert ran.code == 0, ran.stderr
    (variant,) = registers.decode(ran.stdout.rstrip(b"\n")).variants
    assert (variant.platform, variant.how, dict(variant.registers)) == ("cca", "recomputed", {"rim": stated["rim"]})
    assert variant.when == {"ipa_bits": 48, "hash": name}


def test_every_stated_value_is_tested_or_needs_a_device_tree_that_is_not_at_hand():
    stated = json.loads(vectors(EXPECTED).read_bytes())
    assert len(stated["verified"]) == 2
    assert "unverified_needs_generated_DTB" in stated


@pytest.mark.parametrize(
    ("bits", "sizes"),
    [
        (52, 0x8040201000), (49, 0x8040201000), (48, 0x8040201000), (44, 0x8040201000), (43, 0x40201000),
        (40, 0x40201000), (39, 0x40201000), (35, 0x40201000), (34, 0x201000), (31, 0x201000), (30, 0x201000),
        (26, 0x201000), (25, 0x1000), (21, 0x1000), (20, 0x1000),
    ],
)  # fmt: skip
def test_block_sizes_follow_from_the_address_size_with_joined_tables(bits: int, sizes: int):
    assert sum(cca.block_sizes(bits)) == sizes


class Oracle:
    """The specification read a second time: one descriptor after the other, packed field by field."""

    def __init__(self, name: str, params: bytes) -> None:
        self.name = name
        self.rim = self.hash(params)

    def hash(self, data: bytes) -> bytes:
        return hashlib.new(self.name, data).digest().ljust(64, b"\0")

    def data(self, ipa: int, page: bytes, measured: bool = True) -> None:
        content = self.hash(page) if measured else bytes(64)
        self.rim = self.hash(struct.pack("<B7xQ64sQQ64s96x", 0, 256, self.rim, ipa, measured, content))

    def rec(self, pc: int, gprs: list[int]) -> None:
        raw = struct.pack("<Q504xQ248x8Q3264x", 1, pc, *gprs)
        assert len(raw) == 4096
        self.rim = self.hash(struct.pack("<B7xQ64s64s112x", 1, 256, self.rim, self.hash(raw)))

    def ripas(self, base: int, top: int) -> None:
        self.rim = self.hash(struct.pack("<B7xQ64sQQ160x", 2, 256, self.rim, base, top))


def oracle(name: str = "sha256", **fields: int) -> Oracle:
    usual = {"flags": 0, "s2sz": 48, "vl": 0, "bps": 1, "wps": 1, "pmu": 0, "hash": int(name == "sha512")}
    raw = struct.pack("<QB7xB7xB7xB7xB7xB", *{**usual, **fields}.values()).ljust(4096, b"\0")
    return Oracle(name, raw)


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        (Params(Hash.SHA_512, 52, 6, 7), {"s2sz": 52, "bps": 5, "wps": 6}),
        (Params(Hash.SHA_512, 48, 2, 2, sve_vl=256), {"flags": 2, "vl": 1}),
        (Params(Hash.SHA_512, 48, 2, 2, sve_vl=128), {"flags": 2, "vl": 0}),
        (Params(Hash.SHA_512, 48, 2, 2, pmu_counters=6), {"flags": 4, "pmu": 6}),
        (Params(Hash.SHA_512, 48, 2, 2, pmu_counters=0), {"flags": 4}),
        (Params(Hash.SHA_512, 48, 2, 2, lpa2=True), {"flags": 1}),
    ],
)
def test_every_parameter_counts(params: Params, fields: dict[str, int]):
    assert cca.rim(params, ()) == oracle("sha512", **fields).rim


def test_ram_is_measured_by_the_largest_blocks_that_fit():
    wanted = oracle()
    for base, top in (
        (0x1FF000, 0x200000),
        (0x200000, 0x400000),
        (0x400000, 0x401000),
        (0x401000, 0x402000),
    ):
        wanted.ripas(base, top)
    assert cca.rim(PARAMS, [Ripas(0x1FF000, 0x402000)]) == wanted.rim[:32]
    wanted = oracle()
    wanted.ripas(0x40000000, 0x80000000)
    wanted.ripas(0x80000000, 0x80200000)
    assert cca.rim(PARAMS, [Ripas(0x40000000, 0x80200000)]) == wanted.rim[:32]


@pytest.mark.parametrize("name", ["sha256", "sha512"])
def test_data_is_measured_granule_by_granule_with_zeros_around_it(name: str):
    params = Params(Hash(name.replace("sha", "sha-")), 48, 2, 2)
    wanted = oracle(name)
    wanted.data(0x1000, bytes(0x10) + b"a" * 0xFF0)
    wanted.data(0x2000, (b"a" * 0x10 + b"b").ljust(4096, b"\0"))
    wanted.data(0x4000, bytes(4096), measured=False)
    wanted.rec(0x1010, [1, 2, 3, 4, 5, 6, 7, 1 << 63])
    steps = [
        Data(0x1010, [b"a" * 4096, b"b"]),
        Data(0x4000, [b"x" * 4096], measured=False),
        Rec(0x1010, (1, 2, 3, 4, 5, 6, 7, 1 << 63)),
    ]
    assert cca.rim(params, steps) == wanted.rim[: len(hashlib.new(name).digest())]


def test_the_order_of_steps_counts():
    steps = [Ripas(0, 0x1000), Data(0, [b"x"]), Rec(0)]
    assert len({cca.rim(PARAMS, each) for each in (steps, steps[::-1], steps[1:])}) == 3


@pytest.mark.parametrize(
    "step",
    [
        Ripas(0, 0), Ripas(0x1000, 0), Ripas(1, 0x1000), Ripas(0, 0x1001), Ripas(0, (1 << 48) + 0x1000),
        Ripas(-0x1000, 0x1000), Data(1 << 48, [b"x"]), Data((1 << 48) - 1, [b"xx"]), Rec(1 << 64), Rec(0, (1,)),
        Rec(0, (-1,) * 8),
    ],
)  # fmt: skip
def test_a_step_outside_of_the_realm_is_refused(step: cca.Step):
    with pytest.raises(MalformedError):
        cca.rim(PARAMS, [step])


def test_two_pieces_of_data_in_one_granule_are_refused():
    with pytest.raises(MalformedError, match="one granule"):
        cca.rim(PARAMS, [Data(0, [b"x"]), Data(0x800, [b"y"])])
    cca.rim(PARAMS, [Data(0, [b"x"]), Data(0x1000, [b"y"]), Data(0, [])])


@pytest.mark.parametrize(
    "change",
    [
        {"ipa_bits": 19}, {"ipa_bits": 53}, {"num_bps": 1}, {"num_wps": 65}, {"sve_vl": 2176}, {"sve_vl": 64},
        {"sve_vl": -128}, {"pmu_counters": 32}, {"hash_algorithm": "sha-384"}, {"schema": "v2"}, {"colour": "red"},
        {"steps": [{}]}, {"steps": [{"rec": {"pc": 0}, "ripas": {"base": 0, "top": 4096}}]},
        {"steps": [{"ripas": {"base": "4096", "top": 8192}}]}, {"steps": [{"rec": {"pc": -1}}]},
        {"steps": [{"rec": {"pc": "0x1" + "0" * 16}}]}, {"steps": [{"rec": {"pc": 0, "gprs": [0] * 9}}]},
        {"steps": [{"data": {"ipa": 0, "file": ""}}]}, {"steps": [{"data": {"ipa": 0, "file": "a\u0000"}}]},
    ],
)  # fmt: skip
def test_bad_description_is_refused(change: dict[str, Any]):
    text = json.dumps({**EMPTY, "hash_algorithm": "sha-256", **change}).encode()
    with pytest.raises(MalformedError):
        realm.rim(realm.decode(text), lambda _: [b""])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_A_48_arbitrary_bytes_are_no_description(junk: bytes):
    with pytest.raises(TeelogError):
        realm.decode(junk)


def test_command_reads_the_files_beside_the_description(tmp_path: Path):
    (tmp_path / "Image").write_bytes(b"kernel" * 1000)
    (tmp_path / "realm.dtb").write_bytes(b"tree")
    steps = [
        {"ripas": {"base": "0x40000000", "top": "0x80000000"}},
        {"data": {"ipa": "0x40200000", "file": "Image"}},
        {"data": {"ipa": 0x48000000, "file": "realm.dtb"}},
        {"rec": {"pc": "0x40200000", "gprs": ["0x48000000"]}},
    ]
    described = {**EMPTY, "hash_algorithm": "sha-256", "steps": steps}
    (tmp_path / "realm.json").write_text(json.dumps(described))
    wanted = oracle()
    wanted.ripas(0x40000000, 0x80000000)
    kernel = b"kernel" * 1000
    wanted.data(0x40200000, kernel[:4096])
    wanted.data(0x40201000, kernel[4096:].ljust(4096, b"\0"))
    wanted.data(0x48000000, b"tree".ljust(4096, b"\0"))
    wanted.rec(0x40200000, [0x48000000, *[0] * 7])
    ran = teelog("measure", "cca", tmp_path / "realm.json")
    assert ran.code == 0, ran.stderr
    assert f"rim       {wanted.rim[:32].hex()}" in ran.text
    (tmp_path / "Image").unlink()
    assert teelog("measure", "cca", tmp_path / "realm.json").code == 4
    (tmp_path / "realm.json").write_text("{}")
    assert teelog("measure", "cca", tmp_path / "realm.json").code == 1
