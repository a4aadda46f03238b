"""A log, four witnesses and a vendor as `teelog` processes on loopback, for tests that go through all of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from teelog.cli import demo_firmware, demo_processes
from teelog.cli.demo_processes import Servers
from tests.commands import Ran, teelog

ORIGIN = "log.example/tee"
STREAM = "acme.example/inference/stable"
WITNESSES = ("W1", "W2", "W3", "W4")
LAUNCH = (
    *("--ovmf", "OVMF.fd", "--kernel", "vmlinuz", "--initrd", "initrd.img", "--append", "console=ttyS0"),
    *("--vcpus", "1,2,4", "--cpu-type", "EPYC-v4"),
)
POLICY = ("--policy", "policy.txt")


@dataclass
class World:
    """The folder in which every command runs, and the servers."""

    folder: Path
    servers: Servers
    ports: dict[str, int] = field(default_factory=dict)
    versions: int = 0

    def run(self, *arguments: object, code: int = 0, to: str | None = None, env: dict[str, str] | None = None) -> Ran:
        """`teelog ARGUMENTS...` in the folder; whatever its exit code, never a traceback and never a mute failure."""
        state = {"TEELOG_STATE": str(self.folder / "client-state")}
        with contextlib.chdir(self.folder), patch.dict(os.environ, {**state, **(env or {})}):
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
            if name == "LOG":
                listen = f"127.0.0.1:{self.ports[name]}"
                self.servers.start(name, ["log", "serve", "LOG", "--listen", listen, *POLICY])
            else:
                self.servers.start(name, ["witness", "serve", name, "--listen", f"127.0.0.1:{self.ports[name]}"])
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
def world(folder: Path) -> Iterator[World]:
    """Set up by the commands that a user types, and running."""
    with demo_processes.servers(folder) as servers:
        made = World(folder, servers)
        ports = demo_processes.free_ports(5)
        made.ports = dict(zip(("LOG", *WITNESSES), ports, strict=True))
        made.run("key", "generate", "--name", "acme.example", "--out", "acme.key")
        made.run("key", "generate", "--name", "verifier.example", "--out", "verifier.key")
        made.run("log", "init", "LOG", "--origin", ORIGIN)
        asked: list[str] = []
        for name in WITNESSES:
            made.run("witness", "init", name, "--name", f"witness.example/{name.lower()}")
            made.run("witness", "add-log", name, "LOG/log.vkey")
            asked += ["--witness", f"{name}/witness.vkeys", "--url", f"http://127.0.0.1:{made.ports[name]}"]
        log = ("--log", "LOG/log.vkey", "--url", made.url())
        made.run("policy", "new", *log, *asked, "--quorum", 3, to="policy.txt")
        made.start(*WITNESSES)
        made.start("LOG")
        roles = ("--owner", "acme.key", "--release", "acme.key", "--status", "acme.key", "--result", "verifier.key")
        made.run("namespace", "new", "--namespace", "acme.example", "--log", ORIGIN, *roles, "--out", "ns.json")
        made.run("log", "allow", "LOG", "ns.json")
        made.file("OVMF.fd", demo_firmware.image())
        made.file("vmlinuz", demo_firmware.part("kernel", 8192))
        made.file("initrd.img", demo_firmware.part("initrd", 8192))
        made.run("measure", "sev-snp", *LAUNCH, "--json", to="regs.json")
        yield made
