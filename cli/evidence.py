"""`teelog evidence`: decode a TEE's evidence, and verify it by itself: hardware, configuration, freshness, binding."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import click

from teelog import strict
from teelog.cli import evidence_fetch, evidence_input, files, findings, output
from teelog.cli import trust as trusts
from teelog.cli.duration import moment
from teelog.errors import MalformedError
from teelog.evidence import report_data
from teelog.evidence.platform import Evidence, Expected, Logged, Roots
from teelog.statement import strict_json
from teelog.verdict import Check, Finding, Outcome, Verdict, not_established, off

MAX_BOUND = 1 << 28  # bytes of a file given to --binds
MAX_EVENT_LOG = 1 << 22  # bytes

CHECKS = (Check.HARDWARE, Check.CONFIGURATION, Check.FRESHNESS, Check.BINDING)

Option = TypeVar("Option")


@click.group()
def group() -> None:
    """Decode a TEE's evidence, and verify it by itself. What it should run is `teelog verify`'s question."""


group.add_command(evidence_fetch.command)


@group.command()
@click.argument("file", metavar="EVIDENCE")
@output.json_option
def show(file: str) -> None:
    """Decode evidence: every field. Nothing is verified, so nothing in it can be trusted.

    Example: teelog evidence show report.bin
    """
    evidence = evidence_input.read(file)
    output.note("nothing of this is verified: that is what teelog evidence verify does")
    output.result(
        [
            *output.columns([("platform", evidence.platform), *_rows(evidence.fields())]),
            "",
            "what it claims about isolation:",
            *(f"  {fact}" for fact in evidence.facts),
        ],
        {
            "schema": "teelog-evidence/v1",
            "platform": evidence.platform,
            "fields": dict(evidence.fields()),
            "registers": dict(evidence.registers),
            "facts": list(evidence.facts),
            "verified": False,
        },
    )


def _rows(fields: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            for inner, one in value.items():
                yield f"{name}.{inner}", _text(one)
        else:
            yield name, _text(value)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _option(read: Callable[[str], Option]) -> Callable[[click.Context, click.Parameter, str | None], Option | None]:
    """A callback for click; what ``read`` refuses is a wrong use."""

    def convert(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Option | None:
        if value is None:
            return None
        try:
            return read(value)
        except MalformedError as error:
            raise click.BadParameter(str(error)) from error

    return convert


def _field(text: str) -> bytes:
    value = strict.unhex(text, "value")
    report_data.padded(value)
    return value


@group.command()
@click.argument("file", metavar="EVIDENCE")
@click.option(
    "--endorsement",
    "endorsements",
    metavar="FILE",
    multiple=True,
    help="Certificate of the signing key: DER, PEM, or the platform's table; repeatable.",
)
@click.option("--collateral", metavar="FILE", help="TDX, SGX: Intel's statements about the platform, as JSON.")
@click.option("--event-log", metavar="FILE", help="Log of measured boot, which must explain the registers.")
@click.option("--require", metavar="FILE", help="The require block of a release's variant (JSON), demanded as well.")
@click.option("--trust", "trust_file", metavar="FILE", help="Trust file whose [platform.NAME] holds. [default: none]")
@click.option("--nonce", metavar="HEX", callback=_option(_field), help="Your challenge, 1 to 64 bytes.")
@click.option("--report-data", metavar="HEX", callback=_option(_field), help="The field as a whole, zeros added.")
@click.option("--binds", metavar="FILE", help="Public key (PEM) or output that the evidence must commit to.")
@click.option("--at", metavar="TIME", callback=moment, help="Judge as of 2026-01-31, or with T12:00:00Z.")
@click.option("--historical", is_flag=True, help="With --at: exit 0 for what was right then.")
@evidence_input.root_option
@click.option(
    "--without",
    "without",
    type=click.Choice([check.value for check in CHECKS]),
    multiple=True,
    help="Switch a check off by its name; the verdict says so.",
)
@output.json_option
def verify(
    file: str,
    endorsements: tuple[str, ...],
    collateral: str | None,
    event_log: str | None,
    require: str | None,
    trust_file: str | None,
    nonce: bytes | None,
    report_data: bytes | None,
    binds: str | None,
    at: datetime | None,
    historical: bool,
    roots: Roots | None,
    without: tuple[str, ...],
) -> None:
    """Verify evidence by itself: genuine hardware, safe configuration, fresh, bound. It says nothing about the program.

    With --binds FILE the evidence must commit to FILE (and to --nonce): docs/formats/evidence-sev-snp.md says how.
    Quotes of TDX and SGX need --collateral; CCA and TPM, which have no common root, --root NAME=<hash of the key>; GPUs
    their certificates and golden RIMs as --endorsement; Azure [platform.azure] paravisor in --trust.

    Example: teelog evidence verify report.bin --endorsement vcek.der --nonce 00112233 --without binding
    """
    if nonce is not None and report_data is not None:
        raise click.UsageError("--nonce and --report-data exclude each other")
    if historical and at is None:
        raise click.UsageError("--historical needs --at TIME")
    evidence = evidence_input.read(file)
    certificates = [files.read(each, evidence_input.MAX_EVIDENCE, "endorsement") for each in endorsements]
    if collateral is not None:
        certificates.append(_collateral(collateral))
    expected = Expected(nonce, report_data, None if binds is None else _bound(binds))
    as_of = None if at is None else int(at.timestamp())
    floor, trusted = _trusted(trust_file, evidence.platform)
    asked = Asked(certificates, expected, as_of, roots or trusted, floor, _required(require), _log(event_log))
    verdict = Verdict(tuple(_judge(evidence, asked, frozenset(without))), as_of)
    _tell(evidence, verdict)
    findings.check(verdict, historical, _hint(verdict, file, evidence.platform))


def _collateral(path: str) -> bytes:
    """Raises MalformedError where the file is something else, which would be passed over as another endorsement."""
    from teelog.evidence.dcap import collateral as collaterals

    found = files.read(path, evidence_input.MAX_EVIDENCE, "collateral")
    if not collaterals.looks_like(found):
        raise MalformedError(
            f"{path} is no collateral",
            expected="JSON with tcb_info, tcb_info_signature and the others that docs/formats/evidence-tdx.md names",
            hint="teelog evidence fetch QUOTE --out DIR makes it",
        )
    return found


def _hint(verdict: Verdict, file: str, platform: str) -> str | None:
    hardware = verdict[Check.HARDWARE]
    if platform in evidence_fetch.PLATFORMS:
        fetch = shlex.join(["teelog", "evidence", "fetch", file, "--out", "endorsements"])
        if hardware.outcome is Outcome.NOT_ESTABLISHED and not findings.no_file_helps(hardware):
            option = "--collateral FILE" if "collateral" in (hardware.cause or "") else "--endorsement FILE"
            return f"{fetch}; or {option}, from the host or the vendor"
        if hardware.outcome is Outcome.FAILED and "has expired" in (hardware.cause or ""):
            return f"{fetch} --again, for newer files; or --at TIME --historical, for what was right then"
    elif findings.failing(verdict) and "has expired" in (_cause(verdict) or ""):
        return "--at TIME --historical, if what was right then is the question"
    return findings.hint(verdict, platform=platform)


def _cause(verdict: Verdict) -> str | None:
    found = findings.first(verdict, Outcome.FAILED)
    return None if found is None else found.cause


def _bound(path: str) -> bytes:
    return report_data.bound_bytes(files.read(path, MAX_BOUND, "file to bind"))


@dataclass(frozen=True)
class Asked:
    """at: POSIX seconds, None: now. roots: in place of the vendor's. event_log: None where none was given."""

    endorsements: list[bytes]
    expected: Expected
    at: int | None
    roots: Roots | None
    floor: Mapping[str, object]
    require: Mapping[str, object]
    event_log: bytes | None


