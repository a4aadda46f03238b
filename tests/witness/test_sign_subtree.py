"""sign-subtree (c2sp.org/tlog-witness), rule by rule."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from teelog.tlog import cosignature, note, subtree
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.rfc6962 import root_of_leaves
from teelog.tlog.vkey import NoteSigner, SignatureType
from teelog.witness import subtree as sign_subtree
from teelog.witness.decide import Answer, KnownLog
from tests.vectors import vectors
from tests.witness.harness import NOW, ORIGIN, WITNESS, Desk, Log, signer
from tests.witness.http_harness import live

ED25519 = signer("w ed25519", WITNESS, SignatureType.COSIGNATURE_ED25519)
ML_DSA = signer("w ml-dsa", WITNESS, SignatureType.COSIGNATURE_ML_DSA_44)
OTHER = signer("other", "witness.example/other", SignatureType.COSIGNATURE_ML_DSA_44)
SIGNERS = (ED25519, ML_DSA)
LOG = Log()
KNOWN = KnownLog(ORIGIN, tuple(one.verifier for one in LOG.signers))


def proof(start: int, end: int, size: int) -> list[bytes]:
    leaves = LOG.leaves(size)
    read = partial(_read, leaves)
    return subtree.prove(start, end, size, read)


def _read(leaves: Sequence[bytes], nodes: Sequence[tuple[int, int]]) -> list[bytes]:
    return [root_of_leaves(leaves[i << level : (i + 1) << level]) for level, i in nodes]


def body(
    start: int = 8,
    end: int = 13,
    size: int = 14,
    *,
    by: Sequence[NoteSigner] = SIGNERS,
    root: bytes | None = None,
    hashes: Sequence[bytes] | None = None,
    text: bytes | None = None,
) -> bytes:
    root = root_of_leaves(LOG.leaves(size)[start:end]) if root is None else root
    hashes = proof(start, end, size) if hashes is None else hashes
    text = LOG.body(size) if text is None else text
    lines = [b"subtree %d %d" % (start, end), *(base64.b64encode(item) for item in (root, *hashes))]
    signatures = b"".join(one.sign(text, NOW).line() for one in by)
    return b"\n".join(lines) + b"\n\n" + text + b"\n" + signatures


def ask(request: bytes, log: KnownLog | None = KNOWN, signers: Sequence[NoteSigner] = SIGNERS) -> Answer:
    read = sign_subtree.read(request)
    if isinstance(read, Answer):
        return read
    decided = sign_subtree.decide(read, log, signers)
    return decided if isinstance(decided, Answer) else sign_subtree.answer(read, log, signers)  # type: ignore[arg-type]


async def test_WS_01_only_POST(desk: Desk) -> None:
    async with live(desk) as witness:
        for method in ("GET", "PUT", "HEAD"):
            async with witness.session.request(method, witness.url + "/sign-subtree") as response:
                assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_WS_01_over_http_with_what_add_checkpoint_returned(desk: Desk, log: Log) -> None:
    async with live(desk) as witness:
        _, cosigned, _ = await witness.post(log.request(0, 14))
        reference = log.body(14) + b"\n" + cosigned
        request = body(by=()).partition(b"\n\n")[0] + b"\n\n" + reference
        status, answer, _ = await witness.post(request, "/sign-subtree")
    assert status == 200
    verify(answer, 8, 13, desk.witness.signers[1])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: good.replace(b"subtree 8", b"subtree 08"),
        lambda good: good.replace(b"subtree 8", b"Subtree 8"),
        lambda good: good.replace(b"subtree 8 ", b"subtree 8  "),
        lambda good: good.replace(b"subtree 8 13", b"subtree 8 013"),
        lambda good: good.replace(b"subtree 8 13", b"subtree 8"),
        lambda good: good.replace(b"subtree 8 13", b"subtree 8 13 14"),
        lambda good: good.replace(b"subtree 8 13", b"subtree 8 13\r"),
        lambda good: good.replace(b"subtree 8 13", b"subtree +8 13"),
        lambda good: good.replace(b"subtree 8 13\n", b""),
        lambda good: b"subtree 8 13\n\n" + good.partition(b"\n\n")[2],
        lambda good: good.partition(b"\n\n")[0] + b"\n\n",
        lambda good: good.partition(b"\n\n")[0] + b"\n",
        lambda good: good.replace(b"=\n", b"\n", 1),
        lambda good: good + b"x",
        lambda good: b"",
    ],
)
def test_WS_02_malformed_requests_are_400(spoil: Callable[[bytes], bytes]) -> None:
    assert ask(body()).status == 200
    assert ask(spoil(body())).status == 400


def test_WS_03_more_than_63_proof_lines_are_400() -> None:
    assert ask(body(hashes=[bytes(32)] * 64)).status == 400
    assert ask(body(hashes=[bytes(32)] * 63)).status == 422


@pytest.mark.parametrize(("start", "end"), [(1, 3), (2, 6), (4, 4), (5, 4), (0, 0), (1, 2**63 - 1)])
def test_WS_04_an_invalid_range_is_400(start: int, end: int) -> None:
    assert ask(body(start, end, root=bytes(32), hashes=[])).status == 400


def test_WS_05_an_end_beyond_the_checkpoint_is_400() -> None:
    assert ask(body(8, 15, root=bytes(32), hashes=[])).status == 400


def test_WS_06_a_proof_that_fails_is_422() -> None:
    good = proof(8, 13, 14)
    for hashes in ([], good[:-1], [*good, bytes(32)], [bytes(32), *good[1:]]):
        assert ask(body(hashes=hashes)).status == 422
    assert ask(body(root=bytes(32))).status == 422


def test_WS_06_the_shared_vectors() -> None:
    found = sorted(vectors("tlog/merkle/testdata/subtreeconsistency").rglob("*.json"))
    signed = 0
    for path in found:
        case = json.loads(path.read_text())
        start, end, size = case["start"], case["end"], case["size"]
        roots = [base64.b64decode(case[name] or "") for name in ("root1", "root2")]
        hashes = [base64.b64decode(item) for item in case["proof"] or []]
        if len(roots[1]) != 32:
            continue  # such a checkpoint cannot be written down
        text = Checkpoint(ORIGIN, size, roots[1]).body()
        answer = ask(body(start, end, size, root=roots[0], hashes=hashes, text=text))
        if case["wantErr"] or start == end:  # an empty range is no valid subtree here (WS-04)
            # 404: garbage of no bytes is an empty line, after which another checkpoint seems to begin.
            assert answer.status in (400, 404, 422), path.name
        else:
            signed += 1
            assert answer.status == 200, path.name
    assert len(found) == 118
    assert signed >= 5


def test_WS_07_unknown_origin_is_404() -> None:
    assert ask(body(), None).status == 404
    assert ask(body(), KnownLog("log.example/other", ())).status == 404


def test_WS_08_without_a_valid_cosignature_of_ours_403() -> None:
    forged = note.Signature(WITNESS, ML_DSA.verifier.key_id, bytes(2428))
    assert ask(body(by=LOG.signers)).status == 403
    assert ask(body(by=(OTHER,))).status == 403
    assert ask(body(by=()) + forged.line()).status == 403
    assert ask(body() + forged.line()).status == 403
    assert ask(body(by=(*LOG.signers, OTHER, ML_DSA))).status == 200


def test_WS_09_an_Ed25519_cosignature_alone_is_403() -> None:
    assert ask(body(by=(ED25519,))).status == 403


def verify(answer: bytes, start: int, end: int, by: NoteSigner) -> None:
    lines = answer.split(b"\n")
    assert lines.pop() == b""
    (line,) = [note.parse_line(one) for one in lines]
    key = by.verifier
    assert (line.name, line.key_id) == (key.name, key.key_id)
    timestamp, signature = cosignature.parse_blob(line.blob, cosignature.ML_DSA_44_BLOB)
    assert timestamp == 0
    root = root_of_leaves(LOG.leaves(end)[start:end])
    key.public.verify(cosignature.ml_dsa_44_message(key.name, 0, ORIGIN, start, end, root), signature)


def test_WS_10_the_answer_is_a_subtree_cosignature_without_time() -> None:
    verify(ask(body()).body, 8, 13, ML_DSA)


def test_WS_11_the_key_that_signed_the_reference_signs() -> None:
    second = signer("second", WITNESS, SignatureType.COSIGNATURE_ML_DSA_44)
    signers = (ED25519, ML_DSA, second)
    verify(ask(body(by=(second,)), signers=signers).body, 8, 13, second)
    verify(ask(body(by=(ED25519, ML_DSA)), signers=signers).body, 8, 13, ML_DSA)


@pytest.mark.parametrize(("start", "end", "size"), [(0, 5, 5), (0, 4, 5), (4, 5, 5), (0, 1, 1), (4, 6, 7), (8, 13, 14)])
def test_WS_12_edges(start: int, end: int, size: int) -> None:
    verify(ask(body(start, end, size)).body, start, end, ML_DSA)


def test_WS_12_the_whole_tree_needs_no_proof() -> None:
    assert proof(0, 5, 5) == []


def test_a_disabled_log_gets_no_subtree_signed() -> None:
    assert ask(body(), KnownLog(ORIGIN, KNOWN.keys, disabled=True)).status == 403
