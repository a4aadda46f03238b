"""`teelog measure sev-snp` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from teelog.keys import Algorithm, private_key_from_seed
from teelog.measure import ovmf, registers, sev_snp, vmsa
from teelog.statement import dsse, intoto, release
from teelog.statement.release import ReleasePredicate, Validity
from tests.commands import Ran, teelog, teelog_process
from tests.measure.images import image, metadata
from tests.measure.test_launch_inputs import INPUTS, measure
from tests.vectors import vectors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "OVMF.fd").write_bytes(image())
    (tmp_path / "vmlinuz").write_bytes(b"kernel")
    (tmp_path / "initrd.img").write_bytes(b"initrd")
    return tmp_path


def run(folder: Path, *more: str | Path | int) -> Ran:
    files = ("--ovmf", folder / "OVMF.fd", "--kernel", folder / "vmlinuz", "--initrd", folder / "initrd.img")
    return teelog("measure", "sev-snp", *files, "--append", "console=ttyS0", *more)


def values(ran: Ran) -> list[str]:
    assert ran.code == 0, ran.stderr
    return [variant["registers"]["measurement"] for variant in ran.json["variants"]]


def test_one_variant_for_each_launch(folder: Path):
    ran = run(folder, "--vcpus", "1,2", "--cpu-type", "EPYC-v4", "--cpu-type", "EPYC-Milan,EPYC-Genoa", "--json")
    document = registers.decode(ran.stdout.rstrip(b"\n"))
    assert [variant.when for variant in document.variants] == [
        {"vcpus": count, "cpu": cpu, "vmm": "qemu"}
        for count in (1, 2)
        for cpu in ("EPYC-v4", "EPYC-Milan", "EPYC-Genoa")
    ]
    assert len(set(values(ran))) == 6
    assert {variant.how for variant in document.variants} == {"recomputed"}
    assert ran.stderr == ""


def test_files_measure_as_their_published_digests_do(folder: Path):
    (folder / "launch.json").write_text(json.dumps(INPUTS))
    from_digests = teelog("measure", "sev-snp", "--launch", folder / "launch.json", "--json")
    from_files = run(folder, "--vcpus", "2", "--cpu-type", "EPYC-v4", "--json")
    assert from_files.json == from_digests.json
    assert values(from_files) == [measure(INPUTS).hex()]


def test_people_get_a_table(folder: Path):
    ran = run(folder, "--vcpus", "1,2", "--cpu-type", "EPYC-v4")
    head, *rows = ran.text.splitlines()
    assert head.split() == ["vcpus", "cpu", "vmm", "measurement"]
    assert [row.split()[:3] for row in rows] == [["1", "EPYC-v4", "qemu"], ["2", "EPYC-v4", "qemu"]]


def test_other_ways_to_say_the_same(folder: Path):
    usual = run(folder, "--vcpus", "2", "--cpu-type", "EPYC-v4", "--json")
    by_number = run(
        folder, "--vcpus", "2", "--vcpu-sig", "0x800f12", "--vmm", "QEMU", "--guest-features", "1", "--json"
    )
    assert values(usual) == values(by_number)
    assert by_number.json["variants"][0]["when"]["cpu"] == "0x00800f12"
    seed = sev_snp.firmware_digest(ovmf.parse(image())).hex()
    assert values(run(folder, "--vcpus", "2", "--cpu-type", "EPYC-v4", "--ovmf-hash", seed, "--json")) == values(usual)


def test_what_is_unusual_stands_in_the_labels(folder: Path):
    ran = run(folder, "--vcpus", "2", "--vmm", "ec2", "--guest-features", "0x21", "--json")
    assert ran.json["variants"][0]["when"] == {"vcpus": 2, "vmm": "ec2", "guest_features": "0x21"}


def test_svsm(folder: Path):
    (folder / "svsm.bin").write_bytes(image(block=metadata([(0x8000, 4096, 3)]), svsm_entry=16))
    arguments = ("--ovmf", folder / "OVMF.fd", "--svsm", folder / "svsm.bin", "--vcpus", 2, "--cpu-type", "EPYC-v4")
    ran = teelog("measure", "sev-snp", *arguments, "--ovmf-vars-size", 8192, "--json")
    svsm = ovmf.parse((folder / "svsm.bin").read_bytes())
    vcpus = sev_snp.Vcpus(2, vmsa.cpu_signature("EPYC-v4"))
    assert values(ran) == [sev_snp.svsm_launch_digest(ovmf.parse(image()), svsm, 8192, vcpus).hex()]
    assert ran.json["variants"][0]["when"]["svsm"] == "coconut"
    assert teelog("measure", "sev-snp", *arguments).code == 2
    assert teelog("measure", "sev-snp", *arguments, "--ovmf-vars-size", 8192, "--vmm", "gce").code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--vcpus", "1"],
        ["--cpu-type", "EPYC-v4"],
        ["--vcpus", "0", "--cpu-type", "EPYC-v4"],
        ["--vcpus", "1,1", "--cpu-type", "EPYC-v4"],
        ["--vcpus", "1,", "--cpu-type", "EPYC-v4"],
        ["--vcpus", "+1", "--cpu-type", "EPYC-v4"],
        ["--vcpus", "1_0", "--cpu-type", "EPYC-v4"],
        ["--vcpus", "4097", "--cpu-type", "EPYC-v4"],
        ["--vcpus", "1", "--cpu-type", "Skylake"],
        ["--vcpus", "1", "--cpu-type", "EPYC-v4,EPYC-v4"],
        ["--vcpus", "1", "--cpu-type", "EPYC-v4", "--vcpu-sig", "1"],
        ["--vcpus", "1", "--vcpu-sig", "0x100000000"],
        ["--vcpus", "1", "--cpu-type", "EPYC-v4", "--vmm", "xen"],
        ["--vcpus", "1", "--cpu-type", "EPYC-v4", "--guest-features", "0x1g"],
        ["--vcpus", "1", "--cpu-type", "EPYC-v4", "--guest-features", "18446744073709551616"],
        ["--vcpus", "1", "--cpu-type", "EPYC-v4", "--ovmf-hash", "00"],
        ["--vcpus", "1", "--cpu-type", "EPYC-v4", "--ovmf-vars-size", "4096"],
        ["--vcpus", ",".join(map(str, range(1, 202))), "--cpu-type", "EPYC-v4"],
    ],
    ids=lambda arguments: " ".join(arguments)[:60],
)
def test_wrong_options_are_usage_errors(folder: Path, arguments: list[str]):
    ran = run(folder, *arguments)
    assert (ran.code, ran.stdout) == (2, b"")


def test_options_that_need_others_are_usage_errors(folder: Path):
    launch = ("--ovmf", folder / "OVMF.fd", "--vcpus", "1", "--cpu-type", "EPYC-v4")
    assert teelog("measure", "sev-snp", *launch).code == 0
    assert teelog("measure", "sev-snp", *launch, "--append", "quiet").code == 2
    assert teelog("measure", "sev-snp", *launch, "--initrd", folder / "initrd.img").code == 2
    assert teelog("measure", "sev-snp", *launch[2:]).code == 2
    (folder / "launch.json").write_text(json.dumps(INPUTS))
    assert teelog("measure", "sev-snp", "--launch", folder / "launch.json", "--vcpus", "2").code == 2
    assert teelog("measure", "sev-snp", "--launch", folder / "none.json").code == 2


def test_a_broken_firmware_is_one_cause_and_no_traceback(folder: Path):
    (folder / "OVMF.fd").write_bytes(image()[:-4096])
    ran = run(folder, "--vcpus", "1", "--cpu-type", "EPYC-v4", "--json")
    assert ran.code == 1
    assert ran.json["schema"] == "teelog-error/v1"
    assert "GUIDed table" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_kernel_that_would_go_unmeasured_is_refused(folder: Path):
    sections = [(0x800000, 4096, 1), (0x801000, 4096, 2), (0x802000, 4096, 3)]
    (folder / "OVMF.fd").write_bytes(image(block=metadata(sections)))
    ran = run(folder, "--vcpus", "1", "--cpu-type", "EPYC-v4")
    assert ran.code == 1
    assert "unmeasured" in ran.stderr


KEY = private_key_from_seed(Algorithm.ED25519, bytes(32))


def stated(folder: Path, *, value: str | None = None, only: int | None = None) -> bytes:
    """The payload of a release that states what is measured here; ``value`` replaces the last measurement."""
    ran = run(folder, "--vcpus", "1,2", "--cpu-type", "EPYC-v4", "--json")
    variants: list[Any] = [
        release.Variant(platform=v["platform"], when=v["when"], registers=v["registers"]) for v in ran.json["variants"]
    ][:only]
    if value is not None:
        variants[-1].registers["measurement"] = value
    predicate = ReleasePredicate(
        stream="acme.example/inference/stable",
        version="1.4.2",
        svn=3,
        validity=Validity("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        variants=tuple(variants),
    )
    return release.payload(predicate, (intoto.Subject("image", {"sha256": "00" * 32}),))


def signed(payload: bytes) -> bytes:
    return dsse.sign(dsse.PAYLOAD_TYPE, payload, [KEY]).file


def expect(folder: Path, file: bytes, *more: str) -> Ran:
    (folder / "release.json").write_bytes(file)
    return run(folder, "--vcpus", "1,2", "--cpu-type", "EPYC-v4", "--expect", folder / "release.json", *more)


@pytest.mark.parametrize("wrap", [bytes, signed], ids=["unsigned", "signed"])
def test_expect_equal_exits_0(folder: Path, wrap: Any):
    ran = expect(folder, wrap(stated(folder)), "--json")
    assert ran.code == 0, ran.stderr
    assert len(registers.decode(ran.stdout.rstrip(b"\n")).variants) == 2
    assert "acme.example/inference/stable 1.4.2" in ran.stderr


@pytest.mark.parametrize("wrap", [bytes, signed], ids=["unsigned", "signed"])
def test_expect_other_exits_1_and_names_the_register(folder: Path, wrap: Any):
    wrong = "ab" * 48
    ran = expect(folder, wrap(stated(folder, value=wrong)))
    assert ran.code == 1
    assert ran.stdout == b""
    assert "register measurement of sev-snp differs for vcpus=2" in ran.stderr
    assert f"expected: {wrong}" in ran.stderr
    actual = values(run(folder, "--vcpus", "2", "--cpu-type", "EPYC-v4", "--json"))[0]
    assert f"actual: {actual}" in ran.stderr


def test_expect_a_launch_that_is_not_stated_exits_3(folder: Path):
    ran = expect(folder, stated(folder, only=1), "--json")
    assert ran.code == 3
    assert ran.json["exit"] == 3
    assert "vcpus=2" in ran.stderr


def test_expect_tells_what_it_did_not_compare(folder: Path):
    (folder / "release.json").write_bytes(stated(folder))
    ran = run(folder, "--vcpus", "2", "--cpu-type", "EPYC-v4", "--expect", folder / "release.json")
    assert ran.code == 0
    assert "not measured, so not compared: sev-snp vcpus=1" in ran.stderr


@pytest.mark.parametrize("file", [b"", b"{}", b'{"payload":1}', b'{"payload":"*"}', b'{"payload":"","signatures":[1]}'])
def test_expect_something_else_exits_1(folder: Path, file: bytes):
    ran = expect(folder, file)
    assert ran.code == 1
    assert "fault in teelog" not in ran.stderr


def test_published_launch_inputs_from_the_command_line():
    file = vectors("measure/sev-snp/dstack-expected.json")
    ran = teelog_process("measure", "sev-snp", "--launch", file, "--json")
    assert values(ran)[0].startswith("7f51e17f72a0")


def test_from_measuring_to_a_release_that_holds_the_measurement(folder: Path):
    registers_file, file = folder / "regs.json", folder / "release.json"
    registers_file.write_bytes(run(folder, "--vcpus", "1,2", "--cpu-type", "EPYC-v4", "--json").stdout)
    about = (
        "--stream",
        "acme.example/inference/stable",
        "--version",
        "1.4.2",
        "--svn",
        3,
        "--registers",
        registers_file,
    )
    assert teelog("release", "new", *about, "--out", file).code == 0
    same = run(folder, "--vcpus", "2,1", "--cpu-type", "EPYC-v4", "--expect", file)
    assert same.code == 0, same.stderr
    (folder / "initrd.img").write_bytes(b"initrd with a visitor")
    other = run(folder, "--vcpus", "2,1", "--cpu-type", "EPYC-v4", "--expect", file)
    assert other.code == 1
    assert "register measurement" in other.stderr
