"""Logs that lie: what the witness keeps, and that anyone can check it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from teelog.errors import TeelogError, VerificationError
from teelog.tlog import fork, rfc6962, tiles
from teelog.tlog.fork import ForkProof, parse_fork, verify_fork, verify_own_keys
from teelog.witness import decide
from teelog.witness.engine import KEPT_AT_ONCE, KEPT_SECONDS
from teelog.witness.evidence import MAX_FILES, EvidenceStore
from tests.commands import teelog
from tests.witness.harness import ORIGIN, Desk, Log, signer

OpenDesk = Callable[..., Desk]


def kept(desk: Desk) -> list[ForkProof]:
    return [parse_fork(path.read_bytes()) for path in desk.witness.evidence.fork_files()]


def leads(desk: Desk) -> list[ForkProof]:
    return [parse_fork(path.read_bytes()) for path in sorted((desk.path / "evidence").glob("*.teelog-evidence"))]


def keys(log: Log) -> list[fork.VerifierKey]:
    return [one.verifier for one in log.signers]


def test_W_28_two_roots_of_one_size_are_a_fork_proof(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 9)
    liar = Log(view="B", forked_at=4)
    assert desk.post(liar.request(9, 9)).status == 422
    (proof,) = kept(desk)
    views = verify_fork(proof, keys(log))
    assert [view.checkpoint.root for view in (views.first, views.second)] == [log.root(9), liar.root(9)]
    assert verify_own_keys(proof).signers() == tuple(keys(log))
    text = desk.metrics.exposition()
    assert b"witness_inconsistent_total 1.0\n" in text
    assert b"witness_forks_total 1.0\n" in text


def test_W_28_a_fork_is_seen_whatever_old_size_the_log_gives(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 9)
    liar = Log(view="B", forked_at=4)
    assert desk.post(liar.request(0, 9)).body == b"9\n"
    verify_fork(kept(desk)[0], keys(log))


@pytest.mark.parametrize(("old", "new"), [(3, 7), (5, 9), (7, 8), (6, 300)])
def test_W_28_a_larger_tree_that_does_not_contain_the_stored_one_is_a_fork_proof(
    desk: Desk, log: Log, old: int, new: int
) -> None:
    desk.cosign(log, 0, old)
    liar = Log(view="B", forked_at=1)
    assert desk.post(liar.request(old, new)).status == 422
    (proof,) = kept(desk)
    assert proof.root == liar.root(old)
    verify_fork(proof, keys(log))


@pytest.mark.parametrize("old", [1, 4, 8])
def test_W_28_what_proves_nothing_by_itself_is_kept_as_a_lead(desk: Desk, log: Log, old: int) -> None:
    # The proof from a power of two does not contain the old root: nobody can tell a bad proof from a fork.
    desk.cosign(log, 0, old)
    assert desk.post(Log(view="B", forked_at=0).request(old, 9)).status == 422
    assert kept(desk) == []
    (lead,) = leads(desk)
    with pytest.raises(VerificationError, match="nothing connects them"):
        verify_fork(lead, keys(log))
    assert b"witness_inconsistent_total 1.0\n" in desk.metrics.exposition()


def test_W_28_a_wrong_root_of_size_0_is_kept(desk: Desk, log: Log) -> None:
    assert desk.post(log.request(0, 0, note=log.note(0, bytes(32)))).status == 422
    (lead,) = leads(desk)
    assert (lead.first, lead.second) == (b"", log.note(0, bytes(32)))


def test_a_stranger_with_a_broken_proof_makes_no_fork_proof(desk: Desk, log: Log) -> None:
    """The notes are honest; only the proof is not: no one may be accused."""
    desk.cosign(log, 0, 5)
    for hashes in ([], [bytes(32)] * 3, log.proof(5, 9)[:-1], [bytes(32), *log.proof(5, 9)[1:]]):
        assert desk.post(log.request(5, 9, proof=hashes)).status == 422
    assert kept(desk) == []
    assert len(leads(desk)) == 1
    desk.cosign(log, 5, 9)


def test_unsigned_requests_leave_no_evidence(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 5)
    stranger = Log(signers=(signer("stranger"),), view="B")
    assert desk.post(stranger.request(5, 5)).status == 403
    assert desk.post(Log("log.example/other").request(5, 5)).status == 404
    assert (kept(desk), leads(desk)) == ([], [])
    assert b"witness_inconsistent_total 0.0\n" in desk.metrics.exposition()


def test_W_28_the_store_is_bounded(tmp_path: Path, log: Log) -> None:
    for folder in ("forks", "evidence"):
        (tmp_path / folder).mkdir()
    store = EvidenceStore(tmp_path)
    shown = [ForkProof(b"a", b"b%d" % number) for number in range(MAX_FILES + 5)]
    assert all(store.keep(ORIGIN, one, proven=False) for one in shown)
    assert len(list((tmp_path / "evidence").iterdir())) == MAX_FILES
    assert store.keep(ORIGIN, shown[-1], proven=False) is None  # the same again
    written = [store.keep(ORIGIN, one, proven=True) for one in shown]
    assert [path is not None for path in written] == [True] * MAX_FILES + [False] * 5  # the first proofs stay
    assert store.keep("log.example/other", shown[0], proven=True) is not None


def test_W_28_a_log_that_lies_again_and_again_holds_up_no_other(open_desk: OpenDesk, log: Log) -> None:
    """What is kept costs the one thread that signs; the first of it is enough, and comes before what follows."""
    other = Log("other.example/log")
    desk = open_desk(log, other)
    for one in (log, other):
        desk.cosign(one, 0, 8)

    def lie(one: Log, size: int, number: int) -> None:
        note = one.note(size, bytes([number]) * 32)
        assert desk.post(one.request(8, size, note=note, proof=one.proof(8, size))).status == 422

    for number in range(1, 6):
        lie(log, 9, number)
    assert (len(leads(desk)), len(kept(desk))) == (KEPT_AT_ONCE, 0)
    for _ in range(5):
        lie(log, 9, 1)  # what is kept already
    lie(other, 9, 1)
    assert len(leads(desk)) == KEPT_AT_ONCE + 1
    for number in range(1, 6):
        lie(log, 8, number)
    assert len(kept(desk)) == KEPT_AT_ONCE  # leads, which strangers can cause, keep out no proof
    assert b"witness_inconsistent_total 16.0\n" in desk.metrics.exposition()
    desk.monotonic += KEPT_SECONDS
    for number in range(6, 9):
        lie(log, 9, number)
    assert len(leads(desk)) == KEPT_AT_ONCE + 2


def test_a_forked_log_is_still_followed_on_the_view_it_showed_first(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 9)
    desk.post(Log(view="B", forked_at=4).request(9, 9))
    desk.cosign(log, 9, 12)


# -- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def proof_file(desk: Desk, log: Log, tmp_path: Path) -> Path:
    """A fork proof as `teelog witness forks --out` hands it out."""
    desk.cosign(log, 0, 9)
    desk.post(Log(view="B", forked_at=4).request(9, 9))
    listed = teelog("witness", "forks", desk.path, "--json").json
    assert [(one["log"], one["first"], one["second"]) for one in listed["forks"]] == [(ORIGIN, 9, 9)]
    ran = teelog("witness", "forks", desk.path, "--out", tmp_path / "out")
    assert (ran.code, ORIGIN in ran.text) == (0, True)
    (path,) = (tmp_path / "out").iterdir()
    return path


def test_a_fork_proof_is_verified_offline_by_anyone(proof_file: Path, log: Log) -> None:
    ran = teelog("fork", "verify", proof_file)
    assert ran.code == 0
    assert "FORK PROVEN" in ran.text
    assert log.root(9).hex() in ran.text
    assert Log(view="B", forked_at=4).root(9).hex() in ran.text
    assert log.signers[0].verifier.key_id.hex() in ran.text
    result = teelog("fork", "verify", proof_file, "--json").json
    assert (result["verdict"], result["log"], result["keys"]) == ("fork proven", ORIGIN, list(log.vkeys))


def test_fork_verify_needs_no_network_and_no_server(proof_file: Path) -> None:
    code = (
        "import socket, sys\nfrom teelog.cli.main import main\n"
        "socket.socket = None\n"
        "code = main(['fork', 'verify', sys.argv[1]])\n"
        "loaded = {'aiohttp', 'sqlite3', 'teelog.witness'} & set(sys.modules)\n"
        "sys.exit(f'loaded {loaded}' if loaded else code)"
    )
    subprocess.run([sys.executable, "-c", code, str(proof_file)], check=True, timeout=240, capture_output=True)


def test_fork_verify_takes_only_listed_keys(proof_file: Path, log: Log, tmp_path: Path) -> None:
    other = str(signer("another key").verifier)
    assert teelog("fork", "verify", proof_file, "--log", log.vkeys[0]).code == 0
    assert teelog("fork", "verify", proof_file, "--log", other).code == 1
    assert teelog("fork", "verify", proof_file, "--log", other, "--log", log.vkeys[0]).code == 0
    policy = tmp_path / "policy.txt"
    policy.write_text(f"log {log.vkeys[0]}\nquorum none\n")
    assert teelog("fork", "verify", proof_file, "--policy", policy).code == 0
    policy.write_text(f"log {other}\nquorum none\n")
    assert teelog("fork", "verify", proof_file, "--policy", policy).code == 1


def test_fork_verify_refuses_what_proves_nothing(proof_file: Path, log: Log, tmp_path: Path) -> None:
    good = parse_fork(proof_file.read_bytes())
    for name, bad, code in (
        ("same view twice", ForkProof(good.first, good.first, keys=good.keys), 1),
        ("unconnected", ForkProof(good.first, log.note(12), keys=good.keys), 1),
        ("another key", ForkProof(good.first, good.second, keys=(signer("x").verifier,)), 1),
        ("no key", ForkProof(good.first, good.second), 3),
    ):
        path = tmp_path / "bad.teelog-fork"
        path.write_bytes(bad.encode())
        assert teelog("fork", "verify", path).code == code, name
    path.write_bytes(proof_file.read_bytes()[:-1])
    assert teelog("fork", "verify", path).code == 1
    path.write_bytes(b"")
    assert teelog("fork", "verify", path).code == 1
    assert teelog("fork", "verify", tmp_path / "missing").code == 4


@pytest.mark.parametrize(("old", "new"), [(4, 9), (8, 300), (1, 2)])
def test_a_lead_becomes_a_proof_with_the_tiles_that_the_log_serves(
    desk: Desk, log: Log, tmp_path: Path, old: int, new: int
) -> None:
    liar = Log(view="B", forked_at=0)
    desk.cosign(log, 0, old)
    assert desk.post(liar.request(old, new)).status == 422
    (lead,) = (desk.path / "evidence").iterdir()
    serve_tiles(liar, new, tmp_path / "liar")
    out = tmp_path / "log.teelog-fork"
    assert teelog("fork", "prove", lead, "--url", tmp_path / "liar", "--out", out).code == 0
    assert teelog("fork", "verify", out, "--log", log.vkeys[0]).code == 0


def test_an_honest_log_is_cleared_by_its_tiles(desk: Desk, log: Log, tmp_path: Path) -> None:
    desk.cosign(log, 0, 5)
    assert desk.post(log.request(5, 9, proof=[])).status == 422
    (lead,) = (desk.path / "evidence").iterdir()
    serve_tiles(log, 9, tmp_path / "log")
    ran = teelog("fork", "prove", lead, "--url", tmp_path / "log", "--out", tmp_path / "out")
    assert ran.code == 1
    assert "one view extends the other" in ran.stderr
    assert not (tmp_path / "out").exists()


def serve_tiles(log: Log, size: int, folder: Path) -> None:
    """The hash tiles of a view, as static files."""
    for tile in tiles.new_between(0, size):
        lo, width = tile.index * 256, tile.width
        span = 256**tile.level
        hashes = [
            rfc6962.root_of_leaves(log.leaves(size)[one * span : (one + 1) * span]) for one in range(lo, lo + width)
        ]
        path = folder / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(hashes))


def test_two_keys_with_one_view_each_prove_nothing(desk: Desk, log: Log) -> None:
    """Whoever has a key of any log's name could otherwise accuse that log."""
    framer = Log(signers=(signer("framer"),), view="B")
    pair = ForkProof(log.note(9), framer.note(9), keys=(*keys(log), *keys(framer)))
    with pytest.raises(TeelogError):
        verify_own_keys(pair)
    verify_fork(pair, [*keys(log), *keys(framer)])  # whoever trusts both keys for this log has been shown two views


def test_W_28_W_36_two_views_in_one_transaction_leave_a_fork_proof(desk: Desk, log: Log) -> None:
    entered, go = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == "checked" and not entered.is_set():
            entered.set()
            assert go.wait(10)

    desk.step = hold
    stranger = Log(origin="other.example/log")
    engine = desk.engine
    assert engine is not None
    liar = Log(view="B", forked_at=4)
    first = engine.submit(request(stranger.request(0, 1)))
    assert entered.wait(10)
    # Both wait in the queue now, so both are checked against the same head.
    both = [engine.submit(request(view.request(0, 9))) for view in (log, liar)]
    go.set()
    assert first.result(10).status == 404
    assert [answer.result(10).status for answer in both] == [200, 409]
    (proof,) = kept(desk)
    verify_fork(proof, keys(log))


def request(body: bytes) -> decide.Request:
    found = decide.read(body)
    assert isinstance(found, decide.Request)
    return found
