"""`teelog namespace` and `teelog sign`: a namespace from its owners' keys."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from teelog.statement import admit, dsse, namespace
from tests.commands import Ran, teelog

LOG = "log.example/tee"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with keys, current for the test."""
    monkeypatch.chdir(tmp_path)
    for name, algorithm in (("acme", "ed25519"), ("second", "ml-dsa-44"), ("build", "ecdsa-p256")):
        made = teelog("key", "generate", "--name", "acme.example", "--out", f"{name}.key", "--algorithm", algorithm)
        assert made.code == 0
    return tmp_path


def new(*options: str) -> Ran:
    return teelog("namespace", "new", "--namespace", "acme.example", "--log", LOG, *options)


def test_new_makes_what_a_log_admits(folder: Path) -> None:
    made = new("--owner", "acme.key", "--release", "acme.key", "--status", "acme.key", "--out", "ns.json", "--json")
    assert made.code == 0, made.stderr
    assert made.json["verified"] is True
    [key] = made.json["keys"]
    assert key["roles"] == ["owner", "release", "status"]
    found = admit.check_namespace_v0(admit.classify((folder / "ns.json").read_bytes()), LOG)
    assert found.name == "acme.example"
    assert found.statement_id == made.json["statement_id"]
    assert dict(found.thresholds) == {"owner": 1, "release": 1, "status": 1}


def test_new_takes_public_keys_for_those_who_do_not_sign(folder: Path) -> None:
    made = new("--owner", "acme.key", "--release", "build.key.pub", "--result", "second.key.pub", "--out", "ns.json")
    assert made.code == 0, made.stderr
    found = admit.check_namespace_v0(admit.classify((folder / "ns.json").read_bytes()), LOG)
    assert sorted(role for key in found.keys.values() for role in key.roles) == ["owner", "release", "result"]


def test_owners_apart_sign_one_after_the_other(folder: Path) -> None:
    options = ("--owner", "acme.key.pub", "--owner", "second.key.pub", "--threshold", "owner=2", "--out", "ns.json")
    assert new(*options).code == 0
    file = folder / "ns.json"
    assert json.loads(file.read_bytes())["_type"] == "https://in-toto.io/Statement/v1"
    identity = teelog("namespace", "show", "ns.json", "--json").json["statement_id"]
    assert teelog("sign", "ns.json", "--key", "acme.key").code == 0
    assert "not complete" in teelog("namespace", "show", "ns.json").text
    assert teelog("sign", "ns.json", "--key", "second.key").code == 0
    shown = teelog("namespace", "show", "ns.json", "--json").json
    assert shown["verified"] is True
    assert shown["statement_id"] == identity
    namespace.verify_first(dsse.parse(file.read_bytes()))


def test_key_that_has_signed_adds_nothing(folder: Path) -> None:
    assert new("--owner", "second.key", "--out", "ns.json").code == 0
    before = (folder / "ns.json").read_bytes()
    again = teelog("sign", "ns.json", "--key", "second.key", "--json")
    assert again.code == 0
    assert again.json["added"] == []
    assert (folder / "ns.json").read_bytes() == before


def test_sign_keeps_the_files_mode(folder: Path) -> None:
    new("--owner", "acme.key.pub", "--out", "ns.json")
    (folder / "ns.json").chmod(0o640)
    teelog("sign", "ns.json", "--key", "acme.key")
    assert stat.S_IMODE((folder / "ns.json").stat().st_mode) == 0o640


def test_sign_refuses_an_ecdsa_key_for_a_namespace_and_leaves_the_file(folder: Path) -> None:
    new("--owner", "acme.key.pub", "--out", "ns.json")
    before = (folder / "ns.json").read_bytes()
    refused = teelog("sign", "ns.json", "--key", "acme.key", "--key", "build.key")
    assert refused.code == 6
    assert "cannot sign a namespace" in refused.stderr
    assert (folder / "ns.json").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--owner", "acme.key", "--threshold", "owner=2"), 1),
        (("--owner", "acme.key", "--threshold", "release=1"), 2),
        (("--owner", "acme.key", "--threshold", "admin=1"), 2),
        (("--owner", "acme.key", "--threshold", "owner=0"), 2),
        (("--owner", "build.key"), 1),
        (("--owner", "missing.key"), 4),
        (("--owner", "acme.key", "--replaces", "x"), 1),
        ((), 2),
    ],
)
def test_new_refuses_and_writes_nothing(folder: Path, options: tuple[str, ...], code: int) -> None:
    refused = new(*options, "--out", "ns.json")
    assert refused.code == code, refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (folder / "ns.json").exists()


def test_show_refuses_a_signature_that_fails(folder: Path) -> None:
    new("--owner", "acme.key", "--out", "ns.json")
    envelope = dsse.parse((folder / "ns.json").read_bytes())
    [signature] = envelope.signatures
    broken = dsse.encode(dsse.PAYLOAD_TYPE, envelope.claimed(), [dsse.Signature(signature.keyid, bytes(64))])
    (folder / "ns.json").write_bytes(broken.file)
    assert teelog("namespace", "show", "ns.json").code == 1


@pytest.mark.parametrize("file", [b"", b"{}", b'{"a":1,"a":2}', b"\xff", b"[" * 1000, b" " * 70_000])
def test_bad_files_have_one_cause_and_no_traceback(folder: Path, file: bytes) -> None:
    (folder / "bad.json").write_bytes(file)
    for command in (["namespace", "show"], ["release", "show"], ["sign", "--key", "acme.key"]):
        ran = teelog(*command, "bad.json")
        assert ran.code == 1
        assert ran.stderr.startswith("error: ")
        assert "Traceback" not in ran.stderr


def test_new_writes_to_stdout(folder: Path) -> None:
    made = new("--owner", "acme.key", "--out", "-")
    assert made.code == 0
    admit.check_namespace_v0(admit.classify(made.stdout), LOG)
    shown = teelog("namespace", "show", "-", "--json", stdin=made.stdout)
    assert shown.json["verified"] is True
