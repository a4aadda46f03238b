"""What `teelog verify` signs: in either form, findable by the evidence, with what is raw in a file of its own."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from teelog.statement import admit, disclosure, ear_token
from teelog.statement.token import Form
from tests.cli.machine import NONCE, World, world
from tests.commands import Ran, teelog
from tests.statement import make
from tests.statement.test_ear import VERIFIER, acme


@pytest.fixture
def made(tmp_path: Path) -> World:
    found = world(tmp_path)
    found.write("verifier.key", VERIFIER.to_pem()).chmod(0o600)
    found.write("verifier.pub", VERIFIER.public.to_pem())
    return found


def verify(of: World, out: str, *more: str, code: int = 0) -> Ran:
    wanted = ("--result-key", str(of.folder / "verifier.key"), "--result-out", str(of.folder / out))
    ran = teelog(*of.arguments(*wanted, *more))
    assert ran.code == code, ran.stderr
    return ran


def show(of: World, result: str, *more: object, code: int = 0) -> Any:
    ran = teelog("result", "show", of.folder / result, "--key", of.folder / "verifier.pub", "--json", *map(str, more))
    assert ran.code == code, ran.stderr
    return ran.json if code == 0 else ran.stderr


@pytest.mark.parametrize(
    ("name", "more", "form"),
    [
        ("result.jwt", (), Form.JWT),
        ("result.cwt", (), Form.CWT),
        ("result", ("--result-form", "cwt"), Form.CWT),
        ("result.cwt", ("--result-form", "jwt"), Form.JWT),
    ],
)
def test_the_form_is_what_the_name_ends_in_or_as_asked(made: World, name: str, more: tuple[str, ...], form: Form):
    verify(made, name, *more)
    file = (made.folder / name).read_bytes()
    assert ear_token.parse(file).form is form
    assert admit.check_result(admit.classify(file), acme()).result.status == "warning"
    assert show(made, name)["verified_by"] == VERIFIER.public.fingerprint


def test_the_evidence_is_named_by_its_digest_if_asked(made: World):
    verify(made, "silent.jwt")
    verify(made, "result.jwt", "--result-evidence")
    digest = hashlib.sha256((made.folder / "report.bin").read_bytes()).hexdigest()
    assert show(made, "result.jwt")["judged"]["evidence"] == {"sha256": digest}
    assert show(made, "silent.jwt")["judged"]["evidence"] == {}


@pytest.mark.parametrize("name", ["result.jwt", "result.cwt"])
def test_what_is_raw_is_kept_apart_and_can_be_disclosed_part_by_part(made: World, name: str):
    parts = made.folder / "parts"
    verify(made, name, "--result-evidence", "--result-disclosures", str(parts))
    assert parts.stat().st_mode & 0o777 == 0o600
    file, report = (made.folder / name).read_bytes(), (made.folder / "report.bin").read_bytes()
    for secret in (NONCE, report[:64], base64.urlsafe_b64encode(report)[:40]):
        assert secret not in file
        assert secret not in ear_token.parse(file).claimed()
    admit.check_private(admit.check_result(admit.classify(file), acme()).result)
    shown = show(made, name, "--disclosed", parts)
    assert shown["withheld"] == 0
    by_name = {part["name"]: part["value"] for part in shown["disclosed"]}
    assert base64.urlsafe_b64decode(by_name["ear_raw_evidence"] + "==") == report
    assert len(by_name["urn:teelog:endorsements:v1"]) >= 1
    lines = disclosure.read(parts.read_bytes())
    (only,) = (line for line in lines if b'"ear_raw_evidence"' in base64.urlsafe_b64decode(line + b"=="))
    (made.folder / "evidence").write_bytes(disclosure.write([only]))
    shown = show(made, name, "--disclosed", made.folder / "evidence")
    assert ([part["name"] for part in shown["disclosed"]], shown["withheld"]) == (["ear_raw_evidence"], len(lines) - 1)
    assert show(made, name)["withheld"] == len(lines)
    text = teelog("result", "show", made.folder / name, "--disclosed", made.folder / "evidence").text
    assert f"ear_raw_evidence: {len(report)} bytes, sha256 {hashlib.sha256(report).hexdigest()}" in text
    assert f"withholds     {len(lines) - 1}" in text


def test_another_results_parts_are_refused(made: World):
    verify(made, "one.jwt", "--result-disclosures", str(made.folder / "one"))
    verify(made, "two.jwt", "--result-disclosures", str(made.folder / "two"))
    assert "does not hold this disclosure" in show(made, "one.jwt", "--disclosed", made.folder / "two", code=1)
    (made.folder / "junk").write_bytes(b"junk\n")
    show(made, "one.jwt", "--disclosed", made.folder / "junk", code=1)
    (made.folder / "empty").write_bytes(b"")
    assert "empty" in show(made, "one.jwt", "--disclosed", made.folder / "empty", code=1)


def test_disclosed_evidence_must_be_what_the_result_names(made: World):
    verify(made, "result.jwt", "--result-evidence", "--result-disclosures", str(made.folder / "parts"))
    claims = dict(ear_token.claims(ear_token.parse((made.folder / "result.jwt").read_bytes())))
    lying, lines = disclosure.conceal(claims, {"ear_raw_evidence": "b3RoZXI"}, [bytes(16)])
    (made.folder / "lying.jwt").write_bytes(ear_token.sign(lying, VERIFIER).file)
    (made.folder / "lies").write_bytes(disclosure.write(lines))
    said = show(made, "lying.jwt", "--disclosed", made.folder / "lies", code=1)
    assert "not the one that the result names" in said


@pytest.mark.parametrize(
    "more", [("--result-form", "cwt"), ("--result-evidence",), ("--result-disclosures", "x"), ("--result-key", "k")]
)
def test_words_about_a_result_need_one(made: World, more: tuple[str, ...]):
    assert teelog(*made.arguments(*more)).code == 2


def test_a_key_that_signs_no_tokens_is_a_wrong_key(made: World):
    made.write("verifier.key", make.SECOND.to_pem())
    assert "cannot sign a token" in verify(made, "result.jwt", code=6).stderr
