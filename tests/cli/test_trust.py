"""`teelog trust`: make, pin and check the verifier's own file; nothing is pinned or switched off in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from teelog import trust
from tests.cli.machine import STREAM, TRUST, namespace
from tests.client import logs
from tests.commands import Ran, teelog
from tests.statement import make

NS = namespace()
PIN = make.admit.classify(NS).statement_id


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.txt").write_bytes(logs.policy_text())
    (tmp_path / "ns.json").write_bytes(NS)
    return tmp_path


def new(*more: str) -> Ran:
    return teelog("trust", "new", "--policy", "policy.txt", "--namespace", "acme.example", "--stream", STREAM, *more)


def read(path: str = "trust.toml") -> trust.Trust:
    return trust.parse(Path(path).read_bytes(), lambda name: (Path(path).parent / name).read_bytes())


@pytest.fixture
def made(folder: Path) -> Path:
    ran = new()
    assert ran.code == 0, ran.stderr
    (folder / "trust.toml").write_bytes(ran.stdout)
    return folder / "trust.toml"


def test_a_new_file_requires_every_check_and_pins_nothing(made: Path):
    found = read()
    assert (found.origin, found.max_age, found.off) == (logs.ORIGIN, 86_400, frozenset())
    assert found.namespaces == {"acme.example": None}
    assert found.streams == {STREAM: trust.StreamRule()}
    assert teelog("trust", "check", made).code == 1


def test_pinning_shows_the_statement_and_changes_one_line(made: Path):
    before = made.read_text()
    ran = teelog("trust", "pin", made, "ns.json")
    assert ran.code == 0, ran.stderr
    assert PIN in ran.stderr
    assert read().namespaces == {"acme.example": PIN}
    changed = [line for line in made.read_text().split("\n") if line not in before.split("\n")]
    assert changed == [f'pin = "{PIN}"']
    checked = teelog("trust", "check", made, "--json")
    assert checked.code == 0, checked.text
    assert checked.json["problems"] == []
    assert teelog("trust", "pin", made, "ns.json").code == 0


def test_another_pin_takes_a_word_of_its_own(made: Path):
    assert teelog("trust", "pin", made, "ns.json").code == 0
    (made.parent / "other.json").write_bytes(make.namespace_file())
    ran = teelog("trust", "pin", made, "other.json")
    assert ran.code == 6
    assert "--replace" in ran.stderr
    assert read().namespaces == {"acme.example": PIN}
    assert teelog("trust", "pin", made, "other.json", "--replace").code == 0
    assert read().namespaces == {"acme.example": make.acme().statement_id}


def test_a_namespace_that_is_not_listed_is_added(folder: Path):
    (folder / "trust.toml").write_text('main = "policy.txt"\nmax_age = "1h"\n# mine\n')
    assert teelog("trust", "pin", "trust.toml", "ns.json").code == 0
    assert read().namespaces == {"acme.example": PIN}
    assert "# mine" in (folder / "trust.toml").read_text()


def test_comments_and_order_of_a_file_written_by_hand_are_kept(folder: Path):
    text = TRUST.replace('pin = "PIN"\n', "").replace("[[namespace]]", "  [[ namespace ]] # theirs", 1)
    (folder / "trust.toml").write_text(text)
    assert teelog("trust", "pin", "trust.toml", "ns.json").code == 0
    assert read().namespaces == {"acme.example": PIN}
    assert (folder / "trust.toml").read_text().replace(f'pin = "{PIN}"\n', "") == text


def test_a_file_that_cannot_be_changed_by_lines_is_left_alone(folder: Path):
    text = 'main = "policy.txt"\nmax_age = "1h"\nnamespace = [{ name = "acme.example" }]\n'
    (folder / "trust.toml").write_text(text)
    ran = teelog("trust", "pin", "trust.toml", "ns.json")
    assert ran.code == 6
    assert "edit it" in ran.stderr
    assert (folder / "trust.toml").read_text() == text


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (make.namespace_file(make.STRANGER), 1),
        (make.release_file(), 1),
        (make.namespace_file(log="other.example/log"), 6),
        (make.namespace.payload(make.namespace_predicate()), 1),
        (b"{}", 1),
    ],
    ids=["not by its owner", "a release", "another log", "unsigned", "nothing"],
)
def test_what_is_no_namespace_of_this_log_is_not_pinned(made: Path, content: bytes, code: int):
    (made.parent / "bad.json").write_bytes(content)
    assert teelog("trust", "pin", made, "bad.json").code == code
    assert read().namespaces == {"acme.example": None}


def test_a_file_elsewhere_names_its_policy_as_it_is_reached_from_there(folder: Path):
    (folder / "sub").mkdir()
    ran = new("--out", "sub/trust.toml", "--json")
    assert ran.code == 0, ran.stderr
    assert ran.json["not_pinned"] == ["acme.example"]
    assert read("sub/trust.toml").origin == logs.ORIGIN


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--max-age", "1 day"), 6),
        (("--stream", "acme"), 2),
        (("--namespace", "Acme"), 6),
        (("--policy", "none.txt"), 4),
        (("--policy", "ns.json"), 6),
        (("--index-policy", "policy.txt"), 6),
        (("--min-svn", "-1"), 2),
    ],
)
def test_what_would_be_no_trust_file_is_not_written(folder: Path, more: tuple[str, ...], code: int):
    assert new("--out", "trust.toml", *more).code == code
    assert not (folder / "trust.toml").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[checks]\nbinding = "off"\n', "binding is off"),
        ('[platform.sev-snp]\nroots = { Milan = "' + "ab" * 32 + '" }\n', "roots of your own"),
    ],
)
def test_what_is_left_open_is_a_problem(made: Path, text: str, problem: str):
    assert teelog("trust", "pin", made, "ns.json").code == 0
    made.write_text(made.read_text().replace("[checks]\n", "") + text)
    ran = teelog("trust", "check", made)
    assert ran.code == 1
    assert problem in ran.text


def test_a_policy_without_witnesses_and_a_long_age_are_problems(made: Path):
    (made.parent / "policy.txt").write_text(f"log {logs.LOG.verifier}\nquorum none\n")
    made.write_text(made.read_text().replace("24h", "30d"))
    problems = teelog("trust", "check", made, "--json").json["problems"]
    assert any("no witness" in each for each in problems)
    assert any("30 days" in each for each in problems)


def test_files_in_the_wrong_order_are_told(folder: Path):
    ran = teelog("trust", "pin", folder / "ns.json", folder / "mine.toml")
    assert ran.code == 6
    assert "the trust file comes first" in ran.stderr
