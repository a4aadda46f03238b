"""Pushing a log to a mirror (c2sp.org/tlog-mirror): pending checkpoint, then entries in packages, then its cosignature.

    add-checkpoint: the mirror learns which tree is meant -> add-entries with no entry: it says what it lacks, or
    has all and cosigns -> add-entries from there, 32 packages at a time, as its answers say -> its cosignature

A mirror's answers are followed as far as they lead forward; one that leads nowhere is left alone until the next time.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import aiohttp

from teelog.client import witness
from teelog.client.http import check_url, reason, retry_after
from teelog.client.log import LogReader
from teelog.client.witness import SizeConflict
from teelog.errors import MalformedError, RefusedError, SignatureError, UnavailableError
from teelog.tlog import mirror, note
from teelog.tlog.mirror import MAX_PACKAGES, MirrorInfo
from teelog.tlog.policy import WitnessedCheckpoint
from teelog.tlog.vkey import VerifierKey
from teelog.tlog.witness import MAX_ANSWER, AddCheckpoint, parse_answer

BODY_BYTES = 8 << 20
"""Packages of one request end once they have so many bytes, before compression."""
ATTEMPTS = 8  # answers in a row that do not lead forward


@dataclass(frozen=True, slots=True)
class Mirror:
    """url: the submission prefix. keys: of the mirror's cosigner."""

    url: str
    keys: tuple[VerifierKey, ...]

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        object.__setattr__(self, "url", check_url(self.url))


@dataclass(frozen=True, slots=True)
class Pushed:
    """The mirror holds ``size`` entries, durably. lines: its cosignatures, verified. sent: entries that it was sent."""

    size: int
    lines: tuple[note.Signature, ...]
    sent: int


async def push(
    session: aiohttp.ClientSession,
    to: Mirror,
    shown: WitnessedCheckpoint,
    reader: Callable[[], LogReader],
    *,
    old: int = 0,
    timeout: float = 60.0,
) -> Pushed:
    """Brings the mirror ``to`` to the checkpoint ``shown``, of whose tree, or of a larger one, ``reader`` reads.

    reader: called for each request anew: what it remembers of the tree shall not grow with the log.
    old: the size that the mirror is believed to have as its pending checkpoint. timeout: seconds for one exchange.
    Raises UnavailableError (network, busy, or it has more than this log shows), RefusedError (it does not take this
    log), ``witness.Inconsistent`` (it has seen another tree of this log), MalformedError and SignatureError for answers
    that no honest mirror gives, and what reading raises.
    """
    work = _Push(session, to, shown, reader, timeout)
    await work.announce(old)
    return await work.upload()


