"""`teelog demo`: the whole story on this machine, in separate processes, ending with a fork being caught."""

from __future__ import annotations

import shlex
import tempfile
import textwrap
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from teelog.cli import demo_attacks, demo_firmware, demo_processes, output
from teelog.cli.demo_processes import Ran, Servers
from teelog.errors import ConfigError, TeelogError

ORIGIN = "log.example/tee"
NAMESPACE = "acme.example"
STREAM = f"{NAMESPACE}/inference/stable"
WITNESSES = ("W1", "W2", "W3", "W4")
QUORUM = 3
COLUMNS = 112

_LAUNCH = (
    *("--ovmf", "OVMF.fd", "--kernel", "vmlinuz", "--initrd", "initrd.img", "--append", "console=ttyS0"),
    *("--vcpus", "1,2,4", "--cpu-type", "EPYC-v4"),
)


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Where the files go.  [default: a new folder]")
@output.json_option
def command(folder: Path | None) -> None:
    """Run the whole story on this machine in under a minute.

    A log and four witnesses run as processes of their own on loopback. A vendor measures and publishes a release, an
    outsider proves it offline; a tampered statement, a proof without the quorum and a second view of the log are
    refused. All files stay in a folder that is named at the end, no process does.

    Example: teelog demo --dir my-demo
    """
    place = _new_folder(folder)
    started = time.monotonic()
    with demo_processes.servers(place) as servers:
        story = Story(place, servers)
        story.tell()
    seconds = time.monotonic() - started
    _report(story, seconds)


def _new_folder(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="teelog-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty", expected="a new folder", hint="choose another --dir")
    return folder.resolve()


