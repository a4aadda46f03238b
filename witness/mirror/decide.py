"""What a mirror answers to the header of add-entries: a function of it and of some valid copy of the mirror's state.

Source: c2sp.org/tlog-mirror, "Processing". No I/O; the order is that of the specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.mirror import INFO_TYPE, Header, MirrorInfo
from teelog.witness.decide import Answer, refuse

MAX_EXCESS = 2_048  # entries that may be sent although the mirror has them


@dataclass(frozen=True, slots=True)
class Pending:
    """A checkpoint that the log signed. note: with the log's signatures and no others (MI-04)."""

    checkpoint: Checkpoint
    note: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """What the mirror has of a log. next_entry: the first that it lacks. size: of the mirror checkpoint, -1 before the
    first; pending: that checkpoint as the log signed it."""

    next_entry: int = 0
    size: int = -1
    pending: Pending | None = None


def decide(
    header: Header, known: bool, mirrored: bool, newest: Pending | None, ticketed: Pending | None, kept: Kept
) -> Answer | Pending:
    """The refusal, or the checkpoint that the upload leads to.

    newest: the pending checkpoint now. ticketed: the one of a ticket that the mirror gave, None without a good one.
    """
    # MI-13: "If `log_origin` is not a known log, the mirror MUST respond with a "404 Not Found"".
    if not known:
        return refuse(HTTPStatus.NOT_FOUND, "log is not known here")
    if not mirrored:
        return refuse(HTTPStatus.FORBIDDEN, "log is not mirrored here")
    # MI-14: "If the mirror has never received a pending checkpoint signed by the log, [...] 422".
    if newest is None:
        return refuse(HTTPStatus.UNPROCESSABLE_ENTITY, "no checkpoint of this log was received yet")
    # MI-15, MI-31: "If `upload_end` is neither a known pending checkpoint value nor the mirror checkpoint's tree size,
    # the mirror MUST respond with a "409 Conflict"".
    target = next(
        (each for each in (newest, kept.pending, ticketed) if each is not None and each.checkpoint.size == header.end),
        None,
    )
    # MI-16: "If `upload_end` is less than the mirror checkpoint's tree size, [...] 409".
    if target is None or header.end < kept.size:
        return Conflict.of(newest, kept)
    # MI-17: "If `upload_start` is greater than the mirror's next entry, [...] 409".
    # MI-18: "Let `excess_entries = min(upload_end, next_entry) - upload_start` [...] is too large, [...] 409".
    if header.start > kept.next_entry or min(header.end, kept.next_entry) - header.start > MAX_EXCESS:
        return Conflict.of(target, kept)
    return target


@dataclass(frozen=True, slots=True)
class Conflict(Answer):
    """A 409 or 202 whose ticket is still to be made. target: of the checkpoint that the client should lead to."""

    target: Pending | None = None
    next_entry: int = 0

    @classmethod
    def of(cls, target: Pending, kept: Kept, status: HTTPStatus = HTTPStatus.CONFLICT) -> Conflict:
        return cls(status, b"", INFO_TYPE, None, target, kept.next_entry)

    def with_ticket(self, ticket: bytes) -> Answer:
        """MI-28: "three lines, each followed by a newline"; MI-29: of a valid end, the first line is that end."""
        assert self.target is not None
        body = MirrorInfo(self.target.checkpoint.size, self.next_entry, ticket).encode()
        return Answer(self.status, body, INFO_TYPE)
