"""Steps 5 to 7, as far as permission goes: the stream's last effective status, and whether it lists the release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from teelog.appraisal import index as indexed
from teelog.appraisal.authority import Chain, keys_of
from teelog.appraisal.index import Index
from teelog.appraisal.inputs import Seen
from teelog.bundle import Bundle
from teelog.errors import MalformedError, TeelogError, VerificationError
from teelog.index import keys
from teelog.statement import dsse, release, status
from teelog.statement.dsse import Envelope
from teelog.statement.namespace import Role
from teelog.statement.status import Allowed, State, StatusPredicate
from teelog.trust import StreamRule, Trust
from teelog.verdict import Check, Finding, failed, verified


@dataclass(frozen=True, slots=True)
class ReadStatus:
    """A status's file, parsed; nothing is verified. index: of its entry, as its proof claims it."""

    envelope: Envelope
    predicate: StatusPredicate
    index: int

    @property
    def statement_id(self) -> str:
        return self.envelope.statement_id


def read(entry: bytes, index: int) -> ReadStatus | MalformedError:
    """A status's file, or what is wrong with its form. index: as its proof claims it."""
    try:
        envelope = dsse.parse(entry)
        return ReadStatus(envelope, status.read(envelope.claimed()), index)
    except MalformedError as error:
        return error


def signer(of_release: Finding, found: ReadStatus, chain: Chain, indices: Sequence[int]) -> Finding:
    """``of_release``, where a threshold of the current namespace's status keys has signed the status, too.

    indices: of the chain's versions, () where ``logged`` did not establish them.
    """
    current = chain.current
    then = (chain.at(found.index, indices) if indices else None) or current
    try:
        signers = found.envelope.verify(keys_of(then, current)).signers
        current.require(Role.STATUS, signers, found.index if indices else None)
    except TeelogError as error:
        wrong = failed(Check.SIGNER, error)
        return replace(wrong, cause=f"the status: {wrong.cause}")
    it, said = of_release, f"status signed by {', '.join(signers)}"
    return Finding(it.check, it.outcome, it.cause, it.expected, it.actual, (*it.details, said))


