"""Submissions and what is answered to them.

    POST /entries           one file; 201, or 200 if it was logged before; the body is its tlog-proof
    POST /entries/batch     many, each behind its big-endian uint16 length; one verdict each
    GET  /entries/<hash>    the proof of a known entry, by leaf hash
    POST /add               raw mode only: any bytes; the decimal index

An answer of 200 or 201 is given once the entry is in a published checkpoint, and says where (AP-01). There is no 202:
nothing is promised (AP-02).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from itertools import zip_longest

import msgspec
from aiohttp import hdrs, web

from teelog.errors import UnavailableError
from teelog.log_server import admission, batch_answer
from teelog.log_server.admission import Admission
from teelog.log_server.batch_answer import BatchAnswer, Results, rejection
from teelog.log_server.bodies import Bodies
from teelog.log_server.judging import Judges, Verdict, changes_namespace
from teelog.log_server.limits import Limits
from teelog.log_server.metrics import FrontMetrics
from teelog.log_server.problems import NO_STORE, Kind, Problem
from teelog.log_server.quota import Quota
from teelog.log_server.read import TEXT
from teelog.log_server.seams import STALE, Admitted, Full, Logged, Outcome, Pool, Rejected
from teelog.statement import ear_token
from teelog.statement.log_policy import LogPolicy
from teelog.tlog import rfc6962
from teelog.tlog.proof import TlogProof
from teelog.tlog.tiles import MAX_ENTRY

ONE_FILE = frozenset({"application/json", "application/vnd.dsse.envelope.v1+json", *ear_token.MEDIA_TYPES})
MANY_FILES = frozenset({"application/octet-stream"})
MAY_CHANGE = (Kind.UNKNOWN_NAMESPACE, Kind.WRONG_KEY, Kind.CONFLICT)
"""Refusals that a namespace statement logged meanwhile may turn around."""
MAY_BE_LOGGED = (Kind.WRONG_KEY, Kind.CONFLICT, Kind.QUOTA)
"""Refusals of what was logged before, perhaps: it keeps its index whatever came later (AP-01)."""
ROUNDS = 4
"""How often an entry is judged whose namespace changes while it is on its way."""

_LEAF = re.compile(r"/entries/([0-9a-f]{64})")


class Submissions:
    """Answers the submission paths; everything after ``Pool.submit`` is the sequencer's."""

    def __init__(
        self,
        pool: Pool,
        judge: Admission,
        limits: Limits,
        metrics: FrontMetrics,
        now: Callable[[], float] = time.time,
        *,
        alone: bool = True,
    ) -> None:
        self._pool = pool
        self._admission = judge
        self._limits = limits
        self._metrics = metrics
        self.bodies = Bodies(limits)
        self._quota = Quota(limits.namespace_per_day, now)
        self._judges = Judges(judge, alone=alone)
        self._hearing = asyncio.Lock()
        self._wanted = self._heard = 0

    def close(self) -> None:
        self._judges.close()

    async def refresh(self) -> None:
        """Hears of all namespaces logged by now. One question at a time answers everybody who asked before it."""
        self._wanted += 1
        mine = self._wanted
        async with self._hearing:
            if self._heard >= mine:
                return
            asked = self._wanted
            namespaces = self._admission.namespaces
            namespaces.learn(await self._pool.namespaces(namespaces.upto))
            self._heard = asked

    # -- handlers -----------------------------------------------------------------------------------------------------

    async def post_entry(self, request: web.BaseRequest) -> web.Response:
        check_type(request, ONE_FILE)
        with self.bodies.one(MAX_ENTRY) as body:
            leaf, logged = await self._enter(await body.read(request))
        return proof_response(logged, leaf)

    async def post_raw(self, request: web.BaseRequest) -> web.Response:
        with self.bodies.one(MAX_ENTRY) as body:
            logged = _accepted(await self._log(admission.raw(await body.read(request)), None))
        return web.Response(body=b"%d" % logged.index, headers={"Content-Type": TEXT, "Cache-Control": NO_STORE})

    async def get_entry(self, request: web.BaseRequest) -> web.Response:
        match = _LEAF.fullmatch(request.raw_path)
        if match is None:
            raise Problem(Kind.NOT_FOUND, "not a path of an entry", expected="/entries/<leaf hash, 64 lower-case hex>")
        leaf = bytes.fromhex(match[1])
        logged = await self._find(leaf)
        if logged is None:
            raise Problem(Kind.NOT_FOUND, "no entry with this leaf hash is in a published checkpoint")
        return proof_response(msgspec.structs.replace(logged, fresh=False), leaf)

    async def post_batch(self, request: web.BaseRequest) -> web.Response:
        check_type(request, MANY_FILES)
        with self.bodies.one(self._limits.batch_bytes) as body:
            entries = batch_answer.split(await body.read(request), self._limits.batch_entries)
            answer = await self._answer_all(entries)
        for item in answer.results:
            self._metrics.entry(item.status)
        headers = {"Content-Type": "application/json", "Cache-Control": NO_STORE, "X-Content-Type-Options": "nosniff"}
        return web.Response(body=msgspec.json.encode(answer), headers=headers)

    async def _answer_all(self, entries: Sequence[bytes]) -> BatchAnswer:
        """What becomes of each entry of a batch."""
        results = Results(len(entries))
        places: Sequence[int] = range(len(entries))
        for _ in range(ROUNDS):
            places = await self._answer(entries, places, results)
            if not places:
                break
        return results.answer()

    async def _answer(self, entries: Sequence[bytes], places: Sequence[int], results: Results) -> list[int]:
        """Answers the entries at ``places``; those are returned that another look may turn around."""
        verdicts = await self._judge_all([entries[place] for place in places])
        taken: list[tuple[int, Admitted, str | None]] = []
        for place, verdict in zip(places, verdicts, strict=True):
            if isinstance(verdict, Problem):
                results.refuse(place, verdict)
            elif self._quota.take(verdict[1]):
                taken.append((place, *verdict))
            else:
                results.refuse(place, self._quota.problem())
        await self._answer_known(entries, places, results)
        outcomes = await self._submit_charged([admitted for _, admitted, _ in taken], [name for _, _, name in taken])
        for (place, admitted, _), outcome in zip(taken, outcomes, strict=True):
            results.put(place, admitted.leaf, outcome)
        stale = [place for (place, *_), outcome in zip(taken, outcomes, strict=True) if _is_stale(outcome)]
        if stale or any(changes_namespace(admitted) for _, admitted, _ in taken):
            await self._hear()
        # What comes after one that was judged by a superseded version may have been refused for its sake alone.
        return [place for place in places if stale and place >= stale[0] and results.refusal(place)]

    async def _answer_known(self, entries: Sequence[bytes], places: Sequence[int], results: Results) -> None:
        doubted = [
            (place, rfc6962.leaf_hash(entries[place])) for place in places if results.refusal(place) in MAY_BE_LOGGED
        ]
        found = await asyncio.gather(*(self._find(leaf) for _, leaf in doubted))
        for (place, leaf), known in zip(doubted, found, strict=True):
            if known is not None:
                results.put(place, leaf, msgspec.structs.replace(known, fresh=False))

    # -- steps --------------------------------------------------------------------------------------------------------

    async def allow(self, entry: bytes) -> Logged:
        """Logs a statement that only the operator may log. Raises Problem."""
        _, logged = await self._enter(entry, operator=True)
        return logged

    def policy_from(self, policy: Callable[[], LogPolicy | None]) -> None:
        """Where the log's newest policy is to be had, by which the next one is judged."""
        self._admission.policy = policy

    async def _enter(self, entry: bytes, *, operator: bool = False) -> tuple[bytes, Logged]:
        """Judges and logs one entry, and does so again where its namespace changed on the way. Raises Problem.

        Returns its leaf hash with what became of it.
        """
        for left in reversed(range(ROUNDS)):
            verdict = await self._judge(entry, operator)
            if isinstance(verdict, Problem):
                leaf = rfc6962.leaf_hash(entry)
                known = await self._find(leaf) if verdict.kind in MAY_BE_LOGGED else None
                self._metrics.entry(verdict.status if known is None else 200)
                if known is None:
                    raise verdict
                return leaf, msgspec.structs.replace(known, fresh=False)
            admitted, name = verdict
            outcome = await self._log(admitted, None if operator else name)
            if changes_namespace(admitted):
                await self._hear()  # what it changes is in force here at once
            if not left or not _is_stale(outcome):
                break
            await self._hear()
        return admitted.leaf, _accepted(outcome)

    async def _hear(self) -> None:
        """``refresh`` for the sake of a request. Raises Problem."""
        try:
            await self.refresh()
        except (UnavailableError, Full) as error:
            raise _unpublished(error.message, error.retry_after or 5) from error

    async def _judge(self, entry: bytes, operator: bool = False) -> Verdict:
        known = self._admission.namespaces.upto
        verdict = self._judges.for_operator(entry) if operator else await self._judges.one(entry)
        if isinstance(verdict, Problem) and not operator and await self._heard_news(verdict, known):
            (verdict,) = self._judges.judge([entry])
        return verdict

    async def _heard_news(self, problem: Problem, known: int) -> bool:
        """Whether the name or key that this front did not know may have come meanwhile, through another front.

        known: how far it had heard when it judged: another request may have asked since.
        """
        if problem.kind not in MAY_CHANGE:
            return False
        try:
            await self.refresh()
        except (UnavailableError, Full):
            return False
        return self._admission.namespaces.upto != known

    async def _judge_all(self, entries: Sequence[bytes]) -> list[Verdict]:
        known = self._admission.namespaces.upto
        verdicts = await self._judges.many(entries)
        doubted = [(n, v) for n, v in enumerate(verdicts) if isinstance(v, Problem) and v.kind in MAY_CHANGE]
        if doubted and await self._heard_news(doubted[0][1], known):
            for place, _ in doubted:
                (verdicts[place],) = self._judges.judge([entries[place]])
        # A batch keeps its order: a version of a namespace is in force for what comes after it.
        if any(not isinstance(verdict, Problem) and changes_namespace(verdict[0]) for verdict in verdicts):
            return await self._judges.in_order(entries, verdicts)
        return verdicts

    async def _log(self, admitted: Admitted, name: str | None) -> Logged | Rejected:
        """Submits one entry. Raises Problem."""
        if not self._quota.take(name):
            known = await self._find(admitted.leaf)
            if known is None:
                self._metrics.entry(429)
                raise self._quota.problem()
            self._metrics.entry(200)
            return known
        try:
            (outcome,) = await self._submit_charged([admitted], [name])
        except Problem as problem:
            self._metrics.entry(problem.status)
            raise
        self._metrics.entry(outcome.status if isinstance(outcome, Rejected) else 201 if outcome.fresh else 200)
        return outcome

    async def _submit_charged(self, entries: Sequence[Admitted], names: Sequence[str | None]) -> Sequence[Outcome]:
        """Submits entries whose quota is taken, and gives back what was not used. names: of their namespaces."""
        outcomes: Sequence[Outcome] = ()
        try:
            outcomes = await self._submit(entries) if entries else ()
        finally:
            for name, outcome in zip_longest(names, outcomes):
                if not (isinstance(outcome, Logged) and outcome.fresh):
                    self._quota.give_back(name)
        return outcomes

    async def _submit(self, entries: Sequence[Admitted]) -> list[Outcome]:
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                return await self._pool.submit(entries)
        except Full as error:
            raise Problem(Kind.BUSY, error.message, retry_after=error.retry_after) from error
        except UnavailableError as error:
            raise _unpublished(error.message, error.retry_after or 5) from error
        except TimeoutError as error:
            raise _unpublished("the entry was not published in time", 5) from error

    async def _find(self, leaf: bytes) -> Logged | None:
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                return await self._pool.find(leaf)
        except (UnavailableError, Full, TimeoutError) as error:
            raise Problem(Kind.UNAVAILABLE, "the log cannot answer now", retry_after=5) from error


