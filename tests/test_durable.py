"""Files appear whole or not at all, and a failed fsync is never taken for a success (R-19, R-30)."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from teelog import durable
from teelog.log_server import state as log_state
from teelog.witness import state as witness_state

WRITERS = (durable.create, durable.replace)


def _broken(descriptor: int) -> None:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_is_whole_and_nothing_is_left_beside_it(tmp_path: Path, write: Callable[..., None]) -> None:
    write(tmp_path / "f", b"data" * 100_000, 0o600)
    assert (tmp_path / "f").read_bytes() == b"data" * 100_000
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["f"]


def test_what_is_there_is_replaced_but_not_created_again(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        durable.create(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    durable.replace(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("write", WRITERS)
def test_what_a_killed_process_left_is_no_hindrance(tmp_path: Path, write: Callable[..., None]) -> None:
    (tmp_path / f".f.{os.getpid()}.tmp").write_bytes(b"half")
    write(tmp_path / "f", b"whole")
    assert (tmp_path / "f").read_bytes() == b"whole"


@pytest.mark.parametrize("write", WRITERS)
def test_contents_that_are_not_synced_get_no_name(
    tmp_path: Path, write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", _broken)
    with pytest.raises(durable.NotSynced):
        write(tmp_path / "f", b"data")
    assert os.listdir(tmp_path) == []


def test_a_name_that_is_not_synced_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", _broken)
    with pytest.raises(durable.NotSynced):
        durable.sync_directory(tmp_path)


@pytest.mark.parametrize("call", ["fsync(0, 'f')", "fdatasync(0, 'f')", "fsync_directory('.')"])
def test_a_service_ends_with_its_failed_fsync(tmp_path: Path, call: str) -> None:
    program = f"""
import os
def broken(descriptor): raise OSError(5, "Input/output error")
os.fsync = os.fdatasync = broken
from teelog import durable
try:
    durable.{call}
finally:
    print("went on")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (durable.EXIT_CODE, "")
    assert "could not be made durable" in done.stderr


def _log_writer(path: Path) -> sqlite3.Connection:
    return log_state._connect(path, "rw")


@pytest.mark.parametrize("connect", [_log_writer, witness_state.connect], ids=["log", "witness"])
def test_R_30_the_name_of_a_wal_is_durable_before_anything_relies_on_it(
    tmp_path: Path, connect: Callable[[Path], sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state.db").touch()
    synced: list[list[str]] = []
    monkeypatch.setattr(durable, "fsync_directory", lambda path: synced.append(sorted(os.listdir(path))))
    connect(tmp_path / "state.db").close()
    assert synced
    assert "state.db-wal" in synced[-1]
