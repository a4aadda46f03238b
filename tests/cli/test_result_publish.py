"""`teelog result publish` of many files: a verdict and a proof each, gone on with after any stop."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from teelog.statement import ear_token
from teelog.statement.token import Form
from teelog.tlog.proof import parse_proof
from tests.client import logs
from tests.client.peers import Asked, Reply, peer
from tests.commands import Ran, teelog
from tests.statement import make
from tests.statement.test_ear import DRAFT, VERIFIER

COUNT = 5
FORMS = (Form.JWT, Form.CWT)
RESULTS = [ear_token.sign(DRAFT | {"iat": 1_790_000_000 + n}, VERIFIER, FORMS[n % 2]).file for n in range(COUNT)]
ENTRIES = [*logs.entries(4), *RESULTS]


class Batches:
    """A log that holds ENTRIES. problems: by entry, the kinds of problem that are told before it is taken."""

    def __init__(self) -> None:
        self.problems: dict[bytes, list[tuple[int, str]]] = {}
        self.taken: set[bytes] = set()
        self.batches: list[int] = []
        self.most = 1_024

    def __call__(self, asked: Asked) -> Reply:
        entries = list(split(asked.body))
        self.batches.append(len(entries))
        if len(entries) > self.most:
            return Reply(json.dumps({"type": "urn:teelog:problem:too-large"}).encode(), 413)
        head = logs.sign(logs.head(ENTRIES)).decode()
        answer = {"checkpoints": [head], "results": [self.verdict(entry) for entry in entries]}
        return Reply(json.dumps(answer).encode(), 200, {"Content-Type": "application/json"})

    def verdict(self, entry: bytes) -> dict[str, Any]:
        left = self.problems.get(entry)
        if left:
            status, kind = left.pop(0)
            told = {"type": f"urn:teelog:problem:{kind}", "title": "no", "status": status, "detail": f"no: {kind}"}
            return {"status": status, "problem": told}
        index = ENTRIES.index(entry)
        proof = parse_proof(logs.proof(ENTRIES, index))
        status = 200 if entry in self.taken else 201
        self.taken.add(entry)
        hashes = [base64.b64encode(each).decode() for each in proof.hashes]
        return {"status": status, "index": str(index), "checkpoint": 0, "proof": hashes}


def split(body: bytes) -> Iterator[bytes]:
    while body:
        length = int.from_bytes(body[:2])
        yield body[2 : 2 + length]
        body = body[2 + length :]


@pytest.fixture
def batches() -> Batches:
    return Batches()


@pytest.fixture
def folder(tmp_path: Path, batches: Batches) -> Iterator[Path]:
    for number, result in enumerate(RESULTS):
        (tmp_path / f"{number}.result").write_bytes(result)
    with peer() as log:
        log.serve(logs.files(ENTRIES))
        log.answers["/entries/batch"] = batches
        (tmp_path / "policy.txt").write_bytes(logs.policy_text(log.url))
        yield tmp_path


def names(folder: Path, *numbers: int) -> list[Path]:
    return [folder / f"{number}.result" for number in numbers or range(COUNT)]


def publish(folder: Path, *arguments: object, stdin: bytes = b"", timeout: str = "60s") -> Ran:
    options = ("--policy", folder / "policy.txt", "--state", folder / "state", "--timeout", timeout)
    return teelog("result", "publish", *map(str, arguments), *options, stdin=stdin)


def verified(folder: Path, file: Path, proof: Path | None = None) -> bool:
    proof = proof or Path(f"{file}.tlog-proof")
    return teelog("proof", "verify", file, "--proof", proof, "--policy", folder / "policy.txt").code == 0


def test_many_are_published_in_one_request_and_each_has_its_proof(folder: Path, batches: Batches):
    ran = publish(folder, *names(folder), "--json")
    assert ran.code == 0, ran.stderr
    assert batches.batches == [COUNT]
    assert {key: ran.json[key] for key in ("schema", "log", "published", "before", "failed")} == {
        "schema": "teelog-results-published/v1",
        "log": logs.ORIGIN,
        "published": COUNT,
        "before": 0,
        "failed": 0,
    }
    assert [item["index"] for item in ran.json["results"]] == [4, 5, 6, 7, 8]
    assert all(verified(folder, file) for file in names(folder))


def test_proofs_go_into_a_folder_and_names_come_from_a_list(folder: Path):
    listed = "\n".join(map(str, names(folder, 1, 2))) + "\n"
    ran = publish(folder, *names(folder, 0), "--from", "-", "--out-dir", folder / "proofs", stdin=listed.encode())
    assert ran.code == 0, ran.stderr
    assert "3 of 3 results are published" in ran.text
    assert sorted(path.name for path in (folder / "proofs").iterdir()) == [f"{n}.result.tlog-proof" for n in range(3)]
    assert all(verified(folder, file, folder / "proofs" / f"{file.name}.tlog-proof") for file in names(folder, 0, 1, 2))


def test_one_bad_file_does_not_stop_the_others(folder: Path, batches: Batches):
    (folder / "1.result").write_bytes(RESULTS[1][:-9])
    (folder / "2.result").write_bytes(make.release_file())
    batches.problems[RESULTS[3]] = [(422, "unknown-checkpoint")]
    ran = publish(folder, *names(folder), folder / "missing", "--json")
    assert ran.code == 1
    assert [item["published"] for item in ran.json["results"]] == [True, False, False, False, True, False]
    assert "unknown-checkpoint" in ran.json["results"][3]["error"]
    assert ran.stderr.count("error: ") == 1
    assert "1.result" in ran.stderr
    assert verified(folder, *names(folder, 4))
    assert not (folder / "3.result.tlog-proof").exists()


def test_the_exit_code_is_that_of_the_worst(folder: Path):
    assert publish(folder, *names(folder, 0), folder / "missing").code == 4
    (folder / "1.result").write_bytes(b"x")
    assert publish(folder, *names(folder, 0, 1), folder / "missing").code == 1


def test_the_same_command_again_goes_on_where_it_was_stopped(folder: Path, batches: Batches):
    assert publish(folder, *names(folder, 0, 1)).code == 0
    (folder / "1.result.tlog-proof").write_bytes(b"cut sho")
    ran = publish(folder, *names(folder), "--json")
    assert ran.code == 0, ran.stderr
    assert batches.batches == [2, 4]
    assert (ran.json["published"], ran.json["before"]) == (3, 2)
    assert [item["new"] for item in ran.json["results"]] == [False, False, True, True, True]
    assert "2 of them before" in publish(folder, *names(folder, 0, 1)).text
    assert batches.batches == [2, 4]
    assert publish(folder, *names(folder, 0, 1), "--again").code == 0
    assert batches.batches == [2, 4, 2]


def test_another_files_proof_is_replaced(folder: Path):
    assert publish(folder, *names(folder, 0, 1)).code == 0
    (folder / "0.result.tlog-proof").write_bytes((folder / "1.result.tlog-proof").read_bytes())
    assert publish(folder, *names(folder, 0, 1)).code == 0
    assert all(verified(folder, file) for file in names(folder, 0, 1))


def test_what_the_log_refuses_for_the_moment_is_sent_again(folder: Path, batches: Batches):
    batches.problems[RESULTS[0]] = [(429, "quota"), (503, "busy"), (409, "stale")]
    ran = publish(folder, *names(folder))
    assert ran.code == 0, ran.stderr
    assert batches.batches == [COUNT, 1, 1, 1]
    batches.problems[RESULTS[1]] = [(503, "busy")] * 99
    assert publish(folder, *names(folder), "--again", timeout="1s").code == 4


def test_a_log_that_takes_smaller_batches_gets_them(folder: Path, batches: Batches):
    batches.most = 2
    ran = publish(folder, *names(folder))
    assert ran.code == 0, ran.stderr
    assert sum(size for size in batches.batches if size <= 2) == COUNT
    assert all(verified(folder, file) for file in names(folder))


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b'{"checkpoints":[],"results":[]}', b'{"checkpoints":[],"results":[{"status":201}]}', b"[" * 9999],
)
def test_an_answer_that_does_not_hold_is_no_publication(folder: Path, answer: bytes):
    with peer() as liar:
        liar.answers["/entries/batch"] = Reply(answer)
        ran = publish(folder, *names(folder), "--url", liar.url)
    assert ran.code == 1
    assert not list(folder.glob("*.tlog-proof"))


def test_a_proof_of_another_entry_is_refused(folder: Path, batches: Batches):
    swapped = {RESULTS[0]: RESULTS[1], RESULTS[1]: RESULTS[0]}
    batches.verdict = lambda entry, told=batches.verdict: told(swapped.get(entry, entry))  # type: ignore[method-assign]
    assert publish(folder, *names(folder, 0, 1)).code == 1
    assert not list(folder.glob("*.tlog-proof"))


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("0.result", "1.result", "--out", "proof"),
        ("0.result", "--entry-out", "entry"),
        ("0.result", "--again", "--out", "proof"),
        ("0.result", "--out-dir", "proofs", "--out", "proof"),
        ("0.result", "a/0.result", "--out-dir", "proofs"),
    ],
)
def test_words_that_do_not_go_together_are_usage(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
):
    monkeypatch.chdir(folder)
    assert publish(folder, *arguments).code == 2


def test_one_result_is_told_as_many_are(folder: Path):
    assert publish(folder, *names(folder, 1), "--json").json["schema"] == "teelog-results-published/v1"
    assert verified(folder, *names(folder, 1))


def test_one_result_may_have_its_proof_elsewhere(folder: Path):
    with peer() as log:
        log.answers["/entries"] = Reply(logs.proof(ENTRIES, 5), 201)
        log.serve(logs.files(ENTRIES))
        ran = publish(folder, *names(folder, 1), "--url", log.url, "--out", folder / "proof", "--json")
        assert ran.code == 0, ran.stderr
        (posted,) = [asked for asked in log.asked if asked.method == "POST"]
    assert ran.json["schema"] == "teelog-published/v1"
    assert posted.headers["Content-Type"] == "application/eat+cwt"
    assert verified(folder, *names(folder, 1), folder / "proof")


def test_a_list_is_a_list_of_names(folder: Path):
    (folder / "list").write_bytes(b"\xff\n")
    assert publish(folder, "--from", folder / "list").code == 1
    (folder / "list").write_bytes(b"\n\n")
    assert publish(folder, "--from", folder / "list").code == 2
