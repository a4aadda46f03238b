"""Asking witnesses: all at once, by their rate, past the dead ones, and never taken in (W-43, W-44, R-05)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from teelog.errors import ConfigError, UnavailableError
from teelog.log_server.config import Witnesses
from teelog.log_server.cosigners import Cosigners
from teelog.log_server.seams import Request, RolledBack
from teelog.tlog import note, rfc6962, tiles
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.policy import parse_policy
from teelog.tlog.witness import encode_answer, parse_add_checkpoint
from tests.log_server.memory_pool import ORIGIN, SIGNER
from tests.log_server.rig import ManualClock
from tests.log_server.witnesses import TIME, Scripted, conflict, listening, policy_text, signers
from tests.witness.harness import Desk, Log
from tests.witness.http_harness import live


class Tree:
    """A log in memory."""

    def __init__(self, view: str = "") -> None:
        self.leaves = [rfc6962.leaf_hash(f"{view}{number}".encode()) for number in range(600)]

    def request(self, size: int) -> Request:
        root = rfc6962.root_of_leaves(self.leaves[:size])
        text = Checkpoint(ORIGIN, size, root).body()
        _, found = tiles.Edge().append(self.leaves[:size])
        held = {(tile.level, tile.index): tiles.parse_tile(data, tile.width) for tile, data in found.items()}

        def read(nodes: object) -> list[bytes]:
            return [
                tiles.tile_node(held[level // 8, index >> 8 - level % 8], level % 8, index & (1 << 8 - level % 8) - 1)
                for level, index in nodes  # type: ignore[attr-defined]
            ]

        return Request(text, (SIGNER.sign(text, TIME),), size, lambda old: rfc6962.prove_consistency(old, size, read))


TREE = Tree()


@asynccontextmanager
async def asking(
    witnesses: list[Scripted], quorum: int, clock: ManualClock | None = None, **settings: object
) -> AsyncIterator[Cosigners]:
    wanted = Witnesses(**{"timeout_ms": 10_000, "grace_ms": 0} | settings)  # type: ignore[arg-type]
    made = Cosigners(parse_policy(policy_text(witnesses, quorum)), ORIGIN, wanted, clock or ManualClock())
    try:
        yield made
    finally:
        await made.close()


async def cosign(cosigners: Cosigners, size: int, tree: Tree = TREE) -> list[note.Signature]:
    return await asyncio.wrap_future(cosigners.cosign(tree.request(size)))


async def probe(cosigners: Cosigners, size: int, last_signed: int, tree: Tree = TREE) -> None:
    await asyncio.wrap_future(cosigners.probe(tree.request(size), last_signed))


def names(lines: list[note.Signature]) -> list[str]:
    return sorted({line.name[-2:] for line in lines})


async def test_one_request_to_a_url_brings_the_lines_of_all_its_keys() -> None:
    async with listening(2) as witnesses, asking(witnesses, 2) as cosigners:
        assert len(cosigners.witnesses) == 2
        lines = await cosign(cosigners, 5)
        keys = [signer.verifier for witness in witnesses for signer in witness.signers]
        opened = note.open_note(note.encode(TREE.request(5).text, lines), keys)
        assert len(opened.signatures) == 4
        assert [witness.requests for witness in witnesses] == [[(0, 5)], [(0, 5)]]
        await cosign(cosigners, 300)
        await cosign(cosigners, 300)  # an unchanged checkpoint is cosigned anew
        assert witnesses[0].requests[1:] == [(5, 300), (300, 300)]


async def test_witnesses_are_asked_in_parallel_and_a_silent_one_is_not_waited_for() -> None:
    async with listening(4) as witnesses, asking(witnesses, 3) as cosigners:
        witnesses[1].held.clear()
        lines = await cosign(cosigners, 5)
        assert names(lines) == ["w0", "w2", "w3"]
        # It is still busy, so the next round leaves it out; once it has answered it takes part again.
        lines = await cosign(cosigners, 6)
        assert names(lines) == ["w0", "w2", "w3"]
        assert len(witnesses[1].requests) == 1
        witnesses[1].held.set()
        while cosigners.witnesses[1].busy:
            await asyncio.sleep(0.001)
        witnesses[2].held.clear()
        lines = await cosign(cosigners, 7)
        assert names(lines) == ["w0", "w1", "w3"]
        assert witnesses[1].requests[1:] == [(5, 7)]  # what it saw late is known


async def test_a_dead_witness_costs_its_timeout_at_most() -> None:
    async with listening(2) as witnesses, asking(witnesses, 2, timeout_ms=50) as cosigners:
        witnesses[1].held.clear()
        with pytest.raises(UnavailableError, match="quorum is not reached"):
            await cosign(cosigners, 5)
        witnesses[1].held.set()
        witnesses[0].script = lambda *_: web.Response(status=500)
        with pytest.raises(UnavailableError):  # w1 took the first one after all: its size is learned by 409
            await cosign(cosigners, 6)
        witnesses[0].script = lambda *_: None
        assert names(await cosign(cosigners, 6)) == ["w0", "w1"]


async def test_without_quorum_there_is_no_publication_unless_the_operator_says_so() -> None:
    async with listening(3) as witnesses:
        for witness in witnesses[1:]:
            witness.script = lambda *_: web.Response(status=500)
        async with asking(witnesses, 2) as cosigners:
            with pytest.raises(UnavailableError, match="quorum is not reached"):
                await cosign(cosigners, 5)
        async with asking(witnesses, 2, fail_open=True) as cosigners:
            assert names(await cosign(cosigners, 5)) == ["w0"]


async def test_W_44_a_409_is_proven_again_from_the_size_it_names() -> None:
    async with listening(1) as witnesses, asking(witnesses, 1) as cosigners:
        witnesses[0].size, witnesses[0].root = 3, rfc6962.root_of_leaves(TREE.leaves[:3])
        assert names(await cosign(cosigners, 300)) == ["w0"]
        assert witnesses[0].requests == [(0, 300), (3, 300)]


async def test_W_44_retries_after_409_are_bounded() -> None:
    async with listening(1) as witnesses, asking(witnesses, 1) as cosigners:
        sizes = iter(range(1, 100))
        witnesses[0].script = lambda *_: conflict(next(sizes))
        with pytest.raises(UnavailableError, match="another size each time"):
            await cosign(cosigners, 300)
        assert len(witnesses[0].requests) == 3


async def test_W_44_a_409_beyond_the_tree_is_an_alarm_and_the_quorum_goes_on_without_it() -> None:
    async with listening(3) as witnesses, asking(witnesses, 2) as cosigners:
        witnesses[0].script = lambda *_: conflict(1_000_000)
        assert names(await cosign(cosigners, 5)) == ["w1", "w2"]
        while cosigners.witnesses[0].busy:
            await asyncio.sleep(0.001)
        assert "never signed" in cosigners.witnesses[0].alarm
        await cosign(cosigners, 6)
        assert len(witnesses[0].requests) == 1


async def test_W_44_a_422_is_an_alarm_and_ends_the_asking() -> None:
    async with listening(1) as witnesses, asking(witnesses, 1) as cosigners:
        witnesses[0].script = lambda *_: web.Response(status=422, body=b"no")
        with pytest.raises(UnavailableError):
            await cosign(cosigners, 5)
        assert cosigners.witnesses[0].alarm
        with pytest.raises(UnavailableError):
            await cosign(cosigners, 5)
        assert len(witnesses[0].requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=409, body=b"3\n", content_type="text/plain"),
        web.Response(status=409, body=b"03\n", headers={"Content-Type": "text/x.tlog.size"}),
        web.Response(status=404),
        web.Response(status=403),
        web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
        web.Response(status=200, body=b""),
        web.Response(status=200, body=b"<html>\n"),
        web.Response(status=200, body=b"x" * 1_000_000),
        web.Response(status=200, headers={"Content-Encoding": "gzip"}, body=b"\x1f\x8b" + bytes(100)),
    ],
)
async def test_an_answer_that_is_none_costs_one_request_and_no_more(answer: web.Response) -> None:
    async with listening(2) as witnesses, asking(witnesses, 1) as cosigners:
        witnesses[0].script = lambda *_: answer
        assert names(await cosign(cosigners, 5)) == ["w1"]
        while cosigners.witnesses[0].busy:
            await asyncio.sleep(0.001)
        assert cosigners.witnesses[0].failure
        assert not cosigners.witnesses[0].alarm
        assert len(witnesses[0].requests) == 1


async def test_W_43_only_verified_lines_of_the_policys_witnesses_are_taken() -> None:
    stranger = signers("stranger.example/w")[0]
    other = Checkpoint(ORIGIN, 5, bytes(32)).body()

    def answering(witness: Scripted, body: bytes) -> web.Response:
        text = note.parse(parse_add_checkpoint(body).checkpoint).claimed_text()
        ed, ml = witness.signers
        good = ed.sign(text, TIME)
        wrong = ml.sign(other, TIME)  # a known key's signature over something else
        zero = ed.sign(text, 0)  # no claim of time
        return web.Response(body=encode_answer([stranger.sign(text, TIME), zero, wrong, good]))

    async with listening(1) as witnesses, asking(witnesses, 1) as cosigners:
        witnesses[0].script = answering
        lines = await cosign(cosigners, 5)
        assert [(line.name, len(line.blob)) for line in lines] == [("witness.example/w0", 72)]


@pytest.mark.parametrize("off", [-301, 301, -(10**9), 10**6])
async def test_a_witness_with_a_wrong_clock_does_not_make_up_the_quorum(off: int) -> None:
    def answering(witness: Scripted, body: bytes) -> web.Response:
        text = note.parse(parse_add_checkpoint(body).checkpoint).claimed_text()
        return web.Response(body=encode_answer(signer.sign(text, TIME + off) for signer in witness.signers))

    async with listening(3) as witnesses:
        witnesses[0].script = answering
        async with asking(witnesses, 2) as cosigners:
            assert names(await cosign(cosigners, 5)) == ["w1", "w2"]
        witnesses[1].script = lambda *_: web.Response(status=500)
        async with asking(witnesses, 2) as cosigners:
            with pytest.raises(UnavailableError, match="quorum is not reached"):
                await cosign(cosigners, 6)


async def test_lines_that_do_not_verify_are_no_cosignature() -> None:
    def answering(witness: Scripted, body: bytes) -> web.Response:
        other = Checkpoint(ORIGIN, 5, bytes(32)).body()
        return web.Response(body=encode_answer(signer.sign(other, TIME) for signer in witness.signers))

    async with listening(1) as witnesses, asking(witnesses, 1) as cosigners:
        witnesses[0].script = answering
        with pytest.raises(UnavailableError):
            await cosign(cosigners, 5)


async def test_a_429_is_honoured_with_its_retry_after() -> None:
    clock = ManualClock()
    async with listening(1) as witnesses, asking(witnesses, 1, clock) as cosigners:
        witnesses[0].script = lambda *_: web.Response(status=429, headers={"Retry-After": "30"})
        with pytest.raises(UnavailableError):
            await cosign(cosigners, 5)
        assert cosigners.ready_in() == 30
        clock.pass_ms(29_000)
        with pytest.raises(UnavailableError):
            await cosign(cosigners, 5)
        assert len(witnesses[0].requests) == 1
        clock.pass_ms(1_000)
        assert cosigners.ready_in() == 0
        witnesses[0].script = lambda *_: None
        assert names(await cosign(cosigners, 5)) == ["w0"]


async def test_a_minimal_interval_holds_for_its_witness_alone() -> None:
    clock = ManualClock()
    async with (
        listening(3) as witnesses,
        asking(witnesses, 2, clock, grace_ms=60_000, min_interval_s_by_name={"w0": 400.0, "w1m": 5.0}) as cosigners,
    ):
        assert cosigners.ready_in() == 0
        assert names(await cosign(cosigners, 5)) == ["w0", "w1", "w2"]
        assert cosigners.ready_in() == 5  # w2 at once, w1 in 5 s: the quorum of 2
        clock.pass_ms(5_000)
        assert names(await cosign(cosigners, 6)) == ["w1", "w2"]
        clock.pass_ms(400_000)
        witnesses[0].time = witnesses[1].time = witnesses[2].time = TIME + 405
        assert names(await cosign(cosigners, 7)) == ["w0", "w1", "w2"]
        assert witnesses[0].requests[-1] == (5, 7)


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"min_interval_s_by_name": {"nobody": 1.0}}, "no witness"), ({}, "never be met")],
)
async def test_settings_that_cannot_work_are_refused(settings: dict[str, object], match: str) -> None:
    w = Scripted("witness.example/w0")
    ed = str(w.signers[0].verifier)
    url = " http://127.0.0.1:1" if settings else ""
    policy = parse_policy(f"witness w {ed}{url}\nquorum w\n".encode())
    with pytest.raises(ConfigError, match=match):
        Cosigners(policy, ORIGIN, Witnesses(**settings), ManualClock())  # type: ignore[arg-type]


async def test_W_03_a_witness_with_the_logs_name_is_refused() -> None:
    ed = str(signers(ORIGIN)[0].verifier)
    policy = parse_policy(f"witness w {ed} http://127.0.0.1:1\nquorum w\n".encode())
    with pytest.raises(ConfigError, match="own name"):
        Cosigners(policy, ORIGIN, Witnesses(), ManualClock())


async def test_a_published_checkpoint_tells_who_has_seen_what() -> None:
    async with listening(2) as witnesses:
        async with asking(witnesses, 1) as cosigners:
            witnesses[1].script = lambda *_: web.Response(status=500)
            signed = note.encode(TREE.request(5).text, await cosign(cosigners, 5))
        async with asking(witnesses, 2) as cosigners:
            cosigners.learn(signed)
            assert [witness.seen for witness in cosigners.witnesses] == [5, 0]


# -- at start ---------------------------------------------------------------------------------------------------------


async def test_R_05_a_start_shows_the_published_checkpoint_to_every_witness() -> None:
    async with listening(3) as witnesses, asking(witnesses, 2) as cosigners:
        await cosign(cosigners, 5)
        while any(item.busy for item in cosigners.witnesses):
            await asyncio.sleep(0.001)
        await probe(cosigners, 5, 7)
        assert all(witness.requests[-1] == (5, 5) for witness in witnesses)


async def test_R_05_a_size_that_was_signed_but_not_published_is_no_fault() -> None:
    async with listening(1) as witnesses, asking(witnesses, 1) as cosigners:
        await cosign(cosigners, 7)
        cosigners.witnesses[0].seen = 0
        await probe(cosigners, 5, 7)
        assert names(await cosign(cosigners, 9)) == ["w0"]
        assert witnesses[0].requests[-1] == (7, 9)


async def test_F_15_a_witness_that_has_seen_more_refuses_the_start() -> None:
    async with listening(3) as witnesses, asking(witnesses, 2) as cosigners:
        witnesses[2].size = 8
        with pytest.raises(RolledBack, match="more of this log than this directory knows of") as caught:
            await probe(cosigners, 5, 7)
        assert caught.value.exit_code == 5
        assert "size 8" in str(caught.value)


async def test_F_15_a_witness_that_has_seen_another_tree_refuses_the_start() -> None:
    async with listening(2) as witnesses, asking(witnesses, 1) as cosigners:
        witnesses[1].size, witnesses[1].root = 5, rfc6962.root_of_leaves(Tree("other").leaves[:5])
        with pytest.raises(RolledBack, match="another tree"):
            await probe(cosigners, 5, 5)


async def test_R_05_too_few_answers_are_no_confirmation() -> None:
    async with listening(3) as witnesses, asking(witnesses, 2) as cosigners:
        for witness in witnesses[1:]:
            witness.script = lambda *_: web.Response(status=503)
        with pytest.raises(UnavailableError, match="too few"):
            await probe(cosigners, 5, 5)
        witnesses[1].script = lambda *_: None
        await probe(cosigners, 5, 5)


async def test_the_projects_own_witness_cosigns_and_finds_the_rolled_back_log(tmp_path: Path) -> None:
    log = Log(ORIGIN, [SIGNER])
    with Desk(tmp_path / "w", log) as desk:
        async with live(desk) as witness:
            keys = [str(one.verifier) for one in desk.witness.signers]
            lines = "".join(f"witness k{n} {key} {witness.url}\n" for n, key in enumerate(keys))
            policy = parse_policy(f"{lines}group w any k0 k1\nquorum w\n".encode())
            cosigners = Cosigners(policy, ORIGIN, Witnesses(), ManualClock())
            try:
                await probe(cosigners, 0, 0)
                assert len(await cosign(cosigners, 5)) == 2
                assert len(await cosign(cosigners, 300)) == 2
                await probe(cosigners, 300, 300)
                with pytest.raises(RolledBack):
                    await probe(cosigners, 5, 5)
                with pytest.raises(RolledBack):
                    await probe(cosigners, 300, 300, Tree("other"))
            finally:
                await cosigners.close()
