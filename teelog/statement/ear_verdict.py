"""The verdict of ``teelog.appraise`` as the claims of an attestation result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from teelog.statement import ear, names
from teelog.verdict import Check, Outcome, Overall, Verdict

DEVELOPER = "urn:teelog"

_STATUS = {
    Overall.VERIFIED: "affirming",
    # Something was not looked at, or not now: the reader has to decide whether that will do.
    Overall.VERIFIED_WITH_WAIVERS: "warning",
    Overall.VERIFIED_AS_OF: "warning",
    Overall.FAILED: "contraindicated",
    Overall.NOT_ESTABLISHED: "none",
}


def claims(
    verdict: Verdict, *, issuer: str, issued_at: int, build: str, evidence: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The claims for a verdict of ``teelog.appraise``, by the draft's names.

    issuer: namespace of the key that will sign. issued_at: POSIX seconds. build: name and version of the verifier.
    evidence: algorithm -> hex, digests of the evidence, if those who have it shall find the result.
    Raises ValueError for a verdict that does not say what was judged, MalformedError for no namespace.
    """
    judged = verdict.judged
    if judged is None:
        raise ValueError("a result is about a verdict of teelog.appraise")
    checkpoint = None
    if judged.origin is not None and judged.size is not None and judged.root is not None:
        checkpoint = ear.JudgedCheckpoint(judged.origin, judged.size, judged.root.hex())
    status = _STATUS[verdict.overall]
    judged_claim = ear.JudgedClaim(
        verdict.overall.value,
        judged.stream,
        judged.release,
        judged.namespaces,
        checkpoint,
        {finding.check.value: finding.outcome.value for finding in verdict.findings},
        verdict.as_of,
        msgspec.UNSET if evidence is None else dict(evidence),
    )
    return {
        "eat_profile": ear.PROFILE,
        "iss": names.namespace(issuer, "/iss"),
        "sub": judged.stream,
        "iat": issued_at,
        "ear_verifier_id": {"developer": DEVELOPER, "build": build},
        "ear_status": status,
        "submods": {
            judged.platform or "unknown": {"ear_status": status, "ear_trustworthiness_vector": vector(verdict)}
        },
        ear.CLAIM: msgspec.to_builtins(judged_claim),
    }


def vector(verdict: Verdict) -> dict[str, int]:
    """The AR4SI values of a verdict; a check that found nothing makes no claim.

    hardware 2 genuine, 97 not recognised. configuration 2 approved, 96 unacceptable. executables 3 in the stream's
    current set as measured at boot, 33 not recognised, 96 a release that the verifier refuses.
    """
    found: dict[str, int] = {}
    outcomes = {finding.check: finding.outcome for finding in verdict.findings}
    for claim, check, good, bad in (
        ("hardware", Check.HARDWARE, 2, 97),
        ("configuration", Check.CONFIGURATION, 2, 96),
    ):
        if outcomes[check] is Outcome.VERIFIED:
            found[claim] = good
        elif outcomes[check] is Outcome.FAILED:
            found[claim] = bad
    # Current is what an index says: a signed, logged release alone is not yet an approved one.
    approved = (
        Check.MEASUREMENT, Check.SIGNER, Check.LOGGED, Check.WITNESSED, Check.ALLOWED_NOW, Check.FRESH,
    )  # fmt: skip
    if all(outcomes[check] is Outcome.VERIFIED for check in approved):
        found["executables"] = 3
    elif outcomes[Check.MEASUREMENT] is Outcome.FAILED:
        # Refused although it was recognised: denied, too old, out of its time.
        found["executables"] = 96 if verdict.judged is not None and verdict.judged.recognised else 33
    return dict(sorted(found.items(), key=lambda item: ear.CLAIMS.index(item[0])))
