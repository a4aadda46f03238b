"""How findings are shown, wherever a command gives a verdict; and the exit code that they amount to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from teelog.cli import output
from teelog.errors import NotEstablished, TeelogError, VerificationError
from teelog.evidence.certificates import utc
from teelog.verdict import Check, Finding, Outcome, Overall, Verdict

_ELSEWHERE = re.compile(r"\bsee [a-z-]+\Z")
HINTS = {
    Check.HARDWARE: "--evidence FILE; --endorsement FILE: its certificate, from the host or `teelog evidence fetch`",
    Check.FRESHNESS: "--nonce HEX or --report-data HEX: what was asked of the TEE",
    Check.BINDING: "--binds FILE: the TLS key or output that the evidence should commit to",
}
_INTEL = "--endorsement COLLATERAL.json: Intel's statements about the platform, from `teelog evidence fetch`"
_OF_PLATFORMS = {
    ("tdx", Check.HARDWARE): _INTEL,
    ("sgx", Check.HARDWARE): _INTEL,
    ("cca", Check.HARDWARE): "--endorsement cpak.pem, the platform's key, pinned: see docs/formats/evidence-cca.md",
    ("tpm", Check.HARDWARE): "pin the key if it is that of your machine's TPM: see docs/formats/evidence-tpm.md",
    ("nvidia", Check.HARDWARE): "--endorsement CHAIN.pem: the GPU's certificates, leaf first, as its driver has them",
    ("nvidia", Check.CONFIGURATION): "--endorsement RIM.xml: NVIDIA's, one for the driver and one for the VBIOS",
    ("azure", Check.CONFIGURATION): "--trust FILE with [platform.azure] paravisor: docs/formats/evidence-azure.md",
}
"""Where it is another input that a platform's evidence lacks."""


def hint(verdict: Verdict, hints: Mapping[Check, str] = HINTS, platform: str | None = None) -> str | None:
    """What to try where the verdict is not established for want of an input: by the first such check."""
    if verdict.overall is not Overall.NOT_ESTABLISHED:
        return None
    open_ = first(verdict, Outcome.NOT_ESTABLISHED)
    if open_ is None:
        return None
    if no_file_helps(open_):
        extra = "nvidia" if platform == "nvidia" else "tdx"
        return f"pip install 'teelog[{extra}]'" if "is not installed" in (open_.cause or "") else None
    return _OF_PLATFORMS.get((platform or "", open_.check)) or hints.get(open_.check)


def no_file_helps(finding: Finding) -> bool:
    """Whether what is lacking is a library, or a version that this one knows."""
    return any(words in (finding.cause or "") for words in ("is not installed", "not known here", "an identifier of"))


def lines(findings: Iterable[Finding]) -> list[str]:
    """Outcome, check, and what was established or why it was not, aligned; one line a detail."""
    rows: list[tuple[str, str, str]] = []
    for finding in findings:
        texts = [*([finding.cause] if finding.cause is not None else []), *finding.details]
        rows.append((finding.outcome, finding.check, texts[0] if texts else ""))
        rows += [("", "", text) for text in texts[1:]]
    return output.columns(rows)


def as_json(findings: Iterable[Finding]) -> dict[str, Any]:
    return {
        finding.check.value: {
            "outcome": finding.outcome.value,
            "cause": finding.cause,
            "expected": finding.expected,
            "actual": finding.actual,
            "details": list(finding.details),
        }
        for finding in findings
    }


def overall(verdict: Verdict) -> str:
    """In words: ``verified as of T`` where the caller judged at another time."""
    if verdict.overall is Overall.VERIFIED_AS_OF and verdict.as_of is not None:
        return f"verified as of {utc(verdict.as_of)}"
    return verdict.overall.value


def check(verdict: Verdict, historical: bool, hint: str | None = None) -> None:
    """Raises the error whose exit code the verdict has; returns for 0.

    historical: the caller asked for a judgement at another time and takes it for that. hint: what to try where a check
    failed or is not established.
    """
    bad = _decisive(verdict)
    if bad is None:
        if verdict.overall is Overall.VERIFIED_AS_OF and not historical:
            raise NotEstablished(
                f"this was {overall(verdict)}, not now", hint="add --historical if that is the question"
            )
        return
    error: type[TeelogError] = VerificationError if bad.outcome is Outcome.FAILED else NotEstablished
    raise error(
        f"{bad.check}: {bad.cause}",
        expected=bad.expected,
        actual=bad.actual,
        hint=hint,
    )


def failing(verdict: Verdict) -> Check | None:
    """The check that decides, where one failed."""
    bad = _decisive(verdict)
    return bad.check if bad is not None and bad.outcome is Outcome.FAILED else None


def first(verdict: Verdict, outcome: Outcome) -> Finding | None:
    """The first finding with this outcome that points to no other (``see NAME``): where to begin."""
    found = [each for each in verdict.findings if each.outcome is outcome]
    return next((each for each in found if not _ELSEWHERE.search(each.cause or "")), found[0] if found else None)


def _decisive(verdict: Verdict) -> Finding | None:
    for outcome in (Outcome.FAILED, Outcome.NOT_ESTABLISHED):
        found = first(verdict, outcome)
        if found is not None:
            return found
    if verdict.overall is Overall.NOT_ESTABLISHED:  # everything switched off
        return Finding(verdict.findings[0].check, Outcome.NOT_ESTABLISHED, "no check was left to run")
    return None
