"""What can only be seen on the wire: methods, headers, sizes, deadlines, rates, the monitoring path, the page."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from unittest.mock import patch

import pytest

from teelog.keys import PublicKey
from teelog.tlog import note
from teelog.tlog.witness import MAX_REQUEST
from teelog.witness import admin
from tests.witness.harness import ORIGIN, WITNESS, Desk, Log, verified_cosignatures
from tests.witness.http_harness import live

OpenDesk = Callable[..., Desk]
HASH = hashlib.sha256(ORIGIN.encode()).hexdigest()


def http(body: bytes, *headers: str, path: str = "/add-checkpoint", length: int | None = None) -> bytes:
    declared = len(body) if length is None else length
    lines = [f"POST {path} HTTP/1.1", "Host: witness", f"Content-Length: {declared}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


# -- add-checkpoint ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS"])
async def test_W_01_only_POST(desk: Desk, log: Log, method: str) -> None:
    before = desk.state_bytes()
    async with (
        live(desk) as witness,
        witness.session.request(method, witness.url + "/add-checkpoint", data=log.request(0, 5)) as response,
    ):
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert desk.state_bytes() == before


@pytest.mark.parametrize(
    "path", ["/add-checkpoint/", "/add-checkpoint?x=1", "//add-checkpoint", "/add%2Dcheckpoint", "/x"]
)
async def test_other_paths_are_404(desk: Desk, log: Log, path: str) -> None:
    async with live(desk) as witness:
        answer = await witness.raw(http(log.request(0, 5), "Connection: close", path=path))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert desk.size() is None


async def test_W_16_409_on_the_wire(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 7)
    async with live(desk) as witness:
        answer = await witness.raw(http(log.request(0, 9), "Connection: close"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 409 Conflict\r\n")
    assert b"\r\nContent-Type: text/x.tlog.size\r\n" in head + b"\r\n"
    assert body == b"7\n"


async def test_W_30_200_on_the_wire(desk: Desk, log: Log) -> None:
    async with live(desk) as witness:
        status, body, _ = await witness.post(log.request(0, 5))
    assert status == 200
    assert len(note.open_note(log.note(5) + body, [one.verifier for one in desk.witness.signers]).signatures) == 2


async def test_W_40_a_body_above_128_KiB_is_413_and_not_read_on(desk: Desk) -> None:
    async with live(desk) as witness:
        declared = await witness.raw(http(b"old 0\n", length=MAX_REQUEST + 1))
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        chunked = await witness.raw(
            b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 3
        )
    for answer in (declared, chunked):
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"\r\nConnection: close\r\n" in answer


async def test_W_40_a_body_of_128_KiB_is_read(desk: Desk, log: Log) -> None:
    request = log.request(0, 5)
    async with live(desk) as witness:
        status, _, _ = await witness.post(request + b"x" * (MAX_REQUEST - len(request)))
    assert status == 400  # judged, not refused for its size


async def test_W_40_a_slow_body_is_408(desk: Desk) -> None:
    async with live(desk, request_seconds=0.01) as witness:
        answer = await witness.raw(http(b"old 0\n", length=100))
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "head",
    [
        b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: +5\r\n\r\nhello",
        b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 99999999999999999999999\r\n\r\nhello",
        b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nX: " + b"x" * 10_000 + b"\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_A_06_ambiguous_or_oversized_headers_are_refused(desk: Desk, head: bytes) -> None:
    async with live(desk) as witness:
        answer = await witness.raw(head + b"\r\n")
    assert answer.split(b" ")[1] in (b"400", b"413"), answer


async def test_A_04_compressed_requests_are_415(desk: Desk, log: Log) -> None:
    import gzip

    async with live(desk) as witness:
        status, _, _ = await witness.post(gzip.compress(log.request(0, 5)), headers={"Content-Encoding": "gzip"})
    assert status == 415
    assert desk.size() is None


async def test_an_expecting_client_is_told_to_go_on(desk: Desk, log: Log) -> None:
    async with live(desk) as witness:
        answer = await witness.raw(http(log.request(0, 5), "Expect: 100-continue", "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_A_32_an_answer_never_repeats_the_request(desk: Desk) -> None:
    async with live(desk) as witness:
        for body in (b"old <script>\n\n", b"old 0\n<script>\n\n", b"old 0\n\n<script>\n1\n", b"<script>"):
            _, answer, headers = await witness.post(body)
            assert b"script" not in answer
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cache-Control"] == "no-store"


# -- rates ------------------------------------------------------------------------------------------------------------


async def test_W_41_an_origin_has_its_quota_a_day(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(start=False)
    desk.add_log(log, per_day=3)
    desk.start()
    async with live(desk) as witness:
        for size in (1, 2, 3):
            assert (await witness.post(log.request(size - 1, size)))[0] == 200
        status, _, headers = await witness.post(log.request(3, 4))
        assert (status, headers["Retry-After"]) == (429, "28800")
        witness.time[0] += 28_800
        assert (await witness.post(log.request(3, 4)))[0] == 200
        assert (await witness.post(log.request(4, 5)))[0] == 429


async def test_W_41_junk_and_repeats_do_not_use_up_a_logs_quota(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(start=False)
    desk.add_log(log, per_day=2)
    desk.start()
    forged = log.body(9) + b"\n" + note.Signature(ORIGIN, log.signers[0].verifier.key_id, bytes(64)).line()
    async with live(desk) as witness:
        assert (await witness.post(log.request(0, 1)))[0] == 200
        for _ in range(5):
            assert (await witness.post(log.request(1, 9, note=forged)))[0] == 403
            assert (await witness.post(log.request(0, 9)))[0] == 409
        assert [(await witness.post(log.request(1, 1)))[0] for _ in range(3)] == [200, 200, 429]
        assert (await witness.post(log.request(1, 2)))[0] == 200


async def test_W_41_an_address_has_its_rate(desk: Desk, log: Log) -> None:
    async with live(desk, per_address_per_second=0.5, per_address_burst=2) as witness:
        statuses = [(await witness.post(b"junk"))[0] for _ in range(3)]
        assert statuses == [400, 400, 429]
        _, _, headers = await witness.post(log.request(0, 5))
        assert headers["Retry-After"] == "2"
        witness.time[0] += 2
        assert (await witness.post(log.request(0, 5)))[0] == 200


async def test_A_09_forwarded_addresses_are_believed_from_proxies_only(desk: Desk) -> None:
    async def statuses(**limits: object) -> list[int]:
        async with live(desk, per_address_per_second=0.5, per_address_burst=1, **limits) as witness:
            return [
                (await witness.post(b"junk", headers={"X-Forwarded-For": f"198.51.100.9, 203.0.113.{n}"}))[0]
                for n in (1, 2, 2)
            ]

    assert await statuses() == [400, 429, 429]
    assert await statuses(trusted_proxies=("127.0.0.1",)) == [400, 400, 429]


async def test_A_01_connections_of_one_address_are_bounded(desk: Desk) -> None:
    async with live(desk, connections_per_address=2) as witness:
        held = [await asyncio.open_connection(witness.host, witness.port) for _ in range(2)]
        for _, writer in held:
            writer.write(b"GET / HTTP/1.1\r\nHost: w\r\n\r\n")
        assert all([(await reader.readline()).startswith(b"HTTP/1.1 200") for reader, _ in held])
        reader, writer = await asyncio.open_connection(witness.host, witness.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: w\r\n\r\n")
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
        assert answer == b""
        for _, one in [*held, (reader, writer)]:
            one.close()


async def test_W_41_a_flood_of_unknown_origins_costs_no_signature_check(desk: Desk) -> None:
    stranger = Log("unknown.example")
    request = stranger.request(0, 5)
    async with live(desk) as witness:
        with patch.object(PublicKey, "verify", side_effect=AssertionError("a signature was checked")):
            assert {(await witness.post(request))[0] for _ in range(50)} == {404}


async def test_W_42_a_connection_serves_a_hundred_requests(desk: Desk, log: Log) -> None:
    async with live(desk) as witness:
        reader, writer = await asyncio.open_connection(witness.host, witness.port)
        for size in range(1, 101):
            writer.write(http(log.request(size - 1, size)))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
            await reader.readexactly(int(length.removeprefix(b"Content-Length: ")))
        writer.close()
    assert desk.size() == 100


# -- monitoring -------------------------------------------------------------------------------------------------------


async def test_WM_01_the_newest_checkpoint_is_under_the_hash_of_the_origin(desk: Desk, log: Log) -> None:
    async with live(desk) as witness:
        for old, new in ((0, 5), (5, 9)):
            await witness.post(log.request(old, new))
            status, body, headers = await witness.get(f"/{HASH}/checkpoint")
            assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
            assert body.startswith(log.body(new))


@pytest.mark.parametrize(
    "path",
    [
        f"/{HASH.upper()}/checkpoint",
        f"/{HASH[:-1]}/checkpoint",
        f"/{HASH}0/checkpoint",
        "/log.example%2Ftee/checkpoint",
        f"/{HASH}/checkpoint/",
        f"/{HASH}/checkpoint?",
        f"/%{ord(HASH[0]):x}{HASH[1:]}/checkpoint",
        f"/x/../{HASH}/checkpoint",
        f"/{HASH}/checkpoint%00",
    ],
)
async def test_WM_02_any_other_spelling_is_404(desk: Desk, log: Log, path: str) -> None:
    desk.cosign(log, 0, 5)
    async with live(desk) as witness:
        answer = await witness.raw(f"GET {path} HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD"])
async def test_WM_02_only_GET(desk: Desk, log: Log, method: str) -> None:
    desk.cosign(log, 0, 5)
    async with live(desk) as witness, witness.session.request(method, f"{witness.url}/{HASH}/checkpoint") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET")


async def test_WM_03_the_log_line_and_the_returned_cosignatures_and_nothing_else(desk: Desk, log: Log) -> None:
    stranger = note.Signature("stranger.example", b"abcd", b"x")
    async with live(desk) as witness:
        _, cosigned, _ = await witness.post(log.request(0, 5, note=log.note(5, extra=[stranger])))
        _, body, _ = await witness.get(f"/{HASH}/checkpoint")
    assert body == log.note(5) + cosigned


async def test_WM_04_never_cosigned_is_404(desk: Desk, log: Log) -> None:
    async with live(desk) as witness:
        assert (await witness.get(f"/{HASH}/checkpoint"))[0] == 404
        await witness.post(log.request(3, 5))
        assert (await witness.get(f"/{HASH}/checkpoint"))[0] == 404
        assert (await witness.get(f"/{'0' * 64}/checkpoint"))[0] == 404


async def test_WM_05_the_published_checkpoint_is_the_one_just_answered(desk: Desk, log: Log) -> None:
    async with live(desk) as witness:
        for size in range(1, 20):
            _, cosigned, _ = await witness.post(log.request(size - 1, size))
            assert (await witness.get(f"/{HASH}/checkpoint"))[1] == log.note(size) + cosigned
    assert b"witness_unpublished_seconds 0.0\n" in desk.metrics.exposition()


async def test_a_disabled_logs_checkpoint_can_still_be_read(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 5)
    assert desk.engine is not None
    desk.engine.call(lambda store: admin.apply(store, WITNESS, admin.DisableLog(ORIGIN))).result(10)
    async with live(desk) as witness:
        assert (await witness.get(f"/{HASH}/checkpoint"))[0] == 200
        assert (await witness.post(log.request(5, 6)))[0] == 403


# -- the page ---------------------------------------------------------------------------------------------------------


async def test_A_70_the_page_escapes_origins_and_runs_nothing(open_desk: OpenDesk) -> None:
    hostile = "log.example/<script>alert(1)</script>&\"'"
    desk = open_desk(Log(hostile))
    async with live(desk) as witness:
        status, body, headers = await witness.get("/")
    page = body.decode()
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#x27;" in page
    assert headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert all(str(one.verifier) in page for one in desk.witness.signers)
    assert hashlib.sha256(hostile.encode()).hexdigest() in page


async def test_A_18_metrics_have_no_label_from_outside(desk: Desk, log: Log) -> None:
    async with live(desk) as witness:
        for number in range(20):
            await witness.post(Log(f"stranger-{number}.example").request(0, 1))
            await witness.get(f"/stranger-{number}")
        await witness.post(log.request(0, 1))
    text = desk.metrics.exposition().decode()
    assert "stranger" not in text
    assert ORIGIN not in text
    assert 'witness_requests_total{call="add-checkpoint",status="404"} 20.0' in text
    assert 'witness_requests_total{call="add-checkpoint",status="200"} 1.0' in text


async def test_W_31_over_http_the_answer_completes_the_note(desk: Desk, log: Log) -> None:
    async with live(desk) as witness:
        _, body, _ = await witness.post(log.request(0, 5))
    from teelog.witness.decide import Answer

    assert len(verified_cosignatures(Answer(200, body), log.note(5), desk.witness)) == 2
