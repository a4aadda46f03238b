"""Checkpoints that are kept for good: one for each size with which a status or namespace came into effect."""

from __future__ import annotations

import os
from pathlib import Path

from teelog.log_server.index.inputs import Inputs


def test_the_first_that_has_an_entry_is_given(tmp_path: Path):
    kept = Inputs(tmp_path / "moments")
    assert kept.first_with(0) is None
    for size in (3, 12, 7):
        assert kept.keep(size, b"note %d" % size)
    assert [kept.first_with(index) for index in (0, 2, 3, 6, 7, 11)] == [
        *(b"note 3", b"note 3", b"note 7"),
        *(b"note 7", b"note 12", b"note 12"),
    ]
    assert kept.first_with(12) is None


def test_a_file_that_was_not_finished_is_none(tmp_path: Path):
    kept = Inputs(tmp_path)
    (tmp_path / ".new").write_bytes(b"half")
    assert kept.sizes() == []
    assert kept.keep(1, b"note")
    assert kept.first_with(0) == b"note"


def test_what_is_kept_is_listed_again_only_where_it_has_changed(tmp_path: Path):
    """Anyone may ask, and what is kept for good gets long: an answer takes no look at all of it."""
    kept = Inputs(tmp_path)
    assert kept.keep(3, b"note")
    os.utime(tmp_path, (1_000, 1_000))
    assert kept.sizes() == [3]
    (tmp_path / "7").write_bytes(b"by another process")
    os.utime(tmp_path, (1_000, 1_000))
    assert kept.sizes() == [3]
    os.utime(tmp_path, (1_000, 1_001))
    assert kept.sizes() == [3, 7]


def test_what_comes_right_after_a_look_is_seen_by_the_next_one(tmp_path: Path):
    kept = Inputs(tmp_path)
    for size in range(1, 50):
        assert kept.keep(size, b"note")
        assert kept.sizes()[-1] == size
