"""`teelog lookup`: results about a piece of evidence, a release or by a key, each shown with what it is worth."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from teelog.cli.looked_up import _age, issuer, shown
from teelog.cli.proof import utc
from teelog.statement import dsse, ear, ear_token
from teelog.statement.namespace import Role
from teelog.statement.token import Form
from tests.cli.growing import Growing, growing
from tests.statement import make
from tests.statement.test_ear import DRAFT, KEYS, THRESHOLDS, TRUSTEE, VERIFIER, acme

STREAM = "acme.example/inference/stable"
EVIDENCE = b"a report"
DIGEST = hashlib.sha256(EVIDENCE).hexdigest()
RELEASE = make.release_file()
RELEASE_ID = dsse.parse(RELEASE).statement_id
NAMESPACE = make.namespace_file(keys=KEYS, thresholds=THRESHOLDS)
LATER = make.namespace_file(
    keys=KEYS[:1],
    thresholds={Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 1},
    version=1,
    prev=dsse.parse(NAMESPACE).statement_id,
)
OLD = 1_790_000_000
HOSTILE = {
    "iat": OLD,
    "sub": "\x1b[2J",
    "submods": {**TRUSTEE["submods"], "\u202eok": {"ear.status": "warning"}},
}


def result(verdict: str, status: str, signer: Any = VERIFIER, form: Form = Form.JWT, **more: Any) -> bytes:
    judged = DRAFT[ear.CLAIM] | {
        "verdict": verdict,
        "release": RELEASE_ID,
        "namespaces": [],
        "checkpoint": None,
        "evidence": {"sha256": DIGEST},
    }
    appraisal = {"sev-snp": {"ear_status": status}}
    claims = {**DRAFT, "ear_status": status, "submods": appraisal, ear.CLAIM: judged, "iat": OLD, **more}
    return ear_token.sign(claims, signer, form).file


ENTRIES = [
    make.log_policy_file(),
    NAMESPACE,
    RELEASE,
    result("verified", "affirming"),
    result("failed", "contraindicated", form=Form.CWT),
    result("verified", "affirming", make.STRANGER, jti="forged"),
    result("verified", "affirming", iss="globex.example"),
    ear_token.sign(TRUSTEE | HOSTILE, VERIFIER).file,
    LATER,
    result("verified", "affirming", jti="the key has gone"),
]
WAYS = {"index": ("--policy", "policy.txt", "--index-policy", "index.policy"), "log": ("--policy", "policy.txt")}
ABOUT = [3, 4, 5, 6, 9]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Growing]:
    with growing(tmp_path_factory.mktemp("results"), ENTRIES) as found:
        found.write("evidence.bin", EVIDENCE)
        found.write("verifier.pub", VERIFIER.public.to_pem())
        found.write("release.json", RELEASE)
        yield found


@pytest.fixture(autouse=True)
def here(log: Growing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(log.folder)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("kind", "key", "entries"),
    [
        ("evidence", f"sha256:{DIGEST}", ABOUT),
        ("evidence", "evidence.bin", ABOUT),
        ("about", RELEASE_ID, ABOUT),
        ("about", "release.json", ABOUT),
        ("about", f"{STREAM}@1.4.2", ABOUT),
        ("signer", "verifier.pub", [3, 4, 7]),
        ("register", f"sev-snp/measurement/{make.MEASUREMENT}", [2]),
    ],
)
def test_results_are_found_by_evidence_release_and_key(log: Growing, way: str, kind: str, key: str, entries: list[int]):
    found = log.run("lookup", kind, key, *WAYS[way], "--json").json
    assert found["entries"] == entries
    assert [each["index"] for each in found["shown"]] == entries


@pytest.mark.parametrize("way", WAYS)
def test_each_result_is_shown_with_what_it_says_and_who_answers_for_it(log: Growing, way: str):
    found = log.run("lookup", "about", RELEASE_ID, *WAYS[way], "--json").json
    told = {each["index"]: each["result"] for each in found["shown"]}
    key = VERIFIER.public.fingerprint
    assert [(told[index]["verdict"], told[index]["signed_by"]) for index in ABOUT] == [
        ("verified", key),
        ("failed", key),
        ("verified", None),
        ("verified", None),
        ("verified", None),
    ]
    assert told[3]["submods"] == {"sev-snp": "affirming"}
    assert told[3]["issued_at"] == OLD
    assert told[3]["evidence"] == {"sha256": DIGEST}
    assert "no namespace on this log" in told[6]["unsigned"]
    text = log.run("lookup", "about", f"{STREAM}@1.4.2", *WAYS[way]).text
    assert f"verified  (sev-snp affirming)  {utc(OLD)}, " in text
    assert "failed  (sev-snp contraindicated)" in text
    assert text.count("NOT SIGNED by a result key of acme.example") == 2
    assert text.count("NOT SIGNED by a result key of globex.example") == 1
    assert "results       3 of nobody, 1 verified, 1 failed" in text


def test_another_verifiers_result_has_its_status_for_a_verdict(log: Growing):
    text = log.run("lookup", "signer", "verifier.pub", *WAYS["index"]).text
    assert "contraindicated  (cpu0 contraindicated, gpu0 warning, " in text


def test_a_release_that_is_not_there_is_refused(log: Growing):
    for way in WAYS.values():
        assert "is no release of" in log.run("lookup", "about", f"{STREAM}@9.9.9", *way, code=1).stderr
    assert "which stream" in log.run("lookup", "about", "@1.4.2", *WAYS["log"], code=2).stderr
    log.run("lookup", "about", "acme.example@1.4.2", *WAYS["log"], code=2)


def test_A_74_a_hostile_result_cannot_steer_the_terminal(log: Growing):
    text = log.run("lookup", "signer", "verifier.pub", *WAYS["log"]).text
    assert "gpu0 warning, " in text
    assert not set("\x1b\u202e") & set(text)


def test_what_is_no_result_is_judged_by_nobodys_keys():
    assert issuer(b"x") is issuer(RELEASE) is None
    assert shown(3, b"x", None).text == "no statement"
    assert shown(2, RELEASE, acme()).signer is None


def test_an_age_is_told_in_words():
    assert [_age(seconds) for seconds in (-1, 0, 119, 120, 7_199, 7_200, 172_800)] == [
        "by its own clock still to come",
        "0 seconds ago",
        "119 seconds ago",
        "2 minutes ago",
        "119 minutes ago",
        "2 hours ago",
        "2 days ago",
    ]
