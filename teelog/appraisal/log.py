"""Step 2: checkpoints of the one main log, what they include, who cosigned them, and when."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from teelog.appraisal.authority import Chain
from teelog.appraisal.inputs import LoggedFile, Seen
from teelog.errors import (
    MalformedError,
    MisbehaviourError,
    NotWitnessed,
    ProofError,
    SignatureError,
    TeelogError,
    VerificationError,
)
from teelog.tlog import rfc6962
from teelog.tlog.checkpoint import Checkpoint, open_checkpoint
from teelog.tlog.policy import NONE, Policy, WitnessedCheckpoint, in_time, read_checkpoint
from teelog.tlog.proof import TlogProof, parse_proof
from teelog.tlog.vkey import VerifierKey
from teelog.trust import Trust
from teelog.verdict import Check, Finding, failed, not_established, verified

if TYPE_CHECKING:
    from teelog.bundle import Included

_LINES = 3  # of a checkpoint without extension lines


@dataclass(frozen=True)
class Head:
    """A checkpoint of the main log whose known signatures all hold; how many witnesses signed is not judged yet."""

    witnessed: WitnessedCheckpoint

    @cached_property
    def signed(self) -> bytes:
        """Its note, with the lines that hold."""
        return self.witnessed.note.encode()

    @property
    def checkpoint(self) -> Checkpoint:
        return self.witnessed.checkpoint


@dataclass(frozen=True, slots=True)
class Refused:
    """A checkpoint that counts for nothing. by_witness: a known witness's line is what fails."""

    error: TeelogError
    by_witness: bool = False


@dataclass(frozen=True, slots=True)
class Proven:
    """A statement with its proof. what: for messages. proof: None where none was given."""

    what: str
    file: LoggedFile
    proof: TlogProof | None
    head: Head | Refused | None

    @property
    def index(self) -> int | None:
        """As the proof claims it: true once ``logged`` has verified it."""
        return None if self.proof is None else self.proof.index


class Checkpoints:
    """Opens the checkpoints of proofs, each once. heads: those that hold, smallest first."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self.heads: list[Head] = []
        self._opened: dict[bytes, Head | Refused] = {}
        self.doubt: str | None = None

    def prove(self, what: str, file: LoggedFile) -> Proven:
        if file.proof is None:
            return Proven(what, file, None, None)
        try:
            proof = parse_proof(file.proof)
        except MalformedError as error:
            said = f"the {what}'s proof: {error.message}"
            return Proven(what, file, None, Refused(MalformedError(said, expected=error.expected, actual=error.actual)))
        return Proven(what, file, proof, self._open(proof.checkpoint))

    def attach(self, what: str, item: Included, checkpoint: bytes) -> Proven:
        """A statement of a bundle, under the bundle's main checkpoint."""
        proof = TlogProof(item.index, item.path, checkpoint)
        return Proven(what, LoggedFile(item.entry), proof, self._open(checkpoint))

    def _open(self, checkpoint: bytes) -> Head | Refused:
        found = self._opened.get(checkpoint)
        if found is None:
            found = self._opened[checkpoint] = open_head(checkpoint, self._trust.main)
            if isinstance(found, Head):
                self.heads = sorted([*self.heads, found], key=lambda head: head.checkpoint.size)
        return found

    @property
    def refused(self) -> list[Refused]:
        return [head for head in self._opened.values() if isinstance(head, Refused)]

    def compare(self, seen: Seen) -> None:
        """Step 10: raises MisbehaviourError where the log signed two trees of one size, among these and those seen.

        ``doubt`` then says why what was seen of this log counts for nothing, if so.
        """
        self.doubt = compare_trees(self.heads, self._trust.main, seen)


def compare_trees(heads: Sequence[Head], policy: Policy, seen: Seen) -> str | None:
    """Raises MisbehaviourError where the policy's one log signed two trees of one size.

    Else returns why what was seen of this log counts for nothing, if so.
    """
    keys, origin = [log.key for log in policy.logs], policy.origins()[0]
    earlier = seen.checkpoints.get(origin)
    if earlier is None and len(heads) < 2:
        return None
    known = [(head.checkpoint, head.signed) for head in heads]
    doubt = None
    if earlier is not None:
        remembered = Checkpoint(origin, earlier.size, earlier.root), earlier.note
        doubt = None if remembered in known else _doubt(remembered, keys)
        known += [] if doubt else [remembered]
    by_size: dict[int, tuple[Checkpoint, bytes]] = {}
    for head, signed in known:
        check_one_tree(by_size.setdefault(head.size, (head, signed)), (head, signed), keys)
    return doubt


