"""Attestation results at the front: by a key of role `result`, with nothing private, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from teelog.log_server.about import LogInfo
from teelog.log_server.admission import Admission, Namespaces
from teelog.log_server.problems import Problem
from teelog.statement import ear, ear_token, jws, strict_json
from teelog.statement.namespace import Role
from tests.log_server.serving import Server, serving
from tests.log_server.test_submit import batch, proven
from tests.statement import make
from tests.statement.test_ear import DRAFT, NAMESPACE, PRIVATE_CLAIMS, VERIFIER, entry

JWT = ear_token.MEDIA_TYPES[0]


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
    answer = await batch(server, entry(), entry(DRAFT | PRIVATE_CLAIMS[0]), entry(signer=make.ACME))
    assert [item["status"] for item in answer["results"]] == [201, 422, 403]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (entry(signer=make.STRANGER), 403, "bad-signature"),
        (entry(signer=make.ACME), 403, "bad-signature"),
        (entry(signer=make.BUILD), 403, "wrong-key"),
        (entry(DRAFT | {"iss": "other.example"}), 403, "unknown-namespace"),
        (entry(DRAFT | {"iss": "nobody"}), 422, "malformed-entry"),
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
    body = entry(DRAFT | more)
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
