"""Asking the witnesses: on the event loop, all at once, one actor for each.

Witnesses of one URL are one: a request brings the lines of all its keys. An actor has at most one request under way;
one that is busy or must not be asked yet is left out of the round. Once the quorum is met the others get a short grace
and then go on in the background: their answer moves what they have seen, so the next request fits.

A witness that says 422, or claims a size beyond everything signed, is not asked again and an alarm is raised (W-44): at
start that stops the log (R-05). In a running process, which holds the directory's lock and its epoch, it proves nothing
against the log, and the quorum decides whether it can go on without that witness.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import aiohttp

from teelog.client.http import check_url
from teelog.client.witness import Inconsistent, SizeConflict, add_checkpoint
from teelog.errors import ConfigError, NotWitnessed, SignatureError, TeelogError, UnavailableError
from teelog.log_server import config
from teelog.log_server.seams import Clock, Request, RolledBack
from teelog.tlog import note
from teelog.tlog.policy import NONE, Policy
from teelog.tlog.vkey import VerifierKey
from teelog.tlog.witness import AddCheckpoint

log = logging.getLogger("teelog.log_server")

HINT = "this is an older copy, or a second instance: start from the newest copy, or end this log and init a new origin"
MAX_CLOCK_OFF = 300  # seconds between a cosignature's time and ours
ATTEMPTS = 3  # requests to one witness in one round: the first, and after each 409 another


@dataclass(slots=True, eq=False)
class Witness:
    """One URL. keys: its policy names -> key. seen: the size it cosigned last, as far as we know.

    not_before: monotonic time before which it must not be asked. alarm: why it is not asked any more.
    """

    url: str
    keys: dict[str, VerifierKey]
    min_interval: float
    seen: int = 0
    not_before: float = 0.0
    busy: bool = False
    alarm: str = ""
    failure: str = ""
    cosigned: int = 0
    """Rounds in which it answered."""

    @property
    def name(self) -> str:
        return next(iter(self.keys))


def group(policy: Policy, origin: str, settings: config.Witnesses) -> list[Witness]:
    """The policy's witnesses by URL. Raises ConfigError for one that cannot be asked."""
    found: dict[str, Witness] = {}
    for item in policy.witnesses.values():
        if item.key.name == origin:  # W-03, R-24
            raise ConfigError("a witness has the log's own name", actual=item.name)
        if item.url is None:
            continue  # its cosignatures come some other way, or not at all
        url = check_url(item.url)
        interval = settings.min_interval_s_by_name.get(item.name, settings.min_interval_s)
        witness = found.setdefault(url, Witness(url, {}, interval))
        witness.keys[item.name] = item.key
        witness.min_interval = max(witness.min_interval, interval)
    unknown = sorted(set(settings.min_interval_s_by_name) - set(policy.witnesses))
    if unknown:
        raise ConfigError("min_interval_s_by_name names no witness of the policy", actual=unknown[0])
    if not settings.fail_open:
        try:
            policy.check_quorum({name for witness in found.values() for name in witness.keys})
        except NotWitnessed as error:
            raise ConfigError(
                "the policy's quorum can never be met: too few witnesses have a URL",
                expected=error.expected,
                actual=error.actual,
            ) from error
    return list(found.values())


