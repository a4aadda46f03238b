"""add-entries on the wire (c2sp.org/tlog-mirror): every rule of the checklist."""

from __future__ import annotations

import asyncio
import base64
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from teelog.tlog import note
from teelog.tlog.mirror import encode_header
from teelog.tlog.vkey import SignatureType
from teelog.witness.mirror import directory
from tests.witness.harness import ORIGIN, WITNESS, Desk, Log
from tests.witness.mirror.mirroring import (
    HASH,
    NAME,
    Mirroring,
    compressed,
    entry,
    mirroring,
    package,
    upload,
)

OpenDesk = Callable[..., Desk]


@pytest.fixture
async def mirror(desk: Desk, tmp_path: Path) -> AsyncIterator[Mirroring]:
    async with mirroring(desk, tmp_path / "mirror") as made:
        yield made


SIZES = (1, 5, 256, 257, 300, 511, 512, 600)


@pytest.mark.parametrize("size", SIZES)
async def test_MI_01_MI_34_a_pushed_log_is_served_as_tiles_with_the_mirrors_cosignature(
    mirror: Mirroring, log: Log, size: int
) -> None:
    mirror.pend(log, 0, size)
    answer = await mirror.push(log, 0, size)
    assert answer.status == 200, answer
    opened = note.open_note(log.note(size) + answer.body, [each.verifier for each in mirror.mirror.signers])
    assert {line.verifier.type for line in opened.signatures} == {
        SignatureType.COSIGNATURE_ED25519,
        SignatureType.COSIGNATURE_ML_DSA_44,
    }
    await mirror.whole(log, size)


async def test_MI_02_MI_03_add_checkpoint_moves_the_pending_checkpoint_and_the_mirror_key_signs_nothing(
    mirror: Mirroring, log: Log
) -> None:
    answer = mirror.desk.cosign(log, 0, 5)
    opened = note.open_note(log.note(5) + answer.body, [each.verifier for each in mirror.desk.witness.signers])
    assert {line.verifier.name for line in opened.signatures} == {WITNESS}
    assert NAME.encode() not in answer.body
    assert mirror.kept() == (0, -1)
    assert (await mirror.get("checkpoint"))[0] == 404
    # It is the pending one: an upload may lead to it.
    assert (await mirror.push(log, 0, 5)).status == 200


async def test_MI_04_the_logs_signature_is_kept_and_no_witness_line(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 5)
    await mirror.push(log, 0, 5)
    served = (await mirror.get("checkpoint"))[1]
    names = [line.split(b" ")[1].decode() for line in served.split(b"\n\n")[1].splitlines()]
    assert names == [ORIGIN, NAME, NAME]


def test_MI_05_a_mirror_with_its_witnesses_name_is_refused(tmp_path: Path) -> None:
    from teelog.errors import ConfigError

    directory.init(tmp_path / "m", WITNESS)
    with pytest.raises(ConfigError, match="another name"):
        directory.load(tmp_path / "m", WITNESS)


async def test_MI_05_the_monitoring_prefixes_are_distinct(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 5)
    await mirror.push(log, 0, 5)
    async with mirror.session.get(f"{mirror.url}/{HASH}/checkpoint") as response:
        of_witness = await response.read()
    assert NAME.encode() not in of_witness
    assert WITNESS.encode() + b" " not in (await mirror.get("checkpoint"))[1]


def _subtree_request(log: Log, checkpoint: bytes) -> bytes:
    from teelog.tlog import rfc6962

    root = base64.b64encode(rfc6962.root_of_leaves(log.leaves(5)))
    return b"subtree 0 5\n" + root + b"\n\n" + checkpoint


async def test_MI_06_subtrees_are_signed_by_the_identity_that_signed_the_checkpoint(
    mirror: Mirroring, log: Log
) -> None:
    by_witness = mirror.desk.cosign(log, 0, 5).body
    by_mirror = (await mirror.push(log, 0, 5)).body
    for lines, name in ((by_witness, WITNESS), (by_mirror, NAME)):
        body = _subtree_request(log, log.note(5) + lines)
        async with mirror.session.post(f"{mirror.url}/sign-subtree", data=body) as response:
            assert response.status == 200
            signed = await response.read()
        assert [line.split(b" ")[1].decode() for line in signed.splitlines()] == [name]