class Story:
    """The steps, each a public command that is shown, run and judged by its exit code."""

    def __init__(self, folder: Path, servers: Servers) -> None:
        self.folder = folder
        self.servers = servers
        self.steps: list[dict[str, Any]] = []
        self.fork_proof = ""

    def tell(self) -> None:
        """Tells all of it. Raises TeelogError where something does not end as it must."""
        _say(f"Everything happens in {self.folder}")
        ports = demo_processes.free_ports(1 + len(WITNESSES))
        log, witnesses = ports[0], dict(zip(WITNESSES, ports[1:], strict=True))
        self.set_up(log, witnesses)
        self.publish()
        self.prove()
        self.refuse(witnesses)

    # -- the acts -----------------------------------------------------------------------------------------------------

    def set_up(self, log: int, witnesses: dict[str, int]) -> None:
        _say("1. An operator makes a log, four others make a witness each; 3 of the 4 must cosign")
        self.run("log", "init", "LOG", "--origin", ORIGIN, show=0)
        self.together(
            [["witness", "init", name, "--name", f"witness.example/{name.lower()}"] for name in WITNESSES],
            [["witness", "add-log", name, "LOG/log.vkey"] for name in WITNESSES],
        )
        asked = [
            word
            for name, port in witnesses.items()
            for word in ("--witness", f"{name}/witness.vkeys", "--url", f"http://127.0.0.1:{port}")
        ]
        where = ("--log", "LOG/log.vkey", "--url", f"http://127.0.0.1:{log}")
        self.run("policy", "new", *where, *asked, "--quorum", str(QUORUM), to="policy.txt")
        self.run("policy", "check", "policy.txt", show=5)
        for name, port in witnesses.items():
            self.serve(name, "witness", "serve", name, "--listen", f"127.0.0.1:{port}")
        for name in WITNESSES:
            self.servers.wait(name)
        self.serve("LOG", "log", "serve", "LOG", "--listen", f"127.0.0.1:{log}", "--policy", "policy.txt")
        self.servers.wait("LOG")

    def publish(self) -> None:
        _say("2. A vendor makes a key; the log's operator allows the vendor's namespace")
        self.run("key", "generate", "--name", NAMESPACE, "--out", "acme.key", show=0)
        roles = ("--owner", "acme.key", "--release", "acme.key", "--status", "acme.key")
        self.run("namespace", "new", "--namespace", NAMESPACE, "--log", ORIGIN, *roles, "--out", "ns.json", show=0)
        self.run("log", "allow", "LOG", "ns.json", show=2)

        _say("3. The vendor measures what the TEE will run, and signs and publishes that as a release")
        for name, data in (
            ("OVMF.fd", demo_firmware.image()),
            ("vmlinuz", demo_firmware.part("kernel", 1 << 20)),
            ("initrd.img", demo_firmware.part("initrd", 1 << 20)),
        ):
            output.write_file(self.folder / name, data)
        self.run("measure", "sev-snp", *_LAUNCH, "--json", to="regs.json")
        self.release("1.4.2", 3, "release")

    def release(self, version: str, svn: int, name: str) -> None:
        file = f"{name}.json"
        what = ("--stream", STREAM, "--version", version, "--svn", str(svn), "--registers", "regs.json")
        self.run("release", "new", *what, "--artifact", "initrd.img", "--out", file, show=0)
        self.run("release", "sign", file, "--key", "acme.key", show=0)
        self.run("release", "publish", file, "--policy", "policy.txt", "--out", f"{name}.tlog-proof", show=6)

    def prove(self) -> None:
        _say("4. An outsider with the files, the policy and no network: the proof holds, the program measures the same")
        self.verify("release.json", "release.tlog-proof", show=5)
        self.run("measure", "sev-snp", *_LAUNCH, "--expect", "release.json", show=0)

        _say("5. One witness dies: the log goes on, 3 of 4 are enough")
        self.servers.stop("W4")
        self.release("1.4.3", 4, "next")

    def refuse(self, witnesses: dict[str, int]) -> None:
        _say("6. Someone changes one number in the signed statement")
        demo_attacks.tamper(self.folder / "release.json", self.folder / "tampered.json")
        self.verify("tampered.json", "release.tlog-proof", expect=1)
        self.run(*("release", "publish", "tampered.json", "--policy", "policy.txt", "--out", "x.tlog-proof"), expect=1)

        _say("7. Someone shows a proof that two of the witnesses never cosigned")
        demo_attacks.strip(self.folder / "release.tlog-proof", self.folder / "few.tlog-proof", keep=2)
        self.verify("release.json", "few.tlog-proof", expect=1)

        _say("8. The log's operator signs a second view, without release 1.4.3, and asks the witnesses to cosign it")
        view = self.folder / "second-view.checkpoint"
        for name, answer in demo_attacks.fork(self.folder / "LOG", ORIGIN, view, witnesses, dead=("W4",)).items():
            _say(f"    {name} answers {answer}")
        self.run("checkpoint", "verify", view.name, "--policy", "policy.txt", expect=1)

        _say("9. The witnesses kept both views: a proof of misbehaviour that anyone verifies, offline")
        self.run("witness", "forks", "W1", "--out", "forks", show=1)
        kept = sorted(path.name for path in (self.folder / "forks").iterdir())
        if not kept:
            raise TeelogError("no fork proof was kept", expected="a file in forks/")
        self.fork_proof = f"forks/{kept[0]}"
        self.run("fork", "verify", self.fork_proof, "--policy", "policy.txt", show=5)

    # -- running ------------------------------------------------------------------------------------------------------

    def verify(self, file: str, proof: str, *, expect: int = 0, show: int = 4) -> None:
        self.run("proof", "verify", file, "--proof", proof, "--policy", "policy.txt", expect=expect, show=show)

    def run(self, *arguments: str, expect: int = 0, show: int = 4, to: str | None = None) -> None:
        """Runs one command; shows it and the first ``show`` lines of its result. to: its stdout goes to this file."""
        self.judge(demo_processes.command(arguments, self.folder), expect, show, to)

    def together(self, *groups: Sequence[Sequence[str]]) -> None:
        """Runs the commands of each group side by side, one group after the other."""
        with ThreadPoolExecutor(2) as workers:
            for group in groups:
                for ran in workers.map(lambda arguments: demo_processes.command(arguments, self.folder), group):
                    self.judge(ran, 0, 0, None)

    def serve(self, name: str, *arguments: str) -> None:
        self.servers.start(name, arguments)
        self.show(arguments, " &")

    def judge(self, ran: Ran, expect: int, show: int, to: str | None) -> None:
        self.show(ran.arguments, f" > {to}" if to else "")
        self.steps.append({"command": ["teelog", *ran.arguments], "exit": ran.code})
        said = ran.stderr if ran.code else ran.stdout.decode("utf-8", "replace")
        lines = said.splitlines()
        if ran.code != expect:
            _say(*(f"    {line}" for line in lines[-8:]))
            raise TeelogError(
                f"teelog {' '.join(ran.arguments[:2])} did not end as it must",
                expected=f"exit code {expect}",
                actual=f"exit code {ran.code}",
                hint=f"the files are in {self.folder}",
            )
        if to is not None:
            output.write_file(self.folder / to, ran.stdout)
            return
        _say(*(f"    {_short(line)}" for line in lines[:show]))
        if expect:
            _say(f"    exit code {ran.code}")

    def show(self, arguments: Sequence[str], rest: str = "") -> None:
        words = " ".join(["teelog", *map(shlex.quote, arguments)]) + rest
        first, *more = textwrap.wrap(words, COLUMNS - 8, break_long_words=False, break_on_hyphens=False)
        _say(
            *(
                line + (" \\" if i < len(more) else "")
                for i, line in enumerate([f"  $ {first}", *(f"      {m}" for m in more)])
            )
        )


def _short(line: str) -> str:
    return line if len(line) <= COLUMNS - 4 else line[: COLUMNS - 7] + "..."


def _say(*lines: str) -> None:
    """The story: the command's result, or talk where the result is to be one JSON object."""
    for line in lines:
        text = f"\n{line}" if line[:1].isdigit() else line
        for part in text.split("\n"):
            if output.wants_json():
                output.note(part)
            else:
                output.result(part, {"schema": "teelog-demo-line/v1"})


def _report(story: Story, seconds: float) -> None:
    folder = story.folder
    output.result(
        [
            "",
            f"Done in {seconds:.0f} s. No process is left; the files are in {folder}",
            "Look around, no server is needed:",
            f"  $ cd {shlex.quote(str(folder))}",
            "  $ teelog release show release.json",
            "  $ teelog proof show release.tlog-proof",
            "  $ teelog proof verify release.json --proof release.tlog-proof --policy policy.txt --max-age 24h",
            "  $ teelog entry 2 --policy policy.txt --from LOG",
            "  $ teelog log fsck LOG",
            "  $ teelog checkpoint compare second-view.checkpoint LOG --policy policy.txt --out mine.teelog-fork",
            f"  $ teelog fork verify {story.fork_proof} --policy policy.txt",
        ],
        {
            "schema": "teelog-demo/v1",
            "directory": folder,
            "seconds": round(seconds, 1),
            "steps": story.steps,
            "fork_proof": story.fork_proof,
        },
    )
