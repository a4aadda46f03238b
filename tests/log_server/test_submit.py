"""POST /entries, /entries/batch, /add and GET /entries/<leaf hash> (conformance AP, TT-24)."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from teelog.errors import UnavailableError
from teelog.keys import PrivateKey
from teelog.log_server.limits import Limits
from teelog.log_server.quota import Quota
from teelog.log_server.seams import Full, Rejected
from teelog.statement import admit, release
from teelog.statement.intoto import Subject
from teelog.statement.namespace import Role
from teelog.tlog import rfc6962
from teelog.tlog.proof import TlogProof, parse_proof, verify_proof
from tests.log_server.serving import DSSE, Answer, Server, policy, serving
from tests.statement import make

SUBJECT = (Subject("image", {"sha256": "ab" * 32}),)


def release_file(version: str = "1.4.2", *signers: PrivateKey, **changes: Any) -> bytes:
    predicate = make.release_predicate(version=version, **changes)
    return make.sign(release.payload(predicate, SUBJECT), *signers).file


def proven(answer: Answer, entry: bytes) -> int:
    """The index at which an answer proves the entry."""
    leaf = rfc6962.leaf_hash(entry)
    return verify_proof(parse_proof(answer.body), leaf, policy()).index


def frame(*entries: bytes) -> bytes:
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)


async def batch(server: Server, *entries: bytes) -> Any:
    answer = await server.post("/entries/batch", frame(*entries), "application/octet-stream")
    assert answer.status == 200, answer.body
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json


def proof_of(answer: Any, item: Any) -> Answer:
    hashes = tuple(base64.b64decode(text) for text in item["proof"])
    note = answer["checkpoints"][item["checkpoint"]].encode()
    return Answer(item["status"], {}, TlogProof(int(item["index"]), hashes, note).encode())


# -- one entry --------------------------------------------------------------------------------------------------------


async def test_AP_01_a_new_entry_is_201_with_a_proof_that_verifies(server: Server) -> None:
    entry = release_file()
    answer = await server.post("/entries", entry)
    assert answer.status == 201
    assert answer.headers["Location"] == f"/entries/{rfc6962.leaf_hash(entry).hex()}"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert proven(answer, entry) == 1
    assert server.pool.entries[1] == entry


async def test_AP_01_the_same_bytes_again_are_200_with_the_old_index_and_a_fresh_proof(server: Server) -> None:
    entry = release_file()
    first = await server.post("/entries", entry)
    await server.post("/entries", release_file("1.4.3"))
    again = await server.post("/entries", entry, "application/json; charset=utf-8")
    assert again.status == 200
    assert proven(again, entry) == proven(first, entry) == 1
    assert parse_proof(again.body).checkpoint == server.pool.note != parse_proof(first.body).checkpoint


async def test_AP_01_nothing_is_answered_before_publication(server: Server) -> None:
    server.pool.gate.clear()
    entry = release_file()
    waiting = asyncio.create_task(server.post("/entries", entry))
    while not server.pool.submitted > 1:
        await asyncio.sleep(0)
    assert (await server.get(f"/entries/{rfc6962.leaf_hash(entry).hex()}")).status == 404
    assert not waiting.done()
    server.pool.gate.set()
    assert (await waiting).status == 201


async def test_AP_01_a_known_entry_is_found_by_its_leaf_hash(server: Server) -> None:
    entry = release_file()
    path = (await server.post("/entries", entry)).headers["Location"]
    found = await server.get(path)
    assert (found.status, found.headers["Cache-Control"]) == (200, "no-store")
    assert proven(found, entry) == 1
    assert (await server.get(path, "HEAD")).status == 200
    for method in ("POST", "PUT", "DELETE"):
        assert (await server.get(path, method)).status == 405
    missing = await server.get("/entries/" + "00" * 32)
    assert (missing.status, missing.json["type"]) == (404, "urn:teelog:problem:not-found")


async def test_AP_02_a_full_pool_is_503_with_retry_after(server: Server) -> None:
    server.pool.refusal = Full("the pool is full", 2.5)
    answer = await server.post("/entries", release_file())
    assert (answer.status, answer.headers["Retry-After"]) == (503, "3")
    assert answer.json["type"] == "urn:teelog:problem:busy"


async def test_AP_02_a_lost_quorum_is_503_and_says_what_to_do(server: Server) -> None:
    server.pool.refusal = UnavailableError("2 of 3 witnesses are needed", retry_after=7)
    answer = await server.post("/entries", release_file())
    assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
    assert "same bytes again" in answer.json["hint"]


async def test_AP_02_after_the_freeze_it_is_410_and_reads_go_on(server: Server) -> None:
    logged = release_file("1.0.0")
    await server.post("/entries", logged)
    server.pool.rejection = Rejected(410, "frozen", "the log has ended", hint="the log that goes on: log2.example/tee")
    answer = await server.post("/entries", release_file())
    assert (answer.status, answer.json["type"]) == (410, "urn:teelog:problem:frozen")
    assert "log2.example/tee" in answer.json["hint"]
    assert "Retry-After" not in answer.headers
    assert (await server.post("/entries", logged)).status == 200  # what is logged keeps its place
    assert (await server.get("/checkpoint")).status == 200


async def test_AP_02_no_publication_in_time_is_503_never_202(tmp_path: Path) -> None:
    async with serving(tmp_path / "p", limits=Limits(answer_seconds=0.1)) as server:
        await server.front.submissions.allow(make.namespace_file())
        server.pool.gate.clear()
        entry = release_file()
        answer = await server.post("/entries", entry)
        assert (answer.status, answer.json["type"]) == (503, "urn:teelog:problem:unavailable")
        server.pool.gate.set()
        while (again := await server.post("/entries", entry)).status == 503:  # it has a tenth of a second
            pass
        assert again.status == 200
        assert proven(again, entry) == 1


async def test_AP_03_a_client_that_leaves_changes_nothing(server: Server) -> None:
    server.pool.gate.clear()
    entry = release_file()
    body = b"POST /entries HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        entry
    )
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(body + entry)
    await writer.drain()
    while not server.pool.submitted > 1:
        await asyncio.sleep(0)
    writer.transport.abort()
    server.pool.gate.set()
    again = await server.post("/entries", entry)
    assert again.status == 200
    assert server.pool.size == 2


# -- refusals ---------------------------------------------------------------------------------------------------------


OTHER_TYPES = ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
OTHER_TYPES += ["application/octet-stream", "application/jsonx", "application/json, text/plain"]


@pytest.mark.parametrize("kind", OTHER_TYPES)
async def test_AP_04_another_content_type_is_415(server: Server, kind: str) -> None:
    answer = await server.post("/entries", release_file(), kind)
    assert (answer.status, answer.json["type"]) == (415, "urn:teelog:problem:media-type")
    assert server.pool.size == 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"])
async def test_AP_04_A_04_a_content_encoding_is_415(server: Server, encoding: str) -> None:
    answer = await server.post("/entries", release_file(), DSSE, **{"Content-Encoding": encoding})
    assert answer.status == 415
    assert (await server.post("/entries", release_file(), DSSE, **{"Content-Encoding": "identity"})).status == 201


def broken(change: Any) -> bytes:
    """A release whose payload was changed before it was signed."""
    payload = json.loads(release.payload(make.release_predicate(), SUBJECT))
    change(payload)
    return make.sign(json.dumps(payload, separators=(",", ":")).encode()).file


def repeated() -> bytes:
    payload = release.payload(make.release_predicate(), SUBJECT).replace(b'"svn":3', b'"svn":3,"svn":3')
    return make.sign(payload).file


MALFORMED = {
    "not json": (b"\xff\xfe", None),
    "empty": (b"", None),
    "not an object": (b"[]", None),
    "null": (b"null", None),
    "white space": (lambda: release_file() + b"\n", None),
    "repeated envelope member": (lambda: release_file().replace(b'"payload', b'"payload":"","payload', 1), ""),
    "repeated payload member": (repeated, "/predicate"),
    "payload type": (lambda: release_file().replace(b"in-toto", b"in-moto"), "/payloadType"),
    "no signatures": (lambda: release_file().split(b'"signatures"')[0] + b'"signatures":[]}', "/signatures"),
    "unknown predicate": (lambda: broken(lambda p: p.update(predicateType="urn:x")), "/predicateType"),
    "stream": (lambda: broken(lambda p: p["predicate"].update(stream="acme.example/../x")), "/predicate/stream"),
    "float": (lambda: broken(lambda p: p["predicate"].update(svn=3.5)), "/predicate/svn"),
    "deep": (lambda: b'{"payload":' + b"[" * 30_000 + b"]" * 30_000 + b"}", None),
    "many keys": (lambda: b"{" + b",".join(b'"k%d":1' % n for n in range(5_000)) + b"}", None),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
async def test_AP_04_A_07_a_malformed_entry_is_422_with_a_json_pointer(server: Server, name: str) -> None:
    made, pointer = MALFORMED[name]
    answer = await server.post("/entries", made() if callable(made) else made)
    problem = answer.json
    assert (answer.status, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert (problem["type"], problem["status"]) == ("urn:teelog:problem:malformed-entry", 422)
    if pointer is not None:
        assert problem["pointer"] == pointer
    assert server.pool.size == 1


async def test_AP_04_another_vendors_namespace_is_403(server: Server) -> None:
    answer = await server.post("/entries", release_file("1", stream="other.example/inference/stable"))
    assert (answer.status, answer.json["type"]) == (403, "urn:teelog:problem:unknown-namespace")
    assert "teelog log allow" in answer.json["hint"]
    other = make.key("other")
    roles = (make.held(other, *make.OWNER_ROLES),)
    await server.front.submissions.allow(make.namespace_file(other, namespace="other.example", keys=roles))
    answer = await server.post("/entries", release_file("1", stream="other.example/inference/stable"))
    assert (answer.status, answer.json["type"]) == (403, "urn:teelog:problem:wrong-key")
    assert (await server.post("/entries", release_file("1", other))).status == 403
    assert (await server.post("/entries", release_file("1", other, stream="other.example/a/b"))).status == 201


async def test_AP_04_a_bad_signature_is_403(server: Server) -> None:
    entry = release_file()
    envelope = json.loads(entry)
    other = json.loads(release_file("9.9.9"))
    envelope["signatures"] = other["signatures"]
    answer = await server.post("/entries", json.dumps(envelope, separators=(",", ":")).encode())
    assert (answer.status, answer.json["type"]) == (403, "urn:teelog:problem:bad-signature")


async def test_AP_04_a_threshold_counts_distinct_keys(tmp_path: Path) -> None:
    async with serving(tmp_path / "p") as server:
        two = make.namespace_file(thresholds={"owner": 1, "release": 2, "status": 1})
        await server.front.submissions.allow(two)
        assert (await server.post("/entries", release_file("1"))).status == 403
        assert (await server.post("/entries", release_file("1", make.ACME, make.BUILD))).status == 201
        # Every signature must be by a key of the namespace, also beyond the threshold.
        extra = release_file("2", make.ACME, make.BUILD, make.STRANGER)
        assert (await server.post("/entries", extra)).status == 403


async def test_AP_04_a_first_namespace_version_comes_through_the_operator_only(server: Server) -> None:
    other = make.key("other")
    roles = (make.held(other, *make.OWNER_ROLES),)
    entry = make.namespace_file(other, namespace="other.example", keys=roles)
    answer = await server.post("/entries", entry)
    assert (answer.status, answer.json["type"]) == (403, "urn:teelog:problem:not-allowed")
    assert "teelog log allow" in answer.json["hint"]


async def test_AP_04_a_next_namespace_version_is_judged_by_the_owners_before_it(server: Server) -> None:
    first = make.acme()
    new = make.key("new")
    changes: dict[str, Any] = {"version": 1, "prev": first.statement_id, "keys": (make.held(new, *make.OWNER_ROLES),)}
    assert (await server.post("/entries", make.namespace_file(new, **changes))).status == 403
    later = make.namespace_file(make.ACME, **changes)
    assert (await server.post("/entries", later)).status == 201
    # It is in force here at once.
    assert (await server.post("/entries", release_file("2", new))).status == 201
    assert (await server.post("/entries", release_file("3", make.ACME))).status == 403
    # A client that lost the answer sends the same bytes again.
    again = await server.post("/entries", later)
    assert (again.status, proven(again, later)) == (200, 1)
    (item,) = (await batch(server, later))["results"]
    assert (item["status"], item["index"]) == (200, "1")


async def test_a_namespace_version_that_does_not_follow_is_409_naming_the_head(server: Server) -> None:
    first = make.acme()
    for changes in ({"version": 2, "prev": first.statement_id}, {"version": 1, "prev": "ab" * 32}):
        answer = await server.post("/entries", make.namespace_file(**changes))
        assert (answer.status, answer.json["type"]) == (409, "urn:teelog:problem:conflict")
        assert answer.json["expected"] == f"version 1, prev {first.statement_id}"
    assert server.pool.size == 1


async def test_a_key_on_its_way_out_signs_what_comes_before_its_until(tmp_path: Path) -> None:
    async with serving(tmp_path / "p") as server:
        keys = (make.held(make.ACME, *make.OWNER_ROLES), make.held(make.BUILD, Role.RELEASE, until=3))
        assert (await server.front.submissions.allow(make.namespace_file(keys=keys))).index == 0
        for number in range(2):
            assert (await server.post("/entries", release_file(f"{number}", make.BUILD))).status == 201
        (item,) = (await batch(server, release_file("3", make.BUILD)))["results"]
        assert item["status"] == 403  # it would be entry 3
        assert (await server.post("/entries", release_file("4", make.BUILD))).status == 403
        assert (await server.post("/entries", release_file("4", make.ACME))).status == 201


async def test_AP_04_a_log_policy_is_not_submitted(server: Server) -> None:
    answer = await server.post("/entries", make.log_policy_file())
    assert (answer.status, answer.json["type"]) == (403, "urn:teelog:problem:not-allowed")


async def test_A_41_the_same_statement_in_other_bytes_is_409_with_the_logged_leaf(server: Server) -> None:
    payload = release.payload(make.release_predicate(), SUBJECT)
    one, two = make.sign(payload, make.BUILD).file, make.sign(payload, make.BUILD).file
    assert one != two  # ECDSA draws a new nonce
    assert (await server.post("/entries", one)).status == 201
    answer = await server.post("/entries", two)
    assert (answer.status, answer.json["leaf"]) == (409, rfc6962.leaf_hash(one).hex())


async def test_TT_24_A_52_an_entry_of_65_535_bytes_is_taken_and_one_more_is_413(raw_server: Server) -> None:
    for number, entry in enumerate((b"", b"x", bytes(65_535))):
        answer = await raw_server.post("/add", entry, "application/octet-stream")
        assert (answer.status, answer.body) == (200, b"%d" % number)
    assert (await raw_server.post("/add", bytes(65_536), "application/octet-stream")).status == 413
    bundle = (await raw_server.get("/tile/entries/000.p/3")).body
    assert bundle.endswith(b"\xff\xff" + bytes(65_535))
    too_large = await raw_server.post("/entries", b'"' + b"x" * 65_534 + b'"')
    assert (too_large.status, too_large.json["type"]) == (413, "urn:teelog:problem:too-large")
    assert (await raw_server.post("/entries", b'"' + b"x" * 65_533 + b'"')).status == 422


async def test_raw_mode_answers_the_same_index_for_the_same_bytes_and_is_off_by_default(
    raw_server: Server, server: Server
) -> None:
    for _ in range(2):
        assert (await raw_server.post("/add", b"a", "text/plain")).body == b"0"
    assert (await server.post("/add", b"a")).status == 404


async def test_A_32_what_comes_back_is_escaped_and_short(server: Server) -> None:
    nasty = "<script>\x1b[31m\u202e&\U0001f600" + "x" * 5000
    for entry in (
        broken(lambda p: p.update(predicateType=nasty)),
        broken(lambda p: p["predicate"].update(stream=nasty)),
        broken(lambda p: p["predicate"].update({nasty: 1.5})),
        nasty.encode(),
    ):
        answer = await server.post("/entries", entry)
        assert answer.status == 422
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert len(answer.body) < 2_500
        assert answer.body.isascii()
        assert b"<" not in answer.body
        assert not any(ord(char) < 32 or ord(char) > 126 for text in answer.json.values() for char in str(text))


# -- batches ----------------------------------------------------------------------------------------------------------


async def test_batch_gives_each_entry_its_own_verdict_with_all_that_makes_its_proof(server: Server) -> None:
    good = [release_file(f"1.{n}") for n in range(5)]
    entries = [good[0], b"junk", good[1], good[0], release_file("7", make.STRANGER), *good[2:]]
    answer = await batch(server, *entries)
    assert answer["schema"] == "teelog-batch/v1"
    assert [item["status"] for item in answer["results"]] == [201, 422, 201, 200, 403, 201, 201, 201]
    for entry, item in zip(entries, answer["results"], strict=True):
        if item["status"] < 300:
            assert item["leaf"] == rfc6962.leaf_hash(entry).hex()
            assert str(proven(proof_of(answer, item), entry)) == item["index"]
            assert "problem" not in item
        else:
            assert item["problem"]["status"] == item["status"]
            assert "index" not in item
    single = await server.post("/entries", good[3])
    assert proven(single, good[3]) == int(answer["results"][6]["index"])


async def test_batch_of_refused_entries_only_logs_nothing(server: Server) -> None:
    answer = await batch(server, b"", b"junk")
    assert [item["status"] for item in answer["results"]] == [422, 422]
    assert answer["checkpoints"] == []
    assert server.pool.size == 1


async def test_batch_with_a_broken_frame_is_400_and_takes_nothing(server: Server) -> None:
    whole = frame(release_file("1"), release_file("2"))
    for body in (whole[:-1], whole + b"\x00", whole + b"\x00\x05abcd", b"\x00", b""):
        answer = await server.post("/entries/batch", body, "application/octet-stream")
        assert (answer.status, answer.json["type"]) == (400, "urn:teelog:problem:bad-request")
    assert server.pool.size == 1


async def test_batch_is_bounded_in_entries_and_bytes(tmp_path: Path) -> None:
    async with serving(tmp_path / "p", limits=Limits(batch_entries=3, batch_bytes=70_000)) as server:
        kind = "application/octet-stream"
        assert (await server.post("/entries/batch", frame(*[b"x"] * 3), kind)).status == 200
        assert (await server.post("/entries/batch", frame(*[b"x"] * 4), kind)).status == 413
        assert (await server.post("/entries/batch", bytes(70_001), kind)).status == 413
        assert (await server.post("/entries/batch", frame(b"x"), DSSE)).status == 415


async def test_batch_is_refused_as_a_whole_when_the_pool_is_full(server: Server) -> None:
    server.pool.refusal = Full("the pool is full")
    answer = await server.post("/entries/batch", frame(release_file()), "application/octet-stream")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


# -- quota ------------------------------------------------------------------------------------------------------------


async def test_AP_04_R_34_the_quota_counts_new_entries_only(tmp_path: Path) -> None:
    async with serving(tmp_path / "p", limits=Limits(namespace_per_day=2)) as server:
        await server.front.submissions.allow(make.namespace_file())
        one, two, three = (release_file(version) for version in ("1", "2", "3"))
        assert (await server.post("/entries", one)).status == 201
        assert (await server.post("/entries", one)).status == 200
        assert (await server.post("/entries", release_file("1", make.STRANGER))).status == 403
        server.pool.refusal = Full("full")
        assert (await server.post("/entries", two)).status == 503
        server.pool.refusal = None
        assert (await server.post("/entries", two)).status == 201
        over = await server.post("/entries", three)
        assert (over.status, over.json["type"]) == (429, "urn:teelog:problem:quota")
        assert 1 <= int(over.headers["Retry-After"]) <= 86_400
        known = await server.post("/entries", one)
        assert known.status == 200
        assert proven(known, one) == 1
        answer = await batch(server, one, three)
        assert [item["status"] for item in answer["results"]] == [200, 429]
        assert proven(proof_of(answer, answer["results"][0]), one) == 1


async def test_releases_use_up_no_quota_of_statuses_and_versions(tmp_path: Path) -> None:
    """A stolen release key keeps neither a withdrawal nor a rotation out."""
    async with serving(tmp_path / "p", limits=Limits(namespace_per_day=1)) as server:
        await server.front.submissions.allow(make.namespace_file())
        assert (await server.post("/entries", release_file("1", make.BUILD))).status == 201
        assert (await server.post("/entries", release_file("2", make.BUILD))).status == 429
        assert (await server.post("/entries", make.status_file())).status == 201
        version = make.namespace_file(version=1, prev=make.acme().statement_id)
        assert (await server.post("/entries", version)).status == 201
        following = make.namespace_file(version=2, prev=admit.classify(version).statement_id)
        assert (await server.post("/entries", following)).status == 429


def test_quota_starts_again_with_the_utc_day() -> None:
    now = [86_399.0]
    quota = Quota(1, lambda: now[0])
    assert quota.take("a.example")
    assert quota.take("b.example")
    assert not quota.take("a.example")
    assert quota.problem().headers()["Retry-After"] == "1"
    now[0] = 86_400.0
    assert quota.take("a.example")
    quota.give_back("a.example")
    assert quota.take("a.example")
    assert not quota.take("a.example")