@pytest.mark.parametrize("kind", ["", "text/plain", "application/octet-stream; charset=x", "application/json"])
async def test_MI_10_another_content_type_is_415(mirror: Mirroring, log: Log, kind: str) -> None:
    mirror.pend(log, 0, 5)
    assert (await mirror.send(upload(log, 0, 5), Content_Type=kind)).status == 415
    assert mirror.kept() == (0, -1)


async def test_MI_11_a_header_cut_at_any_byte_is_400(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 5)
    header = encode_header(ORIGIN, 0, 5, b"ticket")
    for cut in range(len(header)):
        assert (await mirror.send(header[:cut])).status == 400, cut


@pytest.mark.parametrize(
    "header",
    [
        b"\x00\x00" + bytes(18),
        b"\x00\x01\xff" + bytes(18),
        encode_header(ORIGIN, 0, 5)[:-10] + b"\x80" + bytes(7) + b"\x00\x00",
        encode_header(ORIGIN, 0, 5)[:-18] + b"\x80" + bytes(7) + b"\xff" * 8 + b"\x00\x00",
    ],
    ids=["no-origin", "not-utf8", "end-2-63", "start-2-63"],
)
async def test_MI_11_impossible_headers_are_400(mirror: Mirroring, log: Log, header: bytes) -> None:
    mirror.pend(log, 0, 5)
    assert (await mirror.send(header)).status == 400


async def test_MI_12_an_upload_that_ends_before_it_starts_is_400(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 5)
    header = bytearray(encode_header(ORIGIN, 5, 5))
    header[-3] = 4
    assert (await mirror.send(bytes(header))).status == 400


async def test_MI_13_an_unknown_log_is_404_and_one_that_is_not_mirrored_403(
    open_desk: OpenDesk, log: Log, tmp_path: Path
) -> None:
    other = Log("other.example/log")
    desk = open_desk(log, other)
    async with mirroring(desk, tmp_path / "m", logs=(ORIGIN,)) as mirror:
        assert (await mirror.send(encode_header("nobody.example/log", 0, 0))).status == 404
        desk.cosign(other, 0, 3)
        assert (await mirror.push(other, 0, 3)).status == 403
        desk.cosign(log, 0, 3)
        assert (await mirror.push(log, 0, 3)).status == 200


async def test_MI_14_without_a_pending_checkpoint_it_is_422(mirror: Mirroring, log: Log) -> None:
    assert (await mirror.push(log, 0, 5)).status == 422


async def test_MI_15_an_end_that_was_never_pending_is_409(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 5)
    for end in (4, 6, 2**62):
        answer = await mirror.send(encode_header(ORIGIN, 0, end))
        assert answer.said == (409, 5, 0), end


async def test_MI_16_an_end_below_the_mirror_checkpoint_is_409(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 5)
    ticket = (await mirror.send(encode_header(ORIGIN, 0, 9))).info.ticket
    mirror.pend(log, 5, 300)
    assert (await mirror.push(log, 0, 300)).status == 200
    answer = await mirror.push(log, 0, 5, ticket)
    assert answer.said == (409, 300, 300)
    await mirror.whole(log, 300)


async def test_MI_17_a_start_beyond_the_next_entry_is_409(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 300)
    assert (await mirror.push(log, 1, 300)).said == (409, 300, 0)


async def test_MI_18_too_many_entries_that_are_here_are_409_the_boundary_exactly(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 2_049)
    assert (await mirror.push(log, 0, 2_049)).status == 200
    assert (await mirror.push(log, 0, 2_049)).said == (409, 2_049, 2_049)
    assert (await mirror.push(log, 1, 2_049)).status == 200


