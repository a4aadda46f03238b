"""PCR 4 and 11 of EFI programs: what systemd-measure, a signature and other tools state, and each kind of bad file."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import MalformedError, NotEstablished, TeelogError
from teelog.measure import pe, registers, uki
from teelog.testing.efi import Program
from teelog.testing.efi import uki as image
from tests.commands import teelog
from tests.measure.damage import unharmed
from tests.measure.releases import stating
from tests.vectors import vectors

FOLDER = "measure/tpm-uki"
FWUPD = "54563dba7fe706fab763168771637e02f82bf776e47fc16c96b87f3ecdb11958"


def parse(raw: bytes) -> pe.Program:
    return pe.parse(lambda offset, size: raw[offset : offset + size], len(raw))


def measure(raw: bytes, bank: str = "sha256", stub: int | None = None) -> tuple[uki.Boot, ...]:
    return uki.measure(lambda offset, size: raw[offset : offset + size], len(raw), bank, stub)


def written_out(bank: str, *datas: bytes, then: tuple[bytes, ...] = ()) -> bytes:
    """A register after H(data) of each, and after the digests."""
    value = bytes(hashlib.new(bank).digest_size)
    for digest in (*(hashlib.new(bank, data).digest() for data in datas), *then):
        value = hashlib.new(bank, value + digest).digest()
    return value


def stated() -> dict[str, Any]:
    return dict(json.loads(vectors(f"{FOLDER}/pcr11/expected.json").read_bytes()))


@pytest.mark.parametrize("bank", uki.BANKS)
def test_pcr11_linux_initrd_cmdline_osrel_yield_what_systemd_measure_states_recomputed(bank: str, tmp_path: Path):
    parts = {name: vectors(f"{FOLDER}/pcr11/{name}").read_bytes() for name in ("linux", "initrd", "cmdline", "osrel")}
    (tmp_path / "linux.efi").write_bytes(image(252, **parts).build())
    ran = teelog("measure", "uki", tmp_path / "linux.efi", "--bank", bank, "--json")
    if bank == "sha256":
        found = [(v.when, v.registers, v.how) for v in registers.decode(ran.stdout.rstrip(b"\n")).variants]
    else:
        assert (ran.json["schema"], ran.json["kind"]) == ("teelog-measured/v1", "tpm-sha384")
        found = [(v["when"], v["values"], v["how"]) for v in ran.json["values"]]
    wanted = {each["phase"]: each["hash"] for each in stated()[bank]}
    assert {when["phase"]: values["pcr11"] for when, values, _ in found} == wanted
    assert {how for *_, how in found} == {"recomputed"}
    assert {(when["bank"], when["stub"]) for when, *_ in found} == {(bank, "252")}


def test_fwupdx64_efi_signed_has_the_digest_that_its_signature_states():
    path = vectors(f"{FOLDER}/fwupdx64.efi.signed")
    raw = path.read_bytes()
    (digest,) = parse(raw).authenticode("sha256")
    assert digest.hex() == FWUPD
    assert digest in raw[-parse(raw).signatures :]
    ran = teelog("measure", "uki", path, "--json")
    (variant,) = registers.decode(ran.stdout.rstrip(b"\n")).variants
    assert (variant.when, variant.how) == ({"bank": "sha256"}, "recomputed")
    assert variant.registers == {"pcr4": uki.pcr4("sha256", [digest]).hex()}


def test_values_that_constellation_states():
    zeros, ones = bytes(32), b"\x01" * 32
    assert uki.pcr4("sha256", [zeros, ones]).hex() == "22116dee861aa6b44242ac469eab24cead344d52c77131f54ac1cac9d6a2408e"
    after = uki.pcr11("sha256", {b".linux": zeros, b".initrd": ones})
    assert after.hex() == "9dfe399fcd4432639f0e20f49df823aa66b095f0664f0a4b9fbdc11ea64683e2"


GOOD = {
    "plain": Program(),
    "PE32": Program(plus=False),
    "signed": Program(signatures=b"s" * 1000),
    "with something behind": Program(trailing=b"t" * 100, signatures=b"s" * 8),
    "empty section": Program({".text": b"t", ".bss": b"", ".data": b"d"}, {".bss": 4096}),
}


@pytest.mark.parametrize("name", GOOD)
def test_digest_is_of_all_but_checksum_and_signatures(name: str):
    program = GOOD[name]
    assert parse(program.build()).authenticode(*uki.BANKS) == tuple(map(program.authenticode, uki.BANKS))
    if program.signatures:
        assert parse(program.other(signatures=b"other signatures").build()).authenticode("sha256") == (
            program.authenticode("sha256"),
        )


def test_sections_are_measured_as_they_are_loaded():
    short, long = image().other(loaded={".initrd": 10}), image().other(loaded={".initrd": 2000})
    for made, content in ((short, b"i" * 10), (long, b"i" * 1000 + bytes(1000))):
        program = parse(made.build())
        section = next(each for each in program.sections if each.name == b".initrd")
        assert b"".join(program.content(section)) == content


def pcr11_of(parts: Mapping[str, bytes], names: tuple[str, ...], phases: int = 4) -> bytes:
    datas = [data for name in names for data in (name.encode() + b"\0", parts[name])]
    return written_out("sha256", *datas, *(phase.encode() for phase in uki.PHASES[:phases]))


SHORT = (".linux", ".osrel", ".cmdline", ".initrd")


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        (252, {(None, "on"): SHORT, (None, "off"): SHORT}),
        (
            255,
            {
                (label, secure): SHORT if label == "as stub 252" else (*SHORT, ".uname", ".sbat")
                for label in ("as stub 252", "as stub 257")
                for secure in ("on", "off")
            },
        ),
        (257, {(None, "on"): (*SHORT, ".uname", ".sbat"), (None, "off"): (*SHORT, ".uname", ".sbat")}),
        (258, {(None, None): (*SHORT, ".uname", ".sbat")}),
    ],
)
def test_every_way_to_boot_has_a_variant(version: int, wanted: dict[tuple[str | None, str | None], tuple[str, ...]]):
    made = image(version, sbat=b"sbat,1\n", uname=b"6.12", pcrsig=b"never")
    boots = measure(made.build())
    assert len(boots) == 4 * len(wanted)
    own, kernel = made.authenticode("sha256"), Program().authenticode("sha256")
    start = (b"Calling EFI Application from Boot Option", bytes(4))
    for boot in boots:
        key = boot.when.get("sections"), boot.when.get("secure_boot")
        phases = len(boot.when["phase"].split(":"))
        assert boot.pcrs["pcr11"] == pcr11_of(made.sections, wanted[key], phases)
        programs = (own, kernel) if boot.when.get("secure_boot") == "off" else (own,)
        assert boot.pcrs["pcr4"] == written_out("sha256", *start, then=programs)


def test_stub_is_named_by_the_image_or_by_hand():
    with pytest.raises(NotEstablished, match="which version"):
        measure(image(None).build())
    assert measure(image(None).build(), stub=257)[0].when["stub"] == "257"
    for version, said in ((257, 258), (251, None), (None, 251)):
        with pytest.raises(NotEstablished):
            measure(image(version).build(), stub=said)


@pytest.mark.parametrize("name", ["profile", "dtbauto", "efifw"])
def test_what_the_stub_chooses_at_boot_is_not_established(name: str):
    with pytest.raises(NotEstablished, match="chooses"):
        measure(image(**{name: b"x"}).build())


def test_section_that_is_there_twice_or_too_large_is_not_established():
    raw = image(osrel2=b"x").build().replace(b".osrel2\0", b".osrel\0\0")
    for bad in (raw, image().other(loaded={".initrd": 1 << 30}).build()):
        with pytest.raises(NotEstablished, match="twice"):
            measure(bad)


P = Program()
OPTIONAL, TABLE = 0x40 + 24, 0x40 + 24 + 112 + 128


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (b"", "not an EFI"),
        (P.build()[:63], "not an EFI"),
        (P.build()[:100], "EFI program"),
        (P.other(fields={0: b"ZM"}).build(), "not an EFI"),
        (P.other(fields={60: b"\xff" * 4}).build(), "lies outside"),
        (P.other(fields={60: b"\0" * 4}).build(), "lies outside"),
        (P.other(fields={0x40: b"NE"}).build(), "not an EFI"),
        (P.other(fields={0x46: b"\0\0"}).build(), "1 to 96"),
        (P.other(fields={0x46: b"\xff\0"}).build(), "1 to 96"),
        (P.other(fields={0x54: b"\x10\0"}).build(), "no optional header"),
        (P.other(fields={OPTIONAL: b"\x07\x01"}).build(), "no optional header"),
        (P.other(fields={OPTIONAL + 108: b"\x11"}).build(), "directories"),
        (P.other(fields={OPTIONAL + 60: b"\0\0\0\0"}).build(), "headers end"),
        (P.other(fields={OPTIONAL + 60: b"\xff\xff\xff\0"}).build(), "headers end"),
        (P.other(fields={TABLE + 20: struct.pack("<I", 100)}).build(), "overlaps"),
        (P.other(fields={TABLE + 16: struct.pack("<I", 5000)}).build(), "overlaps"),
        (P.other(fields={P.directory: struct.pack("<II", 512, 8)}).build(), "not the end"),
        (P.other(signatures=b"s" * 8).build() + b"x", "not the end"),
        (P.other(signatures=b"s" * 8).build()[:-1], "not the end"),
    ],
)  # fmt: skip
def test_what_is_no_program_is_malformed(bad: bytes, cause: str):
    with pytest.raises(MalformedError, match=cause):
        measure(bad)


def test_A_48_damaged_programs_are_refused_or_measured_as_others():
    assert unharmed(P.build(), measure) < 25  # the checksum, and a directory of no signatures
    assert unharmed(image().build(), measure) < 25


def test_A_48_the_real_program_damaged_is_refused_or_measured_as_another():
    raw = vectors(f"{FOLDER}/fwupdx64.efi.signed").read_bytes()
    # Signatures are no part of what is measured; here they are 1.5 of 63 KB.
    assert unharmed(raw, measure) < 60


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=800), st.integers(0, 1200))
def test_A_48_arbitrary_bytes_raise_nothing_else(junk: bytes, place: int):
    for raw in (junk, P.build()[:place] + junk):
        try:
            measure(raw)
        except TeelogError:
            continue


def test_expect_wants_one_way_to_boot_to_be_stated(tmp_path: Path):
    (tmp_path / "linux.efi").write_bytes(image().build())
    last = {name: value.hex() for name, value in measure(image().build())[-1].pcrs.items()}

    def expecting(stated: dict[str, str], *more: str) -> tuple[int, str]:
        release = stating(tmp_path / "release.json", [("azure", stated)])
        ran = teelog("measure", "uki", tmp_path / "linux.efi", "--expect", release, *more)
        return ran.code, ran.stderr

    code, said = expecting(last)
    assert (code, "secure_boot=off" in said) == (0, True)
    code, said = expecting({**last, "pcr7": "00" * 32})
    assert (code, "not compared: pcr7" in said) == (0, True)
    assert expecting({**last, "pcr11": "00" * 32})[0] == 1
    assert expecting({"pcr7": "00" * 32})[0] == 3
    assert expecting(last, "--bank", "sha384")[0] == 3
