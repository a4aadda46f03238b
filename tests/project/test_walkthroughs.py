"""The pages for vendors and auditors run as written, beside the log of the README's tutorial."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from teelog.cli import demo_firmware
from tests.project.sources import ROOT
from tests.project.test_readme import _BLOCK, on_free_ports, run, script, tutorial

BUILD = {"OVMF.fd": demo_firmware.image(), "vmlinuz": demo_firmware.part("kernel", 4096), "initrd.img": b"initrd"}
# What the auditor looks at: a namespace, a release and its status.
PUBLISHED = """\
teelog key generate --name acme.example --out acme.key
teelog namespace new --namespace acme.example --log log.example/tee \
  --owner acme.key --release acme.key --status acme.key --out ns.json
teelog log allow LOG ns.json
teelog release new --stream acme.example/inference/stable --version 1.4.2 --svn 3 --registers regs.json \
  --out release.json
teelog release sign release.json --key acme.key
teelog release publish release.json --policy policy.txt --out release.tlog-proof
teelog release allow release.json --key acme.key --policy policy.txt --index-policy index.txt --yes
"""


def blocks(page: str) -> list[str]:
    return _BLOCK.findall((ROOT / "docs" / page).read_text())


def servers() -> list[str]:
    """The tutorial up to the log that runs."""
    told = tutorial()
    return told[: next(place for place, block in enumerate(told) if "teelog namespace new" in block)]


@pytest.mark.long
@pytest.mark.timeout(1_600)
@pytest.mark.skipif(not (Path(sys.executable).parent / "teelog").exists(), reason="the command is not installed")
def test_the_walkthroughs_run_as_written(tmp_path: Path):
    for name, data in BUILD.items():
        (tmp_path / name).write_bytes(data)
    told = [*servers(), *blocks("vendor.md"), PUBLISHED, *blocks("auditor.md")]
    done = run(on_free_ports(script(told)), tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert "key-change globex.example" in done.stdout
    assert "binding for every verifier by 20" in done.stdout
    assert "namespace acme.exampel: nothing, and the index proves it" in done.stdout