async def test_MI_19_a_refusal_comes_before_the_body(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 5)
    header = encode_header(ORIGIN, 0, 9)
    reader, writer = await asyncio.open_connection(mirror.host, mirror.port)
    try:
        head = (
            "POST /add-entries HTTP/1.1\r\nHost: m\r\nContent-Type: application/octet-stream\r\n"
            "Content-Length: 1000000\r\n\r\n"
        )
        writer.write(head.encode() + header)
        await writer.drain()
        async with asyncio.timeout(60):
            answer = await reader.readuntil(b"\r\n")
    finally:
        writer.close()
    assert answer.startswith(b"HTTP/1.1 409 ")


async def test_MI_20_64_hashes_are_400_and_a_body_that_goes_on_too(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 5)
    many = b"".join(b"\x00\x01x" for _ in range(5)) + bytes([64]) + bytes(64 * 32)
    assert (await mirror.send(encode_header(ORIGIN, 0, 5) + many)).status == 400
    assert mirror.kept() == (0, -1)
    assert (await mirror.send(upload(log, 0, 5) + b"x")).status == 400


async def test_MI_21_gzip_is_read_and_told_of_and_bad_gzip_is_400(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 600)
    bad = compressed(upload(log, 0, 600))
    answer = await mirror.send(bad[:10] + b"\xff" * 50 + bad[60:], Content_Encoding="gzip")
    assert answer.status == 400
    assert (await mirror.send(bad + b"x", Content_Encoding="gzip")).status == 400
    answer = await mirror.send(compressed(upload(log, 0, 600)), Content_Encoding="gzip")
    assert (answer.status, answer.headers["Accept-Encoding"]) == (200, "gzip")
    await mirror.whole(log, 600)
    assert (await mirror.send(b"", Content_Encoding="br")).status == 415


async def test_MI_22_a_wrong_entry_or_proof_is_422_and_earlier_packages_stay(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 600)
    head = encode_header(ORIGIN, 0, 600)
    good, second = (package(log, first, first, first + 256, 600) for first in (0, 256))
    for bad in (b"\x00\x01x" + second[2 + len(entry(log, 256)) :], second[:-1] + bytes([second[-1] ^ 1])):
        assert (await mirror.send(head + good + bad)).status == 422
        assert mirror.kept() == (256, -1)
    assert (await mirror.push(log, 256, 600)).status == 200
    await mirror.whole(log, 600)


async def test_MI_23_leading_entries_are_taken_from_what_is_stored(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 300)
    assert (await mirror.push(log, 0, 300)).status == 200
    mirror.pend(log, 300, 700)
    assert (await mirror.push(log, 300, 700)).status == 200
    await mirror.whole(log, 700)


