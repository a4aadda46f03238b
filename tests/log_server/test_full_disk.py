"""A disk that fills up at any step: 503, nothing lost, and on it goes once there is room (R-09, F-05)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from teelog.log_server import config as configuration
from teelog.log_server.delivery import Failure
from tests.log_server.rig import ORIGIN, QUICK, Rig, raw

MiB = 1 << 20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "teelog-test", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a file system is not permitted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, leave: int) -> Path:
    """A file that takes up all but ``leave`` bytes."""
    import os

    state = os.statvfs(place)
    filler = place / "filler"
    filler.write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - leave)))
    return filler


@pytest.mark.parametrize("leave", [0, 8_192, 40_000, 80_000, 120_000, 200_000, 400_000])
def test_F_05_a_full_disk_at_any_step_loses_nothing(small: Path, leave: int) -> None:
    made = Rig(small / "log", config=QUICK).open()
    kept = [raw(bytes([n]) * 3_000) for n in range(3)]
    made.logged(kept)
    filler = fill(small, leave)
    refused = 0
    entries = [raw(b"%04d" % n * 1_000) for n in range(120)]
    for entry in entries:
        answer = made.submit([entry])
        if not isinstance(answer, list):
            refused += 1
        if made.sequencer.stopped.done():
            break
    assert refused, "the disk never was full"
    made.check()
    made.drop()
    filler.unlink()
    again = made.reopen()
    again.sequencer.open()
    again.work(3)
    again.check()
    # What was acknowledged keeps its index (the observer's proofs), and the rest gets in now.
    assert [outcome.index for outcome in again.logged(kept)] == [1, 2, 3]
    indices = [again.logged([entry])[0].index for entry in entries[:20]]
    assert len(set(indices)) == 20
    again.check()
    again.drop()


def test_R_09_the_watermark_refuses_before_anything_is_promised(small: Path) -> None:
    config = configuration.parse(f'origin="{ORIGIN}"\n[disk]\nmin_free_bytes={2 * MiB}\n'.encode())
    made = Rig(small / "log", config=config).open()
    made.logged([raw("before")])
    filler = fill(small, MiB)
    made.work()
    answer = made.submit([raw("during")])
    assert isinstance(answer, Failure)
    assert answer.kind == "full"
    assert answer.message == "the disk is nearly full"
    assert not made.sequencer.stopped.done()
    filler.unlink()
    made.clock.pass_ms(2_000)
    made.work()
    assert made.logged([raw("during")])[0].index == 2
    assert made.check().size == 3
    made.drop()
