"""What `teelog measure` and `release new` say where a file or an option is not what it should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import Ran, teelog

NEW = ("--stream", "acme.example/inference/stable", "--version", "1.4.2", "--svn", 3)


def made(folder: Path, kind: str, *more: str) -> Ran:
    value = {"when": {}, "values": {"mrtd": "00" * 48}, "how": "recomputed"}
    path = folder / "values.json"
    path.write_text(json.dumps({"schema": "teelog-measured/v1", "kind": kind, "values": [value]}))
    return teelog("release", "new", *NEW, "--registers", path, "--out", folder / "release.json", *more)


def test_values_that_are_no_full_set_of_registers_name_those_that_a_release_states(tmp_path: Path) -> None:
    ran = made(tmp_path, "tdx")
    assert ran.code == 1
    assert "mrtd + rtmr0 + rtmr1 + rtmr2" in ran.stderr
    assert "next: measure with all that they depend on: teelog measure tdx --help" in ran.stderr


def test_values_that_are_no_registers_are_for_a_subject(tmp_path: Path) -> None:
    ran = made(tmp_path, "dm-verity")
    assert ran.code == 1
    assert "--subject NAME=ALG:HEX" in ran.stderr.partition("next: ")[2]


@pytest.mark.parametrize("option", [("--role", "webserver"), ("--instance", "i-0123")])
def test_a_role_or_instance_that_cannot_be_is_not_hashed(tmp_path: Path, option: tuple[str, str]) -> None:
    image = tmp_path / "app.eif"
    image.write_bytes(b"")
    ran = teelog("measure", "nitro", image, *option)
    assert ran.code == 2
    assert option[0] in ran.stderr


def test_a_file_that_is_nothing_of_an_enclave_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "enclave.so"
    path.write_bytes(b"\x7fELF" + bytes(5000))
    ran = teelog("measure", "sgx", path)
    assert ran.code == 1
    assert "neither an enclave's stream nor its SIGSTRUCT" in ran.stderr


def test_what_is_no_realm_is_named_and_where_one_is_described(tmp_path: Path) -> None:
    path = tmp_path / "realm.json"
    path.write_text("{}")
    ran = teelog("measure", "cca", path)
    assert (ran.code, f"error: {path}: " in ran.stderr) == (1, True)
    assert "next: docs/formats/evidence-cca.md" in ran.stderr
