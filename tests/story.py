"""A log, its witnesses and a vendor as `teelog` processes on loopback, for tests that go through all of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from teelog.cli import catching_up, demo_firmware, demo_processes
from teelog.cli.demo_processes import Servers
from tests.commands import Ran, teelog

ORIGIN = "log.example/tee"
STREAM = "acme.example/inference/stable"
WITNESSES = ("W1", "W2", "W3", "W4")
SEMANTIC = ("S1", "S2", "S3")
LAUNCH = (
    *("--ovmf", "OVMF.fd", "--kernel", "vmlinuz", "--initrd", "initrd.img", "--append", "console=ttyS0"),
    *("--vcpus", "1,2,4", "--cpu-type", "EPYC-v4"),
)
POLICY = ("--policy", "policy.txt")
INDEX = ("--index-policy", "index.txt")


@dataclass
class World:
    """The folder in which every command runs, and the servers. index: the log has an index, and semantic witnesses."""

    folder: Path
    servers: Servers
    index: bool = False
    ports: dict[str, int] = field(default_factory=dict)
    versions: int = 0

    def run(self, *arguments: object, code: int = 0, to: str | None = None, env: dict[str, str] | None = None) -> Ran:
        """`teelog ARGUMENTS...` in the folder; whatever its exit code, never a traceback and never a mute failure."""
        state = {"TEELOG_STATE": str(self.folder / "client-state")}
        # An index that is behind is waited for, however busy the machine is.
        patient = patch.object(catching_up, "PATIENCE", 120.0)
        with contextlib.chdir(self.folder), patient, patch.dict(os.environ, {**state, **(env or {})}):
            ran = teelog(*map(str, arguments))
        assert ran.code == code, (arguments, ran.code, ran.text, ran.stderr)
        assert "Traceback" not in ran.stderr
        if code not in (0, 2):
            assert len([line for line in ran.stderr.splitlines() if line.startswith("error: ")]) == 1, ran.stderr
        if to is not None:
            (self.folder / to).write_bytes(ran.stdout)
        return ran

    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['LOG']}"

    def start(self, *names: str) -> None:
        for name in names:
            listen = ("--listen", f"127.0.0.1:{self.ports[name]}")
            if name == "LOG":
                index = INDEX if self.index else ()
                self.servers.start(name, ["log", "serve", "LOG", *listen, *POLICY, *index])
            else:
                semantic = ("--semantic",) if name in SEMANTIC else ()
                self.servers.start(name, ["witness", "serve", name, *listen, *semantic])
        for name in names:
            self.servers.wait(name)

    def file(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return name

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def release(self, name: str, *, key: str = "acme.key", stream: str = STREAM, registers: str = "regs.json") -> str:
        """A new signed release, not published yet; its file."""
        self.versions += 1
        what = ("--stream", stream, "--version", f"1.0.{self.versions}", "--svn", self.versions)
        self.run("release", "new", *what, "--registers", registers, "--out", name)
        self.run("release", "sign", name, "--key", key)
        return name

    def publish(self, file: str, *more: object, code: int = 0) -> Ran:
        return self.run("release", "publish", file, *POLICY, "--out", f"{file}.tlog-proof", *more, code=code)


@contextlib.contextmanager
def world(folder: Path, *, index: bool = False, settings: Mapping[str, str] | None = None) -> Iterator[World]:
    """Set up by the commands that a user types, and running. settings: of log.toml, in place of the template's."""
    with demo_processes.servers(folder) as servers:
        made = World(folder, servers, index)
        names = ("LOG", *WITNESSES, *(SEMANTIC if index else ()))
        made.ports = dict(zip(names, demo_processes.free_ports(len(names)), strict=True))
        made.run("key", "generate", "--name", "acme.example", "--out", "acme.key")
        made.run("key", "generate", "--name", "verifier.example", "--out", "verifier.key")
        made.run("log", "init", "LOG", "--origin", ORIGIN)
        _set(folder / "LOG" / "log.toml", settings or {})
        _policy(made, WITNESSES, "witness.example", "LOG/log.vkey", "policy.txt")
        if index:
            main = ("--main", "LOG/log.vkey", "--url", made.url())
            _policy(made, SEMANTIC, "semantic.example", "LOG/index/log.vkey", "index.txt", *main)
        made.start(*(name for name in names if name != "LOG"))
        made.start("LOG")
        roles = ("--owner", "acme.key", "--release", "acme.key", "--status", "acme.key", "--result", "verifier.key")
        made.run("namespace", "new", "--namespace", "acme.example", "--log", ORIGIN, *roles, "--out", "ns.json")
        made.run("log", "allow", "LOG", "ns.json")
        made.file("OVMF.fd", demo_firmware.image())
        made.file("vmlinuz", demo_firmware.part("kernel", 8192))
        made.file("initrd.img", demo_firmware.part("initrd", 8192))
        made.run("measure", "sev-snp", *LAUNCH, "--json", to="regs.json")
        yield made


def _policy(made: World, witnesses: Sequence[str], domain: str, vkeys: str, file: str, *main: str) -> None:
    """Makes the witnesses and the policy of a log, of whom all but one must cosign."""
    asked: list[str] = []
    for name in witnesses:
        made.run("witness", "init", name, "--name", f"{domain}/{name.lower()}")
        made.run("witness", "add-log", name, vkeys, *main)
        asked += ["--witness", f"{name}/witness.vkeys", "--url", f"http://127.0.0.1:{made.ports[name]}"]
    log = ("--log", vkeys, "--url", made.url() + ("/index" if main else ""))
    made.run("policy", "new", *log, *asked, "--quorum", len(witnesses) - 1, to=file)


def _set(path: Path, settings: Mapping[str, str]) -> None:
    left = dict(settings)
    lines = []
    for line in path.read_text().splitlines():
        name = line.removeprefix("# ").split(" = ")[0]
        lines.append(f"{name} = {left.pop(name)}" if name in left else line)
    assert not left, left
    path.write_text("\n".join(lines) + "\n")
