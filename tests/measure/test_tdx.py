"""Registers of TDX guests: real firmware's stated values, a guest made up here, and bad files."""

from __future__ import annotations

import functools
import hashlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import MalformedError, TeelogError
from teelog.measure import acpi, registers, tdvf, tdx_boot
from teelog.measure.tdvf import Order
from teelog.testing.efi import Program
from tests.commands import teelog
from tests.measure.damage import unharmed
from tests.measure.images import image
from tests.measure.releases import stating
from tests.vectors import vectors

FOLDER = "measure/tdx"
FIRMWARE = "OVMF-ubuntu-2025.02-3ubuntu2.fd"
GUID = "e47a6535-984a-4798-865e-4685a7bf8ec2"
FIXTURES = ("canonical-defaults", "q35-with-hpet", "runtime-capture")


def test_ovmf_ubuntu_yields_its_stated_mrtd_in_both_orders_recomputed():
    path = vectors(f"{FOLDER}/{FIRMWARE}")
    stated = json.loads(vectors(f"{FOLDER}/ovmf.expected.json").read_bytes())[FIRMWARE]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == stated["sha256"]
    ran = teelog("measure", "tdx", "--firmware", path, "--json")
    assert ran.json["schema"] == "teelog-measured/v1"
    assert [(value["when"], value["values"], value["how"]) for value in ran.json["values"]] == [
        ({"pages": "single-pass"}, {"mrtd": stated["mrtd_single_pass"]}, "recomputed"),
        ({"pages": "two-pass"}, {"mrtd": stated["mrtd_two_pass_computed_only"]}, "recomputed"),
    ]


@pytest.mark.parametrize("name", FIXTURES)
def test_fixture_yields_its_stated_mrtd_and_rtmr0_recomputed(name: str):
    stated = json.loads(vectors(f"{FOLDER}/{name}/expected.json").read_bytes())
    ram = json.loads(vectors(f"{FOLDER}/{name}/metadata.json").read_bytes())["boot_config"]["memory"]
    files = ("--firmware", vectors(f"{FOLDER}/{FIRMWARE}"), "--acpi", vectors(f"{FOLDER}/{name}/acpi_tables.bin"))
    ran = teelog("measure", "tdx", *files, "--ram", ram, "--json")
    (value,) = (value for value in ran.json["values"] if value["when"]["pages"] == "single-pass")
    assert (value["values"], value["how"]) == (stated, "recomputed")
    assert value["when"]["ram_mib"] == int(ram[:-1])


def test_dstack_tdx_lite_yields_rtmr1_and_rtmr2_of_its_quote_from_digests():
    stated = json.loads(vectors(f"{FOLDER}/dstack-tdx-lite.expected.json").read_bytes())
    image, quoted = stated["inputs"]["image"], stated["expected_from_quote"]
    unhex = bytes.fromhex
    assert tdx_boot.rtmr1(unhex(image["kernel_authenticode"])).hex() == quoted["rtmr1"]
    assert tdx_boot.rtmr2(unhex(image["cmdline_sha384"]), unhex(image["initrd_sha384"])).hex() == quoted["rtmr2"]


SECTIONS = ((0x2000, 0x2000, 0xFFFFE000, 0x2000, 0, 1), (0, 0x1000, 0xFFFFC000, 0x1000, 1, 0),
            (0, 0, 0x810000, 0x10000, 3, 0), (0, 0, 0x809000, 0x2000, 2, 0))  # fmt: skip


def firmware(
    sections: tuple[tuple[int, ...], ...] = SECTIONS, magic: bytes = b"TDVF", version: int = 1, count: int | None = None
) -> bytes:
    rows = b"".join(struct.pack("<IIQQII", *row) for row in sections)
    head = struct.pack("<4sIII", magic, 16 + len(rows), version, len(sections) if count is None else count)
    return image(block=head + rows, entries=[(GUID, struct.pack("<I", 1024))])


