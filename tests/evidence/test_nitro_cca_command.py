"""`teelog evidence` over Nitro documents and CCA tokens: what is shown, what is verified, which exit code each has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from teelog.testing import cca, cca_cases, nitro
from teelog.testing.cca_cases import MACHINE
from teelog.testing.nitro_cases import HYPERVISOR
from tests.commands import Ran, teelog
from tests.trust.test_trust import FILES, HEAD
from tests.vectors import vectors

NONCE = b"fake challenge"
AWS = f"fake={nitro.roots().pins[nitro.ROOT].hex()}"
ARM = f"fake={MACHINE.roots().pins[cca.LABEL].hex()}"
AT = ("--at", "2026-09-22T00:00:00Z", "--historical")
ASKED = ("--nonce", NONCE.hex(), "--without", "binding")


class Place:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.put("cpak.pem", MACHINE.endorsement())

    def put(self, name: str, data: bytes | str) -> Path:
        path = self.folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def nitro(self, document: bytes, *options: str | Path) -> Ran:
        path = self.put("document.cose", document)
        return teelog("evidence", "verify", path, "--root", AWS, *AT, *ASKED, *options)

    def cca(self, token: bytes, *options: str | Path) -> Ran:
        path, key = self.put("token.cbor", token), self.folder / "cpak.pem"
        return teelog("evidence", "verify", path, "--endorsement", key, "--root", ARM, *AT, *ASKED, *options)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def document(**fields: object) -> bytes:
    return HYPERVISOR.document(**{"nonce": NONCE, **fields})


def token(**claims: object) -> bytes:
    return MACHINE.token(challenge=NONCE, **claims)


def test_show_detects_nitro_and_decodes_every_field(place: Place):
    path = place.put("document.cose", document(user_data=b"data"))
    shown = teelog("evidence", "show", path, "--json").json
    assert (shown["platform"], shown["verified"]) == ("nitro", False)
    assert shown["fields"]["nonce"] == NONCE.hex()
    assert shown["fields"]["user_data"] == b"data".hex()
    assert shown["fields"]["pcrs"]["4"] == nitro.pcrs()[4].hex()
    text = teelog("evidence", "show", path).text
    assert "debug: off" in text
    assert "nothing of this is verified" in teelog("evidence", "show", path).stderr


def test_show_detects_cca_and_decodes_every_claim(place: Place):
    path = place.put("token.cbor", token())
    shown = teelog("evidence", "show", path, "--json").json
    assert (shown["platform"], shown["verified"]) == ("cca", False)
    assert shown["fields"]["realm"]["rim"] == cca.rim().hex()
    assert shown["fields"]["component2"]["type"] == "RMM"
    assert "lifecycle of the platform: secured" in teelog("evidence", "show", path).text


def test_verify_tells_registers_and_the_time_that_was_judged(place: Place):
    ran = place.nitro(document())
    assert ran.code == 0, ran.stderr
    assert f"pcr0 {nitro.pcrs()[0].hex()}" in ran.text
    assert "certificates judged at" in ran.text
    assert place.nitro(document(), "--json").json["registers"]["pcr2"] == nitro.pcrs()[2].hex()


def test_verify_tells_whose_trust_anchor_it_was(place: Place):
    ran = place.cca(token())
    assert ran.code == 0, ran.stderr
    assert f"rim {cca.rim().hex()}" in ran.text
    assert "trust anchor supplied by the user" in ran.text
    assert "NOT compared: RSE_BL2, AP_BL31, RMM" in ran.text


def test_without_a_pin_or_a_key_nothing_of_cca_is_established(place: Place):
    path = place.put("token.cbor", token())
    given = ("evidence", "verify", path, *AT, *ASKED)
    assert teelog(*given, "--endorsement", place.folder / "cpak.pem").code == 3
    assert teelog(*given, "--root", ARM).code == 3


def test_the_fakes_root_is_not_aws(place: Place):
    path = place.put("document.cose", document())
    assert teelog("evidence", "verify", path, *AT, *ASKED).code == 1


def test_A_50_debug_fails(place: Place):
    assert place.nitro(document(pcrs=nitro.pcrs(debug=True))).code == 1
    assert place.cca(cca_cases.cases()[0].evidence).code == 0
    assert place.cca(token(platform={2395: cca.DEBUG})).code == 1


def test_another_nonce_fails(place: Place):
    assert place.nitro(document(nonce=b"older")).code == 1
    assert place.cca(MACHINE.token(challenge=b"older")).code == 1


def test_a_version_that_is_not_known_is_not_established(place: Place):
    assert place.nitro(document(digest="SHA512")).code == 3
    assert place.cca(token(realm={265: "tag:arm.com,2025:realm#2.0.0"})).code == 3


def test_require_block_is_demanded(place: Place):
    for block, code in ({"role": nitro.ROLE}, 0), ({"role": nitro.ROLE + "2"}, 1), ({"colour": "red"}, 3):
        assert place.nitro(document(), "--require", place.put("require.json", json.dumps(block))).code == code
    for wanted, code in ((cca.measurement("RMM").hex(), 0), ("00" * 32, 1)):
        block = place.put("require.json", json.dumps({"components": {"RMM": wanted}}))
        assert place.cca(token(), "--require", block).code == code


def trust_file(place: Place, table: str) -> Path:
    for name, text in FILES.items():
        place.put(name, text)
    return place.put("trust.toml", f"{HEAD}\n{table}\n")


def test_trust_file_names_the_platforms_key_and_what_it_must_run(place: Place):
    wanted = cca.measurement("RMM").hex()
    for value, code in (wanted, 0), ("00" * 32, 1):
        pin = ARM.partition("=")[2]
        table = f'[platform.cca]\nroots = {{ board = "{pin}" }}\ncomponents = {{ RMM = ["{value}"] }}'
        path, key = place.put("token.cbor", token()), place.folder / "cpak.pem"
        given = ("--endorsement", key, "--trust", trust_file(place, table))
        assert teelog("evidence", "verify", path, *given, *AT, *ASKED).code == code


def test_trust_file_bounds_the_age_of_a_document(place: Place):
    pin = AWS.partition("=")[2]
    for age, code in (100_000, 0), (100, 1):
        table = f'[platform.nitro]\nmax_age = {age}\nroots = {{ fake = "{pin}" }}'
        given = ("--trust", trust_file(place, table))
        path = place.put("document.cose", document())
        assert teelog("evidence", "verify", path, *given, *AT, *ASKED).code == code


def test_a_public_key_is_bound_as_pem(place: Place):
    from teelog.evidence import report_data

    pem = MACHINE.endorsement()
    path = place.put("document.cose", document(public_key=report_data.bound_bytes(pem)))
    given = ("--root", AWS, *AT, "--nonce", NONCE.hex(), "--binds", place.put("key.pem", pem))
    assert teelog("evidence", "verify", path, *given).code == 0
    other = place.put("document.cose", document(public_key=b"other"))
    assert teelog("evidence", "verify", other, *given).code == 1


def test_real_document_of_aws_verifies(tmp_path: Path):
    path = vectors("evidence/derived/nitro-dstack-nitro_attestation.bin.cose")
    user_data = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    ran = teelog("evidence", "verify", path, "--report-data", user_data, "--without", "binding")
    assert ran.code == 0, ran.stderr
    assert "aws.nitro-enclaves" in ran.text


def test_real_token_verifies_under_its_key():
    folder = vectors("evidence/cca/veraison-services")
    pin = "board=51b944cdfa544d4c3273aa6bf350625a7dd53bbb6a71723274f538b19a207760"
    key = ("--endorsement", folder / "ec256.pub.json", "--root", pin)
    challenge = ("--report-data", (b"AB" * 32).hex(), "--without", "binding")
    ran = teelog("evidence", "verify", folder / "cca-evidence.cbor", *key, *challenge)
    assert ran.code == 0, ran.stderr