def _doubt(remembered: tuple[Checkpoint, bytes], keys: Sequence[VerifierKey]) -> str | None:
    """Why a checkpoint that the caller says it saw counts for nothing; None if the log signed it."""
    head, signed = remembered
    said = f"the checkpoint of size {head.size} that was seen before counts for nothing"
    try:
        found = open_checkpoint(signed, keys, head.origin).checkpoint
    except TeelogError as error:
        return f"{said}: {error.message}"
    return None if (found.size, found.root) == (head.size, head.root) else f"{said}: its note is another"


def check_one_tree(
    first: tuple[Checkpoint, bytes], second: tuple[Checkpoint, bytes], keys: Sequence[VerifierKey]
) -> None:
    """Raises MisbehaviourError where two signed checkpoints of one log have one size and two roots."""
    if first[0].size != second[0].size or first[0].root == second[0].root:
        return
    from teelog.tlog import fork  # rarely needed

    found = fork.find_fork(first, second, keys=keys)
    if found is None:
        return
    fork.verify_fork(found, keys)  # the accusation must hold before anyone
    raise MisbehaviourError(
        "the log signed two different trees of one size",
        expected=f"root {first[0].root.hex()} at size {first[0].size}",
        actual=f"root {second[0].root.hex()}",
        evidence=found.encode(),
    )


def open_head(data: bytes, policy: Policy) -> Head | Refused:
    """Every known signature verified, no extension lines, the policy's one origin; the quorum is left for later."""
    try:
        witnessed = read_checkpoint(data, policy)
        if witnessed.note.text.count(b"\n") != _LINES:
            raise VerificationError("the checkpoint has extension lines", expected="origin, size and root alone")
    except SignatureError as error:
        return Refused(error, _log_signed(data, policy))
    except TeelogError as error:
        return Refused(error)
    return Head(witnessed)


def _log_signed(data: bytes, policy: Policy) -> bool:
    try:
        read_checkpoint(data, Policy(policy.logs, {}, {}, NONE))
    except TeelogError:
        return False
    return True


# -- findings ---------------------------------------------------------------------------------------------------------


def witnessed(checkpoints: Checkpoints, trust: Trust) -> Finding:
    """The main policy's quorum on every checkpoint that a statement was found under."""
    if trust.main.quorum == NONE:
        return not_established(Check.WITNESSED, "the trust file's main policy asks for no witness")
    for refused in checkpoints.refused:
        if refused.by_witness:
            return failed(Check.WITNESSED, refused.error)
    if not checkpoints.heads:
        return not_established(Check.WITNESSED, "there is no checkpoint of the log to look at")
    for head in checkpoints.heads:
        try:
            trust.main.check_quorum(set(head.witnessed.cosignatures))
        except NotWitnessed as error:
            return failed(Check.WITNESSED, error)
    head = checkpoints.heads[-1]
    names = trust.main.key_names(head.witnessed.cosignatures)
    return verified(Check.WITNESSED, f"cosigned by {', '.join(names)} at size {head.checkpoint.size}")


def fresh(
    checkpoints: Checkpoints,
    trust: Trust,
    max_age: int,
    now: int,
    *,
    index: Head | None,
    index_counts: bool,
    witnesses_fail: bool,
) -> Finding:
    """Both quorums over cosignatures no older than ``max_age`` seconds, on every checkpoint that a file came with.

    Not on the newest alone: a young checkpoint beside a statement says nothing of the old one that includes it.

    index: the index log's checkpoint, None where there is none to look at. index_counts: False where ``allowed-now`` is
    switched off: then there is no index, and the main log's quorum is all.
    """
    if trust.main.quorum == NONE:
        return not_established(Check.FRESH, "nobody tells the checkpoint's age: the main policy asks for no witness")
    if not checkpoints.heads or witnesses_fail:
        return not_established(Check.FRESH, "there is no checkpoint with its quorum whose age could be told")
    main = _in_time(checkpoints.heads, trust.main, max_age, now, "witnesses have cosigned the checkpoint")
    if isinstance(main, Finding):
        return main
    said = f"main log: {main}"
    if not index_counts:
        return verified(Check.FRESH, said, "allowed-now is off, so the index's quorum is not asked for")
    if index is None or trust.index is None or trust.index.quorum == NONE:
        lacking = not_established(Check.FRESH, "the main log's quorum is fresh; the index's takes a bundle")
        return replace(lacking, details=(said,))
    found = _in_time([index], trust.index, max_age, now, "semantic witnesses have cosigned the index's checkpoint")
    if isinstance(found, Finding):
        return found
    return verified(Check.FRESH, said, f"index: {found}")