async def test_MI_24_entries_that_are_stored_are_skipped(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 300)
    await mirror.push(log, 0, 300)
    stored = mirror.mirror.path / "logs" / HASH / "tile" / "entries" / "000"
    before = stored.stat()
    mirror.pend(log, 300, 400)
    assert (await mirror.push(log, 10, 400)).status == 200
    assert (stored.stat().st_mtime_ns, stored.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    await mirror.whole(log, 400)


async def test_MI_25_MI_26_a_body_cut_anywhere_keeps_its_whole_packages(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 700)
    head = encode_header(ORIGIN, 0, 700)
    first = package(log, 0, 0, 256, 700)
    whole = upload(log, 0, 700)
    second = len(head) + len(first)
    for cut in (second, second + 1, second + 100, len(head) + 2 * len(first) - 1):
        answer = await mirror.send(whole[:cut])
        assert answer.said == (202, 700, 256), cut
    assert (await mirror.push(log, 256, 700)).status == 200
    await mirror.whole(log, 700)


async def test_MI_26_a_deliberate_prefix_is_202_and_is_gone_on_with(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 1_100)
    at = 0
    for step in (256, 512, 768, 1_024):
        answer = await mirror.push(log, at, 1_100, most=1)
        assert answer.said == (202, 1_100, step)
        at = step
    assert (await mirror.push(log, at, 1_100)).status == 200
    await mirror.whole(log, 1_100)


async def test_MI_26_a_client_that_leaves_keeps_what_it_sent(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 600)
    body = upload(log, 0, 600)
    reader, writer = await asyncio.open_connection(mirror.host, mirror.port)
    head = "POST /add-entries HTTP/1.1\r\nHost: m\r\nContent-Type: application/octet-stream\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[: len(body) - 50])
    await writer.drain()
    async with asyncio.timeout(60):
        while mirror.kept()[0] < 512:
            await asyncio.sleep(0.01)
    writer.close()
    del reader
    assert (await mirror.push(log, 512, 600)).status == 200
    await mirror.whole(log, 600)


async def test_MI_26_MI_46_a_client_that_stalls_is_answered_in_time(desk: Desk, log: Log, tmp_path: Path) -> None:
    async with mirroring(desk, tmp_path / "m", seconds=0.3) as mirror:
        mirror.pend(log, 0, 600)
        body = upload(log, 0, 600)
        reader, writer = await asyncio.open_connection(mirror.host, mirror.port)
        head = "POST /add-entries HTTP/1.1\r\nHost: m\r\nContent-Type: application/octet-stream\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-50])
        await writer.drain()
        async with asyncio.timeout(60):
            answer = await reader.readuntil(b"\r\n")
        writer.close()
        # However slow the machine is, whole packages count and partial ones do not.
        assert answer.split(b" ")[1] in (b"202", b"400")
        next_entry = mirror.kept()[0]
        assert next_entry in (0, 256, 512)
        assert (answer.split(b" ")[1] == b"400") == (next_entry == 0)


async def test_MI_27_a_body_without_a_whole_first_package_is_400(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 5)
    body = upload(log, 0, 5)
    head = len(encode_header(ORIGIN, 0, 5))
    for cut in range(head, len(body)):
        assert (await mirror.send(body[:cut])).status == 400, cut
    assert mirror.kept() == (0, -1)


async def test_MI_28_409_and_202_carry_three_lines_of_their_type(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 600)
    for answer in (await mirror.send(encode_header(ORIGIN, 0, 7)), await mirror.push(log, 0, 600, most=1)):
        assert answer.headers["Content-Type"] == "text/x.tlog.mirror-info"
        assert answer.body.count(b"\n") == 3
        assert answer.info.encode() == answer.body


async def test_MI_29_the_first_line_is_a_valid_end_or_the_pending_size(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 300)
    ticket = (await mirror.send(encode_header(ORIGIN, 0, 1))).info.ticket
    mirror.pend(log, 300, 600)
    assert (await mirror.send(encode_header(ORIGIN, 0, 1))).said == (409, 600, 0)
    assert (await mirror.push(log, 0, 300, ticket, most=1)).said == (202, 300, 256)


async def test_MI_30_a_ticket_that_is_not_ours_is_as_good_as_none(
    open_desk: OpenDesk, log: Log, tmp_path: Path
) -> None:
    other = Log("other.example/log")
    desk = open_desk(log, other)
    async with mirroring(desk, tmp_path / "m") as mirror:
        mirror.pend(log, 0, 300)
        ticket = (await mirror.send(encode_header(ORIGIN, 0, 1))).info.ticket
        desk.cosign(other, 0, 300)
        foreign = (await mirror.send(encode_header(other.origin, 0, 1))).info.ticket
        mirror.pend(log, 300, 600)
        flipped = [ticket[:at] + bytes([ticket[at] ^ 1]) + ticket[at + 1 :] for at in range(0, len(ticket), 7)]
        cut = [ticket[:at] for at in range(0, len(ticket), 11)]
        for bad in [*flipped, *cut, foreign, b"\x01", b"\x01" + bytes(32), bytes(65_535)]:
            assert (await mirror.push(log, 0, 300, bad, most=1)).said == (409, 600, 0)
        assert (await mirror.push(log, 0, 300, ticket)).status == 200
    async with mirroring(desk, tmp_path / "m", key=b"n" * 32) as mirror:  # after a restart
        assert (await mirror.push(log, 300, 300, ticket)).status == 200  # the mirror checkpoint itself
        mirror.pend(log, 600, 700)
        assert (await mirror.send(encode_header(ORIGIN, 300, 600, ticket))).said == (409, 700, 300)


async def test_MI_31_an_older_pending_size_is_taken_with_its_ticket_and_rewinds_nothing(
    mirror: Mirroring, log: Log
) -> None:
    tickets = {}
    for old, new in ((0, 300), (300, 500), (500, 900)):
        mirror.pend(log, old, new)
        tickets[new] = (await mirror.send(encode_header(ORIGIN, 0, 1))).info.ticket
    assert (await mirror.push(log, 0, 500, tickets[500])).status == 200
    await mirror.whole(log, 500)
    assert (await mirror.push(log, 0, 300, tickets[300])).said == (409, 900, 500)
    assert mirror.kept() == (500, 500)


async def test_MI_32_an_empty_upload_of_the_pending_size_refreshes_the_cosignature(
    mirror: Mirroring, log: Log
) -> None:
    mirror.pend(log, 0, 300)
    first = await mirror.push(log, 0, 300)
    mirror.desk.clock.seconds += 1_000
    again = await mirror.send(encode_header(ORIGIN, 300, 300))
    assert (first.status, again.status) == (200, 200)
    keys = [each.verifier for each in mirror.mirror.signers]
    times = [
        {line.timestamp for line in note.open_note(log.note(300) + each.body, keys).signatures}
        for each in (first, again)
    ]
    assert [len(each) for each in times] == [1, 1]
    assert int(times[1].pop() or 0) - int(times[0].pop() or 0) == 1_000
    await mirror.whole(log, 300)


async def test_MI_33_a_smaller_end_that_finishes_later_rewinds_nothing(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 300)
    ticket = (await mirror.send(encode_header(ORIGIN, 0, 1))).info.ticket
    body = upload(log, 0, 300, ticket)
    head = "POST /add-entries HTTP/1.1\r\nHost: m\r\nContent-Type: application/octet-stream\r\n"
    reader, writer = await asyncio.open_connection(mirror.host, mirror.port)
    try:
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-10])
        await writer.drain()
        async with asyncio.timeout(60):
            while mirror.kept()[0] < 256:
                await asyncio.sleep(0.01)
            mirror.pend(log, 300, 600)
            assert (await mirror.push(log, 256, 600)).status == 200
            writer.write(body[-10:])
            await writer.drain()
            answer = await reader.readuntil(b"\r\n")
    finally:
        writer.close()
    assert answer.startswith(b"HTTP/1.1 409 ")
    await mirror.whole(log, 600)


