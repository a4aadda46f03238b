"""Pushing to a mirror: what it lacks and no more, as its answers say, and only its own cosignature counts."""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from teelog.client.log import LogReader
from teelog.client.mirror_push import ATTEMPTS, Mirror, Pushed, push
from teelog.client.source import DirectorySource
from teelog.client.witness import Inconsistent
from teelog.errors import ConfigError, MalformedError, RefusedError, SignatureError, TeelogError, UnavailableError
from teelog.tlog import mirror as wire
from teelog.tlog.mirror import MirrorInfo
from teelog.tlog.policy import WitnessedCheckpoint, verify_checkpoint
from teelog.tlog.witness import encode_answer
from tests.client import logs
from tests.client.mirror_peer import PQ, SIGNER, MirrorPeer, Upload
from tests.client.peers import Reply, peer

ENTRIES = logs.entries(9_000)
INFO = {"Content-Type": wire.INFO_TYPE}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("log")
    for size in (600, 9_000):
        logs.write(made, ENTRIES[:size])
    return made


@pytest.fixture
def mirror() -> Iterator[MirrorPeer]:
    with peer() as found:
        yield MirrorPeer(found)


def shown(size: int) -> WitnessedCheckpoint:
    return verify_checkpoint(logs.sign(logs.head(ENTRIES[:size])), logs.policy())


async def send(folder: Path, to: MirrorPeer | str, size: int, **how: object) -> Pushed:
    """The log as its first ``size`` entries, whose tiles the larger one has as well."""
    url = to if isinstance(to, str) else to.peer.url
    keys = tuple(signer.verifier for signer in (SIGNER, PQ))
    source = DirectorySource(folder)
    big = logs.head(ENTRIES)

    def reader() -> LogReader:
        return LogReader(source, big.size, big.root)

    async with aiohttp.ClientSession() as session:
        return await push(session, Mirror(url, keys), shown(size), reader, **how)  # type: ignore[arg-type]


async def test_a_new_mirror_gets_everything_and_its_cosignature_is_verified(folder: Path, mirror: MirrorPeer):
    found = await send(folder, mirror, 600)
    assert (found.size, found.sent) == (600, 600)
    assert mirror.entries == ENTRIES[:600]
    assert SIGNER.verifier.verify(shown(600).note.text, found.lines[0].blob)
    assert mirror.uploads == [Upload(600, 600, b"", 0), Upload(0, 600, b"ticket of 600", 3)]


async def test_what_it_has_is_not_sent_again(folder: Path, mirror: MirrorPeer):
    await send(folder, mirror, 600)
    mirror.uploads.clear()
    assert (await send(folder, mirror, 600, old=600)).sent == 0
    assert (await send(folder, mirror, 700, old=600)).sent == 100
    assert mirror.uploads[-1] == Upload(600, 700, b"ticket of 700", 1)
    assert mirror.entries == ENTRIES[:700]


async def test_MI_39_32_packages_at_most_in_a_request_and_the_answers_are_followed(folder: Path, mirror: MirrorPeer):
    assert (await send(folder, mirror, 9_000)).sent == 9_000
    assert [each.packages for each in mirror.uploads] == [0, 32, 4]
    assert mirror.entries == ENTRIES
    assert mirror.size == 9_000


@pytest.mark.parametrize("most", [1, 7])
async def test_MI_39_a_mirror_that_takes_less_gets_the_rest_later(folder: Path, mirror: MirrorPeer, most: int):
    mirror.most = most
    assert (await send(folder, mirror, 2_000)).size == 2_000
    assert mirror.entries == ENTRIES[:2_000]


