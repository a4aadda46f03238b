"""A log read from several places: the newest that verifies counts, and nobody's word more than another's."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from teelog.client.http import HttpClient
from teelog.client.log import LogReader
from teelog.client.places import Places, sources
from teelog.client.source import DirectorySource, TileSource
from teelog.errors import (
    MalformedError,
    NotWitnessed,
    ProofError,
    RefusedError,
    TeelogError,
    UnavailableError,
    UntrustedKey,
)
from teelog.tlog.policy import parse_policy, verify_checkpoint
from teelog.tlog.tiles import Bundle, Tile
from tests.client import logs
from tests.client.peers import peer

ENTRIES = logs.entries(600)


class Files:
    """A place that has ``files``; what is an error there is raised. asked: every path, in order."""

    def __init__(self, name: str, files: dict[str, bytes | TeelogError]) -> None:
        self.name = name
        self.files = files
        self.asked: list[str] = []

    async def _read(self, path: str) -> bytes:
        self.asked.append(path)
        found = self.files.get(path, RefusedError(f"{self.name} has no {path}", status=404))
        if isinstance(found, TeelogError):
            raise found
        return found

    async def checkpoint(self) -> bytes:
        return await self._read("checkpoint")

    async def tile(self, tile: Tile) -> bytes:
        return await self._read(tile.path)

    async def bundle(self, bundle: Bundle) -> bytes:
        return await self._read(bundle.path)


class Hangs(Files):
    """Answers nothing, ever."""

    async def checkpoint(self) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError


def holding(name: str, size: int, **signing: object) -> Files:
    checkpoint = logs.sign(logs.head(ENTRIES[:size]), **signing)  # type: ignore[arg-type]
    return Files(name, {**logs.files(ENTRIES[:size]), "checkpoint": checkpoint})


def places(*found: TileSource, said: list[str] | None = None, grace: float = 60.0) -> Places:
    told = [] if said is None else said
    return Places([[each] for each in found], logs.policy(), logs.ORIGIN, told.append, grace)


async def read_all(source: Places) -> list[bytes]:
    head = verify_checkpoint(await source.checkpoint(), logs.policy()).checkpoint
    return [entry async for _, entry in LogReader(source, head.size, head.root).entries()]


async def test_the_log_itself_is_read_where_it_is_as_new_as_its_mirror():
    log, mirror, said = holding("log", 300), holding("mirror", 300), list[str]()
    assert await read_all(places(log, mirror, said=said)) == ENTRIES[:300]
    assert mirror.asked == ["checkpoint"]
    assert said == []


@pytest.mark.parametrize("sizes", [(300, 600, 257), (257, 600, 300), (600, 257, 300)])
async def test_the_newest_is_read(sizes: Sequence[int]):
    found = [holding(str(size), size) for size in sizes]
    source, said = places(*found), list[str]()
    assert await read_all(source) == ENTRIES
    assert source.name == "600"
    assert {view.witnessed.checkpoint.size for view in source.views} == set(sizes)
    assert said == []


async def test_of_one_size_the_one_that_was_cosigned_last_counts_and_the_log_is_read():
    log, mirror, said = holding("log", 300), holding("mirror", 300, time=logs.NOW + 60), list[str]()
    source = places(log, mirror, said=said)
    assert await source.checkpoint() == mirror.files["checkpoint"]
    assert await read_all(source) == ENTRIES[:300]
    assert (source.name, said, set(mirror.asked)) == ("log", [], {"checkpoint"})


async def test_a_log_that_is_gone_is_read_from_its_mirror_and_that_is_said():
    gone = Files("log", {"checkpoint": UnavailableError("cannot reach log")})
    said: list[str] = []
    assert await read_all(places(gone, holding("mirror", 300), said=said)) == ENTRIES[:300]
    assert said == ["log shows no checkpoint that holds: cannot reach log", "read from mirror"]
    assert gone.asked == ["checkpoint"]


async def test_a_log_that_lies_behind_is_told():
    said: list[str] = []
    await places(holding("log", 257), holding("mirror", 300), said=said).checkpoint()
    assert said == ["log is behind mirror", "read from mirror"]


async def test_a_place_that_never_answers_holds_nobody_up():
    assert await read_all(places(Hangs("log", {}), holding("mirror", 300), grace=0.0)) == ENTRIES[:300]


@pytest.mark.parametrize(
    ("checkpoint", "error"),
    [
        (logs.sign(logs.head(ENTRIES), logs.WITNESSES[:2]), NotWitnessed),
        (logs.sign(logs.head(ENTRIES), log=logs.OTHER_LOG), UntrustedKey),
        (logs.sign(logs.head(ENTRIES)).replace(b"600", b"601"), TeelogError),
        (b"<html>", TeelogError),
    ],
    ids=["no quorum", "another key", "changed", "page"],
)
async def test_a_mirrors_word_counts_no_more_than_the_logs(checkpoint: bytes, error: type[TeelogError]):
    lying = Files("mirror", {**logs.files(ENTRIES), "checkpoint": checkpoint})
    assert await read_all(places(holding("log", 300), lying)) == ENTRIES[:300]
    gone = Files("log", {"checkpoint": UnavailableError("gone")})
    with pytest.raises(UnavailableError if error is not NotWitnessed else NotWitnessed):
        await read_all(places(gone, lying))
    with pytest.raises(error):
        await read_all(places(lying))


async def test_what_a_mirror_shows_gets_its_quorum_from_the_witnesses_once_the_log_is_gone():
    size = 300
    mirror = holding("mirror", size, witnesses=())
    asked: list[bytes] = []

    async def cosign(note: bytes) -> bytes:
        asked.append(note)
        return logs.sign(logs.head(ENTRIES[:size]))

    gone = Files("log", {"checkpoint": UnavailableError("gone")})
    source = Places([[gone], [mirror]], logs.policy(), logs.ORIGIN, cosign=cosign)
    assert await read_all(source) == ENTRIES[:size]
    assert asked == [mirror.files["checkpoint"]]
    with_log = Places([[holding("log", size)], [mirror]], logs.policy(), logs.ORIGIN, cosign=cosign)
    await with_log.checkpoint()
    assert len(asked) == 1
    with pytest.raises(NotWitnessed):
        await places(gone, mirror).checkpoint()


async def test_a_checkpoint_of_another_log_of_the_policy_is_not_this_ones():
    both = parse_policy(b"log %b\n" % str(logs.OTHER_LOG.verifier).encode() + logs.policy_text())
    other = logs.sign(logs.head(ENTRIES, logs.OTHER_LOG.verifier.name), log=logs.OTHER_LOG)
    source = Places([[Files("mirror", {"checkpoint": other})]], both, logs.ORIGIN)
    with pytest.raises(TeelogError, match="another log"):
        await source.checkpoint()


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/001.p/44", "tile/entries/000", "tile/entries/001.p/44"])
@pytest.mark.parametrize("wrong", [b"", bytes(32), bytes(8192), None, UnavailableError("gone")], ids=str)
async def test_what_one_place_gives_wrong_or_not_at_all_is_asked_of_the_next(
    path: str, wrong: bytes | TeelogError | None
):
    bad, good = holding("log", 300), holding("mirror", 300)
    if wrong is None:
        del bad.files[path]
    else:
        bad.files[path] = wrong
    assert await read_all(places(bad, good)) == ENTRIES[:300]
    assert path in good.asked


async def test_what_every_place_gives_wrong_is_refused():
    bad = [holding(name, 300) for name in ("log", "mirror")]
    for each in bad:
        each.files["tile/entries/000"] = logs.files(logs.entries(300, "forged"))["tile/entries/000"]
    with pytest.raises(ProofError):
        await read_all(places(*bad))
    assert [each.asked.count("tile/entries/000") for each in bad] == [1, 1]


async def test_a_place_that_went_down_is_asked_last():
    down, up = holding("log", 600), holding("mirror", 600)
    down.files |= {path: UnavailableError("gone") for path in down.files if path != "checkpoint"}
    assert await read_all(places(down, up)) == ENTRIES
    assert len(down.asked) < 10  # what was under way at once, and no more


@pytest.mark.parametrize("wrong", [bytes(9), UnavailableError("gone"), MalformedError("too long")], ids=str)
async def test_a_place_whose_answers_do_not_hold_is_asked_last(wrong: bytes | TeelogError):
    lying, good = holding("lying", 600), holding("good", 600)
    lying.files |= {path: wrong for path in lying.files if path.startswith("tile/entries")}
    source = places(lying, good)
    head = verify_checkpoint(await source.checkpoint(), logs.policy()).checkpoint
    reader = LogReader(source, head.size, head.root)
    for number in (0, 256, 512):
        assert await reader.entry(number) == ENTRIES[number]
    assert [path for path in lying.asked if path.startswith("tile/entries")] == ["tile/entries/000"]


async def test_what_is_remembered_of_paths_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("teelog.client.places.RECENT", 3)
    source = places(holding("log", 600))
    assert await read_all(source) == ENTRIES
    assert len(source._gave) == 3


async def test_a_mirror_is_found_below_its_monitoring_prefix(tmp_path: Path):
    below = hashlib.sha256(logs.ORIGIN.encode()).hexdigest()
    files = {**logs.files(ENTRIES[:300]), "checkpoint": logs.sign(logs.head(ENTRIES[:300]))}
    with peer() as mirror:
        mirror.serve({f"{below}/{path}": data for path, data in files.items()})
        async with HttpClient() as http:
            for url in (mirror.url, f"{mirror.url}/{below}", f"{mirror.url}/"):
                source = Places([sources(http, url, logs.ORIGIN)], logs.policy(), logs.ORIGIN)
                assert await read_all(source) == ENTRIES[:300]
        # Where a witness mirrors, what it cosigned of the log lies below its address as well.
        mirror.answers.clear()
        seen = {f"{below}/checkpoint": files["checkpoint"]}
        mirror.serve({f"mirror/{below}/{path}": data for path, data in files.items()} | seen)
        async with HttpClient() as http:
            source = Places([sources(http, mirror.url, logs.ORIGIN)], logs.policy(), logs.ORIGIN)
            assert await read_all(source) == ENTRIES[:300]
    logs.write(tmp_path / below, ENTRIES[:300])
    for folder in (tmp_path, tmp_path / below):
        found = sources(None, str(folder), logs.ORIGIN)
        assert all(isinstance(each, DirectorySource) for each in found)
        assert await read_all(Places([found], logs.policy(), logs.ORIGIN)) == ENTRIES[:300]


def test_no_place_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError):
        Places([], logs.policy(), logs.ORIGIN)
    with pytest.raises(ValueError):
        Places([[]], logs.policy(), logs.ORIGIN)
