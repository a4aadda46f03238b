"""Judging in runs: whoever asks gets his own verdict, however many ask at once, and whatever goes wrong."""

from __future__ import annotations

import asyncio
import threading

import pytest

from teelog.log_server.admission import Admission, Namespaces
from teelog.log_server.judging import LONE, RUN, Judges
from teelog.log_server.problems import Kind, Problem
from teelog.log_server.seams import Admitted


class Echo(Admission):
    """Admits every entry but those that start with ``bad``; breaks on ``broken``."""

    def __init__(self) -> None:
        super().__init__(Namespaces("log.example/tee"))
        self.threads: set[str] = set()

    def judge(self, entry: bytes, *, operator: bool = False) -> tuple[Admitted, str | None]:
        self.threads.add(threading.current_thread().name)
        if entry.startswith(b"bad"):
            raise Problem(Kind.BAD_REQUEST, entry.decode())
        if entry == b"broken":
            raise RuntimeError("a fault")
        return Admitted(entry, entry.ljust(32), None), None


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("count", [1, LONE, LONE + 1, RUN, 3 * RUN + 1])
async def test_everyone_gets_his_own_verdict(count: int, alone: bool):
    judges = Judges(Echo(), alone=alone)
    entries = [b"bad %d" % n if n % 3 == 2 else b"%d" % n for n in range(count)]
    verdicts = await asyncio.gather(*map(judges.one, entries))
    for entry, verdict in zip(entries, verdicts, strict=True):
        assert (str(verdict.members["detail"]).encode() if isinstance(verdict, Problem) else verdict[0].entry) == entry
    assert [isinstance(v, Problem) for v in await judges.many(entries)] == [e.startswith(b"bad") for e in entries]
    judges.close()


async def test_a_lone_entry_is_judged_on_the_loop_and_many_are_not():
    admission = Echo()
    judges = Judges(admission)
    await judges.one(b"alone")
    assert admission.threads == {threading.current_thread().name}
    admission.threads.clear()
    await asyncio.gather(*(judges.one(b"%d" % n) for n in range(RUN)))
    assert threading.current_thread().name not in admission.threads
    judges.close()


async def test_beside_other_fronts_single_entries_stay_on_the_loop():
    admission = Echo()
    judges = Judges(admission, alone=False)
    await asyncio.gather(*(judges.one(b"%d" % n) for n in range(3 * RUN)))
    assert admission.threads == {threading.current_thread().name}
    judges.close()


@pytest.mark.parametrize("count", [1, RUN])
async def test_a_fault_reaches_who_waits_and_the_next_are_judged(count: int):
    judges = Judges(Echo())
    failed = await asyncio.gather(*(judges.one(b"broken") for _ in range(count)), return_exceptions=True)
    assert [str(error) for error in failed] == ["a fault"] * count
    assert not isinstance(await judges.one(b"next"), Problem)
    judges.close()


async def test_who_leaves_takes_nobody_with_him():
    judges = Judges(Echo())
    tasks = [asyncio.ensure_future(judges.one(b"%d" % n)) for n in range(RUN)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert all(isinstance(verdict, tuple) for verdict in done[1:])
    judges.close()