async def test_MI_36_the_next_entry_is_the_first_that_is_missing(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 1_100)
    await mirror.push(log, 0, 1_100, most=2)
    answer = await mirror.push(log, 1_024, 1_100)
    assert answer.said == (409, 1_100, 512)


@pytest.mark.parametrize("clients", [2, 8])
async def test_MI_37_interleaved_clients_and_one_that_pauses_corrupt_and_block_nothing(
    mirror: Mirroring, log: Log, clients: int
) -> None:
    mirror.pend(log, 0, 700)
    body = upload(log, 0, 700)
    head = "POST /add-entries HTTP/1.1\r\nHost: m\r\nContent-Type: application/octet-stream\r\n"
    reader, paused = await asyncio.open_connection(mirror.host, mirror.port)
    try:
        paused.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:100])
        await paused.drain()
        answers = await asyncio.gather(*(mirror.push(log, 0, 700) for _ in range(clients)))
        assert {answer.status for answer in answers} == {200}
        paused.write(body[100:])
        await paused.drain()
        async with asyncio.timeout(60):
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
    finally:
        paused.close()
    await mirror.whole(log, 700)


async def test_MI_38_it_goes_on_in_the_middle_of_a_tile_after_a_restart(desk: Desk, log: Log, tmp_path: Path) -> None:
    async with mirroring(desk, tmp_path / "m") as mirror:
        mirror.pend(log, 0, 300)
        await mirror.push(log, 0, 300)
    async with mirroring(desk, tmp_path / "m") as mirror:
        await mirror.whole(log, 300)
        mirror.pend(log, 300, 400)
        assert (await mirror.push(log, 300, 400)).status == 200
        await mirror.whole(log, 400)


