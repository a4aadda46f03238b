"""A log pushes to a mirror, both as processes; the log is gone for good, and verifiers go on from the mirror."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from teelog.cli import demo_processes
from tests.commands import teelog
from tests.story import INDEX, ORIGIN, POLICY, STREAM, World, world

TRUST = ("--trust", "trust.toml")


def until(holds: Callable[[], bool]) -> None:
    """Waits for another process's state; nothing depends on how long that takes."""
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def start_mirror(made: World, folder: Path) -> str:
    """A witness that mirrors the log and its index log; the log pushes to it. Its monitoring prefix."""
    (port,) = demo_processes.free_ports(1)
    made.run("witness", "init", "M", "--name", "mirror-witness.example/m")
    made.run("witness", "add-log", "M", "LOG/log.vkey")
    made.run("witness", "add-log", "M", "LOG/index/log.vkey")
    made.servers.start("M", ["witness", "serve", "M", "--listen", f"127.0.0.1:{port}", "--mirror", "M-mirror"])
    made.servers.wait("M")
    made.servers.stop("LOG")
    vkeys = [f'"{key}"' for key in (folder / "M-mirror" / "mirror.vkeys").read_text().split()]
    with (folder / "LOG" / "log.toml").open("a") as file:
        file.write(f'[[mirror]]\nurl = "http://127.0.0.1:{port}"\nvkey = [{", ".join(vkeys)}]\nindex = true\n')
    made.start("LOG")
    return f"http://127.0.0.1:{port}/mirror"


def test_verifiers_go_on_from_the_mirror_once_the_log_is_gone(tmp_path: Path):
    with world(tmp_path, index=True) as made:
        mirror = start_mirror(made, tmp_path)
        made.publish(made.release("release.json"))
        status = ("--key", "acme.key", *POLICY, *INDEX, "--yes")
        made.run("release", "allow", "release.json", *status)
        made.run("trust", "new", *POLICY, *INDEX, "--stream", STREAM, "--max-age", "1h", "--out", "trust.toml")
        made.run("trust", "pin", "trust.toml", "ns.json")
        made.run("bundle", "get", STREAM, *TRUST, "--out", "by-log.teelog")
        places = [f"{mirror}/{sha256(origin.encode()).hexdigest()}" for origin in (ORIGIN, f"{ORIGIN}/index/v1")]
        own = [made.url(), f"{made.url()}/index"]
        until(lambda: [size(made, place) for place in places] == [size(made, place) for place in own])
        made.servers.stop("LOG")

        asked = ("--mirror", mirror, "--timeout", "5s")
        ran = made.run("bundle", "get", STREAM, *TRUST, "--out", "by-mirror.teelog", *asked)
        assert "allowed now" in ran.text
        made.run("bundle", "show", "by-mirror.teelog", *TRUST)
        made.run("bundle", "refresh", "by-log.teelog", *TRUST, *asked)
        assert "1 release allowed" in made.run("release", "list", STREAM, *TRUST, *asked).text
        made.run("proof", "get", "release.json", *POLICY, "--out", "proof", *asked)
        made.run("proof", "verify", "release.json", "--proof", "proof", *POLICY)
        made.run("log", "mirror", places[0], "DIR", *POLICY, code=1)  # it shows no quorum
        made.run("entry", "0", *POLICY, code=4)



def size(made: World, place: str) -> int | None:
    """Of the checkpoint there; None where there is none yet."""
    with contextlib.chdir(made.folder):
        ran = teelog("checkpoint", "show", place, "--json")
    found = ran.json.get("size") if ran.code == 0 else None
    return None if found is None else int(found)
