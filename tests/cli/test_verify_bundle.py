"""`teelog verify --bundle`: what is allowed now, from one file, and what this client has seen before."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from teelog.statement import dsse
from teelog.testing import ledger
from teelog.testing.ledger import Ledger
from tests.cli import machine
from tests.cli.machine import MACHINE, NONCE, ROOT, STREAM, VALID
from tests.commands import Ran, teelog
from tests.statement import make

RELEASES = [
    make.release_file(
        version=version,
        svn=3,
        validity=VALID,
        variants=(make.variant(registers={"measurement": machine.MEASUREMENT}, require={"debug": False}),),
    )
    for version in ("1.4.2", "1.4.3")
]
IDS = [dsse.parse(file).statement_id for file in RELEASES]
NOW = int(time.time())
UNTIL = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW + 86_400))


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger()
        self.last: str | None = None
        self.seq = 0
        namespace = machine.namespace()
        for entry in (make.log_policy_file(), namespace, *RELEASES):
            self.ledger.append(entry)
        for name, data in self.ledger.policies().items():
            (folder / name).write_bytes(data)
        pin = dsse.parse(namespace).statement_id
        more = f'[platform.sev-snp]\nroots = {{ Milan = "{ROOT}" }}\n'
        (folder / "trust.toml").write_text(ledger.trust_text(STREAM, pin, max_age="1h", more=more))
        (folder / "report.bin").write_bytes(MACHINE.report(report_data=NONCE))
        (folder / "chain.pem").write_bytes(MACHINE.chain())

    def status(self, *releases: str, cause: str | None = None) -> None:
        revoked = tuple(make.status.Revoked(each, cause) for each in IDS if each not in releases) if cause else ()
        entry = make.status_file(
            seq=self.seq, prev=self.last, allowed=make.allowed(*releases), revoked=revoked, next_update=UNTIL
        )
        self.seq, self.last = self.seq + 1, dsse.parse(entry).statement_id
        self.ledger.append(entry)

    def bundle(self, name: str = "acme.teelog", age: int = 0) -> str:
        (self.folder / name).write_bytes(self.ledger.publish(NOW - age).bundle(STREAM, IDS[0]).encode())
        return name

    def verify(self, bundle: str, *more: str, code: int = 0) -> Ran:
        evidence = ("--evidence", "report.bin", "--endorsement", "chain.pem", "--nonce", NONCE.hex())
        words = ("--bundle", bundle, "--trust", "trust.toml", "--stream", STREAM, "--without", "binding", *more)
        ran = teelog("verify", *evidence, *words)
        assert ran.code == code, (ran.code, ran.text, ran.stderr)
        return ran


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return World(tmp_path)


def test_a_bundle_shows_that_the_release_is_allowed_now(world: World):
    world.status(IDS[0])
    ran = world.verify(world.bundle(), "--json")
    assert ran.json["verdict"] == "verified-with-waivers"
    assert ran.json["waived"] == ["binding"]
    assert ran.json["checks"]["allowed-now"]["outcome"] == "verified"


def test_a_withdrawn_release_is_refused_with_its_cause(world: World):
    world.status(*IDS)
    world.status(IDS[1], cause="CVE-2026-1234")
    ran = world.verify(world.bundle(), code=1)
    assert "error: allowed-now: the release is withdrawn: CVE-2026-1234" in ran.stderr


def test_an_old_bundle_is_refused_once_it_is_stale(world: World):
    world.status(IDS[0])
    ran = world.verify(world.bundle(age=3_700), code=1)
    assert "error: fresh: " in ran.stderr
    assert "next: fetch a newer bundle: teelog bundle get" in ran.stderr


def test_a_bundle_with_a_lower_seq_than_seen_is_refused(world: World):
    world.status(*IDS)
    old = world.bundle("old.teelog")
    world.status(IDS[0])
    world.verify(old)
    world.verify(world.bundle())
    ran = world.verify(old, code=1)
    assert "a newer status of the stream was seen before" in ran.stderr
    assert "next: fetch a newer bundle: teelog bundle get" in ran.stderr


def test_a_bundle_whose_status_has_run_out_is_refused_with_what_to_do(world: World):
    world.status(IDS[0])
    ran = world.verify(world.bundle(), "--at", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW + 90_000)), code=1)
    assert "next: fetch a newer bundle: teelog bundle get" in ran.stderr


def test_what_is_no_bundle_is_named_with_what_to_do(world: World):
    (world.folder / "release.json").write_bytes(RELEASES[0])
    ran = world.verify("release.json", code=1)
    assert "error: release.json is no bundle: " in ran.stderr
    assert "next: teelog bundle get" in ran.stderr


def test_two_index_leaves_for_one_size_are_5_and_kept(world: World):
    world.status(IDS[0])
    world.verify(world.bundle())
    head = world.ledger.checkpoint()
    world.ledger.add_leaf(bytes(32), head)
    view = world.ledger.publish(NOW, collude=True)
    (world.folder / "lie.teelog").write_bytes(view.bundle(STREAM, IDS[0]).encode())
    ran = world.verify("lie.teelog", code=5)
    (kept,) = (world.folder / "state" / "forks").glob("*.teelog-index-fork")
    assert str(kept) in ran.stderr
    assert teelog("fork", "verify", kept, "--policy", world.folder / "index.policy").code == 0
    assert teelog("fork", "verify", kept, "--policy", world.folder / "main.policy").code != 0


def test_two_index_trees_of_one_size_are_a_fork_proof(world: World):
    world.status(IDS[0])
    world.verify(world.bundle())
    other = Ledger()
    for entry in world.ledger.entries:
        other.append(entry)
    other.add_leaf(bytes(32), other.checkpoint())
    other._input_size = len(other.entries)
    (world.folder / "lie.teelog").write_bytes(other.publish(NOW, collude=True).bundle(STREAM, IDS[0]).encode())
    world.verify("lie.teelog", code=5)
    (kept,) = (world.folder / "state" / "forks").glob("*.teelog-fork")
    assert teelog("fork", "verify", kept, "--policy", world.folder / "index.policy").code == 0


def test_a_bundle_beside_files_is_wrong_usage(world: World):
    world.status(IDS[0])
    world.verify(world.bundle(), "--statement", "report.bin", code=2)


def test_a_bundle_without_an_index_policy_is_not_established(world: World):
    world.status(IDS[0])
    text = (world.folder / "trust.toml").read_text().replace('index = "index.policy"\n', "")
    (world.folder / "trust.toml").write_text(text)
    ran = world.verify(world.bundle(), code=3)
    assert "index policy" in ran.stderr


@pytest.mark.parametrize("bad", [b"", b"\xa0", b"{}", bytes(2 << 20)])
def test_what_is_no_bundle_is_1(world: World, bad: bytes):
    (world.folder / "bad.teelog").write_bytes(bad)
    world.verify("bad.teelog", code=1)