async def test_MI_38_the_tiles_of_a_smaller_size_are_cut_from_larger_ones(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 290)
    ticket = (await mirror.send(encode_header(ORIGIN, 0, 1))).info.ticket
    mirror.pend(log, 290, 400)
    assert (await mirror.push(log, 0, 400, most=1)).status == 202
    # All entries of the larger one but its end; then the smaller one is finished, by somebody else.
    whole = upload(log, 256, 400)
    assert (await mirror.send(whole[:-1])).status == 400
    assert (await mirror.push(log, 256, 290, ticket)).status == 200
    await mirror.whole(log, 290)
    assert (await mirror.push(log, 290, 400)).status == 200
    await mirror.whole(log, 400)


async def test_MI_41_a_second_branch_of_the_log_is_not_mirrored(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 300)
    await mirror.push(log, 0, 300)
    fork = Log(view="B", forked_at=100)
    assert mirror.desk.post(fork.request(300, 400)).status == 422
    assert (await mirror.push(fork, 300, 400)).said == (409, 300, 300)
    mirror.pend(log, 300, 400)
    assert (await mirror.push(fork, 300, 400)).status == 422
    assert (await mirror.push(log, 300, 400)).status == 200
    await mirror.whole(log, 400)


def test_MI_42_there_is_no_setting_to_prune_without_a_retention_policy(tmp_path: Path) -> None:
    from teelog.errors import ConfigError

    directory.init(tmp_path / "m", NAME)
    config = tmp_path / "m" / directory.CONFIG
    config.write_text(config.read_text() + "min_index = 256\n")
    with pytest.raises(ConfigError, match="not usable"):
        directory.load(tmp_path / "m", WITNESS)


async def test_MI_45_a_log_of_size_0_is_mirrored(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 0)
    assert (await mirror.send(encode_header(ORIGIN, 0, 0))).status == 200
    status, served = await mirror.get("checkpoint")
    assert (status, served.startswith(log.body(0))) == (200, True)