class Cosigners:
    """``Cosigner`` over HTTP. Made on the event loop on which it works; ``close`` ends it there."""

    def __init__(
        self, policy: Policy, origin: str, settings: config.Witnesses, clock: Clock, *, published: bytes = b""
    ) -> None:
        self._policy = policy
        self._settings = settings
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.witnesses = group(policy, origin, settings)
        self.answered: Callable[[str, float | None], None] = lambda _name, _seconds: None
        """Told how long each witness took, None if it gave nothing; for metrics."""
        if published:
            self.learn(published)

    def learn(self, published: bytes) -> None:
        """Who has cosigned the published checkpoint has seen its size: the first request after a start fits."""
        parsed = note.parse(published)
        size = parsed.claimed_text().split(b"\n")[1]
        ids = {(line.name, line.key_id) for line in parsed.signatures}
        for witness in self.witnesses:
            if any((key.name, key.key_id) in ids for key in witness.keys.values()):
                witness.seen = int(size)

    async def close(self) -> None:
        """Ends what is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    # -- the seam, from the sequencer's thread ------------------------------------------------------------------------

    def cosign(self, request: Request) -> Future[list[note.Signature]]:
        return asyncio.run_coroutine_threadsafe(self._round(request), self._loop)

    def probe(self, request: Request, last_signed: int) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._probe_all(request, last_signed), self._loop)

    def ready_in(self) -> float:
        if self._settings.fail_open or self._policy.quorum == NONE:
            return 0.0
        now = self._clock.monotonic()
        usable = sorted((item for item in self.witnesses if not item.alarm), key=lambda item: item.not_before)
        names: set[str] = set()
        for witness in usable:
            names |= set(witness.keys)
            if self._met(names):
                return max(0.0, witness.not_before - now)
        return 0.0  # it cannot be met: the round itself tells

    def _met(self, names: Iterable[str]) -> bool:
        try:
            self._policy.check_quorum(set(names))
        except NotWitnessed:
            return False
        return True

    # -- a round ------------------------------------------------------------------------------------------------------

    async def _round(self, request: Request) -> list[note.Signature]:
        lines: dict[str, note.Signature] = {}
        now = self._clock.monotonic()
        asked = [item for item in self.witnesses if not (item.alarm or item.busy or item.not_before > now)]
        tasks = {self._start(self._ask(witness, request, lines)) for witness in asked}
        pending: set[asyncio.Task[None]] = set(tasks)
        while pending and not self._met(lines):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if pending and self._settings.grace_ms:
            await asyncio.wait(pending, timeout=self._settings.grace_ms / 1000)
        if not self._met(lines) and not self._settings.fail_open:
            raise UnavailableError("the witness quorum is not reached", actual=self._describe())
        # W-43: verified lines of the policy's witnesses, nothing else, in the policy's order.
        return [lines[name] for name in self._policy.witnesses if name in lines]

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _describe(self) -> str:
        said = [f"{item.name}: {item.alarm or item.failure}" for item in self.witnesses if item.alarm or item.failure]
        return "; ".join(said)[:500] or "no witness may be asked yet"

    async def _ask(self, witness: Witness, request: Request, lines: dict[str, note.Signature]) -> None:
        """One witness in one round; never raises."""
        witness.busy = True
        began, answered = self._clock.monotonic(), witness.cosigned
        try:
            for _ in range(ATTEMPTS):
                try:
                    lines.update(await self._exchange(witness, request, witness.seen))
                except SizeConflict as conflict:
                    if conflict.size > request.size:
                        self._sound(witness, f"claims size {conflict.size}, which this log never signed")
                        return
                    witness.seen = conflict.size  # W-44: prove again, from there
                    continue
                witness.failure = ""
                witness.cosigned += 1
                return
            witness.failure = "gives another size each time"
        except Inconsistent as error:
            self._sound(witness, str(error))
        except TeelogError as error:
            witness.failure = str(error)
            log.warning("witness %s: %s", witness.name, error)
        finally:
            witness.busy = False
            gave = witness.cosigned > answered
            self.answered(witness.name, self._clock.monotonic() - began if gave else None)

    def _sound(self, witness: Witness, why: str) -> None:
        witness.alarm = why
        log.critical("witness %s is not asked any more: %s", witness.name, why)

    async def _exchange(self, witness: Witness, request: Request, old: int) -> Mapping[str, note.Signature]:
        """One request: the verified lines by policy name. Raises as ``add_checkpoint``."""
        proof: tuple[bytes, ...] = ()
        if 0 < old < request.size:
            proof = tuple(await asyncio.to_thread(request.consistency, old))
        elif old > request.size:
            raise UnavailableError("the witness has cosigned a newer checkpoint already", actual=old)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        witness.not_before = self._clock.monotonic() + witness.min_interval
        message = AddCheckpoint(old, proof, request.note())
        try:
            answer = await add_checkpoint(self._session, witness.url, message, self._settings.timeout_ms / 1000)
        except UnavailableError as error:
            if error.retry_after is not None:  # a 429 is honoured
                witness.not_before = max(witness.not_before, self._clock.monotonic() + error.retry_after)
            raise
        found = self._verified(witness, request, answer)
        if not found:
            raise SignatureError("the witness's answer has no line of its keys that verifies and is of now")
        witness.seen = request.size
        return found

    def _verified(
        self, witness: Witness, request: Request, answer: Iterable[note.Signature]
    ) -> dict[str, note.Signature]:
        by_key = {(key.name, key.key_id): (name, key) for name, key in witness.keys.items()}
        found: dict[str, note.Signature] = {}
        for line in answer:
            name, key = by_key.get((line.name, line.key_id), (None, None))
            if name is None or key is None:  # W-43: lines by keys that are not known are ignored
                continue
            try:
                timestamp = key.verify(request.text, line.blob)
            except SignatureError as error:
                log.warning("witness %s: %s", name, error)
                continue
            if not timestamp:
                continue
            # A verifier that asks for freshness would count none of these: they must not make up the quorum.
            off = timestamp - self._clock.now_ms() // 1000
            if abs(off) > MAX_CLOCK_OFF:
                log.warning("witness %s: its clock is %d s from this one's", name, off)
                continue
            found[name] = line
        return found

    # -- at start -----------------------------------------------------------------------------------------------------

    async def _probe_all(self, request: Request, last_signed: int) -> None:
        heard: set[str] = set()
        results = await asyncio.gather(
            *(self._probe(witness, request, last_signed, heard) for witness in self.witnesses), return_exceptions=True
        )
        for result in results:
            if isinstance(result, RolledBack):
                raise result
        for result in results:
            if isinstance(result, BaseException):
                raise result
        if not self._met(heard) and not self._settings.fail_open:
            raise UnavailableError("too few witnesses have confirmed what this log signed", actual=self._describe())

    async def _probe(self, witness: Witness, request: Request, last_signed: int, heard: set[str]) -> None:
        """R-05, W-18: what this witness has seen, by showing it the published checkpoint again."""
        try:
            await self._show(witness, request, last_signed)
        except Inconsistent as error:
            raise RolledBack(
                "a witness has seen another tree of this log",
                expected="a tree that extends what it cosigned",
                actual=f"{witness.name}: {error.actual}",
                hint=HINT,
            ) from error
        except TeelogError as error:
            if isinstance(error, RolledBack):
                raise
            witness.failure = str(error)
            log.warning("witness %s: %s", witness.name, error)
            return
        heard |= set(witness.keys)

    async def _show(self, witness: Witness, request: Request, last_signed: int) -> None:
        old = witness.seen if witness.seen <= request.size else 0
        for _ in range(ATTEMPTS):
            try:
                await self._exchange(witness, request, old)
            except SizeConflict as conflict:
                if conflict.size > last_signed:
                    raise RolledBack(
                        "a witness has cosigned more of this log than this directory knows of",
                        expected=f"at most size {last_signed}",
                        actual=f"{witness.name}: size {conflict.size}",
                        hint=HINT,
                    ) from conflict
                witness.seen = old = conflict.size
                if conflict.size > request.size:
                    return  # signed and not published before the last stop; the next round proves it
                continue
            finally:
                witness.not_before = 0.0 if not witness.min_interval else witness.not_before
            witness.failure = ""
            return
        raise UnavailableError("the witness gives another size each time")
