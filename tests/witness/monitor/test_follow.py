"""A monitor follows a log: what it reads, what it finds, and that a kill loses and doubles nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from teelog.errors import ConfigError, UnavailableError
from teelog.statement import dsse
from teelog.testing.ledger import MAIN_POLICY, cosigned, hiding
from teelog.tlog import fork as forks
from teelog.tlog.policy_lint import Operator, write_policy
from tests.client.peers import Reply, peer
from tests.statement import make
from tests.witness.harness import NOW
from tests.witness.indexed_log import IndexedLog, served, statement_id
from tests.witness.monitor.watching import Watching, show

FAR = "2099-01-01T00:00:00Z"
STREAM = "acme.example/inference/stable"
OURS = ("namespace", "acme.example")


@pytest.fixture
def log() -> Iterator[IndexedLog]:
    with served() as made:
        yield made


def begin(log: IndexedLog, next_update: str = FAR) -> bytes:
    """A log policy, a namespace, a release, and the status that allows it for a long time."""
    release = make.release_file()
    allowed = make.allowed(statement_id(release))
    status = make.status_file(allowed=allowed, next_update=next_update)
    log.grow(make.log_policy_file(), make.namespace_file(), release, status)
    show(log)
    return release


def test_an_honest_log_is_followed_and_gives_rise_to_nothing(tmp_path: Path, log: IndexedLog) -> None:
    begin(log)
    watching = Watching.of(tmp_path / "M", log, OURS, index=True)
    watching.look()
    log.grow(*(make.release_file(version=f"1.{number}.0") for number in range(300)))
    show(log)
    watching.look()
    found = watching.followed()
    assert (found.size, found.signed, found.mapped, found.root) == (304, 304, 304, log.checkpoint().root)
    assert (found.looked_at, found.read_at) == (NOW, NOW)
    assert watching.kinds(only_open=False) == []


def test_nothing_is_read_twice_that_was_followed(tmp_path: Path, log: IndexedLog) -> None:
    begin(log)
    log.grow(*(b"junk %d" % number for number in range(600)))
    show(log)
    watching = Watching.of(tmp_path / "M", log)
    watching.look()
    log.server.asked.clear()
    watching.look()
    assert [path for path in log.server.paths() if "/entries/" in path] == []


def test_memory_is_bounded_by_portions_and_each_is_committed(
    tmp_path: Path, log: IndexedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teelog.witness.monitor.portion.PORTION", 1)
    begin(log)
    log.grow(*(b"junk %d" % number for number in range(700)))
    show(log)
    watching = Watching.of(tmp_path / "M", log, ("all", ""))
    steps: list[str] = []
    watching.step = steps.append
    watching.look()
    assert steps == ["hashed", "mapped"] * 3 + ["looked"]
    assert watching.followed().root == log.checkpoint().root


@pytest.mark.parametrize("killed", range(7))
def test_a_kill_at_any_step_loses_no_finding_and_makes_none_twice(
    tmp_path: Path, log: IndexedLog, monkeypatch: pytest.MonkeyPatch, killed: int
) -> None:
    monkeypatch.setattr("teelog.witness.monitor.portion.PORTION", 1)
    begin(log)
    log.grow(*(make.release_file(version=f"1.{number}.0") for number in range(600)))
    show(log)
    (tmp_path / "known").write_text("")
    watching = Watching.of(tmp_path / "M", log, OURS, index=True, known=str(tmp_path / "known"))
    left = [killed]

    def kill(_: str) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1

    watching.step = kill
    with pytest.raises(KeyboardInterrupt):
        watching.look()
    watching.step = lambda _: None
    watching.look()
    watching.look()
    unexpected = [index for kind, _, index in watching.kinds() if kind == "unexpected"]
    assert unexpected == list(range(1, 604))


# -- logs that lie ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(5, 5), (5, 3), (5, 7), (300, 280), (300, 600)], ids=str)
def test_another_tree_is_found_at_any_size_and_proven(tmp_path: Path, sizes: tuple[int, int]) -> None:
    with served() as log, served() as other:
        log.grow(*(b"entry %d" % number for number in range(sizes[0])))
        other.grow(*(b"other %d" % number for number in range(sizes[1])))
        show(log)
        show(other)
        watching = Watching.of(tmp_path / "M", log)
        watching.look()
        watching.change(place=other.url)
        watching.look()
        watching.look()
        assert watching.kinds() == [("fork", "log", None)]
        assert watching.forks(log) == 1
        # It stays on its branch.
        assert watching.followed().signed_root == log.checkpoint().root


def test_after_a_fork_the_branch_that_was_followed_is_followed_from_a_mirror(tmp_path: Path) -> None:
    with served() as log, served() as other:
        log.grow(*(b"entry %d" % number for number in range(5)))
        other.grow(*(b"other %d" % number for number in range(9)))
        show(log)
        show(other)
        watching = Watching.of(tmp_path / "M", log)
        watching.look()
        watching.change(place=other.url, mirrors=(log.url,))
        log.grow(b"one more")
        show(log)
        watching.look()
        assert watching.followed().signed_root == log.checkpoint().root
        assert watching.kinds() == [("fork", "log", None)]


def test_a_witness_that_saw_another_tree_convicts_the_log(tmp_path: Path, log: IndexedLog) -> None:
    begin(log)
    with peer() as witness, served() as other:
        other.grow(b"another", b"history", b"of", b"the", b"log")
        path = hashlib.sha256(log.origin.encode()).hexdigest()
        witness.answers[f"/{path}/checkpoint"] = cosigned(other.checkpoint(), other.log, other.witnesses[:1], NOW)
        operators = [Operator((each.signers[0].verifier,), witness.url) for each in log.witnesses[:1]]
        policy = write_policy([(log.log[0].verifier, None)], operators, 1).decode()
        watching = Watching.of(tmp_path / "M", log)
        watching.change(policy=policy)
        watching.look()
        log.grow(b"more", b"entries")
        show(log)
        watching.look()
        assert watching.kinds() == [("fork", "witness witness.example/w1", None)]
        assert watching.forks(log) == 1


def test_a_mirror_of_another_tree_is_found_at_the_first_look(tmp_path: Path, log: IndexedLog) -> None:
    begin(log)
    with served() as other:
        other.grow(b"another", b"history")
        show(other)
        watching = Watching.of(tmp_path / "M", log)
        watching.change(mirrors=(other.url,))
        watching.look()
        assert watching.kinds() == [("fork", f"mirror {other.url}", None)]
        assert watching.forks(log) == 1
        assert watching.followed().signed_root == log.checkpoint().root


def test_a_mirror_without_entries_does_not_keep_the_log_from_being_followed(tmp_path: Path, log: IndexedLog) -> None:
    begin(log)
    with served() as empty:
        watching = Watching.of(tmp_path / "M", log)
        watching.change(mirrors=(empty.url,))
        size = log.checkpoint()
        shown = log.lies["checkpoint"]
        log.grow(b"more")
        show(log)
        # The mirror shows the newest checkpoint and nothing else, the log the one before.
        newest, log.lies["checkpoint"] = log.lies["checkpoint"], shown
        empty.lies["checkpoint"] = newest
        watching.look()
        assert watching.kinds() == [("broken", f"mirror {empty.url}", None)]
        assert watching.followed().signed_root == size.root


def test_what_a_witness_cosigned_and_the_log_does_not_show_is_told(tmp_path: Path, log: IndexedLog) -> None:
    begin(log)
    with peer() as witness:
        operators = [Operator((each.signers[0].verifier,), witness.url) for each in log.witnesses[:1]]
        watching = Watching.of(tmp_path / "M", log)
        watching.change(policy=write_policy([(log.log[0].verifier, None)], operators, 1).decode())
        shown = log.lies["checkpoint"]
        log.grow(b"hidden")
        path = hashlib.sha256(log.origin.encode()).hexdigest()
        witness.answers[f"/{path}/checkpoint"] = cosigned(log.checkpoint(), log.log, log.witnesses[:1], NOW)
        log.lies["checkpoint"] = shown
        watching.look()
        assert watching.kinds() == []  # it may be on its way
        watching.now += 301
        watching.look()
        assert watching.kinds() == [("rollback", "witness witness.example/w1", None)]
        show(log, watching.now)
        watching.look()
        assert watching.kinds() == []


def test_an_older_checkpoint_is_told_while_it_is_shown(tmp_path: Path, log: IndexedLog) -> None:
    begin(log)
    old = log.lies["checkpoint"]
    watching = Watching.of(tmp_path / "M", log)
    log.grow(b"more")
    show(log)
    watching.look()
    new, log.lies["checkpoint"] = log.lies["checkpoint"], old
    watching.look()
    assert watching.kinds() == [("rollback", "log", None)]
    assert watching.followed().signed == 5
    log.lies["checkpoint"] = new
    watching.look()
    assert watching.kinds() == []


@pytest.mark.parametrize(
    ("path", "reply", "kind"),
    [
        ("tile/entries/000.p/5", Reply(status=404), "broken"),
        ("tile/entries/000.p/5", Reply(status=503), "unreachable"),
        ("tile/entries/000.p/5", Reply(b"\x00\x01x" * 5), "broken"),
        ("tile/entries/000.p/5", Reply(b"\x00"), "broken"),
        ("checkpoint", Reply(status=503), "unreachable"),
        ("checkpoint", Reply(b"nonsense"), "unreadable"),
        ("checkpoint", Reply(status=302, headers={"Location": "https://elsewhere.example/"}), "unreadable"),
    ],
    ids=["missing", "busy", "other-entries", "cut", "down", "no-checkpoint", "redirect"],
)
def test_what_cannot_be_read_or_does_not_lead_to_the_root_is_told_and_not_believed(
    tmp_path: Path, log: IndexedLog, path: str, reply: Reply, kind: str
) -> None:
    begin(log)
    watching = Watching.of(tmp_path / "M", log, OURS)
    watching.look()
    log.grow(b"more")
    show(log)
    honest = log.lies.get(path)
    log.lies[path] = reply
    watching.now += 60
    watching.look()
    assert [each[:2] for each in watching.kinds()] == [(kind, "log")]
    assert watching.followed().signed == 4
    if honest is None:
        del log.lies[path]
    else:
        log.lies[path] = honest
    watching.look()
    assert watching.kinds() == []
    assert watching.followed().mapped == 5


def test_a_full_tile_that_does_not_follow_from_the_entries_is_told(tmp_path: Path, log: IndexedLog) -> None:
    log.grow(*(b"entry %d" % number for number in range(300)))
    show(log)
    tile = log.main_files.get("tile/0/000")
    assert tile is not None
    log.lies["tile/0/000"] = Reply(b"\x00" * 32 + tile[32:])
    watching = Watching.of(tmp_path / "M", log)
    watching.look()
    assert [each[:2] for each in watching.kinds()] == [("broken", "log")]


def test_a_log_that_nobody_cosigns_any_more_has_stalled(tmp_path: Path, log: IndexedLog) -> None:
    begin(log)
    watching = Watching.of(tmp_path / "M", log)
    watching.look()
    watching.now += 86_401
    watching.look()
    assert watching.kinds() == [("stalled", "", None)]
    log.lies["checkpoint"] = Reply(status=503)  # nor does a log that is gone hide it
    watching.look()
    assert sorted(watching.kinds()) == [("stalled", "", None), ("unreachable", "log", None)]


def test_a_checkpoint_without_its_quorum_is_told(tmp_path: Path, log: IndexedLog) -> None:
    begin(log)
    watching = Watching.of(tmp_path / "M", log)
    log.lies["checkpoint"] = Reply(cosigned(log.checkpoint(), log.log, log.witnesses[:2], NOW))
    watching.look()
    assert watching.kinds() == [("not-witnessed", "", None)]


def test_an_index_that_is_ahead_of_what_was_followed_is_no_fault(tmp_path: Path, log: IndexedLog) -> None:
    begin(log)
    before = log.lies["checkpoint"]
    log.grow(*(b"more %d" % number for number in range(300)))
    show(log)
    after, log.lies["checkpoint"] = log.lies["checkpoint"], before
    watching = Watching.of(tmp_path / "M", log, OURS, index=True)
    watching.look()
    assert watching.kinds() == []
    assert watching.followed().signed == 4
    log.lies["checkpoint"] = after
    watching.look()
    assert watching.kinds(only_open=False) == []
    assert watching.followed().signed == 304


def test_a_witness_that_saw_another_index_convicts_the_log(tmp_path: Path, log: IndexedLog) -> None:
    begin(log)
    with peer() as witness, served() as other:
        other.grow(b"another", b"log")
        origin = log.index_log[0].verifier.name
        path = hashlib.sha256(origin.encode()).hexdigest()
        shown = cosigned(other.index_checkpoint(), other.index_log, other.semantic[:1], NOW)
        witness.answers[f"/{path}/checkpoint"] = shown
        operators = [Operator((each.signers[0].verifier,), witness.url) for each in log.semantic[:1]]
        policy = write_policy([(log.index_log[0].verifier, None)], operators, 1).decode()
        watching = Watching.of(tmp_path / "M", log, index=True)
        watching.change(index_policy=policy)
        watching.look()
        watching.look()
        about = f"witness {log.semantic[0].signers[0].verifier.name}"
        assert watching.kinds() == [("fork", about, None)]
        (proof,) = watching.folder.evidence.iterdir()
        forks.verify_fork(forks.parse_fork(proof.read_bytes()), [each.verifier for each in log.index_log])
        # One that cannot be asked is told.
        del witness.answers[f"/{path}/checkpoint"]
        watching.look()
        assert sorted(watching.kinds()) == [("fork", about, None), ("unreachable", about, None)]


def test_a_hidden_withdrawal_is_a_crime_with_its_proof(tmp_path: Path) -> None:
    with served(rewrite=hiding(4)) as log:
        begin(log)
        watching = Watching.of(tmp_path / "M", log, OURS, index=True)
        watching.look()
        log.grow(log.withdraw())
        show(log)
        watching.look()
        faults = [each for each in watching.alerts() if each.finding.kind == "index-fault"]
        assert [each.finding.severity.value for each in faults] == ["crime"] * len(faults)
        assert any("leaves out entry 4" in each.finding.text for each in faults)
        assert list(watching.folder.evidence.glob("*.teelog-index-fault"))


def test_a_partly_read_fork_is_dropped_where_the_log_shows_another_branch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teelog.witness.monitor.portion.PORTION", 1)
    with served() as log, served() as other:
        log.grow(*(b"entry %d" % number for number in range(700)))
        other.grow(*(b"other %d" % number for number in range(900)))
        show(log)
        show(other)
        watching = Watching.of(tmp_path / "M", log)

        def kill(_: str) -> None:
            raise KeyboardInterrupt

        watching.step = kill
        with pytest.raises(KeyboardInterrupt):
            watching.look()
        assert (watching.followed().size, watching.followed().signed) == (256, 0)
        watching.step = lambda _: None
        watching.change(place=other.url)
        watching.look()
        assert watching.followed().signed_root == other.checkpoint().root


# -- the folder -------------------------------------------------------------------------------------------------------


def test_two_monitors_on_one_folder_are_refused(tmp_path: Path, log: IndexedLog) -> None:
    begin(log)
    watching = Watching.of(tmp_path / "M", log)
    with watching.folder.locked(), pytest.raises(UnavailableError, match="in use"), watching.folder.locked():
        pass


def test_a_policy_of_another_log_is_refused(tmp_path: Path, log: IndexedLog) -> None:
    begin(log)
    watching = Watching.of(tmp_path / "M", log)
    with served(origin="other.example/log") as other:
        watching.change(policy=other.policies()[MAIN_POLICY].decode())
        with pytest.raises(ConfigError, match="of another log"):
            watching.look()


def test_hashes_that_were_changed_on_the_disk_are_refused(tmp_path: Path, log: IndexedLog) -> None:
    begin(log)
    watching = Watching.of(tmp_path / "M", log)
    watching.look()
    (watching.path / "hashes" / "0").write_bytes(bytes(128))
    log.grow(b"more")
    show(log)
    with pytest.raises(ConfigError, match="does not hold the tree"):
        watching.look()


def test_what_is_watched_later_is_judged_from_the_first_entry_on(tmp_path: Path, log: IndexedLog) -> None:
    release = begin(log)
    watching = Watching.of(tmp_path / "M", log)
    watching.look()
    keyid = dsse.parse(release).keyids[0]
    watching.change(watched=(("signer", keyid),))
    watching.look()
    found = watching.kinds()
    assert [each[0] for each in found] == ["settings", *["signer-seen"] * (len(found) - 1)]
    assert ("signer-seen", keyid, 2) in found
