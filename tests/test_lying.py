"""Every reader of a log against every lie, over real HTTP: before and after it has seen the honest log.

After each lie the log is honest again: nothing that the lie left behind may keep a reader from going on, and what it
signed twice is proven from then on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from teelog.client.http import HttpClient
from teelog.tlog.checkpoint import parse_body
from teelog.tlog.note import parse
from tests.client import logs
from tests.commands import Ran, teelog
from tests.lying import SEEN, SIZE, TILES, TRANSPORT, TREE, Lie, LyingLog, lying

POLICY = ("--policy", "policy.txt")
READERS = {
    "monitor once": ("monitor", "once", "URL", *POLICY),
    "log mirror": ("log", "mirror", "URL", "copy", *POLICY, "--timeout", "100ms"),
    "monitor run": ("monitor", "run", "M", "--polls", "1"),
    "proof get": ("proof", "get", "entry", "--from", "URL", *POLICY, "--out", "entry.tlog-proof"),
}
LIES = [(lie, False) for lie in Lie] + [(lie, True) for lie in TRANSPORT]
CASES = [
    pytest.param(name, lie, checkpoint, seen, id=f"{name}-{lie.name}{'-head' * checkpoint}-{('before', 'after')[seen]}")
    for name in READERS
    for lie, checkpoint in LIES
    for seen in (False, True)
    if name != "proof get" or lie not in TRANSPORT  # it reads as the mirror does
]
NEVER = (Lie.DRIP, Lie.SILENT)
"""What only a deadline ends."""


_within = HttpClient._within


def _hurried(self: HttpClient, exchange: Awaitable[Any], url: str, timeout: float | None) -> Awaitable[Any]:
    return _within(self, exchange, url, 0.3)


class Reader:
    """One command, again and again with the same memory."""

    def __init__(self, name: str, log: LyingLog) -> None:
        self.log = log
        self._words = [log.url if word == "URL" else word for word in READERS[name]]
        if name == "monitor run":
            assert teelog("monitor", "init", "M", *POLICY).code == 0

    def __call__(self) -> Ran:
        ran = teelog(*self._words)
        assert "\x1b" not in ran.stderr + ran.text
        assert "Traceback" not in ran.stderr
        assert len([line for line in ran.stderr.splitlines() if line.startswith("error: ")]) == (ran.code != 0), ran
        return ran

    def lied_to(self, lie: Lie, checkpoint: bool) -> Ran:
        self.log.tell(lie, checkpoint)
        # Whatever else is late within this time fails as it must.
        with patch.object(HttpClient, "_within", _hurried if lie in NEVER else _within):
            return self()


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LyingLog]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    with lying() as made:
        Path("policy.txt").write_bytes(made.policy)
        Path("entry").write_bytes(logs.entries(11)[10])
        yield made


def copied() -> int:
    """Entries of the mirror's copy as it is shown, 0 if nothing is."""
    shown = Path("copy/checkpoint")
    return parse_body(parse(shown.read_bytes()).claimed_text()).size if shown.exists() else 0


def looked() -> int:
    """How far the monitor says that it has looked."""
    return int(teelog("monitor", "alerts", "M", "--json").json["looked"]["judged"])


def expected(name: str, lie: Lie, seen: bool) -> int:
    if lie in (Lie.FORK, Lie.REGROWN):
        return 5 if seen else 0
    if lie in TREE:
        # Caches lag: what was signed before is true, and says nothing of now. Who watches tells of it.
        told = {("monitor once", Lie.ROLLED_BACK): 4, ("monitor run", Lie.ROLLED_BACK): 1}
        if name == "monitor run" and lie is Lie.OLD:
            return 1
        return told.get((name, lie), 0) if seen else 0
    return 4 if lie in NEVER else 1


@pytest.mark.parametrize(("name", "lie", "checkpoint", "seen"), CASES)
def test_a_lie_is_refused_and_forgotten(name: str, lie: Lie, checkpoint: bool, seen: bool, log: LyingLog):
    read = Reader(name, log)
    if seen:
        log.honest(SEEN)
        assert read().code == 0
    ran = read.lied_to(lie, checkpoint)
    assert ran.code == expected(name, lie, seen), ran
    if name == "log mirror" and (seen or lie not in TREE):
        assert copied() == (SEEN if seen else 0)
    if ran.code == 5:
        (proof,) = Path("M/evidence" if name == "monitor run" else "state/forks").glob("*.teelog-fork")
        assert teelog("fork", "verify", proof, *POLICY).code == 0
    if name == "monitor run" and ran.code != 0 and lie is not Lie.OLD:
        assert looked() == (SEEN if seen else 0)
    log.honest(SIZE)
    believed = lie in (Lie.FORK, Lie.REGROWN) and not seen  # by whom it was lied to first, the truth is the second tree
    # A monitor goes on telling of a fork that it has seen.
    assert read().code == (5 if believed or (name == "monitor run" and ran.code == 5) else 0)
    if name == "monitor run" and not believed:
        assert looked() == SIZE


@pytest.mark.parametrize(
    ("lie", "checkpoint"), [pytest.param(*it, id=it[0].name + "-head" * it[1]) for it in LIES if it[0] not in TREE]
)
def test_an_honest_copy_makes_up_for_a_lie(lie: Lie, checkpoint: bool, log: LyingLog):
    log.honest(SIZE)
    assert Reader("log mirror", log)().code == 0
    log.tell(lie, checkpoint)
    with patch.object(HttpClient, "_within", _hurried if lie in NEVER else _within):
        ran = teelog("entry", 10, *POLICY, "--url", log.url, "--mirror", "copy", "--raw", "got")
    assert ran.code == 0, ran
    assert Path("got").read_bytes() == Path("entry").read_bytes()


@pytest.mark.parametrize("words", [("checkpoint", "verify"), ("monitor", "once")])
def test_an_old_checkpoint_is_refused_by_who_asks_how_old_it_is(words: tuple[str, ...], log: LyingLog):
    log.tell(Lie.OLD)
    ran = teelog(*words, log.url, *POLICY, "--max-age", "24h")
    assert ran.code == 1, ran
    log.honest(SIZE)
    assert teelog(*words, log.url, *POLICY, "--max-age", "24h").code == 0


def test_control_every_lie_is_one(log: LyingLog):
    """What a reader gets differs from the honest answer."""
    log.honest(SIZE)
    honest = dict(log.peer.answers)
    for lie, checkpoint in LIES:
        log.tell(lie, checkpoint)
        assert {path for path, data in log.peer.answers.items() if data != honest.get(path)}, lie
    assert set(TREE) | set(TILES) | set(TRANSPORT) == set(Lie)
