"""Attestation results at the front: by a key of role `result`, with nothing private, of what this log holds, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from teelog.log_server.about import LogInfo
from teelog.log_server.admission import Admission, Namespaces
from teelog.log_server.clock import SystemClock
from teelog.log_server.create import create
from teelog.log_server.pool_socket import PoolServer, SocketPool
from teelog.log_server.problems import Problem
from teelog.log_server.seams import Logged
from teelog.log_server.writer import Writer
from teelog.statement import admit, ear, ear_token, jws, strict_json
from teelog.statement.namespace import Role
from teelog.statement.token import Form
from teelog.tlog import rfc6962
from teelog.tlog.policy import parse_policy
from tests.log_server.memory_pool import MemoryPool
from tests.log_server.rig import rejected, rig
from tests.log_server.serving import Server, serving
from tests.log_server.test_chains import Judge
from tests.log_server.test_pool_contract import QUICK
from tests.log_server.test_submit import batch, proven, release_file
from tests.statement import make
from tests.statement.test_ear import DRAFT, NAMESPACE, PRIVATE_CLAIMS, VERIFIER
from tests.statement.test_ear import entry as signed
from tests.tlog import reference

PLAIN = {name: value for name, value in DRAFT.items() if name != ear.CLAIM}
"""A result that does not say by what it was judged."""
JWT = ear_token.MEDIA_TYPES[0]


def entry(claims: dict[str, Any] | None = None, signer: Any = VERIFIER) -> bytes:
    return signed(PLAIN if claims is None else claims, signer)


@pytest.fixture
async def server(tmp_path: Path):
    async with serving(tmp_path / "log") as made:
        await made.front.submissions.allow(NAMESPACE)
        yield made


@pytest.mark.parametrize("kind", [*ear_token.MEDIA_TYPES, "application/json", f'{JWT}; eat_profile="{ear.PROFILE}"'])
async def test_a_result_is_logged_and_proven(server: Server, kind: str):
    answer = await server.post("/entries", entry(), kind)
    assert answer.status == 201, answer.body
    assert proven(answer, entry()) == 1
    again = await server.post("/entries", entry(), kind)
    assert again.status == 200


async def test_a_result_may_come_in_a_batch(server: Server):
    answer = await batch(server, entry(), entry(PLAIN | PRIVATE_CLAIMS[0]), entry(signer=make.ACME))
    assert [item["status"] for item in answer["results"]] == [201, 422, 403]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (entry(signer=make.STRANGER), 403, "bad-signature"),
        (entry(signer=make.ACME), 403, "bad-signature"),
        (entry(signer=make.BUILD), 403, "wrong-key"),
        (entry(PLAIN | {"iss": "other.example"}), 403, "unknown-namespace"),
        (entry(PLAIN | {"iss": "nobody"}), 422, "malformed-entry"),
        (entry()[:-1], 422, "malformed-entry"),
        (entry() + b"\n", 422, "malformed-entry"),
        (b"eyJhbGciOiJub25lIn0.e30.", 422, "malformed-entry"),
    ],
)
async def test_A_42_what_is_no_result_of_a_known_verifier_is_refused(
    server: Server, body: bytes, status: int, kind: str
):
    answer = await server.post("/entries", body, JWT)
    assert answer.status == status, answer.body
    assert answer.json["type"].endswith(kind)


@pytest.mark.parametrize("more", PRIVATE_CLAIMS)
def test_evidence_nonces_and_chip_ids_are_refused_unless_the_log_takes_them(more: dict[str, Any]):
    namespaces = Namespaces(make.LOG)
    namespaces.learn([(0, NAMESPACE)])
    body = entry(PLAIN | more)
    with pytest.raises(Problem) as caught:
        Admission(namespaces).judge(body)
    assert caught.value.status == 422
    admitted, name = Admission(namespaces, private_results=True).judge(body)
    assert (admitted.entry, name) == (body, "acme.example")


async def test_what_a_log_takes_is_told(tmp_path: Path, server: Server):
    assert (await server.get("/log.json")).json["private_results"] is False
    assert LogInfo("log.example/tee", (), private_results=True).private_results


@pytest.mark.parametrize("kid", [None, "another"])
def test_a_result_that_does_not_name_its_key_is_taken_where_keys_are_on_their_way_out(kid: str | None):
    """RFC 7515: ``kid`` is a hint. Until when the entry counts follows from the key that signed it."""
    namespaces = Namespaces(make.LOG)
    keys = (make.held(make.ACME, *make.OWNER_ROLES), make.held(VERIFIER, Role.RESULT, until=9))
    thresholds = {Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 1, Role.RESULT: 1}
    namespaces.learn([(1, make.namespace_file(keys=keys, thresholds=thresholds))])
    header = {"alg": "EdDSA", "typ": "eat+jwt"} | ({} if kid is None else {"kid": kid})
    signed = jws.b64url(strict_json.encode(header)) + b"." + jws.b64url(jws.parse(entry()).claimed())
    body = signed + b"." + jws.b64url(VERIFIER.sign(signed))
    admitted, _ = Admission(namespaces, lambda: 2).judge(body)
    assert (admitted.entry, admitted.before) == (body, 9)


# -- what a result names ----------------------------------------------------------------------------------------------


def naming(form: Form = Form.JWT, **judged: Any) -> bytes:
    """A result that says by what it was judged: by nothing, but for what is given."""
    claim = DRAFT[ear.CLAIM] | {"release": None, "namespaces": [], "checkpoint": None} | judged
    return ear_token.sign(DRAFT | {ear.CLAIM: claim}, VERIFIER, form).file


def identity(file: bytes) -> str:
    return admit.classify(file).statement_id


@pytest.fixture
def judge(tmp_path: Path) -> Iterator[Judge]:
    with rig(tmp_path / "log") as made:
        found = Judge(made)
        assert found.logged(NAMESPACE, operator=True) == [1]
        yield found
        made.check()


def head(judge: Judge, size: int | None = None) -> dict[str, Any]:
    memory = judge.made.sequencer.memory
    size = memory.published_size if size is None else size
    root = memory.root_at(size)
    assert root is not None
    return {"origin": make.LOG, "size": size, "root": root.hex()}


def test_the_root_of_each_published_size_is_known(judge: Judge) -> None:
    for number in range(6):
        judge.logged(entry(PLAIN | {"jti": number}))
    memory = judge.made.sequencer.memory
    leaves = [rfc6962.leaf_hash(memory.entry(index)) for index in range(memory.published_size)]
    found = reference.Reference(leaves)
    for size in range(memory.published_size + 1):
        assert memory.root_at(size) == found.mth(0, size)
    assert memory.root_at(memory.published_size + 1) is None


@pytest.mark.parametrize("form", Form)
def test_a_result_of_what_this_log_holds_is_taken(judge: Judge, form: Form) -> None:
    release = release_file()
    judge.logged(release)
    named = {"release": identity(release), "namespaces": [identity(NAMESPACE)]}
    for size in range(1, 4):
        judge.logged(naming(form, **named, checkpoint=head(judge, size)))


def test_what_comes_earlier_in_the_same_batch_is_held(judge: Judge) -> None:
    release = release_file()
    assert judge.logged(release, naming(release=identity(release))) == [2, 3]


@pytest.mark.parametrize(
    "named",
    [
        {"release": "ab" * 32},
        {"namespaces": ["cd" * 32]},
        {"release": identity(NAMESPACE)},
        {"namespaces": [identity(release_file())]},
        {"release": rfc6962.leaf_hash(release_file()).hex()},
    ],
)
def test_a_result_that_names_what_this_log_does_not_hold_is_422_naming_it(judge: Judge, named: dict[str, Any]) -> None:
    judge.logged(release_file())
    (refused,) = judge.submit(naming(**named))
    (wanted,) = [value if isinstance(value, str) else value[0] for value in named.values()]
    assert (rejected(refused).status, rejected(refused).kind, rejected(refused).actual) == (
        422,
        "unknown-statement",
        wanted,
    )


def test_a_result_by_a_checkpoint_that_is_not_this_logs_is_422_naming_it(judge: Judge) -> None:
    for change in ({"size": 1}, {"size": 3}, {"root": "00" * 32}, {"size": 2**53 - 1}):
        (refused,) = judge.submit(naming(checkpoint=head(judge) | change))
        no = rejected(refused)
        assert (no.status, no.kind) == (422, "unknown-checkpoint")
        assert no.actual == "size {size}, root {root}".format_map(head(judge) | change)
    assert judge.logged(naming(checkpoint=head(judge))) == [2]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"origin": "other.example/log"}, "unknown-checkpoint"),
        ({"root": "AB" * 32}, "malformed-entry"),
        ({"root": "ab"}, "malformed-entry"),
    ],
)
def test_a_result_by_another_log_is_refused_by_the_front(judge: Judge, change: dict[str, Any], kind: str) -> None:
    with pytest.raises(Problem) as caught:
        judge(naming(checkpoint=head(judge) | change))
    assert (caught.value.status, caught.value.kind) == (422, kind)


def test_one_that_names_too_much_does_not_stop_the_others(judge: Judge) -> None:
    outcomes = judge.submit(naming(release="ab" * 32), naming(checkpoint=head(judge)), naming(namespaces=["cd" * 32]))
    assert [isinstance(outcome, Logged) for outcome in outcomes] == [False, True, False]


def test_what_was_logged_before_stays_logged(judge: Judge) -> None:
    file = naming(checkpoint=head(judge))
    assert judge.logged(file) == [2]
    assert judge.logged(file) == [2]


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Server]:
    """A front that reaches a real sequencer through its socket."""
    path = tmp_path / "LOG"
    create(path, make.LOG, SystemClock())
    (path / "log.toml").write_text((path / "log.toml").read_text().replace("[intervals]", "") + QUICK)
    async with AsyncExitStack() as stack:
        writer = Writer.open(path, parse_policy(b"quorum none\n"))
        stack.push_async_callback(writer.close)
        writer.start()
        while writer.intake.refusal is not None:
            await asyncio.sleep(0.001)
        behind = PoolServer(writer.intake, path / "pool.sock")
        await behind.start()
        stack.push_async_callback(behind.close)
        pool = await SocketPool.connect(path / "pool.sock")
        stack.push_async_callback(pool.close)
        made = await stack.enter_async_context(serving(path / "public", pool=cast(MemoryPool, pool)))
        await made.front.submissions.allow(NAMESPACE)
        yield made


async def test_the_front_tells_what_is_missing(front: Server) -> None:
    answer = await front.post("/entries", naming(release="ab" * 32), JWT)
    assert answer.status == 422, answer.body
    assert answer.json["type"].endswith("unknown-statement")
    assert answer.json["actual"] == "ab" * 32
    good = await batch(front, naming(), naming(release="ab" * 32), naming(namespaces=[identity(NAMESPACE)]))
    assert [item["status"] for item in good["results"]] == [201, 422, 201]


def test_a_statement_id_is_known_after_a_restart_too(tmp_path: Path) -> None:
    """An ECDSA key signs the same claims twice: one statement, two files."""
    keys = (make.held(make.ACME, *make.OWNER_ROLES), make.held(make.BUILD, Role.RELEASE, Role.RESULT))
    thresholds = {Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 1, Role.RESULT: 1}
    files = [jws.sign(strict_json.encode(PLAIN), make.BUILD, "eat+jwt").file for _ in range(2)]
    assert files[0] != files[1]
    with rig(tmp_path / "log") as made:
        judge = Judge(made)
        judge.logged(make.namespace_file(keys=keys, thresholds=thresholds), operator=True)
        judge.logged(files[0])
        again = made.reopen().open()
        (refused,) = Judge(again).submit(files[1])
        assert (rejected(refused).status, rejected(refused).kind) == (409, "conflict")
        again.drop()
