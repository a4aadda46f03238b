"""The contract of ``seams.TileStore``, which every implementation passes, and what a directory adds to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from teelog import durable
from teelog.errors import ConfigError
from teelog.log_server.seams import Conflict, TileStore
from teelog.log_server.store import DirectoryStore


def directory_store(path: Path) -> TileStore:
    (path / "public").mkdir(exist_ok=True)
    (path / "scratch").mkdir(exist_ok=True)
    return DirectoryStore(path / "public", path / "scratch")


@pytest.fixture(params=[directory_store])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TileStore:
    made: TileStore = request.param(tmp_path)
    return made


OBJECTS = {"tile/0/000": b"a" * 8192, "tile/entries/x001/234.p/7": b"b", "tile/1/000.p/1": b""}


def test_what_was_created_is_read_back(store: TileStore) -> None:
    assert store.read("tile/0/000") is None
    store.create(OBJECTS)
    assert {path: store.read(path) for path in OBJECTS} == OBJECTS
    assert store.read("tile/0/000.p/7") is None
    assert store.read("tile/0/000/deeper") is None
    store.create({})


def test_R_08_equal_bytes_again_are_success_and_others_are_a_conflict(store: TileStore) -> None:
    store.create(OBJECTS)
    store.create(OBJECTS)
    with pytest.raises(Conflict):
        store.create({"tile/0/001": b"new", "tile/0/000": b"other"})
    assert store.read("tile/0/000") == b"a" * 8192
    store.create({"tile/0/001": b"new"})


def test_the_checkpoint_is_replaced_whole(store: TileStore) -> None:
    assert store.checkpoint() is None
    store.replace_checkpoint(b"one")
    store.replace_checkpoint(b"the second one")
    assert store.checkpoint() == b"the second one"


def test_TT_17_partials_go_only_where_the_full_one_is(store: TileStore) -> None:
    store.create({"tile/0/000.p/1": b"1", "tile/0/000.p/255": b"2", "tile/0/001.p/9": b"3"})
    assert store.drop_partials(["tile/0/000", "tile/0/001", "tile/0/002"]) == 0
    store.create({"tile/0/000": b"full"})
    assert store.drop_partials(["tile/0/000", "tile/0/001"]) == 2
    assert store.drop_partials(["tile/0/000"]) == 0
    assert store.read("tile/0/000.p/1") is None
    assert store.read("tile/0/001.p/9") == b"3"
    store.create({"tile/0/000.p/3": b"again"})  # the folder may come back
    assert store.read("tile/0/000.p/3") == b"again"


def test_the_store_proves_itself_and_knows_its_room(store: TileStore) -> None:
    store.probe()
    free = store.free()
    assert free is None or free > 0


# -- a directory ------------------------------------------------------------------------------------------------------


def test_what_a_killed_process_left_in_scratch_is_swept(tmp_path: Path) -> None:
    store = directory_store(tmp_path)
    (tmp_path / "scratch/1").write_bytes(b"half a tile")
    store = directory_store(tmp_path)
    store.create(OBJECTS)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_failure_in_the_middle_leaves_nothing_in_scratch_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = directory_store(tmp_path)
    link, calls = os.link, []

    def failing(*args: object) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        link(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", failing)
    with pytest.raises(OSError, match="No space"):
        store.create(OBJECTS)
    assert list((tmp_path / "scratch").iterdir()) == []
    store.create(OBJECTS)
    assert {path: store.read(path) for path in OBJECTS} == OBJECTS


def test_files_are_readable_for_a_web_server_of_another_user(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = directory_store(tmp_path)
        store.create(OBJECTS)
        store.replace_checkpoint(b"c")
    finally:
        os.umask(before)
    for path in ["tile/0/000", "checkpoint"]:
        assert (tmp_path / "public" / path).stat().st_mode & 0o777 == 0o644


def test_a_group_is_synced_before_it_is_linked_and_each_directory_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = directory_store(tmp_path)
    store.create({"tile/0/000": b"first"})
    done: list[str] = []
    link, fdatasync, fsync = os.link, os.fdatasync, os.fsync
    monkeypatch.setattr(os, "link", lambda *a: (done.append("link"), link(*a))[1])
    monkeypatch.setattr(os, "fdatasync", lambda d: (done.append("data"), fdatasync(d))[1])
    monkeypatch.setattr(os, "fsync", lambda d: (done.append(os.readlink(f"/proc/self/fd/{d}")), fsync(d))[1])
    store.create({"tile/0/001": b"1", "tile/0/002": b"2", "tile/0/003.p/4": b"3"})
    assert done[:6] == ["data"] * 3 + ["link"] * 3
    public = str(tmp_path / "public")
    assert sorted(done[6:]) == [f"{public}/tile/0", f"{public}/tile/0/003.p"]


@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
def test_R_30_a_failed_fsync_ends_the_process_at_once(tmp_path: Path, call: str) -> None:
    program = f"""
import os, sys
from pathlib import Path
from tests.log_server.test_store import directory_store
store = directory_store(Path(sys.argv[1]))
def failing(descriptor): raise OSError(5, "Input/output error")
os.{call} = failing
try:
    store.create({{"tile/0/000": b"x"}})
except BaseException as error:
    print("survived", error)
print("survived")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == durable.EXIT_CODE
    assert done.stdout == ""
    assert "could not be made durable" in done.stderr


def test_a_file_system_without_hard_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = directory_store(tmp_path)

    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", unsupported)
    with pytest.raises(ConfigError, match="cannot hold a log"):
        store.probe()