@dataclass(frozen=True, slots=True)
class Permission:
    """What is asked of the index. release_index: of the release's entry. now: POSIX seconds."""

    bundle: Bundle
    index: Index
    chain: Chain
    status: ReadStatus
    stream: str
    release: str
    release_index: int
    trust: Trust
    seen: Seen
    now: int

    def check_namespace(self) -> None:
        """Step 5: the namespace's last version is the current one."""
        current, lookup = self.chain.current, self.bundle.namespace_lookup
        last = self.bundle.namespaces[-1].index
        indexed.check_last(self.index, keys.namespace_key(current.name), lookup, last, "namespace")
        if current.version != lookup.count - 1:
            raise VerificationError(
                "the namespace's version does not suit its place in the index",
                expected=f"version {lookup.count - 1}",
                actual=f"version {current.version}",
            )

    def check_status(self) -> None:
        """Step 6: this is the stream's last effective status."""
        predicate, lookup = self.status.predicate, self.bundle.status_lookup
        if predicate.stream != self.stream:
            raise VerificationError("the status is of another stream", expected=self.stream, actual=predicate.stream)
        if predicate.log != self.trust.origin:
            raise VerificationError("the status is for another log", expected=self.trust.origin, actual=predicate.log)
        indexed.check_last(self.index, keys.status_key(self.stream), lookup, self.status.index, "status")
        if predicate.seq != lookup.count - 1:
            raise VerificationError(
                "the status's seq does not suit its place in the index",
                expected=f"seq {lookup.count - 1}",
                actual=f"seq {predicate.seq}",
            )

    def check_standing(self) -> None:
        """Step 6: the status is as new as any that was seen, allows releases, and still holds."""
        predicate = self.status.predicate
        self._check_seen(predicate)
        if predicate.is_closed:
            raise VerificationError(
                "the stream is closed on this log", expected="a status that allows releases", actual=self._successor()
            )
        self._check_time(predicate)

    def _check_seen(self, predicate: StatusPredicate) -> None:
        seq, statement_id = self.seen.statuses.get(self.stream, (-1, ""))
        if predicate.seq < seq:
            raise VerificationError(
                "a newer status of the stream was seen before",
                expected=f"seq {seq} or above",
                actual=f"seq {predicate.seq}",
            )
        if predicate.seq == seq and self.status.statement_id != statement_id:
            raise VerificationError(
                f"another status {seq} of the stream was seen before",
                expected=statement_id,
                actual=self.status.statement_id,
            )

    def _check_time(self, predicate: StatusPredicate) -> None:
        until = predicate.next_update_time.timestamp()
        if self.now > until:
            raise VerificationError(
                "the status has run out: its next update is overdue",
                expected=f"until {predicate.next_update}",
                actual=_time(self.now),
            )
        if until - self.now > self.trust.max_next_update:
            raise VerificationError(
                "the status claims to hold for longer than the trust file accepts",
                expected=f"at most {self.trust.max_next_update} s ahead",
                actual=f"until {predicate.next_update}",
            )

    def _successor(self) -> str:
        name = self.status.predicate.successor
        return f"closed, goes on at {name}" if name else "closed"

    def check_release(self) -> Allowed:
        """Step 7: the release was logged before the status, which lists it."""
        predicate = self.status.predicate
        listed = next((item for item in predicate.allowed_now if item.release == self.release), None)
        if listed is None:
            raise self._withdrawn(predicate)
        if self.release_index >= self.status.index:
            raise VerificationError(
                "the release was logged after the status that lists it",
                expected=f"below index {self.status.index}",
                actual=f"index {self.release_index}",
            )
        if listed.until_time is not None:
            self._check_grace(listed)
        return listed

    def _withdrawn(self, predicate: StatusPredicate) -> VerificationError:
        cause = next((item.cause for item in predicate.revoked if item.release == self.release), None)
        said = "the release is not allowed" if cause is None else f"the release is withdrawn: {cause}"
        allowed = ", ".join(item.release for item in predicate.allowed_now[:4]) or "none"
        more = len(predicate.allowed_now) - 4
        return VerificationError(
            f"{said}: status {predicate.seq} of the stream does not list it",
            expected=f"{allowed} and {more} more" if more > 0 else allowed,
            actual=self.release,
        )

    def _check_grace(self, listed: Allowed) -> None:
        rule = self.trust.streams.get(self.stream, StreamRule())
        if not rule.grace:
            raise VerificationError(
                "the release is in its period of grace, which the trust file does not accept",
                expected="a current release",
                actual=f"grace until {listed.until}",
            )
        assert listed.until_time is not None
        if self.now > listed.until_time.timestamp():
            raise VerificationError(
                "the release's period of grace is over", expected=f"until {listed.until}", actual=_time(self.now)
            )


def place(asked: Permission) -> Finding | None:
    """None if namespace and status are the last that the index holds of theirs; else the finding of ``allowed-now``."""
    try:
        asked.check_namespace()
        asked.check_status()
    except TeelogError as error:
        return indexed.finding_of(error)
    return None


def allowed_now(asked: Permission) -> Finding:
    """Whether the status, whose place is known, allows the release."""
    try:
        asked.check_standing()
        listed = asked.check_release()
    except TeelogError as error:
        return indexed.finding_of(error)
    index, predicate = asked.index, asked.status.predicate
    said = [
        f"status {predicate.seq} of the stream, entry {asked.status.index}, holds until {predicate.next_update}",
        f"the last one in the index of {index.covers} entries, rebuilt by {', '.join(index.rebuilt_by)}",
    ]
    if listed.state is State.GRACE:
        said.append(f"the release is in its period of grace, until {listed.until}")
    return verified(Check.ALLOWED_NOW, *said)


def _time(now: int) -> str:
    return release.format_time(datetime.fromtimestamp(now, UTC))
