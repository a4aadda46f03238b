"""The C2SP read paths (c2sp.org/tlog-tiles, conformance 4.3)."""

from __future__ import annotations

import gzip
import os
import random
import re
from pathlib import Path

import pytest

from teelog.log_server.limits import Limits, Retention
from teelog.log_server.read import IMMUTABLE, Cache, accepts_gzip
from teelog.serving import MAX_LINE
from teelog.tlog import rfc6962, tiles
from teelog.tlog.checkpoint import open_checkpoint
from tests.log_server.memory_pool import ORIGIN, SIGNER, MemoryPool
from tests.log_server.serving import Server, serving


async def test_TT_01_checkpoint_is_text_plain_utf_8_to_the_byte(server: Server) -> None:
    answer = await server.get("/checkpoint")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.body == server.pool.note


async def test_TT_02_checkpoint_is_never_cached(server: Server) -> None:
    assert (await server.get("/checkpoint")).headers["Cache-Control"] == "no-store"


async def test_TT_04_checkpoint_has_an_ed25519_signature_of_the_log(server: Server) -> None:
    opened = open_checkpoint((await server.get("/checkpoint")).body, [SIGNER.verifier], ORIGIN)
    assert opened.checkpoint.size == 1


async def test_TT_05_TT_20_tiles_and_bundles_are_octet_streams_at_their_paths(server: Server) -> None:
    for path in ("/tile/0/000.p/1", "/tile/entries/000.p/1"):
        answer = await server.get(path)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    assert (await server.get("/tile/0/000.p/1")).body == server.pool.leaves[0]


# A-11, and what the numbers may not look like. Sent as raw bytes: no client tidies them up.
BAD_PATHS = {
    "TT-06": ["00/000", "01/000", "64/000", "-1/000", "+1/000", "a/000", "/000", "0x0/000", "%30/000", "\u0660/000"],
    "TT-07": [
        "0/0", "0/00", "0/0000", "0/x000/000", "0/001/000", "0/x001", "0/x001/x000", "0/X001/000", "0/x1/000", "0/-01",
        "0/+01", "0/0_0", "0/ 00", "0/000 ", "0/%3000", "0/000/", "0//000", "0/x001//000", "0/x000/x001/000",
        "0/x999/x999/x999/x999/x999/x999/999", "0/" + "x001/" * 400 + "000",
    ],
    "TT-08": ["0/000.p/0", "0/000.p/256", "0/000.p/01", "0/000.p/+1", "0/000.p/", "0/000.p", "0/000.p/1/",
              "0/000.p/999", "0/000.p/1.p/1", "0/000.P/1", "0/000.p//1", "0/000.p/1%00", "0/000.p/1a"],
    "TT-20": ["entries/0", "entries/000.p/0", "entries/000.p/256", "entries/x000/000", "entries", "entries/",
              "Entries/000", "entries/000/.p/1"],
    "A-11": [
        "../checkpoint", "..%2fcheckpoint", "%2e%2e/checkpoint", "0/../0/000.p/1", "0/./000.p/1", "0/000.p/1/../1",
        "0\\000.p\\1", "0/000.p/1%00.html", "0/000.p/1;a", "0/000.p/1#a", "/etc/passwd", "0/000.p/1?x", "0/000.p/1?",
        "entries/%2e%2e/%2e%2e/log.toml", "0/000.p/%31", "0%2f000.p%2f1", "~", "0/*", "....//checkpoint", "%", "%zz",
        "0/000.p/1%0d%0aX:%20y",
    ],
}  # fmt: skip


