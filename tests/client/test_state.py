"""What the client remembers: forward only, whole or not at all, and an accusation only with its proof."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from teelog.client.log import prover
from teelog.client.source import DirectorySource
from teelog.client.state import ClientState, Prove, default_folder
from teelog.errors import ConfigError, MisbehaviourError, UnavailableError
from teelog.tlog import fork
from teelog.tlog.policy import WitnessedCheckpoint, verify_checkpoint
from tests.client import logs

KEY = logs.LOG.verifier


def seen(entries: Sequence[bytes]) -> WitnessedCheckpoint:
    return verify_checkpoint(logs.sign(logs.head(entries)), logs.policy())


def source(folder: Path, entries: Sequence[bytes]) -> Prove:
    logs.write(folder, entries)
    return prover(DirectorySource(folder))


def size(state: ClientState) -> int | None:
    held = state.latest(KEY)
    return None if held is None else held.checkpoint.size


async def test_a_growing_log_moves_the_state_forward(tmp_path: Path):
    state = ClientState(tmp_path / "state")
    entries = logs.entries(300)
    assert size(state) is None
    for count in (0, 1, 255, 256, 300, 300):
        assert await state.observe(seen(entries[:count]), source(tmp_path / "log", entries[:count])) is None
        assert size(state) == count
    held = state.latest(KEY)
    assert held is not None
    assert held.note.count(b"\n\xe2\x80\x94 ") == 1  # only the line that was verified


async def test_CP_13_same_size_other_root_writes_a_fork_proof_and_keeps_the_state(tmp_path: Path):
    state = ClientState(tmp_path)
    await state.observe(seen(logs.entries(5)), None)
    before = (tmp_path / "checkpoints").iterdir().__next__().read_bytes()
    with pytest.raises(MisbehaviourError) as caught:
        await state.observe(seen(logs.entries(5, "forked")), None)
    assert caught.value.exit_code == 5
    (path,) = (tmp_path / "forks").iterdir()
    assert path.suffix == ".teelog-fork"
    assert path.read_bytes() == caught.value.evidence
    views = fork.verify_fork(fork.parse_fork(path.read_bytes()), [KEY])
    assert views.first.checkpoint.root != views.second.checkpoint.root
    assert fork.verify_own_keys(fork.parse_fork(path.read_bytes())).signers() == (KEY,)
    assert [each.read_bytes() for each in (tmp_path / "checkpoints").iterdir()] == [before]


@pytest.mark.parametrize(("known", "later"), [(3, 5), (5, 3), (4, 300), (300, 256)])
async def test_CP_13_different_sizes_that_do_not_fit_are_a_fork_too(tmp_path: Path, known: int, later: int):
    state = ClientState(tmp_path / "state")
    await state.observe(seen(logs.entries(known)), None)
    other = logs.entries(later, "forked")
    larger = other if later > known else logs.entries(known)
    with pytest.raises(MisbehaviourError) as caught:
        await state.observe(seen(other), source(tmp_path / "log", larger))
    fork.verify_fork(fork.parse_fork(caught.value.evidence or b""), [KEY])
    assert size(state) == known


async def test_CP_14_a_smaller_checkpoint_that_fits_leaves_the_larger(tmp_path: Path):
    state = ClientState(tmp_path / "state")
    entries = logs.entries(300)
    prove = source(tmp_path / "log", entries)
    await state.observe(seen(entries), prove)
    assert await state.observe(seen(entries[:7]), prove) is None
    assert size(state) == 300


@pytest.mark.parametrize("how", ["no way", "unreachable", "lying"])
async def test_a_missing_or_bad_proof_accuses_nobody_and_changes_nothing(tmp_path: Path, how: str):
    state = ClientState(tmp_path / "state")
    await state.observe(seen(logs.entries(3)), None)
    prove: Prove | None = None
    if how == "unreachable":
        prove = prover(DirectorySource(tmp_path / "nowhere"))
    if how == "lying":
        prove = source(tmp_path / "log", logs.entries(5, "forked"))
    said = await state.observe(seen(logs.entries(5)), prove)
    assert said is not None
    assert "size 3" in said
    assert size(state) == 3
    assert not (tmp_path / "state" / "forks").exists()


@pytest.mark.parametrize(
    "garbage", [b"", bytes(187), b"log.example/tee\n9\n", logs.sign(logs.head([b"x"]), (), logs.OTHER_LOG)]
)
async def test_R_19_a_file_left_as_garbage_falls_back_to_the_one_before(tmp_path: Path, garbage: bytes):
    state = ClientState(tmp_path / "state")
    entries = logs.entries(5)
    for count in (3, 5):
        await state.observe(seen(entries[:count]), source(tmp_path / "log", entries[:count]))
    newest = next(path for path in (tmp_path / "state/checkpoints").iterdir() if not path.suffix)
    newest.write_bytes(garbage)
    assert size(state) == 3
    assert await state.observe(seen(entries), prover(DirectorySource(tmp_path / "log"))) is None
    assert size(state) == 5


async def test_R_22_logs_are_kept_apart_by_the_callers_key(tmp_path: Path):
    state = ClientState(tmp_path)
    await state.observe(seen(logs.entries(5)), None)
    assert state.latest(logs.OTHER_LOG.verifier) is None


async def test_a_failed_write_leaves_the_state_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    state = ClientState(tmp_path / "state")
    entries = logs.entries(5)
    await state.observe(seen(entries[:3]), None)
    before = sorted(path.name for path in (tmp_path / "state").rglob("*"))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UnavailableError, match="No space left"):
            await state.observe(seen(entries), source(tmp_path / "log", entries))
    assert sorted(path.name for path in (tmp_path / "state").rglob("*")) == before
    assert size(state) == 3


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"TEELOG_STATE": "/s", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/s"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/teelog"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/teelog"),
        ({"HOME": "/h"}, "/h/.local/state/teelog"),
    ],
)
def test_where_the_state_lies(environ: dict[str, str], folder: str):
    assert default_folder(environ) == Path(folder)


def test_no_home_is_told():
    with pytest.raises(ConfigError, match="no place"):
        default_folder({})


def test_namespaces_are_followed_forward_only_and_by_log(tmp_path: Path):
    state = ClientState(tmp_path / "state")
    assert state.namespaces(KEY) == {}
    state.follow(KEY, {"acme.example": (1, "aa"), "globex.example": (0, "bb")})
    state.follow(KEY, {"acme.example": (0, "cc")})
    state.follow(KEY, {"acme.example": (1, "dd")})
    assert state.namespaces(KEY) == {"acme.example": (1, "aa"), "globex.example": (0, "bb")}
    state.follow(KEY, {"acme.example": (2, "ee")})
    assert state.namespaces(KEY) == {"acme.example": (2, "ee"), "globex.example": (0, "bb")}
    assert state.namespaces(logs.OTHER_LOG.verifier) == {}


@pytest.mark.parametrize("garbage", [b"", b"{", b'{"namespaces":{"acme.example":{"version":"2","statement":"ee"}}}'])
def test_R_19_a_garbled_memory_of_namespaces_is_passed_over_for_the_one_before(tmp_path: Path, garbage: bytes):
    state = ClientState(tmp_path)
    state.follow(KEY, {"acme.example": (1, "aa")})
    state.follow(KEY, {"acme.example": (2, "ee")})
    state.followed_file(KEY).write_bytes(garbage)
    assert state.namespaces(KEY) == {"acme.example": (1, "aa")}
    state.follow(KEY, {"acme.example": (2, "ee")})
    assert state.namespaces(KEY) == {"acme.example": (2, "ee")}
