"""`teelog release new`, `sign`, `show`: from registers to a signed statement, offline."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from teelog.statement import admit, dsse, release
from tests.commands import Ran, teelog
from tests.statement import make

TIMES = ("--not-before", "2026-01-01", "--not-after", "2026-06-30T23:59:59Z")


def variant(platform: str = "sev-snp", **registers: str) -> dict[str, Any]:
    values = registers or {"measurement": "ab" * 48}
    return {"platform": platform, "when": {"vcpus": 2}, "registers": values, "how": "recomputed"}


def write_registers(path: Path, *variants: dict[str, Any]) -> None:
    path.write_text(json.dumps({"schema": "teelog-registers/v1", "variants": list(variants or [variant()])}))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_registers(tmp_path / "regs.json")
    for name, private in (("acme", make.ACME), ("build", make.BUILD), ("second", make.SECOND)):
        key = tmp_path / f"{name}.key"
        key.write_bytes(private.to_pem())
        key.chmod(0o600)
    return tmp_path


def new(*options: str, stream: str = "acme.example/inference/stable", registers: str = "regs.json") -> Ran:
    fixed = ("--stream", stream, "--version", "1.4.2", "--svn", "3", "--registers", registers, *TIMES)
    return teelog("release", "new", *fixed, *options, "--out", "release.json")


def made(folder: Path) -> release.ReleaseClaim:
    return release.read((folder / "release.json").read_bytes())


def test_new_then_sign_makes_what_a_log_admits(folder: Path) -> None:
    assert new().code == 0
    signed = teelog("release", "sign", "release.json", "--key", "acme.key", "--json")
    assert signed.code == 0, signed.stderr
    parsed = admit.classify((folder / "release.json").read_bytes())
    assert admit.check_release(parsed, make.acme()).signers == (make.ACME.public.fingerprint,)
    assert signed.json["statement_id"] == parsed.statement_id


def test_new_does_not_destroy_a_signed_statement(folder: Path) -> None:
    assert new().code == 0
    assert teelog("release", "sign", "release.json", "--key", "acme.key").code == 0
    signed = (folder / "release.json").read_bytes()
    for stream in ("acme.example/inference/stable", "acme.example/inference/beta"):
        refused = new(stream=stream)
        assert refused.code == 6
        assert "holds a signed statement" in refused.stderr
        assert (folder / "release.json").read_bytes() == signed


def test_new_writes_the_bare_statement_and_the_same_bytes_again(folder: Path) -> None:
    assert new().code == 0
    before = (folder / "release.json").read_bytes()
    assert json.loads(before)["predicateType"] == "urn:teelog:release:v1"
    assert new().code == 0
    assert (folder / "release.json").read_bytes() == before


def test_sign_twice_with_one_key_changes_nothing_and_a_second_key_adds(folder: Path) -> None:
    new()
    teelog("release", "sign", "release.json", "--key", "build.key")
    once = (folder / "release.json").read_bytes()
    assert teelog("release", "sign", "release.json", "--key", "build.key").code == 0
    assert (folder / "release.json").read_bytes() == once
    assert teelog("sign", "release.json", "--key", "second.key").code == 0
    envelope = dsse.parse((folder / "release.json").read_bytes())
    assert set(envelope.keyids) == {make.BUILD.public.fingerprint, make.SECOND.public.fingerprint}
    assert envelope.statement_id == dsse.parse(once).statement_id


def test_artifacts_and_subjects_are_the_subjects(folder: Path) -> None:
    (folder / "disk.img").write_bytes(b"an image")
    assert new("--artifact", "disk.img", "--subject", f"sbom=x=sha384:{'cd' * 48}").code == 0
    first, second = made(folder).statement.subject
    assert (first.name, first.digest) == ("disk.img", {"sha256": hashlib.sha256(b"an image").hexdigest()})
    assert (second.name, second.digest) == ("sbom=x", {"sha384": "cd" * 48})


def test_without_artifact_the_registers_file_is_the_subject_and_that_is_told(folder: Path) -> None:
    ran = new()
    [subject] = made(folder).statement.subject
    assert subject.digest["sha256"] == hashlib.sha256((folder / "regs.json").read_bytes()).hexdigest()
    assert "no --artifact" in ran.stderr


def test_options_reach_the_statement(folder: Path) -> None:
    digest = "ab" * 20
    ran = new(
        *("--material", f"git+https://code.example/x@gitCommit:{digest}", "--material", "https://x.example/@latest"),
        *("--measured", "kernel", "--unmeasured", "acpi", "--unmeasured", "smbios"),
    )
    assert ran.code == 0, ran.stderr
    predicate = made(folder).predicate
    assert [(m.uri, m.digest) for m in predicate.materials] == [
        ("git+https://code.example/x", {"gitCommit": digest}),
        ("https://x.example/@latest", {}),
    ]
    assert predicate.coverage == release.Coverage(("kernel",), ("acpi", "smbios"))
    assert predicate.validity == release.Validity("2026-01-01T00:00:00Z", "2026-06-30T23:59:59Z")


def test_require_is_for_every_variant_or_by_platform(folder: Path) -> None:
    tdx = variant("tdx", mrtd="01" * 48, rtmr0="any", rtmr1="02" * 48, rtmr2="03" * 48)
    write_registers(folder / "regs.json", variant(), tdx)
    (folder / "require.json").write_text('{"debug": false}')
    assert new("--require", "require.json").code == 0
    assert [v.require for v in made(folder).predicate.variants] == [{"debug": False}] * 2
    (folder / "require.json").write_text('{"sev-snp": {"debug": false}}')
    assert new("--require", "require.json").code == 0
    assert [v.require for v in made(folder).predicate.variants] == [{"debug": False}, {}]
    assert made(folder).predicate.variants[1].registers["rtmr0"] == "any"


@pytest.mark.parametrize(
    "require", ['{"debugg": false}', '{"debug": 1}', "[]", '{"debug": 0.5}', '{"debug":true,"debug":false}']
)
def test_require_without_a_meaning_is_refused(folder: Path, require: str) -> None:
    (folder / "require.json").write_text(require)
    refused = new("--require", "require.json")
    assert refused.code == 1
    assert not (folder / "release.json").exists()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--subject", "x"), 2),
        (("--subject", "x=sha256:00"), 1),
        (("--artifact", "missing.img"), 2),
        (("--svn", "-1"), 2),
        (("--not-after", "2025-01-01"), 1),
        (("--not-after", "tomorrow"), 2),
        (("--not-after", "2026-02-30"), 2),
        (("--version", "1 2"), 1),
        (("--stream", "acme.example"), 1),
        (("--registers", "acme.key"), 1),
    ],
)
def test_new_refuses_and_writes_nothing(folder: Path, options: tuple[str, ...], code: int) -> None:
    refused = new(*options)
    assert refused.code == code, refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (folder / "release.json").exists()


def test_new_refuses_incomplete_registers(folder: Path) -> None:
    write_registers(folder / "regs.json", variant("tdx", mrtd="01" * 48))
    refused = new()
    assert refused.code == 1
    assert "not complete" in refused.stderr


def test_release_sign_refuses_other_statements(folder: Path) -> None:
    (folder / "ns.json").write_bytes(make.namespace_file())
    refused = teelog("release", "sign", "ns.json", "--key", "acme.key")
    assert refused.code == 1
    assert "not a release" in refused.stderr
    assert (folder / "ns.json").read_bytes() == make.namespace_file()


def test_sign_refuses_an_open_key_file_and_leaves_the_file(folder: Path) -> None:
    new()
    before = (folder / "release.json").read_bytes()
    (folder / "acme.key").chmod(0o644)
    assert teelog("release", "sign", "release.json", "--key", "acme.key").code == 6
    assert (folder / "release.json").read_bytes() == before


def test_show_tells_what_is_stated_and_that_nothing_is_verified(folder: Path) -> None:
    new("--measured", "kernel \x1b[31mverified")
    assert "signed by     nobody yet" in teelog("release", "show", "release.json").text
    teelog("release", "sign", "release.json", "--key", "acme.key")
    shown = teelog("release", "show", "release.json")
    assert shown.code == 0
    assert "acme.example/inference/stable" in shown.text
    assert "ab" * 48 in shown.text
    assert "not verified here" in shown.text
    assert "\x1b" not in shown.text
    document = teelog("release", "show", "release.json", "--json").json
    assert document["schema"] == "teelog-release/v1"
    assert document["signers"] == [make.ACME.public.fingerprint]
    assert document["variants"][0]["registers"] == {"measurement": "ab" * 48}


def test_pipe_from_new_through_sign_to_show(folder: Path) -> None:
    fixed = ("--stream", "acme.example/a/b", "--version", "1", "--svn", "0", "--registers", "regs.json", *TIMES)
    bare = teelog("release", "new", *fixed, "--out", "-")
    signed = teelog("release", "sign", "-", "--key", "acme.key", stdin=bare.stdout)
    assert admit.classify(signed.stdout).stream is not None
    assert teelog("release", "show", "-", stdin=signed.stdout).code == 0
