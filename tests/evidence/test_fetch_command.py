"""`teelog evidence fetch`: what it says and keeps, and that what it names as the next command works offline."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from teelog.testing import intel, sev_snp
from teelog.testing.intel import Platform
from teelog.testing.sev_snp import Machine
from tests.client import vendors
from tests.client.peers import Peer, Reply, peer
from tests.commands import Ran, teelog

MILAN = f"Milan={sev_snp.roots().pins['Milan'].hex()}"
INTEL = f"Intel={intel.roots().pins[intel.ROOT].hex()}"
WAIVED = ("--without", "freshness", "--without", "binding")


@pytest.fixture
def server() -> Iterator[Peer]:
    with peer() as found:
        yield found


def put(folder: Path, raw: bytes) -> Path:
    path = folder / "the evidence.bin"
    path.write_bytes(raw)
    return path


def fetch(server: Peer, folder: Path, raw: bytes, root: str, *options: str | Path) -> Ran:
    place = put(folder, raw)
    return teelog("evidence", "fetch", place, "--out", folder / "kept", "--url", server.url, "--root", root, *options)


def follow(ran: Ran, root: str) -> Ran:
    """The command that it names."""
    words = shlex.split(ran.stderr.partition("next: ")[2])
    assert words[:3] == ["teelog", "evidence", "verify"]
    return teelog(*words[1:], "--root", root, *WAIVED)


def test_the_next_command_verifies_a_report(server: Peer, tmp_path: Path):
    machine = Machine()
    vendors.amd(server, machine)
    ran = fetch(server, tmp_path, machine.report(), MILAN)
    assert ran.code == 0, ran.stderr
    assert ran.text.count("fetched  ") == 3
    with_files = follow(ran, MILAN)
    assert with_files.code == 0, with_files.stderr
    assert "verified  hardware" in with_files.text
    assert fetch(server, tmp_path, machine.report(), MILAN).text.count("is there  ") == 3


def test_the_next_command_verifies_a_quote(server: Peer, tmp_path: Path):
    platform = Platform()
    vendors.pccs(server, platform, platform.collateral(**vendors.IN_FORCE))
    ran = fetch(server, tmp_path, platform.tdx(), INTEL)
    assert ran.code == 0, ran.stderr
    assert follow(ran, INTEL).code == 0


def test_json_names_every_file(server: Peer, tmp_path: Path):
    machine = Machine("Turin")
    vendors.amd(server, machine)
    root = f"Turin={sev_snp.roots().pins['Turin'].hex()}"
    shown = fetch(server, tmp_path, machine.report(), root, "--json").json
    assert shown["schema"] == "teelog-evidence-fetch/v1"
    assert shown["platform"] == "sev-snp"
    assert [each["fetched"] for each in shown["files"]] == [True, True, True]
    assert set(shown["endorsements"]) < {each["path"] for each in shown["files"]}
    assert shown["next"].startswith("teelog evidence verify ")


def test_a_lacking_vlek_is_not_success(server: Peer, tmp_path: Path):
    machine = Machine(vlek=True)
    vendors.amd(server, machine)
    ran = fetch(server, tmp_path, machine.report(), MILAN)
    assert ran.code == 3
    assert "lacking" in ran.text
    assert "next: teelog evidence verify" not in ran.stderr
    leaf = tmp_path / "vlek.der"
    leaf.write_bytes(machine.endorsement())
    ran = fetch(server, tmp_path, machine.report(), MILAN, "--endorsement", leaf)
    assert ran.code == 0, ran.stderr
    assert follow(ran, MILAN).code == 0


def test_without_the_fake_root_the_fakes_are_refused(server: Peer, tmp_path: Path):
    machine = Machine()
    vendors.amd(server, machine)
    path = put(tmp_path, machine.report())
    ran = teelog("evidence", "fetch", path, "--out", tmp_path / "kept", "--url", server.url)
    assert ran.code == 1
    assert "pinned root of Milan" in ran.stderr
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_service_that_is_down_is_unavailable(tmp_path: Path):
    path = put(tmp_path, Machine().report())
    with peer() as gone:
        url = gone.url
    assert teelog("evidence", "fetch", path, "--out", tmp_path / "kept", "--url", url).code == 4


def test_a_busy_service_is_asked_again_when_it_says(server: Peer, tmp_path: Path):
    machine = Machine()
    vendors.amd(server, machine)
    path, busy = vendors.vcek_path(machine), [Reply(b"", 429, {"Retry-After": "0"})]
    server.answers[path] = lambda _asked: busy.pop() if busy else machine.endorsement()
    ran = fetch(server, tmp_path, machine.report(), MILAN)
    assert ran.code == 0, ran.stderr
    assert "again in 1.0 s" in ran.stderr
    assert server.paths().count(path) == 2
    server.answers[path] = Reply(b"", 429, {"Retry-After": "9999"})
    assert fetch(server, tmp_path, machine.report(), MILAN, "--again").code == 4


def test_what_is_no_evidence_asks_nobody(server: Peer, tmp_path: Path):
    assert fetch(server, tmp_path, b"no evidence", MILAN).code == 1
    assert not (tmp_path / "kept").exists()
    assert server.asked == []
