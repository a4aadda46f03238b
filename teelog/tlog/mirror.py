"""The add-entries exchange (c2sp.org/tlog-mirror): request, packages and the mirror's answers, as a client has them.

u16 origin size || origin || u64 upload_start || u64 upload_end || u16 ticket size || ticket || package ...
package: (u16 entry size || entry) ... || u8 num_hashes || num_hashes hashes
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from teelog import strict
from teelog.errors import MalformedError
from teelog.tlog.rfc6962 import MAX_HASHES
from teelog.tlog.tiles import WIDTH

PATH = "/add-entries"
CONTENT_TYPE = "application/octet-stream"
INFO_TYPE = "text/x.tlog.mirror-info"
MAX_PACKAGES = 32
"""MI-39: in one request of a client, 8,192 entries."""
MAX_TICKET = 0xFFFF  # bytes
MAX_INFO = 3 * 20 + 4 * -(-MAX_TICKET // 3) + 3  # bytes of an answer


@dataclass(frozen=True, slots=True)
class MirrorInfo:
    """A 202 or 409 answer. size: of a pending checkpoint. next_entry: the first that the mirror lacks."""

    size: int
    next_entry: int
    ticket: bytes

    def encode(self) -> bytes:
        """MI-28: exactly three lines."""
        return b"%d\n%d\n%s\n" % (self.size, self.next_entry, base64.b64encode(self.ticket))


def parse_info(body: bytes) -> MirrorInfo:
    """Reads an answer strictly (MI-28). Raises MalformedError."""
    lines = body.split(b"\n")
    if len(body) > MAX_INFO or len(lines) != 4 or lines[3]:
        raise MalformedError("mirror info is not three lines", actual=body[:80])
    ticket = strict.b64(lines[2], "ticket") if lines[2] else b""
    if len(ticket) > MAX_TICKET:
        raise MalformedError("ticket is too long", expected=f"at most {MAX_TICKET} bytes", actual=len(ticket))
    return MirrorInfo(strict.decimal(lines[0], "pending size"), strict.decimal(lines[1], "next entry"), ticket)


def encode_header(origin: str, start: int, end: int, ticket: bytes = b"") -> bytes:
    """What an upload of [start, end) begins with. Raises ValueError where the origin or ticket has no room."""
    name = origin.encode()
    if not 0 < len(name) <= 0xFFFF or len(ticket) > MAX_TICKET or not 0 <= start <= end < 1 << 63:
        raise ValueError("no add-entries header holds this")
    numbers = start.to_bytes(8, "big") + end.to_bytes(8, "big")
    return len(name).to_bytes(2, "big") + name + numbers + len(ticket).to_bytes(2, "big") + ticket


def packages(start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """MI-20: the canonical sequence for [start, end): (start of the subtree, start, end) of each package.

    One by one: a log may have signed any size.
    """
    if start < end:
        for rounded in range(start - start % WIDTH, end, WIDTH):
            yield rounded, max(start, rounded), min(end, rounded + WIDTH)


def encode_package(entries: Iterable[bytes], proof: Sequence[bytes]) -> bytes:
    """entries: each at most 65,535 bytes. proof: of the package's subtree. Raises ValueError for too many hashes."""
    if len(proof) > MAX_HASHES:
        raise ValueError(f"a subtree proof has at most {MAX_HASHES} hashes")
    parts = [len(entry).to_bytes(2, "big") + entry for entry in entries]
    return b"".join([*parts, bytes([len(proof)]), *proof])


@dataclass(frozen=True, slots=True)
class Header:
    """What an upload begins with: entries [start, end) of the log ``origin``. ticket: the mirror's own, or empty."""

    origin: str
    start: int
    end: int
    ticket: bytes


def parse_header(data: bytes) -> tuple[Header, int] | None:
    """The header at the beginning of ``data`` and its length; None while bytes are missing (MI-11, MI-12).

    Raises MalformedError.
    """
    if len(data) < 2:
        return None
    name_end = 2 + int.from_bytes(data[:2], "big")
    fixed = name_end + 18
    if name_end == 2:
        raise MalformedError("upload names no log")
    if len(data) < fixed:
        return None
    end = fixed + int.from_bytes(data[fixed - 2 : fixed], "big")
    if len(data) < end:
        return None
    start, stop = (int.from_bytes(data[at : at + 8], "big") for at in (name_end, name_end + 8))
    if max(start, stop) >= 1 << 63:
        raise MalformedError("upload is beyond any log", expected="below 2^63", actual=max(start, stop))
    # MI-12: "`upload_start` MUST be less or equal to `upload_end`."
    if start > stop:
        raise MalformedError("upload ends before it starts", expected=f"at least {start}", actual=stop)
    try:
        origin = data[2:name_end].decode()
    except UnicodeDecodeError as error:
        raise MalformedError("upload's origin is no UTF-8") from error
    return Header(origin, start, stop, data[fixed:end]), end