@pytest.mark.parametrize("order", Order)
def test_mrtd_is_of_every_page_and_of_the_content_that_is_measured(order: Order):
    raw = firmware()
    adds = [b"MEM.PAGE.ADD\0\0\0\0" + struct.pack("<Q", gpa) + bytes(104) for gpa in (0xFFFFE000, 0xFFFFF000)]
    extends = [
        b"MR.EXTEND\0\0\0\0\0\0\0"
        + struct.pack("<Q", 0xFFFFE000 + place)
        + bytes(104)
        + raw[0x2000 + place : 0x2100 + place]
        for place in range(0, 0x2000, 256)
    ]
    first = [adds[0], *extends[:16], adds[1], *extends[16:]] if order is Order.SINGLE else [*adds, *extends]
    rest = [0xFFFFC000, *range(0x810000, 0x820000, 4096), 0x809000, 0x80A000]
    text = [*first, *(b"MEM.PAGE.ADD\0\0\0\0" + struct.pack("<Q", gpa) + bytes(104) for gpa in rest)]
    assert tdvf.parse(raw).mrtd(order) == hashlib.sha384(b"".join(text)).digest()


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (image(), "not built for TDX"),
        (image(entries=[(GUID, b"\0\0")]), "not built for TDX"),
        (image(entries=[(GUID, b"\xff\xff\xff\xff")]), "outside"),
        (image(entries=[(GUID, b"\x08\0\0\0")]), "outside"),
        (firmware(magic=b"TDVE"), "not version 1"),
        (firmware(version=2), "not version 1"),
        (firmware(count=0), "not version 1"),
        (firmware(count=65), "not version 1"),
        (firmware(count=3), "does not fit"),
        (firmware(((0, 0x5000, 0, 0x5000, 0, 1),)), "no such section"),
        (firmware(((0, 0x2000, 0, 0x1000, 0, 1),)), "no such section"),
        (firmware(((0, 0, 1, 0x1000, 3, 0),)), "no such section"),
        (firmware(((0, 0, 0, 0x1001, 3, 0),)), "no such section"),
        (firmware(((0, 0, 0xFFFFF000, 0x2000, 3, 0),)), "no such section"),
        (firmware(((0, 0, 0, 0x1000, 7, 0),)), "no such section"),
        (firmware(((0, 0, 0, 0x1000, 3, 4),)), "no such section"),
        (firmware(((0, 0, 0, 0x20000000, 3, 0),)), "too much memory"),
    ],
)  # fmt: skip
def test_bad_firmware_is_malformed(bad: bytes, cause: str):
    with pytest.raises(MalformedError, match=cause):
        tdvf.parse(bad)


@pytest.mark.parametrize("ram", [0, 1 << 20, (1 << 30) + 1, 1 << 50])
def test_memory_that_no_guest_has_is_malformed(ram: int):
    with pytest.raises(MalformedError):
        tdvf.parse(firmware()).hob(ram)


def test_memory_of_its_own_overlapping_or_two_lists_are_malformed():
    for sections in ((*SECTIONS, SECTIONS[2]), (*SECTIONS, SECTIONS[3]), SECTIONS[:3]):
        with pytest.raises(MalformedError):
            tdvf.parse(firmware(sections)).hob(1 << 30)


def table(name: bytes, content: bytes = b"") -> bytes:
    return name + (36 + len(content)).to_bytes(4, "little") + bytes(28) + content


TABLES = (table(b"FACS", bytes(28)) + table(b"DSDT", b"d" * 10) + table(b"FACP", bytes(208)) + table(b"APIC")
          + table(b"RSDT", bytes(8))).ljust(4096, b"\0")  # fmt: skip


def test_loader_and_rsdp_follow_from_the_tables():
    assert [each.name for each in acpi.tables(TABLES)] == [b"FACS", b"DSDT", b"FACP", b"APIC", b"RSDT"]
    assert acpi.rsdp(TABLES)[16:] == struct.pack("<I", 64 + 46 + 244 + 36)
    text = acpi.loader(TABLES)
    kinds = [int.from_bytes(text[place : place + 4], "little") for place in range(0, len(text), 128)]
    assert [kind for kind in kinds if kind] == [1, 1, 3, 2, 2, 2, 3, 3, 2, 2, 3, 2, 3]


@pytest.mark.parametrize(
    "bad", [b"", bytes(64), TABLES[:100], b"x" * 64, TABLES.replace(b"DSDT", b"SSDT"), bytes(1 << 23),
            TABLES.replace(b"APIC", b"RSDT"), TABLES.replace(b"APIC\x24", b"APIC\x08")]
)  # fmt: skip
def test_bad_tables_are_malformed(bad: bytes):
    with pytest.raises(MalformedError):
        acpi.loader(bad)


@functools.cache
def kernel() -> bytes:
    # Parameters of the boot protocol, where a bzImage has them: in the room behind the section table.
    fields = {0x202: b"HdrS", 0x211: b"\x01", 0x22C: bytes(4), 0x236: b"\x40"}
    return Program({".text": b"k" * 2000}, fields=fields).build()


@pytest.mark.parametrize(
    ("ram", "flags", "address"),
    [
        (1 << 30, b"\x40", (1 << 30) - 0x28000 - 4096 - 4096),
        (4 << 30, b"\x40", 0x80000000 - 0x28000 - 8192),
        (4 << 30, b"\0", 0x37FFFFFF - 5000 & ~4095),
    ],
)
def test_older_qemu_writes_the_place_of_the_initrd_into_the_kernel(ram: int, flags: bytes, address: int):
    raw = bytearray(kernel())
    raw[0x236:0x237] = flags
    after = tdx_boot.patched(bytes(raw), 5000, ram)
    assert after[0x218:0x220] == struct.pack("<II", address, 5000)
    assert (after[0x210], after[0x211], after[0x228:0x22C]) == (0xB0, 0x81, b"\0\0\2\0")


