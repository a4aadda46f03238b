"""`teelog verify` with several --evidence: a machine and the GPU to which its report data commits."""

from __future__ import annotations

from pathlib import Path

import pytest

from teelog.evidence.report_data import commitment
from teelog.testing import nvidia
from tests.cli.machine import MACHINE, MEASUREMENT, NONCE, TRUST, World, world
from tests.commands import Ran, teelog

GPU = nvidia.Gpu()
REPORT = GPU.report(NONCE)


@pytest.fixture
def made(tmp_path: Path) -> World:
    """Its report commits to the GPU's, and to nothing else."""
    found = world(tmp_path)
    text = (tmp_path / "trust.toml").read_text()
    assert TRUST.splitlines()[-1] in text
    pins = ", ".join(f'{label} = "{pin.hex()}"' for label, pin in nvidia.roots().pins.items())
    found.write("trust.toml", f"{text}\n[platform.nvidia]\nroots = {{ {pins} }}\n")
    measurement = bytes.fromhex(MEASUREMENT)
    found.write("report.bin", MACHINE.report(report_data=commitment(NONCE, None, (REPORT,)), measurement=measurement))
    found.write("gpu.bin", REPORT)
    for name, data in zip(("driver.xml", "vbios.xml"), nvidia.rims(), strict=True):
        found.write(name, data)
    found.write("gpu.pem", GPU.endorsement())
    return found


def verify(
    made: World, *more: str, part: str = "gpu.bin", given: tuple[str, ...] = ("gpu.pem",), **changes: str
) -> Ran:
    words = ["--evidence", str(made.folder / part)]
    for name in given:
        words += ["--part-endorsement", str(made.folder / name)]
    return teelog(*made.arguments(*words, *more, **changes))


ALL = ("gpu.pem", "driver.xml", "vbios.xml")


def test_a_machine_with_its_gpu_verifies(made: World):
    ran = verify(made, given=ALL)
    assert ran.code == 0, ran.text + ran.stderr
    assert "part 1 (nvidia): NVIDIA GPU" in ran.text


def test_without_golden_rims_or_certificates_it_is_not_established_and_the_next_step_is_the_parts(made: World):
    ran = verify(made)
    assert (ran.code, "next: --part-endorsement RIM.xml" in ran.stderr) == (3, True), ran.stderr
    ran = verify(made, given=())
    assert (ran.code, "next: --part-endorsement CHAIN.pem" in ran.stderr) == (3, True), ran.stderr


def test_another_gpus_genuine_report_with_the_same_nonce_fails(made: World):
    other = nvidia.Gpu(seed=b"2")
    made.write("other.bin", other.report(NONCE))
    made.write("other.pem", other.endorsement())
    ran = verify(made, "--json", part="other.bin", given=("other.pem", *ALL[1:]))
    assert ran.code == 1
    failing = {name for name, check in ran.json["checks"].items() if check["outcome"] == "failed"}
    assert failing == {"freshness"}


def test_parts_without_what_binds_them_are_a_wrong_use(made: World):
    assert verify(made, "--without", "freshness").code == 2
    assert teelog(*made.arguments("--part-endorsement", str(made.folder / "gpu.pem"))).code == 2
    data = ("--report-data", "00" * 64)
    assert teelog(*made.arguments("--evidence", str(made.folder / "gpu.bin"), *data, nonce=None)).code == 2