def check_type(request: web.BaseRequest, accepted: frozenset[str]) -> None:
    """The body's media type; parameters are ignored (AP-04). Raises Problem."""
    given = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if given not in accepted:
        raise Problem(
            Kind.MEDIA_TYPE,
            "the content type is not accepted here",
            expected=" or ".join(sorted(accepted)),
            actual=given or "none",
        )


def proof_response(logged: Logged, leaf: bytes) -> web.Response:
    """201 or 200 with the entry's tlog-proof. Never cached: the next one is for a newer checkpoint."""
    headers = {
        "Content-Type": TEXT,
        "Location": f"/entries/{leaf.hex()}",
        "Cache-Control": NO_STORE,
        "X-Content-Type-Options": "nosniff",
    }
    body = TlogProof(logged.index, logged.proof, logged.note).encode()
    return web.Response(status=201 if logged.fresh else 200, body=body, headers=headers)


def _accepted(outcome: Outcome) -> Logged:
    if isinstance(outcome, Rejected):
        raise rejection(outcome)
    return outcome


def _is_stale(outcome: Outcome) -> bool:
    return isinstance(outcome, Rejected) and outcome.kind == STALE


def _unpublished(detail: str, retry_after: float) -> Problem:
    return Problem(
        Kind.UNAVAILABLE,
        detail,
        hint="send the same bytes again: they may be logged by then, and then have the same index",
        retry_after=retry_after,
    )
