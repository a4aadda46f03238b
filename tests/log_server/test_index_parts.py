"""Parts of the index's process, each by itself."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from teelog.errors import ConfigError, UnavailableError
from teelog.log_server import config as configuration
from teelog.log_server.create import create
from teelog.log_server.directory import LogDirectory
from teelog.log_server.index.inputs import Inputs
from teelog.log_server.index.mainlog import MainLog
from teelog.log_server.index.process import IndexProcess, PipeBell, Report, index_config, main_config
from teelog.log_server.seams import Damaged
from teelog.tlog.policy import parse_policy
from teelog.tlog.vkey import SignatureType, VerifierKey
from tests.log_server.rig import ORIGIN, ManualClock, Rig, rig, some
from tests.statement import make


def process(max_lag: int) -> IndexProcess:
    ours, theirs = socket.socketpair()
    theirs.close()
    ours.close()
    return IndexProcess(0, ours, -1, max_lag)


def report(doing: str, mapped: int) -> Report:
    return Report(doing, mapped, 0, 0, "", [])


@pytest.mark.parametrize("doing", ["mapping", "cosigning", "idle"])
def test_a_log_waits_for_the_work_of_its_index(doing: str) -> None:
    index = process(10)
    index.report = report(doing, 90)
    assert not index.behind(100)  # within the bound: from now on it holds
    assert index.behind(101)
    index.report = report(doing, 91)
    assert not index.behind(101)


@pytest.mark.parametrize("doing", ["starting", "waiting", "stopped"])
def test_a_log_does_not_wait_for_witnesses_nor_for_an_index_that_starts_or_has_stopped(doing: str) -> None:
    index = process(10)
    index.report = report("idle", 100)
    assert not index.behind(100)
    index.report = report(doing, 100)
    assert not index.behind(1_000)


def test_a_log_does_not_wait_for_what_its_index_had_to_catch_up_with_at_a_start() -> None:
    index = process(10)
    index.report = report("mapping", 0)
    assert not index.behind(1_000_000)
    index.report = report("mapping", 1_000_000)
    assert not index.behind(1_000_005)
    assert index.behind(1_000_011)


def test_a_log_does_not_wait_for_a_dead_index_nor_where_it_is_told_not_to() -> None:
    index = process(10)
    assert not index.behind(10)
    index.report = report("mapping", 10)
    index.running = False
    assert not index.behind(1_000)
    never = process(0)
    never.report = report("mapping", 10)
    assert not never.behind(10)
    assert not never.behind(1_000_000)


def test_a_bell_that_was_rung_does_not_wait() -> None:
    heard, rung = os.pipe()
    bell = PipeBell(heard)
    os.write(rung, b"\0" * 100)
    bell.wait(60)
    bell.wake()
    bell.wait(60)
    bell.wait(0)  # nothing is left
    for end in (heard, rung):
        os.close(end)


def test_the_index_log_has_its_logs_settings_and_waits_for_nothing() -> None:
    text = (
        f'origin = "{ORIGIN}"\n[intervals]\nrepublish_s = 100\nretry_ms = 70\n'
        "[witnesses]\ntimeout_ms = 1234\nmin_interval_s_by_name = { slow = 400.0, semantic = 3.0 }\n"
    )
    config = configuration.parse(text.encode())
    key = VerifierKey.of("witness.example/s", SignatureType.COSIGNATURE_ED25519, make.key("s").public)
    policy = parse_policy(f"witness semantic {key} https://witness.example/s\nquorum semantic\n".encode())
    made = index_config(config, policy)
    assert (made.origin, made.intervals.retry_ms) == (f"{ORIGIN}/index/v1", 70)
    assert made.intervals.republish_s > config.intervals.republish_s  # main first, then index
    assert made.intervals.batch_ms == made.intervals.checkpoint_ms == 1
    assert made.witnesses.timeout_ms == 1234
    assert made.witnesses.min_interval_s_by_name == {"semantic": 3.0}  # those of its policy only
    main = main_config(config, parse_policy(b"quorum none\n"), policy)
    assert main.witnesses.min_interval_s_by_name == {"slow": 400.0}  # which its policy has to know


@pytest.mark.parametrize("line", ["max_lag_entries = -1", "retain_s = 0", "nice = -1", "what = 1", 'nice = "x"'])
def test_settings_of_the_index_are_checked(line: str) -> None:
    with pytest.raises(ConfigError):
        configuration.parse(f'origin = "{ORIGIN}"\n[index]\n{line}\n'.encode())
    assert configuration.parse(f'origin = "{ORIGIN}"\n[index]\nmax_lag_entries = 0\n'.encode()).index.retain_s == 120


def test_inputs_are_kept_by_size_and_forgotten_below_one(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path)
    assert inputs.read(5) is None
    assert inputs.keep(5, b"five")
    assert not inputs.keep(5, b"five")
    assert inputs.keep(5, b"newer cosignatures")
    assert inputs.keep(12, b"twelve")
    (tmp_path / ".new").write_bytes(b"of a process that was killed")
    assert inputs.keep(7, b"seven")
    assert inputs.sizes() == [5, 7, 12]
    inputs.drop(7)
    assert inputs.sizes() == [7, 12]
    assert inputs.read(5) is None
    assert inputs.read(7) == b"seven"


def test_the_main_log_is_read_from_its_public_files_and_hashed_again(tmp_path: Path) -> None:
    with rig(tmp_path / "LOG") as made:
        made.logged(some(600))
    main = MainLog(LogDirectory(tmp_path / "LOG"), ORIGIN)
    published = main.published()
    assert published.size == 601
    entries = list(main.entries(0, published))
    assert len(entries) == 601
    assert list(main.entries(300, published)) == entries[300:]
    assert list(main.entries(601, published)) == []
    with pytest.raises(Damaged, match="knows more entries"):
        next(main.entries(602, published))
    bundle = tmp_path / "LOG/public/tile/entries/001"
    bundle.write_bytes(bundle.read_bytes().replace(b"e300", b"e3OO"))
    with pytest.raises(Damaged, match="gives another tree"):
        next(main.entries(0, published))  # before the first entry of them is mapped


def test_another_logs_checkpoint_is_not_the_main_logs(tmp_path: Path) -> None:
    with rig(tmp_path / "LOG") as made:
        made.logged(some(3))
    other = Rig(tmp_path / "OTHER").open()
    other.drop()
    shown = tmp_path / "LOG/public/checkpoint"
    shown.write_bytes((tmp_path / "OTHER/public/checkpoint").read_bytes())
    main = MainLog(LogDirectory(tmp_path / "LOG"), ORIGIN)
    with pytest.raises(Damaged, match="not the main log's"):
        main.published()
    shown.unlink()
    with pytest.raises(UnavailableError):
        main.published()


def test_an_origin_too_long_for_an_index_makes_no_log(tmp_path: Path) -> None:
    longest = "log.example/" + "a" * (255 - len("log.example/") - len("/index/v1"))
    create(tmp_path / "LOG", longest, ManualClock())
    with pytest.raises(ConfigError, match="too long to have an index"):
        create(tmp_path / "OTHER", longest + "a", ManualClock())