@pytest.mark.parametrize("bad", [b"", kernel()[:0x250], kernel().replace(b"HdrS", b"HdrT")])
def test_what_is_no_kernel_is_malformed(bad: bytes):
    with pytest.raises(MalformedError):
        tdx_boot.patched(bad, 0, 1 << 30)


@pytest.fixture
def guest(tmp_path: Path) -> tuple[str | Path, ...]:
    for name, content in (("fw", firmware()), ("vmlinuz", kernel()), ("initrd", b"i" * 5000), ("acpi", TABLES)):
        (tmp_path / name).write_bytes(content)
    files = ("--firmware", tmp_path / "fw", "--kernel", tmp_path / "vmlinuz", "--initrd", tmp_path / "initrd")
    return (*files, "--acpi", tmp_path / "acpi", "--ram", "4G", "--cmdline", "quiet")


def test_whole_guest_has_a_variant_for_each_version(guest: tuple[str | Path, ...]):
    ran = teelog("measure", "tdx", *guest, "--json")
    variants = registers.decode(ran.stdout.rstrip(b"\n")).variants
    assert [tuple(variant.when.values()) for variant in variants] == [
        (pages, patched, 4096)
        for pages in ("single-pass", "two-pass")
        for patched in ("as given", "patched by qemu")
    ]  # fmt: skip
    assert {variant.how for variant in variants} == {"recomputed"}
    assert [len({variant.registers[name] for variant in variants}) for name in ("mrtd", "rtmr0", "rtmr1", "rtmr2")] == [
        2, 1, 2, 1,
    ]  # fmt: skip
    sha384 = hashlib.sha384
    line = sha384("quiet initrd=initrd".encode("utf-16-le") + b"\0\0").digest()
    two = sha384(sha384(bytes(48) + line).digest() + sha384(b"i" * 5000).digest())
    assert variants[0].registers["rtmr2"] == two.hexdigest()


def test_expect_wants_one_version_to_be_stated(guest: tuple[str | Path, ...], tmp_path: Path):
    last = teelog("measure", "tdx", *guest, "--json").json["variants"][-1]["registers"]
    release = stating(tmp_path / "release.json", [("tdx", last)])
    ran = teelog("measure", "tdx", *guest, "--expect", release)
    assert (ran.code, "pages=two-pass kernel=patched by qemu" in ran.stderr) == (0, True)
    ran = teelog("measure", "tdx", *guest[:2], "--expect", release)
    assert (ran.code, "not compared: rtmr0, rtmr1, rtmr2" in ran.stderr) == (0, True)
    stating(release, [("tdx", {**last, "rtmr1": "00" * 48})])
    assert teelog("measure", "tdx", *guest, "--expect", release).code == 1
    stating(release)
    assert teelog("measure", "tdx", *guest, "--expect", release).code == 3


def test_options_that_go_together_are_asked_for(guest: tuple[str | Path, ...]):
    for more in (guest[2:4], guest[4:6], guest[6:8], ("--cmdline", "x"), ("--ram", "4"), ("--ram", "0G")):
        assert teelog("measure", "tdx", *guest[:2], *more).code == 2


def test_A_48_damaged_firmware_tables_and_kernels_raise_nothing_else():
    # Most of the image is not measured here: two pages of four are.
    assert unharmed(firmware(), lambda raw: tdvf.parse(raw).mrtd(Order.SINGLE)) < 900
    assert unharmed(TABLES, lambda raw: (acpi.loader(raw), raw)) == 0
    assert unharmed(kernel(), lambda raw: tdx_boot.kernel_digest(tdx_boot.patched(raw, 0, 1 << 30))) < 100


def test_A_48_the_real_firmware_and_tables_damaged_raise_nothing_else():
    raw = vectors(f"{FOLDER}/{FIRMWARE}").read_bytes()
    unharmed(raw, lambda bad: tdvf.parse(bad).sections)
    tables = vectors(f"{FOLDER}/runtime-capture/acpi_tables.bin").read_bytes()
    unharmed(tables[:12000], acpi.loader)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 4096))
def test_A_48_arbitrary_bytes_raise_nothing_else(junk: bytes, place: int):
    for read, raw in ((tdvf.parse, firmware()), (acpi.loader, TABLES), (tdx_boot.kernel_digest, kernel())):
        for bad in (junk, raw[:place] + junk, raw[:place] + junk + raw[place + len(junk) :]):
            try:
                read(bad)
            except TeelogError:
                continue