class _Push:
    def __init__(
        self,
        session: aiohttp.ClientSession,
        to: Mirror,
        shown: WitnessedCheckpoint,
        reader: Callable[[], LogReader],
        timeout: float,
    ) -> None:
        self._session = session
        self._to = to
        self._shown = shown
        self._reader = reader
        self._timeout = timeout
        self._size = shown.checkpoint.size
        self._sent = 0

    # -- add-checkpoint -----------------------------------------------------------------------------------------------

    async def announce(self, old: int) -> None:
        """The mirror's pending checkpoint is the one that is shown."""
        old = min(old, self._size)
        bare = note.encode(self._shown.note.text, [line.signature for line in self._shown.log_signatures])
        for _ in range(ATTEMPTS):
            proof: tuple[bytes, ...] = ()
            if 0 < old < self._size:
                proof = tuple(await self._reader().prove_subtree(0, old, self._size))
            try:
                request = AddCheckpoint(old, proof, bare)
                # MI-03: witness lines may come along; the mirror's own are made once it has the entries.
                await witness.add_checkpoint(self._session, self._to.url, request, self._timeout, may_be_empty=True)
                return
            except SizeConflict as conflict:
                if conflict.size > self._size:
                    raise UnavailableError(
                        f"{self._to.url} has been shown more of this log", expected=self._size, actual=conflict.size
                    ) from conflict
                old = conflict.size
        raise MalformedError(f"{self._to.url} gives another size each time")

    # -- add-entries --------------------------------------------------------------------------------------------------

    async def upload(self) -> Pushed:
        # Nothing is sent before the mirror has said what it lacks.
        start = end = self._size
        ticket, best, idle = b"", -1, 0
        while idle < ATTEMPTS:
            answer = await self._add(start, end, ticket)
            if not isinstance(answer, MirrorInfo):
                if end == self._size:
                    return Pushed(self._size, self._verified(answer), self._sent)
                start = end = self._size  # an older pending checkpoint is complete: on to this one
                ticket, idle = b"", idle + 1
                continue
            if answer.size > self._size:
                raise UnavailableError(
                    f"{self._to.url} has been shown more of this log", expected=self._size, actual=answer.size
                )
            if answer.next_entry > best:
                best, idle = answer.next_entry, 0
            else:
                idle += 1
            # Its word is followed where this log has it; what is beyond the end is at the end.
            start, end, ticket = min(answer.next_entry, answer.size), answer.size, answer.ticket
        raise MalformedError(f"{self._to.url} does not get on", actual=f"next entry {best} of {self._size}")

    async def _add(self, start: int, end: int, ticket: bytes) -> MirrorInfo | tuple[note.Signature, ...]:
        """One request. Where it breaks off, the mirror is asked again what it lacks: what it took it keeps."""
        parts, sent = [mirror.encode_header(self._origin, start, end, ticket)], 0
        length, reader = 0, self._reader()
        for first, begin, stop in itertools.islice(mirror.packages(start, end), MAX_PACKAGES):  # MI-39
            entries = [entry async for _, entry in reader.entries(begin, stop)]
            parts.append(mirror.encode_package(entries, await reader.prove_subtree(first, stop, end)))
            length, sent = length + len(parts[-1]), sent + stop - begin
            if length >= BODY_BYTES:
                break
        body = await asyncio.to_thread(gzip.compress, b"".join(parts), 1)
        try:
            answer = await self._post(body)
        except _Broken as broken:
            if start == end:
                raise broken.error from broken
            # MI-19: an early answer closes the connection while the body is under way, and may be lost.
            return await self._post_again(end, ticket)
        self._sent += sent
        return answer

    async def _post_again(self, end: int, ticket: bytes) -> MirrorInfo | tuple[note.Signature, ...]:
        empty = gzip.compress(mirror.encode_header(self._origin, end, end, ticket), 1)
        try:
            return await self._post(empty)
        except _Broken as broken:
            raise broken.error from broken

    @property
    def _origin(self) -> str:
        return self._shown.checkpoint.origin

    async def _post(self, body: bytes) -> MirrorInfo | tuple[note.Signature, ...]:
        url = self._to.url + mirror.PATH
        headers = {
            "Content-Type": mirror.CONTENT_TYPE,  # MI-10
            "Content-Encoding": "gzip",  # MI-21
            "Accept-Encoding": "identity",
        }
        try:
            async with asyncio.timeout(self._timeout):
                # expect100: a mirror that says no at once says it before the body is sent (MI-19).
                async with self._session.post(
                    url, data=io.BytesIO(body), headers=headers, allow_redirects=False, expect100=len(body) > 65_536
                ) as response:
                    return _answer(url, response, await witness.read_answer(response, _limit(response.status)))
        except TimeoutError as error:
            raise UnavailableError(f"no answer in time from {url}") from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError) as error:
            raise _Broken(UnavailableError(f"cannot reach {url}", actual=reason(error)[:200])) from error
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            raise UnavailableError(f"cannot reach {url}", actual=reason(error)[:200]) from error

    def _verified(self, lines: Iterable[note.Signature]) -> tuple[note.Signature, ...]:
        keys = {(key.name, key.key_id): key for key in self._to.keys}
        found = []
        for line in lines:
            key = keys.get((line.name, line.key_id))
            if key is None:  # MI-40
                continue
            key.verify(self._shown.note.text, line.blob)
            found.append(line)
        if not found:
            raise SignatureError(f"{self._to.url} has cosigned with none of its keys")
        return tuple(found)


class _Broken(Exception):
    """The connection ended in the middle of an exchange."""

    def __init__(self, error: UnavailableError) -> None:
        super().__init__(str(error))
        self.error = error


def _limit(status: int) -> int:
    return mirror.MAX_INFO if status in (202, 409) else MAX_ANSWER


def _answer(url: str, response: aiohttp.ClientResponse, body: bytes) -> MirrorInfo | tuple[note.Signature, ...]:
    status = response.status
    if status == 200:
        return parse_answer(body)
    actual = f"{status}: {body[:200].decode('utf-8', 'replace').strip()}"
    if status in (202, 409):
        if response.headers.get("Content-Type", "") != mirror.INFO_TYPE:
            raise MalformedError(f"a {status} without the mirror's info", expected=mirror.INFO_TYPE, actual=actual)
        return mirror.parse_info(body)
    if status in (408, 425, 429) or status >= 500:
        raise UnavailableError(
            f"{url} cannot answer now", actual=actual, retry_after=retry_after(response.headers)
        )
    if status >= 400:
        raise RefusedError(f"{url} refused", status=status, actual=actual)
    raise MalformedError(f"{url} gives an answer that does not belong here", expected=200, actual=actual)