async def test_a_request_is_bounded_in_bytes_too(folder: Path, mirror: MirrorPeer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("teelog.client.mirror_push.BODY_BYTES", 10_000)
    await send(folder, mirror, 2_000)
    assert max(each.packages for each in mirror.uploads) < 8
    assert mirror.entries == ENTRIES[:2_000]


@pytest.mark.parametrize("have", [1, 255, 256, 300, 511])
async def test_a_mirror_in_the_middle_of_a_tile(folder: Path, mirror: MirrorPeer, have: int):
    mirror.entries = ENTRIES[:have]
    assert (await send(folder, mirror, 600)).sent == 600 - have
    assert mirror.entries == ENTRIES[:600]


async def test_MI_45_an_empty_log(folder: Path, mirror: MirrorPeer):
    assert await send(folder, mirror, 0) == Pushed(0, (SIGNER.sign(shown(0).note.text, logs.NOW),), 0)


async def test_the_pending_size_is_learnt_from_a_conflict(folder: Path, mirror: MirrorPeer):
    await send(folder, mirror, 600)
    for old in (0, 5, 599, 601, 10**6):
        assert (await send(folder, mirror, 600, old=old)).size == 600


async def test_a_mirror_that_is_ahead_is_left_alone(folder: Path, mirror: MirrorPeer):
    await send(folder, mirror, 700)
    with pytest.raises(UnavailableError, match="more of this log"):
        await send(folder, mirror, 600)


async def test_an_older_pending_checkpoint_is_completed_first(folder: Path, mirror: MirrorPeer):
    mirror.pending = [logs.head(ENTRIES[:300])]
    answers = [Reply(MirrorInfo(300, 0, b"old").encode(), 409, INFO)]
    mirror.answer = lambda asked: answers.pop() if asked.path == "/add-entries" and answers else None
    assert (await send(folder, mirror, 600, old=300)).size == 600
    assert [(each.start, each.end) for each in mirror.uploads] == [(0, 300), (600, 600), (300, 600)]


async def test_MI_40_lines_by_unknown_keys_are_ignored(folder: Path, mirror: MirrorPeer):
    mirror.signers = (logs.WITNESSES[0], SIGNER, logs.LOG, PQ)
    found = await send(folder, mirror, 300)
    assert [line.key_id for line in found.lines] == [SIGNER.verifier.key_id, PQ.verifier.key_id]


async def test_MI_40_without_a_line_by_its_keys_nothing_is_mirrored(folder: Path, mirror: MirrorPeer):
    mirror.signers = (logs.WITNESSES[0],)
    with pytest.raises(SignatureError):
        await send(folder, mirror, 300)


async def test_a_line_over_something_else_is_refused(folder: Path, mirror: MirrorPeer):
    other = SIGNER.sign(logs.head(ENTRIES[:299]).body(), logs.NOW)
    mirror.answer = lambda asked: Reply(encode_answer([other])) if asked.path == "/add-entries" else None
    with pytest.raises(SignatureError):
        await send(folder, mirror, 300)


async def test_a_mirror_of_another_tree_refuses(folder: Path, mirror: MirrorPeer):
    mirror.pending = [logs.head(logs.entries(300, "forked"))]
    with pytest.raises(Inconsistent):
        await send(folder, mirror, 600, old=300)
    assert mirror.uploads == []


HOSTILE = [
    (Reply(b"", 202, INFO), MalformedError),
    (Reply(b"600\n0\n", 202, INFO), MalformedError),
    (Reply(b"600\n0\n\n\n", 202, INFO), MalformedError),
    (Reply(b"600\n-1\n\n", 202, INFO), MalformedError),
    (Reply(b"600\n0\n!!!!\n", 409, INFO), MalformedError),
    (Reply(b"9" * 30 + b"\n0\n\n", 409, INFO), MalformedError),
    (Reply(MirrorInfo(600, 0, b"").encode(), 202, {"Content-Type": "text/plain"}), MalformedError),
    (Reply(b"x" * 200_000, 202, INFO), MalformedError),
    (Reply(b"x" * 200_000, 500), MalformedError),
    (Reply(b"", 200), MalformedError),
    (Reply(b"\xff\n", 200), MalformedError),
    (Reply(b"", 302, {"Location": "http://127.0.0.1:1/"}), MalformedError),
    (Reply(b"", 404), RefusedError),
    (Reply(b"", 422), RefusedError),
    (Reply(b"", 429, {"Retry-After": "7"}), UnavailableError),
    (Reply(b"", 503), UnavailableError),
    (Reply(raw=b"HTTP/9 garbage\r\n\r\n"), UnavailableError),
    (Reply(raw=b""), UnavailableError),
    (Reply(MirrorInfo(601, 0, b"").encode(), 409, INFO), UnavailableError),
    (Reply(MirrorInfo(600, 0, b"").encode(), 409, INFO), MalformedError),
    (Reply(MirrorInfo(0, 10**18, b"").encode(), 409, INFO), MalformedError),
    (Reply(MirrorInfo(600, 10**18, b"").encode(), 202, INFO), MalformedError),
]


@pytest.mark.parametrize(("reply", "error"), HOSTILE)
async def test_an_answer_that_no_honest_mirror_gives_ends_it(
    folder: Path, mirror: MirrorPeer, reply: Reply, error: type[TeelogError]
):
    mirror.answer = lambda asked: reply if asked.path == "/add-entries" else None
    with pytest.raises(error):
        await send(folder, mirror, 600)
    assert mirror.peer.paths().count("/add-entries") <= 2 * ATTEMPTS


async def test_a_mirror_that_answers_nothing_is_given_up_in_time(folder: Path, mirror: MirrorPeer):
    mirror.answer = lambda asked: Reply(hang=True) if asked.path == "/add-entries" else None
    with pytest.raises(UnavailableError, match="in time"):
        await send(folder, mirror, 600, timeout=0.3)


# -- answers that come before the body is there -----------------------------------------------------------------------


@contextlib.contextmanager
def early(replies: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Answers a large request once its headers are there, a small one once it is there whole, and closes.

    An empty reply is none: the connection ends. Yields (URL, request lines).
    """
    server = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(1)
                seen.append(head.split(b"\r\n")[0])
                if b"100-continue" not in head:
                    (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
                    for _ in range(int(length)):
                        connection.recv(1)
                connection.sendall(replies.pop(0))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", seen
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(60)


def http(status: int, body: bytes = b"", kind: str = "text/plain") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
        status,
        kind.encode(),
        len(body),
        body,
    )


async def test_MI_19_an_answer_before_the_body_is_read_is_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """The whole body is never read: what counts is the answer, or, where that is lost, the next one."""
    monkeypatch.setattr(gzip, "compress", lambda data, _level: data + bytes(3_000_000))  # more than buffers hold
    info = http(409, MirrorInfo(600, 0, b"t").encode(), wire.INFO_TYPE)
    done = http(200, encode_answer([SIGNER.sign(shown(600).note.text, logs.NOW)]))
    with early([http(200), info, info, done, done]) as (url, seen):
        found = await send(folder, url, 600)
    assert found.size == 600
    assert seen[0] == b"POST /add-checkpoint HTTP/1.1"
    assert {*seen[1:]} == {b"POST /add-entries HTTP/1.1"}


async def test_MI_19_an_answer_that_is_lost_with_the_connection_is_asked_for_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gzip, "compress", lambda data, _level: data + bytes(100_000))
    info = http(409, MirrorInfo(600, 0, b"t").encode(), wire.INFO_TYPE)
    done = http(200, encode_answer([SIGNER.sign(shown(600).note.text, logs.NOW)]))
    with early([http(200), info, b"", done]) as (url, seen):
        found = await send(folder, url, 600)
    assert (found.size, len(seen)) == (600, 4)


async def test_MI_19_a_refusal_before_the_body_is_read_is_told(folder: Path):
    refusal = http(403, b"not this log")
    with early([http(200), refusal, refusal]) as (url, _), pytest.raises(RefusedError) as caught:
        await send(folder, url, 600)
    assert caught.value.status == 403


# -- formats ----------------------------------------------------------------------------------------------------------


def test_MI_28_the_info_is_three_lines():
    info = MirrorInfo(600, 300, b"ticket")
    assert info.encode() == b"600\n300\ndGlja2V0\n"
    assert wire.parse_info(info.encode()) == info
    assert wire.parse_info(b"0\n0\n\n") == MirrorInfo(0, 0, b"")
    for bad in (b"", b"0\n0\n", b"0\n0\n\n\n", b"00\n0\n\n", b"0\n+1\n\n", b"0\n0\nA\n", b"0\n0\n\nx", b"\n" * 200_000):
        with pytest.raises(MalformedError):
            wire.parse_info(bad)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 0, []),
        (300, 300, []),
        (0, 1, [(0, 0, 1)]),
        (255, 257, [(0, 255, 256), (256, 256, 257)]),
        (300, 512, [(256, 300, 512)]),
        (256, 600, [(256, 256, 512), (512, 512, 600)]),
    ],
)
def test_MI_20_the_canonical_sequence(start: int, end: int, expected: list[tuple[int, int, int]]):
    assert list(wire.packages(start, end)) == expected


def test_what_no_header_holds_is_a_mistake_of_the_caller():
    assert wire.encode_header("a", 1, 2, b"t") == b"\0\1a" + bytes(7) + b"\1" + bytes(7) + b"\2" + b"\0\1t"
    for bad in (("", 0, 0), ("a", 2, 1), ("a", 0, 1 << 63), ("a", 0, 0, bytes(65_536))):
        with pytest.raises(ValueError):
            wire.encode_header(*bad)
    with pytest.raises(ValueError):
        wire.encode_package([], [bytes(32)] * 64)


@pytest.mark.parametrize("url", ["http://mirror.example", "ftp://mirror.example", "mirror.example", ""])
def test_a_mirrors_url_is_https_or_loopback(url: str):
    with pytest.raises(ConfigError):
        Mirror(url, (SIGNER.verifier,))