async def test_MI_46_a_small_body_does_not_become_a_large_one(
    mirror: Mirroring, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teelog.witness.mirror.http.MAX_BODY", 100_000)
    mirror.pend(log, 0, 5)
    bomb = encode_header(ORIGIN, 0, 5) + b"".join(b"\xff\xff" + bytes(65_535) for _ in range(5))
    answer = await mirror.send(compressed(bomb), Content_Encoding="gzip")
    assert answer.status == 400
    assert mirror.kept() == (0, -1)


async def test_MI_46_gzip_is_decoded_beside_the_event_loop_one_piece_at_a_time(
    mirror: Mirroring, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, busy = zlib.decompressobj, threading.Lock()
    threads: set[int] = set()
    together: list[bool] = []

    class Watched:
        def __init__(self, wbits: int) -> None:
            self._real = honest(wbits)

        def decompress(self, data: bytes, most: int) -> bytes:
            threads.add(threading.get_ident())
            together.append(not busy.acquire(blocking=False))
            try:
                return self._real.decompress(data, most)
            finally:
                if not together[-1]:
                    busy.release()

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

    watched = SimpleNamespace(decompressobj=Watched, error=zlib.error)
    monkeypatch.setattr("teelog.witness.mirror.http.zlib", watched)
    mirror.pend(log, 0, 600)
    body = compressed(upload(log, 0, 600))
    answers = await asyncio.gather(*(mirror.send(body, Content_Encoding="gzip") for _ in range(4)))
    assert {answer.status for answer in answers} == {200}
    assert threads
    assert threading.get_ident() not in threads
    assert not any(together)
    await mirror.whole(log, 600)


async def test_MI_46_uploads_are_bounded_and_a_stalled_one_delays_nobody(
    mirror: Mirroring, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.pend(log, 0, 5)
    body = upload(log, 0, 5)
    head = "POST /add-entries HTTP/1.1\r\nHost: m\r\nContent-Type: application/octet-stream\r\n"
    _, writer = await asyncio.open_connection(mirror.host, mirror.port)
    try:
        writer.write(f"{head}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode() + body[:40])
        await writer.drain()
        assert (await mirror.push(log, 0, 5)).status == 200
        monkeypatch.setattr("teelog.witness.mirror.http.UPLOADS", 0)
        answer = await mirror.push(log, 5, 5)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    finally:
        writer.close()


async def test_MI_46_strangers_that_keep_all_places_lose_the_stalest_one(
    mirror: Mirroring, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teelog.witness.mirror.http.UPLOADS", 2)
    monkeypatch.setattr("teelog.witness.mirror.http.STALLED_SECONDS", 0.0)
    mirror.pend(log, 0, 600)
    head = "POST /add-entries HTTP/1.1\r\nHost: m\r\nContent-Type: application/octet-stream\r\n"
    head += "Content-Length: 9999\r\n\r\n"
    opened = []
    async with asyncio.timeout(60):
        for number in range(2):
            opened.append(await asyncio.open_connection(mirror.host, mirror.port))
            # The first keeps a package before it stalls: nothing of it is lost.
            sent = upload(log, 0, 600, most=1) if number == 0 else b"\x00"
            opened[-1][1].write(head.encode() + sent)
            while mirror.service.uploads != number + 1 or mirror.kept() != (256, -1):
                await asyncio.sleep(0.01)
        assert (await mirror.push(log, 256, 600)).status == 200
        answered = [await reader.readuntil(b"\r\n") for reader, _ in opened[:1]]
    for _, writer in opened:
        writer.close()
    assert answered == [b"HTTP/1.1 202 Accepted\r\n"]
    await mirror.whole(log, 600)


async def test_MI_46_packages_that_are_here_already_keep_no_place(
    desk: Desk, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teelog.witness.mirror.http.UPLOADS", 2)
    monkeypatch.setattr("teelog.witness.mirror.http.STALLED_SECONDS", 0.0)
    saved: list[str] = []
    head = "POST /add-entries HTTP/1.1\r\nHost: m\r\nContent-Type: application/octet-stream\r\n"
    head += "Content-Length: 99999\r\n\r\n"
    async with mirroring(desk, tmp_path / "m", step=saved.append) as mirror, asyncio.timeout(60):
        mirror.pend(log, 0, 600)
        assert (await mirror.push(log, 0, 600, most=1)).status == 202
        opened = []
        for number in range(2):
            opened.append(await asyncio.open_connection(mirror.host, mirror.port))
            opened[-1][1].write(head.encode() + encode_header(ORIGIN, 0, 600))
            while mirror.service.uploads != number + 1:
                await asyncio.sleep(0.01)
        # The older one sends once more what the mirror has. It is the stalest all the same.
        opened[0][1].write(package(log, 0, 0, 256, 600))
        while saved.count("saved") != 2:
            await asyncio.sleep(0.01)
        assert (await mirror.push(log, 256, 600)).status == 200
        ended = [asyncio.create_task(reader.readuntil(b"\r\n")) for reader, _ in opened]
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in ended if task.done()] == [b"HTTP/1.1 202 Accepted\r\n"]
        for task, (_, writer) in zip(ended, opened, strict=True):
            task.cancel()
            writer.close()


async def test_only_a_mirrors_paths_are_served(mirror: Mirroring, log: Log) -> None:
    mirror.pend(log, 0, 5)
    await mirror.push(log, 0, 5)
    for path in ("../../state.db", "tile/0/0", "tile", ".mirror/pending", "checkpoint/", "mirror.toml"):
        status, _ = await mirror.get(path)
        assert status == 404, path
    async with mirror.session.get(f"{mirror.url}/mirror/{'0' * 64}/checkpoint") as response:
        assert response.status == 404
    async with mirror.session.get(f"{mirror.url}/add-entries") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_without_a_mirror_its_paths_are_404(desk: Desk) -> None:
    from tests.witness.http_harness import live

    async with live(desk) as witness:
        assert (await witness.post(encode_header(ORIGIN, 0, 0), "/add-entries"))[0] == 404
        assert (await witness.get(f"/mirror/{HASH}/checkpoint"))[0] == 404