def _in_time(heads: Sequence[Head], policy: Policy, max_age: int, now: int, what: str) -> Finding | str:
    """Who has cosigned the last of ``heads`` in time, in words; else the finding of ``fresh``."""
    ages: list[int] = []
    young: set[str] = set()
    for head in (each.witnessed for each in heads):
        young = in_time(head, now=now, max_age=max_age)
        try:
            policy.check_quorum(young)
        except NotWitnessed as error:
            newest = max((line.timestamp or 0 for line in head.cosignatures.values()), default=0)
            return failed(
                Check.FRESH,
                f"too few {what} of size {head.checkpoint.size} within the max age",
                expected=f"{error.expected}, no older than {max_age} s",
                actual=f"newest cosignature {_age(now, newest)}; in time: {error.actual}",
            )
        ages += [now - (head.cosignatures[name].timestamp or 0) for name in young]
    span = dict.fromkeys((max(0, min(ages)), max(0, *ages)))
    return f"cosigned by {', '.join(policy.key_names(sorted(young)))}, {' to '.join(map(str, span))} s ago"


def _age(now: int, timestamp: int) -> str:
    if timestamp == 0:
        return "claims no time"
    return f"{now - timestamp} s old" if timestamp <= now else f"{timestamp - now} s ahead of this clock"


def logged(
    release: Proven | None, files: Sequence[Proven], status: Proven | None, chain: Chain | None, off: Set[Check]
) -> Finding:
    """Release and namespace are included in one checkpoint of the log on which the namespace speaks, in this order.

    files: of namespace statements, as given. status: of a bundle; included as well. chain: what the files are, once
    authentic. off: without ``signer``, there may be none; without ``witnessed``, a witness's bad signature is told
    here.
    """
    if release is None:
        return not_established(Check.LOGGED, "no release was given")
    for item in (release, *files, *([status] if status else [])):
        finding = _included(item, Check.WITNESSED not in off)
        if finding is not None:
            return finding
    assert isinstance(release.head, Head)
    assert release.index is not None
    head = release.head.checkpoint
    for item in files:
        assert isinstance(item.head, Head)
        # Nothing shows that trees of two sizes belong together, so that what is in both is in one log.
        if item.head.checkpoint != head:
            return not_established(
                Check.LOGGED,
                f"the proofs are for different checkpoints, the release's of size {head.size}, the namespace's of size "
                f"{item.head.checkpoint.size}: get both at once (teelog proof get)",
            )
    if chain is not None:
        if chain.current.log != head.origin:
            return failed(
                Check.LOGGED, "the namespace speaks on another log", expected=chain.current.log, actual=head.origin
            )
        finding = _in_order(release.index, chain, indices_of(chain, files))
        if finding is not None:
            return finding
    elif Check.SIGNER not in off:
        return not_established(Check.LOGGED, "which log the namespace speaks on is not known: see signer")
    return verified(Check.LOGGED, f"the release is entry {release.index} of {head.size} in {head.origin}")


def indices_of(chain: Chain, files: Sequence[Proven]) -> list[int]:
    """Of the chain's versions, as the proofs claim them."""
    return [file.index or 0 for file in files[chain.place :]]


def _in_order(release: int, chain: Chain, indices: Sequence[int]) -> Finding | None:
    """Protocol section 4: an entry counts against the state that all earlier entries left."""
    if list(indices) != sorted(set(indices)):
        return failed(
            Check.LOGGED,
            "the versions of the namespace were not logged one after the other",
            expected="rising indices",
            actual=", ".join(f"version {each.version} at {n}" for each, n in zip(chain.versions, indices, strict=True)),
        )
    if chain.versions[0].version == 0 and release < indices[0]:
        return failed(
            Check.LOGGED,
            "the release was logged before there was its namespace",
            expected=f"above index {indices[0]}",
            actual=f"index {release}",
        )
    return None


def _included(item: Proven, witnesses_count: bool) -> Finding | None:
    """None if the entry is where its proof says."""
    if isinstance(item.head, Refused):
        if item.head.by_witness and witnesses_count:
            return not_established(Check.LOGGED, "its checkpoint is refused: see witnessed")
        return failed(Check.LOGGED, item.head.error)
    if item.proof is None or item.head is None:
        return not_established(Check.LOGGED, f"no proof of the {item.what} was given")
    head = item.head.checkpoint
    leaf = rfc6962.leaf_hash(item.file.entry)
    try:
        rfc6962.verify_inclusion(item.proof.index, head.size, leaf, item.proof.hashes, head.root)
    except ProofError as error:
        return failed(
            Check.LOGGED,
            f"the proof is not for this {item.what}: {error.message}",
            expected=f"leaf {leaf.hex()} at index {item.proof.index} of {head.size}",
            actual=error.actual,
        )
    return None