def _trusted(path: str | None, name: str) -> tuple[Mapping[str, object], Roots | None]:
    """The trust file's table for a platform, and its roots."""
    if path is None:
        return {}, None
    trust = trusts.load(path)
    return trust.floors.get(name, {}), trust.roots.get(name)


def _required(path: str | None) -> Mapping[str, object]:
    if path is None:
        return {}
    try:
        block = strict_json.load(files.read(path, strict_json.MAX_BYTES, "require block"))
    except MalformedError as error:
        raise MalformedError(
            error.message, where=f"require block {path}", expected=error.expected, actual=error.actual
        ) from error
    if not isinstance(block, dict):
        raise MalformedError("a require block is an object", where=path)
    return block


def _log(path: str | None) -> bytes | None:
    return None if path is None else files.read(path, MAX_EVENT_LOG, "event log")


def _replay(evidence: Evidence, log: bytes) -> Finding:
    if isinstance(evidence, Logged):
        return evidence.replay(log)
    return not_established(Check.MEASUREMENT, f"event logs of {evidence.platform} are not read here")


def _judge(evidence: Evidence, asked: Asked, without: frozenset[str]) -> Iterator[Finding]:
    import time

    now = int(time.time()) if asked.at is None else asked.at
    log = asked.event_log
    questions: dict[Check, Callable[[], Finding]] = {
        Check.HARDWARE: lambda: evidence.hardware(asked.endorsements, now, asked.roots),
        Check.CONFIGURATION: lambda: evidence.configuration(asked.floor, asked.require),
        Check.FRESHNESS: lambda: evidence.freshness(asked.expected),
        Check.BINDING: lambda: evidence.binding(asked.expected),
    }
    if log is not None:
        questions[Check.MEASUREMENT] = lambda: _replay(evidence, log)
    authentic = True
    for check, ask in questions.items():
        if check.value in without:
            yield off(check)
        elif authentic:
            finding = ask()
            authentic = check is not Check.HARDWARE or finding.outcome is Outcome.VERIFIED
            yield finding
        else:  # protocol section 7, step 0: nothing is used before the step that authenticates it
            yield not_established(check, "the evidence is not authentic: see hardware")


def _tell(evidence: Evidence, verdict: Verdict) -> None:
    authentic = verdict[Check.HARDWARE].outcome is Outcome.VERIFIED
    registers = [f"{name} {value.hex()}" for name, value in evidence.registers.items() if authentic]
    output.result(
        [*findings.lines(verdict.findings), f"verdict: {findings.overall(verdict)}", *registers],
        {
            "schema": "teelog-evidence-verdict/v1",
            "verdict": verdict.overall.value,
            "as_of": verdict.as_of,
            "platform": evidence.platform,
            "registers": dict(evidence.registers) if authentic else {},
            "checks": findings.as_json(verdict.findings),
        },
    )
