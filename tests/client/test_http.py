"""The client's HTTP: bounded, on one site, and every failure one of ours."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator

import pytest

from teelog.client.http import Answer, HttpClient, Refusal, check_url
from teelog.client.source import HttpSource
from teelog.errors import ConfigError, MalformedError, RefusedError, TeelogError, UnavailableError
from teelog.tlog import tiles
from teelog.tlog.tiles import Bundle, Tile
from tests.client.peers import Asked, Peer, Reply, peer


@pytest.fixture
def server() -> Iterator[Peer]:
    with peer() as found:
        yield found


async def get(url: str, limit: int = 100, timeout: float = 10) -> Answer:
    async with HttpClient(timeout) as http:
        return await http.get(url, limit)


async def test_a_plain_answer_comes_through(server: Peer):
    server.answers["/a"] = Reply(b"body", headers={"Content-Type": "Text/Plain; charset=utf-8"})
    assert await get(f"{server.url}/a") == Answer(200, b"body", "text/plain; charset=utf-8")
    (asked,) = server.asked
    assert asked.headers["User-Agent"] == "teelog"
    assert "Cookie" not in asked.headers


async def test_TT_21_gzip_is_asked_for_and_accepted_unasked(server: Peer):
    body = b"entry " * 1000
    server.answers["/a"] = Reply(gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert (await get(f"{server.url}/a", len(body))).body == body
    assert server.asked[0].headers["Accept-Encoding"] == "gzip, identity"


@pytest.mark.parametrize("limit", [0, 1, 99, 100_000])
async def test_A_05_an_answer_is_never_longer_than_its_limit(server: Peer, limit: int):
    server.answers["/even"] = bytes(limit)
    server.answers["/more"] = bytes(limit + 1)
    server.answers["/bomb"] = Reply(gzip.compress(bytes(limit + 1)), headers={"Content-Encoding": "gzip"})
    assert len((await get(f"{server.url}/even", limit)).body) == limit
    for path in ("more", "bomb"):
        with pytest.raises(MalformedError, match="too long"):
            await get(f"{server.url}/{path}", limit)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"no gzip", headers={"Content-Encoding": "gzip"}),
        Reply(gzip.compress(b"abc")[:-3], headers={"Content-Encoding": "gzip"}),
        Reply(gzip.compress(b"abc") + b"more", headers={"Content-Encoding": "gzip"}),
        Reply(b"abc", headers={"Content-Encoding": "br"}),
        Reply(b"abc", status=206),
        Reply(b"abc", status=202),
        Reply(b"", status=304),
        Reply(b"", status=302),
    ],
    ids=["no gzip", "truncated gzip", "gzip and more", "brotli", "206", "202", "304", "302 to nowhere"],
)
async def test_TT_41_an_answer_that_does_not_belong_here_is_malformed(server: Peer, reply: Reply):
    server.answers["/a"] = reply
    with pytest.raises(MalformedError):
        await get(f"{server.url}/a")


async def test_TT_41_a_redirect_to_another_host_is_refused_before_it_is_asked(server: Peer):
    with peer() as elsewhere:
        for target in (
            f"{elsewhere.url}/a",
            server.url.replace("http:", "https:"),
            "//192.0.2.1/a",
            "ftp://x/",
            "http://[",
        ):
            server.answers["/a"] = Reply(status=302, headers={"Location": target})
            with pytest.raises(MalformedError, match="another host"):
                await get(f"{server.url}/a")
        assert elsewhere.asked == []


async def test_A_05_redirects_on_the_same_site_are_followed_three_times(server: Peer):
    for number in range(5):
        server.answers[f"/{number}"] = Reply(status=307, headers={"Location": f"/{number + 1}"})
    server.answers["/5"] = b"there"
    assert (await get(f"{server.url}/2")).body == b"there"
    with pytest.raises(MalformedError, match="too often"):
        await get(f"{server.url}/1")


async def test_a_post_is_never_redirected(server: Peer):
    server.answers["/a"] = Reply(status=307, headers={"Location": "/b"})
    async with HttpClient() as http:
        with pytest.raises(MalformedError):
            await http.post(f"{server.url}/a", b"x", "application/json", 100)
    assert server.paths() == ["/a"]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_time_may_heal_is_unavailable_with_retry_after(server: Peer, status: int):
    server.answers["/a"] = Reply(status=status, headers={"Retry-After": "7"})
    with pytest.raises(UnavailableError) as caught:
        await get(f"{server.url}/a")
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("text", ["", "-1", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "٣", "9" * 400])
async def test_a_strange_retry_after_counts_as_none(server: Peer, text: str):
    raw = f"HTTP/1.1 503 x\r\nContent-Length: 0\r\nRetry-After: {text}\r\n\r\n".encode()
    server.answers["/a"] = Reply(raw=raw)
    with pytest.raises(UnavailableError) as caught:
        await get(f"{server.url}/a")
    assert caught.value.retry_after is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 415, 422])
async def test_a_definite_no_is_refused_in_the_peers_words(server: Peer, status: int):
    problem = {"type": "urn:teelog:problem:conflict", "detail": "no\x1b[2J", "pointer": "/a", "leaf": "ab" * 32}
    body = json.dumps({**problem, "expected": "x", "actual": 5}).encode()
    server.answers["/a"] = Reply(body, status, {"Content-Type": "application/problem+json"})
    with pytest.raises(Refusal) as caught:
        await get(f"{server.url}/a")
    refusal = caught.value
    assert isinstance(refusal, RefusedError)
    assert refusal.status == status
    assert (refusal.problem.kind, refusal.problem.leaf) == ("conflict", "ab" * 32)
    assert refusal.expected == "x"
    assert refusal.actual is None
    assert refusal.message.endswith(f"refused: {status} /a: no\x1b[2J")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/problem+json", b"{"),
        ("application/problem+json", b"[]"),
        ("application/problem+json", b"[" * 100_000),
        ("application/problem+json", b"x" * 1_000_000),
        ("application/problem+json", b'{"detail": 5, "leaf": "zz", "type": null}'),
        ("text/html", b"<script>alert(1)</script>"),
        ("text/plain", b"\xff" * 70_000),
    ],
)
async def test_an_error_answer_of_any_content_is_one_refusal(server: Peer, content_type: str, body: bytes):
    server.answers["/a"] = Reply(body, 403, {"Content-Type": content_type})
    with pytest.raises(Refusal) as caught:
        await get(f"{server.url}/a")
    assert "<script>" not in caught.value.message
    assert len(caught.value.message) < 800


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    ],
    ids=["nothing", "no http", "short body", "bad chunk", "huge header", "negative length"],
)
async def test_a_broken_exchange_is_one_of_our_errors(server: Peer, raw: bytes):
    server.answers["/a"] = Reply(raw=raw)
    with pytest.raises(TeelogError):
        await get(f"{server.url}/a")


async def test_A_05_silence_ends_at_the_deadline(server: Peer):
    server.answers["/a"] = Reply(hang=True)
    with pytest.raises(UnavailableError, match="in time"):
        await get(f"{server.url}/a", timeout=0.2)


async def test_nobody_listening_is_unavailable():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(UnavailableError, match="cannot reach"):
            await get(f"http://127.0.0.1:{held.getsockname()[1]}/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "log.example/tee",
        "ftp://log.example",
        "http://log.example/tee",
        "http://127.0.0.1.example/",
        "https://",
        "https://user:pw@log.example/",
        "https://log.example/?q",
        "https://log.example/#f",
        "https://log.example:x/",
        "https://[::1/",
        "file:///etc/passwd",
    ],
)
def test_A_16_an_unusable_url_is_a_configuration_error(url: str):
    with pytest.raises(ConfigError):
        check_url(url)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://log.example/tee/", "https://log.example/tee"),
        ("http://127.0.0.1:6960", "http://127.0.0.1:6960"),
        ("http://[::1]:6960/", "http://[::1]:6960"),
        ("http://localhost/x", "http://localhost/x"),
    ],
)
def test_a_usable_url_loses_its_trailing_slash(url: str, kept: str):
    assert check_url(url) == kept


async def test_TT_18_a_partial_that_is_gone_is_read_from_the_full_one(server: Peer):
    full = bytes(range(256)) * 32
    entries = [b"%d" % number for number in range(256)]
    server.serve({"tile/0/000": full, "tile/entries/000": tiles.encode_bundle(entries)})
    async with HttpClient() as http:
        source = HttpSource(http, server.url + "/")
        assert await source.tile(Tile(0, 0, 3)) == full[:96]
        assert await source.bundle(Bundle(0, 3)) == tiles.encode_bundle(entries[:3])
        with pytest.raises(RefusedError):
            await source.tile(Tile(0, 1, 3))
    assert server.paths() == [
        *("/tile/0/000.p/3", "/tile/0/000"),
        *("/tile/entries/000.p/3", "/tile/entries/000"),
        *("/tile/0/001.p/3", "/tile/0/001"),
    ]


async def test_a_busy_log_is_not_asked_for_the_full_tile(server: Peer):
    server.answers["/tile/0/000.p/3"] = Reply(status=503)
    async with HttpClient() as http:
        with pytest.raises(UnavailableError):
            await HttpSource(http, server.url).tile(Tile(0, 0, 3))
    assert server.paths() == ["/tile/0/000.p/3"]


@pytest.mark.parametrize(
    ("path", "limit"),
    [("tile/0/000", tiles.TILE_LENGTH), ("tile/entries/000", tiles.MAX_BUNDLE), ("checkpoint", 1 << 20)],
)
async def test_A_05_every_resource_has_its_bound(server: Peer, path: str, limit: int):
    def endless(asked: Asked) -> Reply:
        return Reply(gzip.compress(bytes(limit + 1), 1), headers={"Content-Encoding": "gzip"})

    server.answers[f"/{path}"] = endless
    async with HttpClient() as http:
        source = HttpSource(http, server.url)
        reading = {
            "checkpoint": source.checkpoint,
            "tile/0/000": lambda: source.tile(Tile(0, 0)),
            "tile/entries/000": lambda: source.bundle(Bundle(0)),
        }[path]
        with pytest.raises(MalformedError, match=f"at most {limit} bytes"):
            await reading()
