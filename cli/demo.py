"""`teelog demo`: the whole story on this machine, in separate processes, ending with a fork being caught."""

from __future__ import annotations

import shlex
import tempfile
import textwrap
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from teelog.cli import demo_attacks, demo_hiding, demo_machine, demo_processes, output
from teelog.cli.demo_machine import Report
from teelog.cli.demo_processes import Ran, Servers
from teelog.errors import ConfigError, TeelogError

ORIGIN = "log.example/tee"
NAMESPACE = "acme.example"
STREAM = f"{NAMESPACE}/inference/stable"
WITNESSES = ("W1", "W2", "W3", "W4")
QUORUM = 3
SEMANTIC = ("S1", "S2", "S3")
SEMANTIC_QUORUM = 2
IMPATIENT = 5  # seconds: the max age of a verifier who waits in the demo for a bundle to go stale
COLUMNS = 112

SAME = ("--bundle", "acme.teelog", "--trust", "trust.toml", "--stream", STREAM)
INDEX = ("--index-policy", "index.txt")
STATUS = ("--key", "acme.key", "--policy", "policy.txt")
UNBOUND = ("--without", "binding")


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Where the files go.  [default: a new folder]")
@output.json_option
def command(folder: Path | None) -> None:
    """Run the whole story on this machine in under a minute.

    A log, four witnesses and three that rebuild its index run as processes of their own on loopback. A vendor publishes
    a release and allows it, an outsider proves that offline, a machine that runs it is verified from one file. Reports
    of other machines and about other questions are refused. The next release is allowed, the first one withdrawn, and
    verifiers are told; an operator who hides a withdrawal is caught, and so is one who shows a second view of the log.
    All files stay in a folder that is named at the end, no process does.

    The machine's report is a real one where test vectors are at hand (TEELOG_VECTORS), otherwise forged.

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


@dataclass(frozen=True, slots=True)
class _Asked:
    """A report to be judged. bundle: the options of bundle and trust, if not those of SAME."""

    report: Report
    more: tuple[str, ...]
    bundle: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        evidence = ("--evidence", f"{self.report.name}.bin", "--endorsement", self.report.certificates)
        return (*evidence, "--report-data", self.report.report_data, *self.more)


class Story:
    """The steps, each a public command that is shown, run and judged by its exit code."""

    def __init__(self, folder: Path, servers: Servers) -> None:
        self.folder = folder
        self.servers = servers
        self.machine = demo_machine.find(folder)
        self.steps: list[dict[str, Any]] = []
        self.fork_proof = ""
        self.log = 0
        self.witnesses: dict[str, int] = {}
        self.semantic: dict[str, int] = {}

    def tell(self) -> None:
        """Tells all of it. Raises TeelogError where something does not end as it must."""
        _say(f"Everything happens in {self.folder}")
        self.log, *ports = demo_processes.free_ports(1 + len(WITNESSES) + len(SEMANTIC))
        self.witnesses = dict(zip(WITNESSES, ports, strict=False))
        self.semantic = dict(zip(SEMANTIC, ports[len(WITNESSES) :], strict=True))
        self.set_up()
        self.publish()
        self.prove()
        reports = self.machine.put_reports(self.folder / "regs.json")
        self.verify_machine(reports["report"])
        self.refuse_machines(reports)
        self.go_on()
        self.withdraw(reports["report"])
        self.refuse()
        self.hide()
        self.fork()

    # -- the acts -----------------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        _say("1. An operator makes a log, four others make a witness each; 3 of the 4 must cosign")
        self.run("log", "init", "LOG", "--origin", ORIGIN, show=0)
        url = f"http://127.0.0.1:{self.log}"
        self.together(
            [["witness", "init", name, "--name", f"witness.example/{name.lower()}"] for name in WITNESSES],
            [["witness", "add-log", name, "LOG/log.vkey"] for name in WITNESSES],
        )
        self.policy("LOG/log.vkey", url, self.witnesses, QUORUM, "policy.txt")
        self.run("policy", "check", "policy.txt", show=5)
        _say("2. Three more read the whole log: they cosign its index once they have rebuilt it, and nothing else")
        main = ("--main", "LOG/log.vkey", "--url", url)
        self.together(
            [["witness", "init", name, "--name", f"semantic.example/{name.lower()}"] for name in SEMANTIC],
            [["witness", "add-log", name, "LOG/index/log.vkey", *main] for name in SEMANTIC],
        )
        self.policy("LOG/index/log.vkey", f"{url}/index", self.semantic, SEMANTIC_QUORUM, "index.txt")
        for name, port in self.witnesses.items():
            self.serve(name, "witness", "serve", name, "--listen", f"127.0.0.1:{port}")
        for name, port in self.semantic.items():
            self.serve(name, "witness", "serve", name, "--listen", f"127.0.0.1:{port}", "--semantic")
        for name in (*WITNESSES, *SEMANTIC):
            self.servers.wait(name)
        self.serve_log(*INDEX)

    def policy(self, vkeys: str, url: str, witnesses: Mapping[str, int], quorum: int, to: str) -> None:
        asked = [
            word
            for name, port in witnesses.items()
            for word in ("--witness", f"{name}/witness.vkeys", "--url", f"http://127.0.0.1:{port}")
        ]
        self.run("policy", "new", "--log", vkeys, "--url", url, *asked, "--quorum", str(quorum), to=to)

    def serve_log(self, *index: str) -> None:
        listen = ("--listen", f"127.0.0.1:{self.log}")
        self.serve("LOG", "log", "serve", "LOG", *listen, "--policy", "policy.txt", *index)
        self.servers.wait("LOG")

    def publish(self) -> None:
        _say("3. A vendor makes a key; the log's operator allows the vendor's namespace")
        keys = {NAMESPACE: "acme.key", "verifier.example": "verifier.key"}
        self.together([["key", "generate", "--name", name, "--out", file] for name, file in keys.items()])
        roles = ("--owner", "acme.key", "--release", "acme.key", "--status", "acme.key", "--result", "verifier.key")
        self.run("namespace", "new", "--namespace", NAMESPACE, "--log", ORIGIN, *roles, "--out", "ns.json", show=0)
        self.run("log", "allow", "LOG", "ns.json", show=2)

        _say("4. The vendor measures what the TEE will run, and signs and publishes that as a release")
        self.machine.put_programs()
        self.run("measure", "sev-snp", *self.machine.launch, "--json", to="regs.json")
        self.release("1.4.2", 3, "release")

        _say("5. A release allows nothing by itself: a status says which ones are allowed")
        self.run("release", "allow", "release.json", *STATUS, *INDEX, "--yes", show=3)

    def release(self, version: str, svn: int, name: str) -> None:
        file = f"{name}.json"
        what = ("--stream", STREAM, "--version", version, "--svn", str(svn), "--registers", "regs.json")
        self.run("release", "new", *what, *self.machine.artifacts, "--out", file, show=0)
        self.run("release", "sign", file, "--key", "acme.key", show=0)
        self.run("release", "publish", file, "--policy", "policy.txt", "--out", f"{name}.tlog-proof", show=6)

    def prove(self) -> None:
        _say("6. An outsider with the files, the policy and no network: the proof holds, the program measures the same")
        self.verify("release.json", "release.tlog-proof", show=5)
        self.run("measure", "sev-snp", *self.machine.launch, "--expect", "release.json", show=0)

    def verify_machine(self, report: Report) -> None:
        _say("7. A machine hands out its report; a verifier judges it offline, from one file and the trust file")
        _say(f"    {self.machine.said}")
        self.trust("trust.toml", "24h")
        self.run("bundle", "get", STREAM, "--trust", "trust.toml", "--out", "acme.teelog", show=3)
        _say(*_wrapped(f'  $ same="{" ".join(SAME)}"'))
        result = ("--result-key", "verifier.key", "--result-out", "result.jwt")
        self.appraise(report, *UNBOUND, *result, show=24)
        publish = ("result", "publish", "result.jwt", "--policy", "policy.txt", "--out", "result.tlog-proof")
        self.run(*publish, show=3)

    def trust(self, file: str, max_age: str) -> None:
        policies = ("--policy", "policy.txt", "--index-policy", "index.txt")
        self.run("trust", "new", *policies, "--stream", STREAM, "--max-age", max_age, "--out", file, show=0)
        self.run("trust", "pin", file, "ns.json", show=1)
        roots = self.machine.roots()
        if roots is not None:
            path = self.folder / file
            output.write_file(self.folder / "forged-roots.toml", roots.encode())
            output.write_file(path, path.read_bytes() + roots.encode())
            _say(f"  $ cat forged-roots.toml >> {file}", *(f"    {line}" for line in roots.splitlines()))

    def refuse_machines(self, reports: Mapping[str, Report]) -> None:
        _say("8. Another program, a flipped bit, a debug guest, a replay, an output that the report does not bind")
        good = reports["report"]
        output.write_file(self.folder / "answer.json", b'{"answer": 42}\n')
        replayed = replace(good, report_data="00112233445566778899aabbccddeeff")
        asked = {
            "measurement": _Asked(reports["another"], UNBOUND),
            "hardware": _Asked(reports["flipped"], UNBOUND),
            "configuration": _Asked(reports["debug"], UNBOUND),
            "freshness": _Asked(replayed, UNBOUND),
            "binding": _Asked(good, ("--binds", "answer.json")),
        }
        with ThreadPoolExecutor(2) as workers:
            for cause, ran in zip(asked, workers.map(self.ask, asked.values()), strict=True):
                self.show_verdict(asked[cause], ran, cause=cause)

    def go_on(self) -> None:
        _say("9. One witness of each kind dies: the log goes on; the next release is allowed beside the first")
        self.servers.stop("W4", "S3")
        self.release("1.4.3", 4, "next")
        self.run("release", "allow", "next.json", *STATUS, *INDEX, "--yes", show=0)
        self.run("release", "list", STREAM, "--policy", "policy.txt", *INDEX, show=4)

    def withdraw(self, report: Report) -> None:
        _say("10. A flaw is found in 1.4.2: it is withdrawn, and it is said when that binds everyone")
        self.trust("impatient.toml", f"{IMPATIENT}s")
        self.run("bundle", "get", STREAM, "--release", "1.4.2", "--trust", "trust.toml", "--out", "old.teelog", show=0)
        fetched = time.time()
        withdraw = ("release", "withdraw", f"{STREAM}@1.4.2", "--cause", "CVE-2026-1234")
        self.run(*withdraw, *STATUS, *INDEX, show=6)
        _say("    A machine still hands out the bundle of before. For a verifier who wants no view older than")
        _say(f"    {IMPATIENT} s it is stale {IMPATIENT} s later; the bundle of now says why")
        time.sleep(max(0.0, fetched + IMPATIENT + 1 - time.time()))
        stale = ("--bundle", "old.teelog", "--trust", "impatient.toml")
        self.appraise(report, *UNBOUND, cause="fresh", bundle=stale)
        get = ("bundle", "get", STREAM, "--release", "1.4.2", "--withdrawn", "--trust", "trust.toml")
        self.run(*get, "--out", "new.teelog", expect=1, show=3)
        self.appraise(report, *UNBOUND, cause="allowed-now", bundle=("--bundle", "new.teelog", "--trust", "trust.toml"))
        self.run("release", "list", STREAM, "--policy", "policy.txt", *INDEX, show=5)

    def refuse(self) -> None:
        _say("11. Someone changes one number in the signed statement")
        demo_attacks.tamper(self.folder / "release.json", self.folder / "tampered.json")
        self.verify("tampered.json", "release.tlog-proof", expect=1)
        self.run(*("release", "publish", "tampered.json", "--policy", "policy.txt", "--out", "x.tlog-proof"), expect=1)

        _say("12. Someone shows a proof that two of the witnesses never cosigned")
        demo_attacks.strip(self.folder / "release.tlog-proof", self.folder / "few.tlog-proof", keep=2)
        self.verify("release.json", "few.tlog-proof", expect=1)

    def hide(self) -> None:
        _say("13. 1.4.3 is withdrawn too. The log takes that, and its operator keeps it out of the index")
        self.servers.stop("LOG")
        self.serve_log()  # whoever signs the index by hand lets no server do it
        withdraw = ("release", "withdraw", f"{STREAM}@1.4.3", "--cause", "CVE-2026-2345", "--no-wait")
        self.run(*withdraw, *STATUS, show=3)
        self.servers.stop("LOG")
        liar = self.folder / "LIAR"
        request = demo_hiding.hide(self.folder / "LOG", liar)
        running = {name: port for name, port in self.semantic.items() if name != "S3"}
        for name, answer in demo_hiding.answers(request, liar, self.log, running).items():
            _say(f"    {name} answers {answer}")
        self.run("checkpoint", "verify", "LIAR/index/checkpoint", "--policy", "index.txt", expect=1)
        _say("    Anyone who reads the log finds it out, and has proof")
        self.run("monitor", "once", "LIAR", "--policy", "policy.txt", *INDEX, expect=5, show=3)

    def fork(self) -> None:
        _say("14. The log's operator signs a second view, without the last entry, and asks the witnesses to cosign it")
        view = self.folder / "second-view.checkpoint"
        for name, answer in demo_attacks.fork(self.folder / "LOG", ORIGIN, view, self.witnesses, dead=("W4",)).items():
            _say(f"    {name} answers {answer}")
        self.run("checkpoint", "verify", view.name, "--policy", "policy.txt", expect=1)

        _say("15. The witnesses kept both views: a proof of misbehaviour that anyone verifies, offline")
        self.run("witness", "forks", "W1", "--out", "forks", show=1)
        kept = sorted(path.name for path in (self.folder / "forks").iterdir())
        if not kept:
            raise TeelogError("no fork proof was kept", expected="a file in forks/")
        self.fork_proof = f"forks/{kept[0]}"
        self.run("fork", "verify", self.fork_proof, "--policy", "policy.txt", show=5)

    # -- running ------------------------------------------------------------------------------------------------------

    def verify(self, file: str, proof: str, *, expect: int = 0, show: int = 4) -> None:
        self.run("proof", "verify", file, "--proof", proof, "--policy", "policy.txt", expect=expect, show=show)

    def appraise(
        self, report: Report, *more: str, cause: str | None = None, show: int = 3, bundle: Sequence[str] = ()
    ) -> None:
        """`teelog verify`. cause: the check that must fail, and be named as the cause. bundle: and trust, if others."""
        asked = _Asked(report, more, tuple(bundle))
        self.show_verdict(asked, self.ask(asked), cause=cause, show=show)

    def ask(self, asked: _Asked) -> Ran:
        given = (*asked.bundle, "--stream", STREAM) if asked.bundle else SAME
        return demo_processes.command(("verify", *given, *asked.words), self.folder)

    def show_verdict(self, asked: _Asked, ran: Ran, *, cause: str | None, show: int = 3) -> None:
        shown = shlex.join(ran.arguments[1:]) if asked.bundle else "$same " + shlex.join(asked.words)
        _say(*_wrapped("  $ teelog verify " + shown))
        self.judge(ran, 0 if cause is None else 1, show, f"error: {cause}: " if cause else "")

    def run(self, *arguments: str, expect: int = 0, show: int = 4, to: str | None = None) -> None:
        """Runs one command; shows it and the first ``show`` lines of its result. to: its stdout goes to this file."""
        ran = demo_processes.command(arguments, self.folder)
        self.show(arguments, f" > {to}" if to else "")
        self.judge(ran, expect, 0 if to else show)
        if to is not None:
            output.write_file(self.folder / to, ran.stdout)

    def together(self, *groups: Sequence[Sequence[str]]) -> None:
        """Runs the commands of each group side by side, one group after the other."""
        with ThreadPoolExecutor(2) as workers:
            for group in groups:
                for ran in workers.map(lambda arguments: demo_processes.command(arguments, self.folder), group):
                    self.show(ran.arguments)
                    self.judge(ran, 0, 0)

    def serve(self, name: str, *arguments: str) -> None:
        self.servers.start(name, arguments)
        self.show(arguments, " &")

    def judge(self, ran: Ran, expect: int, show: int, cause: str = "") -> None:
        """Raises TeelogError unless it ended with the exit code ``expect`` and, where it failed, for that cause."""
        self.steps.append({"command": ["teelog", *ran.arguments], "exit": ran.code})
        said = ran.stderr if ran.code else ran.stdout.decode("utf-8", "replace")
        lines = [line for line in said.splitlines() if not line.startswith("warning: ")]
        if ran.code != expect or cause not in ran.stderr:
            _say(*(f"    {line}" for line in lines[-8:]))
            raise TeelogError(
                f"teelog {' '.join(ran.arguments[:2])} did not end as it must",
                expected=f"exit code {expect} {cause}".rstrip(" :"),
                actual=f"exit code {ran.code}",
                hint=f"the files are in {self.folder}",
            )
        _say(*(f"    {_short(line)}" for line in lines[:show]))
        if expect:
            _say(f"    exit code {ran.code}")

    def show(self, arguments: Sequence[str], rest: str = "") -> None:
        _say(*_wrapped(f"  $ teelog {shlex.join(arguments)}{rest}"))


def _wrapped(command: str) -> list[str]:
    """A command over several lines of the shell."""
    first, *more = textwrap.wrap(command, COLUMNS - 4, break_long_words=False, break_on_hyphens=False)
    lines = [first, *(f"      {line}" for line in more)]
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


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
            "  $ teelog bundle show old.teelog",
            "  $ teelog evidence show report.bin",
            "  $ teelog result show result.jwt --key verifier.key.pub",
            "  $ teelog entry 2 --policy policy.txt --from LOG",
            "  $ teelog log fsck LOG",
            "  $ teelog monitor once LOG --policy policy.txt --index-policy index.txt",
            "  $ teelog checkpoint compare second-view.checkpoint LOG --policy policy.txt --out mine.teelog-fork",
            f"  $ teelog fork verify {story.fork_proof} --policy policy.txt",
        ],
        {
            "schema": "teelog-demo/v1",
            "directory": folder,
            "seconds": round(seconds, 1),
            "steps": story.steps,
            "real_machine": story.machine.vectors is not None,
            "fork_proof": story.fork_proof,
        },
    )