@pytest.mark.parametrize("rule", BAD_PATHS)
async def test_TT_06_TT_07_TT_08_A_11_every_other_spelling_is_404(server: Server, rule: str) -> None:
    for path in BAD_PATHS[rule]:
        target = f"/tile/{path}".encode()
        if len(target) > MAX_LINE:
            continue
        target = target.replace(b" ", b"%20")
        raw = await server.raw(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        status = raw.split(b" ")[1]
        assert status in ((b"404", b"400") if not target.isascii() else (b"404",)), target
        assert b"immutable" not in raw.lower()
        assert server.pool.leaves[0] not in raw


async def test_A_11_other_paths_and_encodings_of_known_ones_are_404(server: Server) -> None:
    for path in ("/%63heckpoint", "/checkpoint/", "//checkpoint", "/checkpoint?", "/checkpoint?a=b", "/Checkpoint",
                 "/log.json?x=1", "/log.toml", "/state.db", "/tile", "/metrics", "/healthz", "/allow", "/entries/x",
                 "/entries/" + "A" * 64, "/entries/" + "0" * 63, "/entries/" + "0" * 65, "/add"):  # fmt: skip
        raw = await server.raw(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert raw.split(b" ")[1] in (b"404", b"405"), path


async def test_A_11_links_and_pipes_are_not_followed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(32))
    (server.pool.root / "tile/0/000.p/2").symlink_to(tmp_path / "secret")
    os.mkfifo(server.pool.root / "tile/0/000.p/3")
    for width in (2, 3):
        answer = await server.get(f"/tile/0/000.p/{width}")
        assert answer.status == 503
        assert answer.headers["Cache-Control"] == "no-store"


async def test_TT_09_A_14_immutable_on_200_only(server: Server) -> None:
    assert (await server.get("/tile/0/000.p/1")).headers["Cache-Control"] == IMMUTABLE
    for path in ("/tile/0/000.p/9", "/tile/0/x000/000", "/nothing", "/tile/entries/000.p/9"):
        answer = await server.get(path, headers={"Accept-Encoding": "gzip"})
        assert answer.status == 404
        assert answer.headers["Cache-Control"] == "no-store"
        assert "ETag" not in answer.headers
        assert "Content-Encoding" not in answer.headers


async def test_TT_09_a_damaged_tile_is_not_served_as_immutable(server: Server) -> None:
    (server.pool.root / "tile/0/000.p/1").write_bytes(b"torn")
    (server.pool.root / "tile/entries/000.p/1").write_bytes(b"\x00\x09torn")
    for path in ("/tile/0/000.p/1", "/tile/entries/000.p/1"):
        answer = await server.get(path)
        assert (answer.status, answer.headers["Cache-Control"]) == (503, "no-store")


async def test_TT_10_TT_11_full_tiles_hash_to_the_nodes_above(tmp_path: Path) -> None:
    pool = MemoryPool(tmp_path)
    pool.append([b"%d" % number for number in range(70_000)])
    async with serving(tmp_path, pool=pool) as server:
        rows = random.Random(7).sample(range(273), 8)
        above = (await server.get("/tile/1/000")).body
        for row in rows:
            data = (await server.get("/" + tiles.Tile(0, row).path)).body
            assert len(data) == 8192
            leaves = tiles.parse_tile(data, 256)
            assert leaves == pool.leaves[row * 256 : row * 256 + 256]
            if row < 256:
                assert rfc6962.root_of_leaves(leaves) == above[row * 32 : row * 32 + 32]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 300, 65_535, 65_536, 65_537, 70_000])
async def test_TT_12_TT_13_TT_14_TT_15_A_12_exactly_the_tiles_of_a_size_are_served(tmp_path: Path, size: int) -> None:
    pool = MemoryPool(tmp_path)
    pool.append([b"%d" % number for number in range(size)])
    async with serving(tmp_path, pool=pool) as server:
        for level in range(4):
            full, width = divmod(size >> (8 * level), 256)
            for index in {0, full - 1} - {-1}:
                expected = 200 if index < full else 404
                assert (await server.get("/" + tiles.Tile(level, index).path)).status == expected
            # The tile after the last full one, by every width around the right one.
            assert (await server.get("/" + tiles.Tile(level, full).path)).status == 404
            for other in {width - 1, width + 1, 1, 255} - {width, 0, 256, -1}:
                assert (await server.get("/" + tiles.Tile(level, full, other).path)).status == 404, (level, other)
            if width:
                answer = await server.get("/" + tiles.Tile(level, full, width).path)
                assert (answer.status, len(answer.body)) == (200, 32 * width)
            assert (await server.get(f"/tile/{level}/{tiles.Tile(0, full).path.split('/', 2)[2]}.p/0")).status == 404


