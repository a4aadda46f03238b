"""A log server, its witnesses and its semantic witnesses, all as processes: the index gets its quorum, and ends."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from teelog.errors import TeelogError
from teelog.index.leaf import IndexLeaf
from teelog.tlog import note, tiles
from teelog.tlog.policy import WitnessedCheckpoint, parse_policy, verify_checkpoint
from teelog.tlog.witness import AddCheckpoint
from tests.story import INDEX, POLICY, SEMANTIC, World, world
from tests.witness.test_command import post


def fetch(place: World, path: str) -> bytes:
    with urllib.request.urlopen(f"{place.url()}/{path}", timeout=120) as answer:
        return bytes(answer.read())


def until(found: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.1)


def index_head(place: World) -> WitnessedCheckpoint:
    """The index log's checkpoint, with the quorum of its policy."""
    return verify_checkpoint(fetch(place, "index/checkpoint"), parse_policy(place.read("index.txt")))


def refresh(place: World, name: str, seen: WitnessedCheckpoint) -> int:
    """What a semantic witness answers who is asked to sign an unchanged checkpoint again, as anyone may."""
    log = note.encode(seen.note.text, [line.signature for line in seen.log_signatures])
    body = AddCheckpoint(seen.checkpoint.size, (), log).encode()
    return post(place.ports[name], body)[0]


def covered(place: World) -> int:
    """Entries in the newest leaf that a quorum of semantic witnesses vouches for."""
    try:
        size = index_head(place).checkpoint.size
    except (TeelogError, OSError):
        return 0
    bundle = tiles.bundle_for((size - 1) // tiles.WIDTH, size)
    leaves = tiles.parse_bundle(fetch(place, f"index/{bundle.path}"), bundle.width)
    return IndexLeaf.parse(leaves[-1]).claimed().size


def test_index_of_a_running_log_gets_its_semantic_quorum_until_the_log_is_frozen(tmp_path: Path) -> None:
    with world(tmp_path, index=True, settings={"republish_s": "1"}) as place:
        place.publish(place.release("one.json"))
        until(lambda: covered(place) == 3)
        assert len(index_head(place).cosignatures) >= 2
        place.publish(place.release("two.json"))
        until(lambda: covered(place) == 4)
        ran = place.run("monitor", "once", place.url(), *POLICY, *INDEX, "--json")
        assert ran.json["index"]["input_size"] == 4
        assert [view["said"] for view in ran.json["witnesses"]] == ["the same log"] * 4
        # A semantic witness that was killed catches up by itself.
        place.servers.stop("S1")
        place.publish(place.release("three.json"))
        place.start("S1")
        until(lambda: covered(place) == 5)
        before = index_head(place)
        place.run("log", "freeze", "LOG", "--yes")
        # One of three may not have come as far (409); the others are the quorum, and sign nothing more.
        until(lambda: [refresh(place, name, before) for name in SEMANTIC].count(403) >= 2)
        assert index_head(place).checkpoint == before.checkpoint
        ran = place.run(
            "monitor", "once", place.url(), *POLICY, *INDEX, "--namespace", "acme.example", "--json", code=1
        )
        assert "frozen" in [alert["alert"] for alert in ran.json["alerts"]]
