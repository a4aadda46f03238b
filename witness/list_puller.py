"""Adds the logs of published lists to a running witness, each list at its own interval.

Whatever a list or its server does, the witness goes on with the logs that it knows: nothing here stops it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import structlog

from teelog.client import outbound
from teelog.errors import MalformedError, TeelogError, UnavailableError
from teelog.witness import admin, list_plan
from teelog.witness.directory import ListSource, Witness
from teelog.witness.engine import Engine
from teelog.witness.metrics import Metrics

log = structlog.get_logger("teelog.witness")

MAX_SHOWN = 20  # added or skipped logs that are named in the journal
FIRST_SECONDS = 1.0  # from a start to the first look

Fetch = Callable[[ListSource], Awaitable[bytes]]
Sleep = Callable[[float], Awaitable[None]]


async def fetch(url: str, *, local: bool = False) -> bytes:
    """A list. https on the open internet only (A-16), unless ``local``. Raises TeelogError."""
    async with outbound.session(local=local) as http:
        return await outbound.get(http, url, list_plan.MAX_LIST, local=local)


def text(data: bytes) -> str:
    """Raises MalformedError."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("log list is not UTF-8", actual=f"byte {error.start}") from error


class Puller:
    """The lists of one witness. fetch, sleep, monotonic: as in ``serve``; tests give others."""

    def __init__(
        self,
        witness: Witness,
        engine: Engine,
        metrics: Metrics,
        *,
        monotonic: Callable[[], float],
        fetch: Fetch = lambda source: fetch(source.url, local=source.local),
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._name = witness.config.name
        self._sources = witness.config.lists
        self._engine = engine
        self._metrics = metrics
        self._monotonic = monotonic
        self._fetch = fetch
        self._sleep = sleep
        self._read = dict.fromkeys(range(len(self._sources)), monotonic())
        self._last: dict[int, bytes] = {}
        metrics.list_age.set_function(self.age)

    def age(self) -> float:
        """Seconds since the list that was read longest ago was read; 0 without lists."""
        return max((self._monotonic() - when for when in self._read.values()), default=0.0)

    async def run(self) -> None:
        """Until it is cancelled."""
        await asyncio.gather(*(self._follow(number) for number in range(len(self._sources))))

    async def _follow(self, number: int) -> None:
        await self._sleep(FIRST_SECONDS)
        while True:
            try:
                result = await self.look(number)
            except Exception as error:  # noqa: BLE001  one list's trouble is not the others', nor the witness's
                log.error("log list met a fault of ours", list=number, error=f"{type(error).__name__}: {error}")
                result = "failed"
            self._metrics.lists.labels(result).inc()
            await self._sleep(self._sources[number].every_seconds)

    async def look(self, number: int) -> str:
        """Reads a list once: unreachable, refused, unchanged or applied."""
        source = self._sources[number]
        try:
            data = await self._fetch(source)
        except UnavailableError as error:
            log.warning("log list is not reachable", list=number, error=str(error))
            return "unreachable"
        except TeelogError as error:
            log.error("log list cannot be read", list=number, error=str(error))
            return "refused"
        digest = hashlib.sha256(data).digest()
        if self._last.get(number) == digest:
            self._read[number] = self._monotonic()
            return "unchanged"
        try:
            plan = await admin.pull_running(self._engine, self._name, admin.PullLogs(text(data), source.bounds))
        except UnavailableError as error:
            log.error("log list could not be applied", list=number, error=str(error))
            return "failed"
        except TeelogError as error:
            log.error("log list is not applied", list=number, error=str(error))
            return "refused"
        self._last[number] = digest
        self._read[number] = self._monotonic()
        if plan.add:
            names = [entry.origin for entry in plan.add[:MAX_SHOWN]]
            log.info("logs added from a list", list=number, count=len(plan.add), first=names)
        if plan.skipped:
            why = [f"line {one.line}: {one.why}" for one in plan.skipped[:MAX_SHOWN]]
            log.warning("logs of a list cannot be cosigned", list=number, count=len(plan.skipped), first=why)
        return "applied" if plan.add else "unchanged"