async def test_TT_16_every_partial_of_every_published_size_is_available(tmp_path: Path) -> None:
    pool = MemoryPool(tmp_path)
    async with serving(tmp_path, pool=pool) as server:
        for number in range(300):
            pool.append([b"%d" % number])
        for size in range(1, 301):
            for tile in tiles.edge(size):
                assert (await server.get("/" + tile.path)).status == 200
                if tile.level == 0:
                    bundle = tiles.Bundle(tile.index, tile.width)
                    assert (await server.get("/" + bundle.path)).status == 200


async def test_TT_19_signed_tiles_are_readable_before_publication_and_nothing_beyond(server: Server) -> None:
    server.pool.stage([b"two", b"three"])
    assert b"\n1\n" in (await server.get("/checkpoint")).body
    assert (await server.get("/tile/0/000.p/3")).status == 200
    assert (await server.get("/tile/entries/000.p/3")).status == 200
    for width in (2, 4):
        assert (await server.get(f"/tile/0/000.p/{width}")).status == 404
    # Proofs speak of published sizes only.
    assert (await server.get(f"/entries/{server.pool.leaves[1].hex()}")).status == 404


async def test_TT_21_bundles_are_gzip_when_accepted_and_hash_tiles_never(raw_server: Server) -> None:
    raw_server.pool.append([b"a" * 1000] * 256)
    plain = await raw_server.get("/tile/entries/000")
    packed = await raw_server.get("/tile/entries/000", headers={"Accept-Encoding": "gzip, identity"})
    again = await raw_server.get("/tile/entries/000", headers={"Accept-Encoding": "gzip, identity"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert again.body == packed.body  # one path and encoding, one body
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    hashes = await raw_server.get("/tile/0/000", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in hashes.headers
    assert "Vary" not in hashes.headers


@pytest.mark.parametrize(
    ("line", "accepted"),
    [
        ([], False), (["gzip"], True), (["GZip"], True), (["gzip;q=0"], False), (["gzip; q=0.0"], False),
        (["identity"], False), (["*"], True), (["*;q=0"], False), (["br", "gzip;q=0.5"], True),
        (["br, gzip;q=0, *"], False), ([";;;,,,=;q="], False), (["gzip;q=junk"], True),
    ],
)  # fmt: skip
def test_TT_21_accept_encoding_is_read_with_its_weights(line: list[str], accepted: bool) -> None:
    assert accepts_gzip(line) is accepted


async def test_TT_22_bundle_is_length_prefixed_entries_and_nothing_else(raw_server: Server) -> None:
    entries = [b"", b"one", bytes(65_535)]
    raw_server.pool.append(entries)
    body = (await raw_server.get("/tile/entries/000.p/3")).body
    assert body == b"\x00\x00" + b"\x00\x03one" + b"\xff\xff" + bytes(65_535)
    assert tiles.parse_bundle(body, 3) == entries


async def test_TT_25_another_encoding_has_another_url(server: Server) -> None:
    answer = await server.get("/tile/entries/000.p/1", headers={"Accept": "application/json"})
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert (await server.get("/tile/entries/000.p/1.json")).status == 404


async def test_TT_27_minimum_index_is_zero_and_needs_a_policy() -> None:
    from teelog.errors import ConfigError

    assert Retention().min_index == 0
    with pytest.raises(ConfigError, match="needs a retention policy"):
        Retention(min_index=256)


async def test_TT_28_TT_29_TT_30_pruning_refuses_full_tiles_below_the_index_and_is_undone(tmp_path: Path) -> None:
    pool = MemoryPool(tmp_path)
    pool.append([b"%d" % number for number in range(1000)])
    policy = "Entries stop mattering a year after the release's notAfter."
    async with serving(tmp_path, pool=pool, retention=Retention(min_index=600, policy=policy)) as server:
        for path in ("tile/0/000", "tile/0/001", "tile/entries/000", "tile/entries/001"):
            answer = await server.get("/" + path)
            assert (answer.status, answer.headers["Cache-Control"]) == (410, "no-store")
            assert answer.json["type"] == "urn:teelog:problem:pruned"
        # Tile 2 ends at 768 and straddles 600; partial ones are always there.
        for path in ("tile/0/002", "tile/entries/002", "tile/1/000.p/3", "tile/0/003.p/232", "tile/entries/003.p/232"):
            assert (await server.get("/" + path)).status == 200
        told = (await server.get("/log.json")).json
        assert (told["min_index"], told["retention"]) == ("600", policy)
    async with serving(tmp_path, pool=pool) as server:
        assert (await server.get("/tile/0/000")).status == 200


async def test_TT_28_minimum_index_exactly_at_a_tiles_end(tmp_path: Path) -> None:
    pool = MemoryPool(tmp_path)
    pool.append([b"%d" % number for number in range(600)])
    for index, status in ((255, 200), (256, 410), (257, 410)):
        async with serving(tmp_path, pool=pool, retention=Retention(min_index=index, policy="p")) as server:
            assert (await server.get("/tile/0/000")).status == status
            assert (await server.get("/tile/0/001")).status == 200


@pytest.mark.parametrize("path", ["/checkpoint", "/tile/0/000.p/1", "/tile/entries/000.p/1", "/log.json", "/"])
async def test_TT_31_head_has_the_header_of_get_and_other_methods_are_405(server: Server, path: str) -> None:
    get, head = await server.get(path), await server.get(path, "HEAD")
    assert head.status == 200
    assert head.body == b""
    drop = {"Date"}
    assert {k: v for k, v in head.headers.items() if k not in drop} == {
        k: v for k, v in get.headers.items() if k not in drop
    }
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PURGE"):
        answer = await server.get(path, method)
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD"
        assert answer.headers["Cache-Control"] == "no-store"


async def test_A_10_range_and_conditions_change_nothing(server: Server) -> None:
    plain = await server.get("/tile/entries/000.p/1")
    for headers in (
        {"Range": "bytes=0-1"}, {"Range": "bytes=5-1,9-"}, {"If-None-Match": "*"}, {"If-Match": '"x"'},
        {"If-Modified-Since": "Wed, 21 Oct 2065 07:28:00 GMT"}, {"If-Range": '"x"', "Range": "bytes=0-0"},
    ):  # fmt: skip
        answer = await server.get("/tile/entries/000.p/1", headers=headers)
        assert (answer.status, answer.body) == (200, plain.body)


async def test_A_13_host_and_forwarding_headers_are_not_reflected(server: Server) -> None:
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "gopher"}
    for path in ("/", "/log.json", "/checkpoint", "/nothing"):
        answer = await server.get(path, headers=headers)
        assert b"evil" not in answer.body
        assert not re.search("evil|gopher", str(answer.headers))


def test_the_cache_keeps_its_budget_and_the_recently_used() -> None:
    cache = Cache(100)
    for key in "abcd":
        cache.put(key, bytes(25))
    assert cache.get("a") == bytes(25)
    cache.put("e", bytes(25))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    cache.put("big", bytes(26))
    assert cache.get("big") is None


async def test_without_a_checkpoint_the_log_is_unavailable(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=Limits(cache_bytes=0)) as server:
        (tmp_path / "checkpoint").unlink()
        answer = await server.get("/checkpoint")
        assert (answer.status, answer.headers["Cache-Control"]) == (503, "no-store")
        assert "Retry-After" in answer.headers
        assert (await server.get("/")).status == 200
