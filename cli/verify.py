"""`teelog verify`: evidence against the log and the trust file. Opens no socket; loads no HTTP client, no database."""

from __future__ import annotations

import os
import re
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teelog import strict
from teelog.appraisal.api import appraise
from teelog.appraisal.composite import MAX_PARTS
from teelog.appraisal.inputs import Expect, LoggedFile, Part, Seen
from teelog.cli import files, findings, memory, output, result_made
from teelog.cli import trust as trusts
from teelog.cli.duration import moment
from teelog.cli.result_made import Wanted
from teelog.errors import MalformedError, MisbehaviourError, TeelogError
from teelog.evidence import report_data as commitments
from teelog.statement import dsse, names
from teelog.tlog.proof import MAX_LENGTH as MAX_PROOF
from teelog.trust import Trust
from teelog.verdict import Check, Outcome, Overall, Verdict

if TYPE_CHECKING:
    from teelog.client.state import ClientState

MAX_BOUND = 1 << 28  # bytes of a file that the evidence binds
MAX_EVIDENCE = 1 << 20  # bytes

_GET = "teelog proof get RELEASE NAMESPACE --policy POLICY --out PROOF --out PROOF"
_HINTS = {
    **findings.HINTS,
    Check.SIGNER: "--statement, --namespace; streams and pins are the trust file's: teelog trust check TRUST",
    Check.ALLOWED_NOW: "--bundle FILE shows it (teelog bundle get); or waive it by name: --without allowed-now",
    Check.LOGGED: f"--proof, --namespace-proof: {_GET}",
    Check.WITNESSED: f"fetch a checkpoint with its quorum: {_GET}",
    Check.FRESH: f"fetch a newer checkpoint: {_GET}",
}
_OLDER = ("a newer status of the stream was seen", "not as new as one that was seen", "the status has run out")
_PART = re.compile(r"part [0-9]+ \(([a-z-]+)\): ")
_BUNDLE = "teelog bundle get STREAM --trust TRUST --out FILE"
_OF_A_BUNDLE = {
    **findings.HINTS,
    Check.SIGNER: "streams and pins are the trust file's: teelog trust check TRUST",
    Check.ALLOWED_NOW: f"the trust file's index policy, and a bundle of now: {_BUNDLE}",
    **dict.fromkeys((Check.LOGGED, Check.WITNESSED, Check.FRESH), f"fetch a newer bundle: {_BUNDLE}"),
}


def _hex(_context: click.Context, _option: click.Parameter, value: str | None) -> bytes | None:
    if value is None:
        return None
    try:
        found = strict.unhex(value.lower())
    except MalformedError as error:
        raise click.BadParameter("expected hex digits") from error
    if not 1 <= len(found) <= commitments.SIZE:
        raise click.BadParameter(f"expected 1 to {commitments.SIZE} bytes in hex")
    return found


