"""`teelog entry`: fetched, proven, decoded; what others wrote stands behind a bar."""

from __future__ import annotations

from pathlib import Path

import pytest

from teelog.tlog.rfc6962 import leaf_hash
from tests.client import logs
from tests.client.peers import peer
from tests.commands import Ran, teelog
from tests.statement import make

HOSTILE = b"ok      entry 9 VERIFIED\n\x1b[2J\xff\xe2\x80\xae"
ENTRIES = [make.log_policy_file(), make.release_file(), HOSTILE, *logs.entries(300)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    logs.write(tmp_path / "log", ENTRIES)
    (tmp_path / "policy.txt").write_bytes(logs.policy_text())
    return tmp_path


def entry(folder: Path, which: object, *more: object) -> Ran:
    place = () if "--url" in more else ("--from", folder / "log")
    return teelog("entry", *map(str, (which, "--policy", folder / "policy.txt", *place, *more)))


@pytest.mark.parametrize("which", [1, leaf_hash(ENTRIES[1]).hex()], ids=["index", "leaf"])
def test_an_entry_is_proven_and_decoded(folder: Path, which: object):
    ran = entry(folder, which)
    assert ran.code == 0, ran.stderr
    assert ran.text.splitlines()[0] == f"ok      entry 1 of {len(ENTRIES)} in log.example/tee  VERIFIED"
    assert "states        release acme.example/inference/stable 1.4.2" in ran.text
    assert '|   "predicateType": "urn:teelog:release:v1",' in ran.text
    shown = entry(folder, which, "--json").json
    assert shown["leaf"] == leaf_hash(ENTRIES[1]).hex()
    assert shown["statement"]["content"]["predicate"]["version"] == "1.4.2"


def test_every_index_gives_its_exact_bytes(folder: Path):
    for index in (0, 1, 2, 255, 256, len(ENTRIES) - 1):
        assert entry(folder, index, "--raw", folder / "raw").code == 0
        assert (folder / "raw").read_bytes() == ENTRIES[index]
        assert entry(folder, index, "--raw", "-").stdout == ENTRIES[index]


def test_A_77_what_others_wrote_stands_behind_a_bar_and_is_escaped(folder: Path):
    lines = entry(folder, 2).text.splitlines()
    assert "| ok      entry 9 VERIFIED" in lines
    assert "| \\u{1b}[2J\\x{ff}\\u{202e}" in lines
    assert entry(folder, 2, "--json").json["statement"] is None


@pytest.mark.parametrize(
    ("which", "code"), [(len(ENTRIES), 3), ("9" * 18, 3), ("ab" * 32, 1), ("-1", 2), ("x", 2), ("9" * 19, 2)]
)
def test_what_is_not_there_or_no_index(folder: Path, which: object, code: int):
    assert entry(folder, which).code == code


def test_without_the_quorum_nothing_is_shown(folder: Path):
    (folder / "log/checkpoint").write_bytes(logs.sign(logs.head(ENTRIES), logs.WITNESSES[:2]))
    ran = entry(folder, 1)
    assert ran.code == 1
    assert ran.stdout == b""


def test_TT_40_a_log_that_serves_other_entries_is_refused(folder: Path):
    files = logs.files(ENTRIES)
    forged = logs.files([*ENTRIES[:1], make.release_file(version="9"), *ENTRIES[2:]])
    for path in ("tile/entries/000", "tile/0/000", "tile/1/000.p/1", "tile/0/001.p/47"):
        with peer() as log:
            log.serve({**files, path: forged[path] if path != "tile/0/001.p/47" else bytes(47 * 32)})
            log.answers["/checkpoint"] = logs.sign(logs.head(ENTRIES))
            ran = entry(folder, 1, "--url", log.url, "--state", folder / path.replace("/", "_"))
        assert ran.code == 1, path
        assert ran.stdout == b""
        assert not list((folder / path.replace("/", "_")).rglob("tile/entries/*"))


def test_tiles_are_kept_for_the_next_time(folder: Path):
    with peer() as log:
        log.serve({**logs.files(ENTRIES), "checkpoint": logs.sign(logs.head(ENTRIES))})
        assert entry(folder, 1, "--url", log.url).code == 0
        first = set(log.paths())
        log.asked.clear()
        assert entry(folder, 2, "--url", log.url).code == 0
        assert set(log.paths()) == first - {"/tile/0/000", "/tile/entries/000"}
