"""``appraise`` and ``verify``: the verification of protocol section 7, in one call. Opens no socket, reads no file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeGuard, TypeVar

from teelog.appraisal import authority, composite, log, match, tee
from teelog.appraisal.authority import Chain, Read
from teelog.appraisal.inputs import Expect, LoggedFile, Part, Seen
from teelog.appraisal.log import Checkpoints, Head, Proven
from teelog.appraisal.match import Variants
from teelog.errors import MalformedError, TeelogError
from teelog.evidence.platform import Evidence
from teelog.trust import StreamRule, Trust
from teelog.verdict import (
    Check,
    Finding,
    Judged,
    NotVerified,
    Outcome,
    Overall,
    Verdict,
    failed,
    not_established,
    off,
)

if TYPE_CHECKING:  # what bundles need is loaded where there is one
    from teelog.appraisal.index import Index
    from teelog.appraisal.status import ReadStatus
    from teelog.bundle import Bundle
    from teelog.index.contradiction import View

_Found = TypeVar("_Found")

MAX_TIME = 253_402_300_799  # POSIX seconds: the end of the year 9999


def verify(
    *,
    evidence: bytes | None,
    endorsements: Sequence[bytes] = (),
    parts: Sequence[Part] = (),
    bundle: bytes | None = None,
    release: LoggedFile | None = None,
    namespaces: Sequence[LoggedFile] = (),
    trust: Trust,
    expect: Expect,
    now: int,
    seen: Seen | None = None,
    without: Collection[Check] = (),
) -> Verdict:
    """As ``appraise``, for the present time; returns only if nothing failed and nothing is left open.

    The verdict's ``overall`` is then ``verified``, or ``verified-with-waivers`` where the trust file or ``without``
    switch checks off. Raises NotVerified, which carries the verdict, and whatever ``appraise`` raises.
    """
    verdict = appraise(
        evidence=evidence,
        endorsements=endorsements,
        parts=parts,
        bundle=bundle,
        release=release,
        namespaces=namespaces,
        trust=trust,
        expect=expect,
        now=now,
        seen=seen,
        without=without,
    )
    if verdict.overall not in (Overall.VERIFIED, Overall.VERIFIED_WITH_WAIVERS):
        raise NotVerified(verdict)
    return verdict


def appraise(
    *,
    evidence: bytes | None,
    endorsements: Sequence[bytes] = (),
    parts: Sequence[Part] = (),
    bundle: bytes | None = None,
    release: LoggedFile | None = None,
    namespaces: Sequence[LoggedFile] = (),
    trust: Trust,
    expect: Expect,
    now: int,
    seen: Seen | None = None,
    without: Collection[Check] = (),
    historical: bool = False,
) -> Verdict:
    """Judges evidence against what a log holds and what the trust file allows: one finding for every check.

    evidence: of a TEE, raw. endorsements: certificates that go with it (DER or PEM), as files. parts: of composite
    evidence, in the order in which the TEE's commits to them; ``expect`` then holds a nonce.
    bundle: the ``.teelog`` file, all that the log has to say. Or, in its place, release and namespaces: statements with
    their proofs; the namespace's versions in order, the pinned one among them; ``allowed-now`` is then not established.
    now: POSIX seconds. historical: ``now`` is not the present; the verdict is then ``verified-as-of`` at best.
    seen: the ``seen`` of the verdict before this one; the new one is in the returned verdict, for the caller to keep.
    without: checks switched off, beside those that the trust file names.

    An input that is missing makes the checks that need it ``not established``; one that is malformed or wrong makes one
    check ``failed`` with its cause, and what rests on that check is ``not established``.

    Raises MisbehaviourError (``evidence``: a fork proof, or two views that contradict each other) if the log or its
    index signed what cannot both be true; ValueError for a ``now`` outside 0..253402300799, for both a nonce and report
    data, where one of them or ``binds`` is empty or a nonce longer than 64 bytes, for a bundle beside release or
    namespaces, and for parts that nothing would bind; no other error, whatever the bytes are.
    """
    if bundle is not None and (release is not None or namespaces):
        raise ValueError("a bundle holds release and namespaces: give one or the other")
    if not 0 <= now <= MAX_TIME:
        raise ValueError(f"now is not a time in POSIX seconds: {now}")
    steps = _Steps(frozenset(map(Check, without)) | trust.off, trust, expect, now, seen or Seen())
    composite.check(parts, steps.expected, steps.off)
    if bundle is None:
        steps.take_files(release, namespaces)
    else:
        steps.take_bundle(bundle)
    steps.look_at_log()
    steps.look_at_tee(evidence, endorsements, parts)
    steps.compare()
    return steps.verdict(now if historical else None)


def _there(found: _Found | MalformedError | Finding | None) -> TypeGuard[_Found]:
    return not isinstance(found, MalformedError | Finding | None)


class _Steps:
    """The steps in their order; each check asked once, and only if it is not switched off."""

    def __init__(self, off: frozenset[Check], trust: Trust, expect: Expect, now: int, seen: Seen) -> None:
        self.off = off
        self.trust = trust
        self.expect = expect
        self.expected = expect.of_evidence()
        self.now = now
        self.seen = seen
        self.findings: dict[Check, Finding] = {}
        self.checkpoints = Checkpoints(trust)
        self.release: Proven | None = None
        self.read: Read | MalformedError | None = None
        self.files: list[Proven] = []  # of namespace statements
        self.bundle: Bundle | MalformedError | None = None
        self.logged_status: Proven | None = None
        self.status: ReadStatus | MalformedError | None = None
        self.index_head: Head | None = None
        self.index: Index | Finding | None = None
        self.shown: dict[bytes, View] = {}  # what the index shows
        self.latest: ReadStatus | None = None  # the stream's last effective status
        self.chain: Chain | Finding
        self.evidence: Evidence | Finding
        self.variants: Variants | None = None

    def ask(self, check: Check, question: Callable[[], Finding]) -> None:
        self.findings[check] = off(check) if check in self.off else question()

    def usable(self, *checks: Check) -> bool:
        """Whether what these checks authenticate may be used: each held, or the caller waived it by name."""
        return all(self.findings[check].outcome in (Outcome.VERIFIED, Outcome.OFF) for check in checks)

    def held(self, check: Check) -> bool:
        return self.findings[check].outcome is Outcome.VERIFIED

    # -- steps 2, 5 and 7: the log and what it holds ------------------------------------------------------------------

    def take_files(self, release: LoggedFile | None, namespaces: Sequence[LoggedFile]) -> None:
        if release is not None:
            self.release = self.checkpoints.prove("release", release)
            self.read = authority.read_release(release.entry)
        self.files = [self.checkpoints.prove("namespace", file) for file in namespaces]

    def take_bundle(self, data: bytes) -> None:
        from teelog import bundle
        from teelog.appraisal import status

        try:
            self.bundle = found = bundle.parse(data)
        except MalformedError as error:
            self.bundle = error
            return
        main, attach = found.main_checkpoint, self.checkpoints.attach
        self.release = attach("release", found.release, main)
        self.read = authority.read_release(found.release.entry)
        self.files = [attach("namespace", item, main) for item in found.namespaces]
        self.logged_status = attach("status", found.status, main)
        self.status = status.read(found.status.entry, found.status.index)

    def look_at_log(self) -> None:
        if isinstance(self.bundle, MalformedError):
            self._unreadable(self.bundle)
            return
        self.checkpoints.compare(self.seen)
        entries = [item.file.entry for item in self.files]
        indices = [None if Check.LOGGED in self.off else item.index for item in self.files]
        self.chain = authority.follow(entries, self.expect.stream, self.trust, self.seen, indices)
        chain = self.chain if isinstance(self.chain, Chain) else None
        self.ask(Check.WITNESSED, lambda: log.witnessed(self.checkpoints, self.trust))
        if self.checkpoints.doubt:
            told = self.findings[Check.WITNESSED]
            self.findings[Check.WITNESSED] = replace(told, details=(*told.details, self.checkpoints.doubt))
        self.ask(Check.LOGGED, lambda: log.logged(self.release, self.files, self.logged_status, chain, self.off))
        self.ask(Check.SIGNER, self._signer)
        self.ask(Check.ALLOWED_NOW, self._allowed_now)
        self.ask(Check.FRESH, self._fresh)

    def _unreadable(self, error: MalformedError) -> None:
        """One check tells why; the others that rest on the bundle have nothing to look at."""
        asked = (Check.LOGGED, Check.WITNESSED, Check.SIGNER, Check.ALLOWED_NOW, Check.FRESH)
        first = next((check for check in asked if check not in self.off), None)
        lacking = f"the bundle cannot be read: see {first}"
        for check in asked:
            found = failed(check, error) if check is first else not_established(check, lacking)
            self.ask(check, lambda found=found: found)  # type: ignore[misc]
        self.chain = not_established(Check.SIGNER, lacking)

    def _signer(self) -> Finding:
        index: int | None = None
        indices: Sequence[int] = ()
        if self.held(Check.LOGGED) and self.release is not None and isinstance(self.chain, Chain):
            index, indices = self.release.index, log.indices_of(self.chain, self.files)
        shows = _there(self.bundle) and Check.ALLOWED_NOW not in self.off
        found = authority.signer(self.read, self.expect.stream, self.chain, index, indices, index_shows=shows)
        if found.outcome is not Outcome.VERIFIED:
            return found
        if Check.MEASUREMENT in self.off:
            found = self._refused(Check.SIGNER) or found
        if _there(self.status) and isinstance(self.chain, Chain) and self._speaks_here(self.status):
            from teelog.appraisal import status

            return status.signer(found, self.status, self.chain, indices)
        return found

    def _speaks_here(self, found: ReadStatus) -> bool:
        """A status of another stream or log is refused by ``allowed-now``, whoever signed it."""
        return (found.predicate.stream, found.predicate.log) == (self.expect.stream, self.trust.origin)

    def _allowed_now(self) -> Finding:
        check = Check.ALLOWED_NOW
        if not _there(self.bundle) or self.release is None or self.status is None:
            return not_established(check, "no proof from the log's index was given")
        if not isinstance(self.release.head, Head):
            return not_established(check, "there is no main checkpoint to compare the index with: see logged")
        self.index = self._read_index(self.bundle, self.release.head)
        if isinstance(self.index, Finding):
            return self.index
        for rests_on in (Check.LOGGED, Check.SIGNER):
            if not self.usable(rests_on):
                return not_established(check, f"namespace, status and release are not established: see {rests_on}")
        if isinstance(self.status, MalformedError):
            return failed(check, self.status)
        if not isinstance(self.chain, Chain) or not isinstance(self.read, Read):
            return not_established(check, "whose namespace it is, or which release, is not known: see signer")
        return self._permission(self.bundle, self.index, self.chain, self.status, self.read)

    def _read_index(self, bundle: Bundle, main: Head) -> Index | Finding:
        from teelog.appraisal import index as indexed
        from teelog.appraisal import memory

        try:
            self.index_head = indexed.open_checkpoint(bundle, self.trust)
            self.seen = memory.compare_trees(self.index_head, self.trust, self.seen)
            found = indexed.read(bundle, self.index_head, main, self.trust)
            self.shown = memory.views(bundle, found, self.expect.stream)
            memory.compare(self.shown, found.head.checkpoint.origin, self.trust, self.seen)
        except TeelogError as error:
            return indexed.finding_of(error)
        return found

    def _permission(self, bundle: Bundle, index: Index, chain: Chain, read: ReadStatus, release: Read) -> Finding:
        assert self.release is not None
        assert self.release.index is not None
        from teelog.appraisal import status

        asked = status.Permission(
            bundle, index, chain, read, self.expect.stream, release.envelope.statement_id, self.release.index,
            self.trust, self.seen, self.now,
        )  # fmt: skip
        misplaced = status.place(asked)
        if misplaced is not None:
            return misplaced
        self.latest = read
        return status.allowed_now(asked)

    def _fresh(self) -> Finding:
        # Step 6: A is the smaller of what the verifier accepts and what the vendor says.
        stated = self.status.predicate.max_age_s if _there(self.status) else self.trust.max_age
        return log.fresh(
            self.checkpoints,
            self.trust,
            min(self.trust.max_age, stated),
            self.now,
            index=self.index_head,
            index_counts=Check.ALLOWED_NOW not in self.off,
            witnesses_fail=not self.usable(Check.WITNESSED),
        )

    # -- step 1: the evidence alone -----------------------------------------------------------------------------------

    def look_at_tee(self, evidence: bytes | None, endorsements: Sequence[bytes], parts: Sequence[Part]) -> None:
        self.evidence = tee.parse(evidence, parts, self.trust)
        self.ask(Check.HARDWARE, lambda: tee.hardware(self.evidence, endorsements, self.now, self.trust.roots))
        self.ask(Check.FRESHNESS, lambda: self._of_tee(Check.FRESHNESS, lambda it: it.freshness(self.expected)))
        self.ask(Check.BINDING, lambda: self._of_tee(Check.BINDING, lambda it: it.binding(self.expected)))

    def _of_tee(self, check: Check, question: Callable[[Evidence], Finding]) -> Finding:
        """Nothing in the evidence is used unless ``hardware`` has authenticated it."""
        if isinstance(self.evidence, Finding):
            return not_established(check, "there is no evidence that could be read: see hardware")
        if not self.usable(Check.HARDWARE):
            return not_established(check, "the evidence is not authentic: see hardware")
        try:
            return question(self.evidence)
        except MalformedError as error:  # what the caller expects cannot be of this platform
            return failed(check, error)

    # -- step 8: the evidence against the release ---------------------------------------------------------------------

    def compare(self) -> None:
        self.ask(Check.MEASUREMENT, lambda: self._of_tee(Check.MEASUREMENT, self._measurement))
        self.ask(Check.CONFIGURATION, lambda: self._of_tee(Check.CONFIGURATION, self._configuration))
        if {Check.MEASUREMENT, Check.SIGNER} <= self.off:
            lifted = "with signer off as well, nothing asks for the release's stream, deny, min_svn and validity"
            self.findings[Check.MEASUREMENT] = off(Check.MEASUREMENT, lifted)

    def _measurement(self, evidence: Evidence) -> Finding:
        if not self.usable(Check.SIGNER):
            return not_established(Check.MEASUREMENT, "the release is not authentic: see signer")
        if isinstance(self.read, MalformedError):
            return failed(Check.MEASUREMENT, self.read)
        if self.read is None:
            return not_established(Check.MEASUREMENT, "no release was given")
        claim = self.read.claim
        self.variants = match.variants(evidence, claim)
        found = match.measure(evidence, claim, self.variants)
        if found.outcome is not Outcome.VERIFIED:
            return found
        other = authority.of_stream(Check.MEASUREMENT, claim, self.expect.stream)  # where signer is off
        return other or self._refused(Check.MEASUREMENT) or found

    def _refused(self, check: Check) -> Finding | None:
        assert isinstance(self.read, Read)
        rule = self.trust.streams.get(self.expect.stream, StreamRule())
        return match.refused(check, self.read.claim, self.read.envelope.statement_id, rule, self.now)

    def _configuration(self, evidence: Evidence) -> Finding:
        floor = self.trust.floors.get(evidence.platform, {})
        if Check.MEASUREMENT not in self.off:
            return tee.configuration(evidence, floor, (self.variants and self.variants.equal) or None)
        # What the release requires of a machine is asked even where nobody asks whether the machine runs it.
        if self.read is None:
            return tee.configuration(evidence, floor, ())
        if isinstance(self.read, MalformedError) or not self.usable(Check.SIGNER):
            return tee.configuration(evidence, floor, None)
        found = match.variants(evidence, self.read.claim)
        return tee.configuration(evidence, floor, found.equal or found.ours)

    # -- steps 9 and 10 -----------------------------------------------------------------------------------------------

    def verdict(self, as_of: int | None) -> Verdict:
        return Verdict.of(self.findings.values(), as_of, self._judged(), self._seen())

    def _judged(self) -> Judged:
        judged: dict[str, object] = {}
        if not isinstance(self.evidence, Finding) and self.usable(Check.HARDWARE):
            judged["platform"] = self.evidence.platform
        if isinstance(self.read, Read) and self.usable(Check.SIGNER):
            predicate = self.read.claim.predicate
            judged |= {"release": self.read.envelope.statement_id, "version": predicate.version, "svn": predicate.svn}
            judged["recognised"] = bool(self.variants and self.variants.equal)
        if isinstance(self.chain, Chain):
            judged["namespaces"] = tuple(each.statement_id for each in self.chain.from_pin)
        if self.checkpoints.heads:
            head = self.checkpoints.heads[-1].checkpoint
            judged |= {"origin": head.origin, "size": head.size, "root": head.root}
        return Judged(self.expect.stream, self.now, **judged)  # type: ignore[arg-type]

    def _seen(self) -> Seen:
        """What this appraisal established is remembered, whatever became of the rest."""
        seen = self.seen.forgetting(self.trust.origin) if self.checkpoints.doubt else self.seen
        if self.held(Check.WITNESSED):
            head = self.checkpoints.heads[-1]
            largest = head.checkpoint
            seen = seen.with_larger(largest.origin, largest.size, largest.root, head.signed)
        if isinstance(self.chain, Chain) and self.held(Check.LOGGED):
            current = self.chain.current
            seen = seen.with_namespace(current.name, current.version, current.statement_id)
        if _there(self.index):
            from teelog.appraisal import memory

            # Step 10: "under a cosigned pair".
            authentic = all(map(self.held, (Check.LOGGED, Check.SIGNER, Check.WITNESSED)))
            seen = memory.remember(seen, self.index, self.shown, self.latest if authentic else None)
        return seen