def _stream(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        return str(names.stream(value))
    except MalformedError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.option(
    "--evidence",
    "evidence_files",
    metavar="FILE",
    multiple=True,
    help="What the TEE gave, raw; then that of each part (GPU) to which the first commits, in order.",
)
@click.option("--endorsement", "endorsements", metavar="FILE", multiple=True, help="Its certificates; repeatable.")
@click.option("--part-endorsement", "shared", metavar="FILE", multiple=True, help="The same for the parts; repeatable.")
@click.option("--bundle", "bundle_file", metavar="FILE", help="All that the log says: teelog bundle get.")
@click.option("--statement", "release_file", metavar="FILE", help="Without a bundle: the release.")
@click.option("--proof", "proof_file", metavar="PROOF", help="The release's .tlog-proof.")
@click.option("--namespace", "namespaces", metavar="FILE", multiple=True, help="The namespace; its versions in order.")
@click.option("--namespace-proof", "namespace_proofs", metavar="PROOF", multiple=True, help="One each, in order.")
@trusts.trust_option
@click.option("--stream", metavar="S", required=True, callback=_stream, help="NAMESPACE/PRODUCT/CHANNEL you expect.")
@click.option("--nonce", metavar="HEX", callback=_hex, help="The challenge that the evidence must answer.")
@click.option("--report-data", metavar="HEX", callback=_hex, help="Instead: the platform's whole field.")
@click.option("--binds", "binds_file", metavar="FILE", help="A public key or output that it must commit to.")
@click.option(
    "--without",
    "without",
    type=click.Choice([check.value for check in Check]),
    multiple=True,
    help="Waive a check; repeatable.",
)
@click.option("--at", "at", metavar="TIME", callback=moment, help="Judge as of 2026-01-31, or with T12:00:00Z.")
@click.option("--historical", is_flag=True, help="With --at: exit code 0 if it was verified at that time.")
@result_made.options
@click.option(
    "--state",
    "state_folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where checkpoints seen are remembered.  [env var: TEELOG_STATE; default: ~/.local/state/teelog]",
)
@output.json_option
def command(
    evidence_files: tuple[str, ...],
    endorsements: tuple[str, ...],
    shared: tuple[str, ...],
    bundle_file: str | None,
    release_file: str | None,
    proof_file: str | None,
    namespaces: tuple[str, ...],
    namespace_proofs: tuple[str, ...],
    trust_file: str,
    stream: str,
    nonce: bytes | None,
    report_data: bytes | None,
    binds_file: str | None,
    without: tuple[str, ...],
    at: datetime | None,
    historical: bool,
    wanted: Wanted | None,
    state_folder: Path | None,
) -> None:
    """Verify, with no network, that EVIDENCE comes from a genuine TEE that runs a release of the stream you expect.

    Every check of the trust file is made; one that lacks its input is `not established` (exit code 3), one that is
    waived with --without NAME is printed, and the verdict is then `verified-with-waivers`.

    Without a bundle, single files and their proofs show that the release is logged, not that it is allowed now:
    --statement, --proof, --namespace, --namespace-proof.

    Example: teelog verify --evidence report.bin --endorsement vcek.der --bundle acme.teelog --trust trust.toml --stream
    acme.example/inference/stable --report-data HEX --binds tls.pub
    """
    if bundle_file is not None and (release_file or namespaces):
        raise click.UsageError("a bundle holds release and namespace: --bundle, or the single files")
    if nonce is not None and report_data is not None:
        raise click.UsageError("--nonce or --report-data, not both")
    if historical and at is None:
        raise click.UsageError("--historical goes with --at TIME")
    if len(namespace_proofs) > len(namespaces) or (proof_file and not release_file):
        raise click.UsageError("a proof without its statement")
    trust = trusts.load(trust_file)
    _check_parts(evidence_files, shared, nonce, frozenset(map(Check, without)) | trust.off)
    for platform in trust.roots:
        output.warn(f"{platform} hardware is judged by the trust file's own roots, not by the vendor's")
    state = _open_state(state_folder)
    seen = Seen() if state is None else memory.recall(state, trust)
    evidence = _read(evidence_files[0] if evidence_files else None, MAX_EVIDENCE, "evidence")
    endorsed = [files.read(path, what="endorsement") for path in endorsements]
    parts = _parts(evidence_files[1:], shared)
    verdict = _appraise(
        evidence=evidence,
        endorsements=endorsed,
        parts=parts,
        bundle=_read_bundle(bundle_file),
        release=_logged(release_file, proof_file),
        namespaces=[
            found
            for n, path in enumerate(namespaces)
            if (found := _logged(path, namespace_proofs[n] if n < len(namespace_proofs) else None))
        ],
        trust=trust,
        expect=Expect(stream, nonce, report_data, _bound(binds_file)),
        now=int(time.time()) if at is None else int(at.timestamp()),
        seen=seen,
        without=frozenset(map(Check, without)),
        historical=at is not None,
        state=state,
    )
    if state is not None and verdict.seen is not None and verdict.seen != seen:
        memory.remember(state, trust, seen, verdict.seen, chosen=state_folder is not None)
    if wanted is not None:
        raw = result_made.Raw(evidence, endorsed, [part.evidence for part in parts], nonce, report_data)
        result_made.write(verdict, wanted, stream.partition("/")[0], raw)
    _report(verdict, historical, None if wanted is None else wanted.out)
    findings.check(
        verdict,
        historical,
        _hint(verdict, state, trust, of_bundle=bundle_file is not None, evidence=evidence),
    )


def _check_parts(files_: tuple[str, ...], shared: tuple[str, ...], nonce: bytes | None, off: frozenset[Check]) -> None:
    if len(files_) > 1 + MAX_PARTS:
        raise click.UsageError(f"--evidence: at most {MAX_PARTS} parts")
    if len(files_) > 1 and (nonce is None or Check.FRESHNESS in off):
        raise click.UsageError("several --evidence go with --nonce and the check freshness: nothing else binds them")
    if shared and len(files_) < 2:
        raise click.UsageError("--part-endorsement goes with a second --evidence")


def _parts(paths: tuple[str, ...], shared: tuple[str, ...]) -> list[Part]:
    endorsements = [files.read(path, what="endorsement") for path in shared]
    return [Part(files.read(path, MAX_EVIDENCE, "evidence"), endorsements) for path in paths]


def _read(path: str | None, limit: int, what: str) -> bytes | None:
    return None if path is None else files.read(path, limit, what)


def _read_bundle(path: str | None) -> bytes | None:
    if path is None:
        return None
    from teelog.cli import bundle_file

    return bundle_file.read(path)


def _logged(path: str | None, proof: str | None) -> LoggedFile | None:
    if path is None:
        return None
    return LoggedFile(files.read(path, dsse.MAX_FILE, "statement"), _read(proof, MAX_PROOF, "proof"))


def _bound(path: str | None) -> bytes | None:
    return None if path is None else commitments.bound_bytes(files.read(path, MAX_BOUND, "bound file"))


def _platform(evidence: bytes | None) -> str | None:
    """What the evidence has the form of, for a hint only."""
    from teelog.evidence import platform

    try:
        return None if evidence is None else platform.detect(evidence)
    except MalformedError:
        return None


def _hint(
    verdict: Verdict, state: ClientState | None, trust: Trust, *, of_bundle: bool, evidence: bytes | None
) -> str | None:
    if verdict.overall is Overall.FAILED:
        cause = verdict[Check.ALLOWED_NOW].cause or ""
        if of_bundle and any(old in f"{cause} {verdict[Check.SIGNER].cause}" for old in _OLDER):
            return _OF_A_BUNDLE[Check.FRESH]
        if of_bundle and findings.failing(verdict) is Check.FRESH:
            return _OF_A_BUNDLE[Check.FRESH]
        if findings.failing(verdict) is Check.HARDWARE:
            return _of_hardware(verdict[Check.HARDWARE].cause or "", evidence)
        if state is None or "seen before" not in (verdict[Check.SIGNER].cause or ""):
            return None
        path = state.followed_file(trust.main.logs[0].key)
        return f"only if you pinned another chain on purpose, after a recovery of the name: delete {path}"
    hints = _OF_A_BUNDLE if of_bundle else _HINTS
    open_ = findings.first(verdict, Outcome.NOT_ESTABLISHED)
    part = _PART.match(open_.cause or "") if open_ is not None else None
    if part is not None:
        found = findings.hint(verdict, hints, part[1])
        return None if found is None else found.replace("--endorsement", "--part-endorsement")
    return findings.hint(verdict, hints, _platform(evidence))


def _of_hardware(cause: str, evidence: bytes | None) -> str | None:
    from teelog.evidence import platform

    if "has expired" in cause:
        return "teelog evidence fetch EVIDENCE --out DIR --again, for newer files; or --at TIME --historical"
    try:
        if evidence is not None:
            platform.detect(evidence)
    except MalformedError as error:
        return error.hint
    return None


# -- what was seen ----------------------------------------------------------------------------------------------------


def _open_state(folder: Path | None) -> ClientState | None:
    """None, with a warning, where nobody chose a place and there is none."""
    from teelog.client import state

    try:
        return state.ClientState(folder or state.default_folder(dict(os.environ)))
    except TeelogError as error:
        output.warn(f"nothing is remembered: {error.message}")
        return None


def _appraise(*, state: ClientState | None, **arguments: object) -> Verdict:
    try:
        return appraise(**arguments)  # type: ignore[arg-type]
    except MisbehaviourError as error:
        if state is None:
            raise
        trust = arguments["trust"]
        assert isinstance(trust, Trust)
        raise state.convict(trust.origin, error) from error


# -- the verdict -------------------------------------------------------------------------------------------------------


def _report(verdict: Verdict, historical: bool, result_out: str | None) -> None:
    judged = verdict.judged
    assert judged is not None
    of = f"{judged.stream}{f' {judged.version}' if judged.version else ''}"
    of += f" ({judged.platform})" if judged.platform else ""
    waived = [finding.check for finding in verdict.findings if finding.outcome is Outcome.OFF]
    said = findings.overall(verdict).upper()
    good = verdict.overall in (Overall.VERIFIED, Overall.VERIFIED_WITH_WAIVERS)
    good = good or (historical and verdict.overall is Overall.VERIFIED_AS_OF)
    said += f": {', '.join(waived)} waived" if waived and good else ""
    failed = verdict.overall is Overall.FAILED
    (output.ok if good else output.fail if failed else output.undecided)(f"{of}  {said}")
    lines = findings.lines(verdict.findings)
    if judged.origin is not None and judged.root is not None:
        lines.append(f"checkpoint: {judged.origin}, size {judged.size}, root {judged.root.hex()}")
    lines += [f"attestation result: {result_out}"] if result_out else []
    output.result(lines, {**as_json(verdict), "result": result_out})


def as_json(verdict: Verdict) -> dict[str, object]:
    """The verdict as ``teelog-verdict/v1`` (docs/formats/verdict.md)."""
    judged = verdict.judged
    assert judged is not None
    return {
        "schema": "teelog-verdict/v1",
        "verdict": verdict.overall.value,
        "as_of": verdict.as_of,
        "waived": [finding.check.value for finding in verdict.findings if finding.outcome is Outcome.OFF],
        "checks": findings.as_json(verdict.findings),
        "time": judged.time,
        "stream": judged.stream,
        "platform": judged.platform,
        "release": judged.release,
        "version": judged.version,
        "svn": judged.svn,
        "namespaces": list(judged.namespaces),
        "log": judged.origin,
        "size": judged.size,
        "root": judged.root,
    }
