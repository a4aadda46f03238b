"""What verifiers have seen running, as far as no release on the log explains it.

A result says whose word it is: it counts if its issuer has signed it. Later entries may explain it, too: the release
that it names, or another result of the same issuer about the same evidence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import msgspec

from teelog.errors import MalformedError, VerificationError
from teelog.statement import admit
from teelog.statement.admit import ParsedEntry
from teelog.statement.ear import JudgedClaim, Result
from teelog.statement.effective import Effective, ReleaseEffect
from teelog.witness.monitor.budget import Budget
from teelog.witness.monitor.finding import MAX_ABOUT, Finding, Kind, cut

MAX_PENDING = 500  # results that a later entry may explain; older alerts stay until their owner settles them
NOT_RECOGNISED = 33  # AR4SI `executables`: what runs is not what was expected


class Unexplained(msgspec.Struct, frozen=True):
    """A result that was told.

    index: its entry. about: as in its finding. evidence: SHA-256 over the digests that it gives, empty for none.
    """

    index: int
    issuer: str
    about: str
    stream: str
    release: str | None
    evidence: str

    def same(self, other: Unexplained) -> bool:
        """Whether both say the same of the same evidence."""
        mine = (self.evidence, self.issuer, self.stream, self.release)
        return mine == (other.evidence, other.issuer, other.stream, other.release)


class Measured:
    """For one log. pending: what was told and may still be explained, oldest first."""

    def __init__(self, log: str, pending: Sequence[Unexplained], budget: Budget) -> None:
        self._log = log
        self.pending = tuple(pending)
        self._budget = budget

    def result(self, index: int, parsed: ParsedEntry, owner: str, state: Effective) -> Iterator[Finding]:
        """What a result about a watched name gives rise to. owner: that name."""
        claim, issuer = parsed.statement.claim, parsed.namespace or ""
        assert isinstance(claim, Result)
        trouble = _unsigned(index, parsed, state)
        if trouble is not None:
            # Else a log that lies could say anything of anyone in a verifier's name.
            about = issuer if claim.judged is None else claim.judged.stream
            if self._budget.spend(Kind.INERT, owner):
                text = cut(f"a result that {issuer} has not signed: {trouble}")
                yield Finding(Kind.INERT, self._log, cut(about, MAX_ABOUT), text, index)
            return
        why, seen = unknown(claim, state), _seen(index, issuer, claim)
        if accusation(claim) is not None:
            seen = msgspec.structs.replace(seen, release=None)  # no release that comes later explains it by its name
        if why is not None:
            yield from self._tell(seen, f"{issuer} has seen {why} (result {parsed.statement_id})")
        elif seen.release is not None and seen.evidence and _measured(claim):
            same = (issuer, seen.stream, seen.evidence)
            yield from self._explain(lambda each: (each.issuer, each.stream, each.evidence) == same)

    def released(self, effect: ReleaseEffect) -> Iterator[Finding]:
        """What a release explains that was deployed before it was published."""
        named = (effect.statement_id, effect.stream)
        yield from self._explain(lambda each: (each.release, each.stream) == named)

    def _tell(self, seen: Unexplained, text: str) -> Iterator[Finding]:
        if seen.evidence and any(each.same(seen) for each in self.pending):
            return  # the same evidence, judged again
        if self._budget.spend(Kind.MEASURED, seen.issuer):
            self.pending = (*self.pending, seen)[-MAX_PENDING:]
            yield Finding(Kind.MEASURED, self._log, seen.about, cut(text), seen.index)

    def _explain(self, explained: Callable[[Unexplained], bool]) -> Iterator[Finding]:
        for each in filter(explained, self.pending):
            yield Finding(Kind.MEASURED, self._log, each.about, "", each.index, over=True)
        self.pending = tuple(each for each in self.pending if not explained(each))


def _unsigned(index: int, parsed: ParsedEntry, state: Effective) -> str | None:
    """Why nobody answers for a result, None where its issuer does."""
    issuer = state.namespace(parsed.namespace or "")
    if issuer is None:
        return "it has no namespace on this log"
    try:
        admit.check_result(parsed, issuer, index)
    except (VerificationError, MalformedError) as error:
        return str(error)
    return None


def _seen(index: int, issuer: str, claim: Result) -> Unexplained:
    judged = claim.judged
    if judged is None:
        return Unexplained(index, issuer, cut(issuer, MAX_ABOUT), "", None, "")
    evidence = _evidence(judged)
    about = cut(f"{judged.stream} {evidence}".rstrip(), MAX_ABOUT)
    short = hashlib.sha256(evidence.encode()).hexdigest() if evidence else ""
    return Unexplained(index, issuer, about, judged.stream, judged.release, short)


def _evidence(judged: JudgedClaim) -> str:
    return " ".join(f"{name}:{value}" for name, value in sorted(judged.evidence_digests.items()))


def unknown(result: Result, state: Effective) -> str | None:
    """What a result has seen that no release on this log explains, None where there is nothing."""
    judged, accused = result.judged, accusation(result)
    if accused is not None:
        return accused  # whatever release it names: that is the one which it was judged by, not the one that ran
    if judged is not None and judged.release is not None:
        stream = state.release(judged.release)
        if stream is None:
            return f"release {judged.release}, which is not in effect on this log"
        if stream != judged.stream:
            return f"release {judged.release} as one of {judged.stream}, of which it is none"
    return None


def accusation(result: Result) -> str | None:
    """What a result says has run that is no release's; None where it says nothing of the kind."""
    judged = result.judged
    if any(each.vector.get("executables") == NOT_RECOGNISED for each in result.submodules):
        return "a measurement that is no release's"
    if judged is not None and judged.checks.get("hardware") == "verified" and _unmeasured(judged):
        return f"genuine hardware that runs no release it knows of {judged.stream}"
    return None


def _measured(result: Result) -> bool:
    """Whether a result says that what ran is the release that it names."""
    return result.judged is not None and result.judged.checks.get("measurement") == "verified"


def _unmeasured(judged: JudgedClaim) -> bool:
    """A check that was not made, such as without a bundle, has seen nothing."""
    return judged.checks.get("measurement") == "failed"
