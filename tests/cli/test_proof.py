"""`teelog proof`: verified offline, bound to the caller's file, one cause for every failure."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from teelog.tlog.policy import parse_policy
from teelog.tlog.proof import parse_proof
from teelog.tlog.rfc6962 import leaf_hash
from tests.client import logs
from tests.client.peers import Reply, peer
from tests.commands import Ran, teelog
from tests.statement import make

RELEASE = make.release_file()
SIBLING = make.release_file(version="1.4.3")
ENTRIES = [make.log_policy_file(), RELEASE, SIBLING, *logs.entries(300)]
LEAF = leaf_hash(RELEASE).hex()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """release.json, release.tlog-proof, policy.txt: all of them good."""
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    (tmp_path / "release.json").write_bytes(RELEASE)
    (tmp_path / "release.tlog-proof").write_bytes(logs.proof(ENTRIES, 1))
    (tmp_path / "policy.txt").write_bytes(logs.policy_text("https://log.example/tee"))
    return tmp_path


def verify(folder: Path, *more: object, file: str = "release.json") -> Ran:
    names = folder / file, "--proof", folder / "release.tlog-proof", "--policy", folder / "policy.txt"
    return teelog("proof", "verify", *names, *map(str, more))


def failed(ran: Ran, code: int, cause: str) -> None:
    """One cause, nothing on stdout, no traceback."""
    assert ran.code == code, ran.stderr
    assert ran.stdout == b""
    lines = [line for line in ran.stderr.splitlines() if not line.startswith("warning: ")]
    assert cause in lines[0]
    assert [line.split(":")[0] for line in lines] == [
        word for word in ("error", "expected", "actual", "next") if any(line.startswith(f"{word}:") for line in lines)
    ]


def test_a_good_proof_is_told_in_a_few_lines(folder: Path):
    ran = verify(folder)
    assert ran.code == 0, ran.stderr
    assert ran.text.splitlines()[0] == "ok      release acme.example/inference/stable 1.4.2  VERIFIED"
    assert f"in log        log.example/tee, index 1 of {len(ENTRIES)}" in ran.text
    names = ", ".join(witness.verifier.name for witness in logs.WITNESSES)
    assert f"witnessed by  {names} (quorum: 3 of 4 in witnesses); newest 2026-09-21T" in ran.text
    assert "not checked" in ran.text


def test_json_has_the_verdict_and_what_it_rests_on(folder: Path):
    shown = verify(folder, "--json").json
    assert shown["schema"] == "teelog-proof-verdict/v1"
    assert shown["verdict"] == "verified"
    assert shown["checks"] == [{"name": "logged", "ok": True}, {"name": "witnessed", "ok": True}]
    assert (shown["index"], shown["size"], shown["leaf"]) == (1, len(ENTRIES), LEAF)
    assert [witness["time"] for witness in shown["witnesses"]] == [logs.NOW] * 4


def test_MI_43_a_pruned_mirror_does_not_count_for_what_it_does_not_hold(folder: Path):
    names = list(parse_policy(logs.policy_text()).witnesses)
    for index, code in ((1, 0), (2, 1)):
        held = [word for name in names[:2] for word in ("--pruned", f"{name}={index}")]
        ran = verify(folder, *held)
        assert ran.code == code, ran.stderr
    for wrong in ("nobody=1", f"{names[0]}=x", f"{names[0]}=-1", names[0], "=1"):
        assert verify(folder, "--pruned", wrong).code == 2


def test_PR_20_a_proof_of_another_release_of_the_same_vendor_is_refused(folder: Path):
    (folder / "release.tlog-proof").write_bytes(logs.proof(ENTRIES, 2))
    ran = verify(folder)
    failed(ran, 1, "is not what the log holds at index 2")
    assert f"leaf {LEAF}" in ran.stderr


@pytest.mark.parametrize(
    "tamper",
    [lambda data: data[:-1] + b" ", lambda data: data + b"\n", lambda data: b"", lambda data: SIBLING],
    ids=["last byte", "one more", "empty", "another file"],
)
def test_a_tampered_statement_is_refused(folder: Path, tamper: Callable[[bytes], bytes]):
    (folder / "release.json").write_bytes(tamper(RELEASE))
    failed(verify(folder), 1, "is not what the log holds")


def test_PR_09_without_the_quorum_it_is_refused_and_the_missing_are_named(folder: Path):
    signed = logs.sign(logs.head(ENTRIES), logs.WITNESSES[:2])
    (folder / "release.tlog-proof").write_bytes(logs.proof(ENTRIES, 1, signed))
    ran = verify(folder)
    failed(ran, 1, "too few witnesses have cosigned")
    assert "missing: witness.example/w3, witness.example/w4" in ran.stderr


def test_one_dead_witness_of_four_is_tolerated(folder: Path):
    signed = logs.sign(logs.head(ENTRIES), logs.WITNESSES[1:])
    (folder / "release.tlog-proof").write_bytes(logs.proof(ENTRIES, 1, signed))
    assert verify(folder).code == 0


@pytest.mark.parametrize(
    ("name", "spoil", "cause"),
    [
        ("cut", lambda data: data[:-10], "note"),
        ("empty", lambda data: b"", "not a tlog-proof"),
        ("null", lambda data: b"null", "not a tlog-proof"),
        ("version", lambda data: data.replace(b"@v1", b"@v2", 1), "not a tlog-proof"),
        ("crlf", lambda data: data.replace(b"\n", b"\r\n"), "not a tlog-proof"),
        ("index", lambda data: data.replace(b"index 1\n", b"index 01\n"), "index"),
        ("no checkpoint", lambda data: data.partition(b"\n\n")[0] + b"\n\n", "note"),
        ("no proof", lambda data: b"c2sp.org/tlog-proof@v1\nindex 1\n\n" + data.partition(b"\n\n")[2], "is not what"),
        ("other index", lambda data: data.replace(b"index 1\n", b"index 2\n"), "is not what the log holds at index 2"),
        ("beyond", lambda data: data.replace(b"index 1\n", b"index 9999\n"), "is not what the log holds"),
        ("oversized", lambda data: data + b"x" * (1 << 20), "too long"),
        ("witness line", lambda data: _flip(data, b"witness.example/w4 "), "signature does not verify"),
        ("log line", lambda data: _flip(data, "— log.example/tee ".encode()), "signature does not verify"),
        ("unknown log", lambda data: _signed_by_another(), "not signed by the log"),
        ("other origin", lambda data: _other_origin(), "not list"),
    ],
)  # fmt: skip
def test_a_bad_proof_has_one_cause(folder: Path, name: str, spoil: Callable[[bytes], bytes], cause: str):
    path = folder / "release.tlog-proof"
    path.write_bytes(spoil(path.read_bytes()))
    ran = verify(folder)
    assert ran.code == 1, ran.stderr
    assert ran.stdout == b""
    assert cause in ran.stderr.splitlines()[0]
    assert verify(folder, "--json").json["exit"] == 1


def _flip(data: bytes, before: bytes) -> bytes:
    """The signature line that starts so, with one bit of its signature flipped."""
    at = data.index(before) + len(before)
    end = data.index(b"\n", at)
    blob = bytearray(base64.b64decode(data[at:end]))
    blob[-1] ^= 1
    return data[:at] + base64.b64encode(blob) + data[end:]


def _signed_by_another() -> bytes:
    return logs.proof(ENTRIES, 1, logs.sign(logs.head(ENTRIES), log=logs.OTHER_LOG))


def _other_origin() -> bytes:
    return logs.proof(ENTRIES, 1, logs.sign(logs.head(ENTRIES, "other.example/log"), log=logs.OTHER_LOG))


def test_PR_10_a_file_of_65_536_bytes_is_too_long_for_any_log(folder: Path):
    (folder / "release.json").write_bytes(bytes(65_536))
    failed(verify(folder), 1, "too long")


def test_missing_files_are_unavailable(folder: Path):
    for name in ("release.json", "release.tlog-proof", "policy.txt"):
        path = folder / name
        held = path.read_bytes()
        path.unlink()
        failed(verify(folder), 4, f"{name}")
        path.write_bytes(held)


def test_an_unusable_policy_is_6(folder: Path):
    (folder / "policy.txt").write_bytes(b"quorum none")
    failed(verify(folder), 6, "policy.txt")


def test_a_policy_with_another_key_of_the_log_is_refused(folder: Path):
    signer = logs.NoteSigner.of(logs.ORIGIN, logs.SignatureType.ED25519, logs.key("impostor"))
    (folder / "policy.txt").write_bytes(logs.policy_text(log=signer))
    ran = verify(folder)
    assert ran.code == 1
    assert "error: " in ran.stderr


def test_PL_21_quorum_none_warns_and_has_its_own_code_with_require_witness(folder: Path):
    (folder / "policy.txt").write_bytes(f"log {logs.LOG.verifier}\nquorum none\n".encode())
    ran = verify(folder)
    assert ran.code == 0
    assert "warning: QUORUM NONE" in ran.stderr
    shown = verify(folder, "--json").json
    assert {"name": "witnessed", "ok": None} in shown["checks"]
    failed(verify(folder, "--require-witness"), 3, "asks for no witness")


def test_PR_17_max_age_counts_only_young_cosignatures(folder: Path, monkeypatch: pytest.MonkeyPatch):
    import time

    monkeypatch.setattr(time, "time", lambda: logs.NOW + 3600.0)
    assert verify(folder, "--max-age", "1h").code == 0
    failed(verify(folder, "--max-age", "3599s"), 1, "too few witnesses young enough have cosigned")
    assert verify(folder, "--max-age", "soon").code == 2


@pytest.mark.parametrize("year", [1970, 2100])
def test_PR_19_the_clock_does_not_matter(folder: Path, monkeypatch: pytest.MonkeyPatch, year: int):
    import time

    expected = verify(folder).stdout
    monkeypatch.setattr(time, "time", lambda: (year - 1970) * 365.25 * 86_400)
    assert verify(folder).stdout == expected


def test_TT_30_a_lower_bound_refuses_what_lies_below(folder: Path):
    assert verify(folder, "--min-index", 1).code == 0
    failed(verify(folder, "--min-index", 2), 1, "below the lower bound")


def test_the_log_can_be_named_where_the_policy_lists_several(folder: Path):
    assert verify(folder, "--log", logs.ORIGIN).code == 0
    failed(verify(folder, "--log", "other.example/log"), 1, "another log")


OFFLINE = """
import sys
events = []
sys.addaudithook(lambda name, arguments: events.append(name))
from teelog.cli.main import main
code = main(sys.argv[1:])
sockets = sorted({name for name in events if name.startswith("socket.")})
heavy = sorted(set(sys.modules) & {"aiohttp", "sqlite3", "asyncio", "ssl", "uvloop", "structlog", "rich", "stamina"})
print(code, sockets, heavy, file=sys.stderr)
"""


def _offline(folder: Path, *prefix: str) -> str:
    arguments = ["proof", "verify", folder / "release.json", "--proof", folder / "release.tlog-proof"]
    arguments += ["--policy", folder / "policy.txt"]
    command = [*prefix, sys.executable, "-c", OFFLINE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    return done.stderr.splitlines()[-1]


def test_PR_19_verifying_opens_no_socket_and_loads_no_client(folder: Path):
    assert _offline(folder) == "0 [] []"


def test_PR_19_verifying_works_without_a_network(folder: Path):
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rn", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no network namespaces on this machine")
    assert _offline(folder, unshare, "-rn") == "0 [] []"


# -- show -------------------------------------------------------------------------------------------------------------


def test_show_says_that_nothing_is_verified(folder: Path):
    ran = teelog("proof", "show", folder / "release.tlog-proof")
    assert ran.code == 0
    assert "nothing of this is verified" in ran.stderr
    assert f"index       1 of {len(ENTRIES)}" in ran.text


def test_PR_03_extra_data_is_shown_as_unauthenticated_and_decides_nothing(folder: Path):
    path = folder / "release.tlog-proof"
    path.write_bytes(path.read_bytes().replace(b"index ", b"extra SGVsbG8=\nindex ", 1))
    assert verify(folder).code == 0
    shown = teelog("proof", "show", path, "--json").json
    assert shown["unauthenticated_extra"] == b"Hello".hex()
    assert shown["verified"] is False
    assert "nothing vouches for" in teelog("proof", "show", path).text


def test_A_74_a_hostile_proof_does_not_steer_the_terminal(folder: Path):
    hostile = logs.sign(logs.head(ENTRIES, "log\u202e\u009b31m.example"), log=logs.OTHER_LOG)
    (folder / "release.tlog-proof").write_bytes(logs.proof(ENTRIES, 1, hostile))
    ran = teelog("proof", "show", folder / "release.tlog-proof")
    assert ran.code == 0
    assert "log\\u{202e}\\u{9b}31m.example" in ran.text


# -- get --------------------------------------------------------------------------------------------------------------


def get(folder: Path, entry: object, *more: object) -> Ran:
    rest = "--policy", folder / "policy.txt", "--out", folder / "new.tlog-proof", *more
    return teelog("proof", "get", str(entry), *map(str, rest))


@pytest.mark.parametrize("by", ["file", "leaf"])
def test_get_asks_by_leaf_hash_and_verifies_before_it_writes(folder: Path, by: str):
    with peer() as log:
        log.serve({**logs.files(ENTRIES), f"entries/{LEAF}": logs.proof(ENTRIES, 1)})
        ran = get(folder, folder / "release.json" if by == "file" else LEAF, "--url", log.url)
        assert ran.code == 0, ran.stderr
        assert log.paths() == [f"/entries/{LEAF}"]
    assert (folder / "new.tlog-proof").read_bytes() == logs.proof(ENTRIES, 1)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (logs.proof(ENTRIES, 2), 1),
        (b"<html>ok</html>", 1),
        (b"", 1),
        (Reply(status=404), 1),
        (Reply(status=302, headers={"Location": "https://elsewhere.example/"}), 1),
        (Reply(bytes((1 << 20) + 1)), 1),
        (Reply(raw=b"nonsense"), 4),
        (Reply(status=503), 4),
    ],
    ids=["another entry's", "html", "empty", "404", "redirect", "oversized", "no http", "busy"],
)
def test_a_lying_log_gets_nothing_written(folder: Path, reply: bytes | Reply, code: int):
    with peer() as log:
        log.answers[f"/entries/{LEAF}"] = reply
        ran = get(folder, LEAF, "--url", log.url, "--timeout", "2s")
    assert ran.code == code, ran.stderr
    assert ran.stdout == b""
    assert not (folder / "new.tlog-proof").exists()


def test_a_quorum_that_is_not_there_in_time_is_4(folder: Path):
    signed = logs.sign(logs.head(ENTRIES), logs.WITNESSES[:2])
    with peer() as log:
        log.answers[f"/entries/{LEAF}"] = logs.proof(ENTRIES, 1, signed)
        ran = get(folder, LEAF, "--url", log.url, "--timeout", "2s")
        assert len(log.asked) > 1
    failed_last = [line for line in ran.stderr.splitlines() if line.startswith("error")]
    assert ran.code == 4
    assert "quorum is not met" in failed_last[0]
    assert not (folder / "new.tlog-proof").exists()


def test_a_log_that_recovers_in_time_is_waited_for(folder: Path):
    replies = iter([Reply(status=503, headers={"Retry-After": "0"}), Reply(status=500), logs.proof(ENTRIES, 1)])
    with peer() as log:
        log.answers[f"/entries/{LEAF}"] = lambda asked: next(replies)
        ran = get(folder, LEAF, "--url", log.url, "--timeout", "120s")
    assert ran.code == 0, ran.stderr
    assert ran.stderr.count("again in") == 2


@pytest.mark.parametrize("where", ["directory", "url"])
def test_a_proof_can_be_made_from_tiles_alone(folder: Path, where: str):
    logs.write(folder / "copy", ENTRIES)
    with peer() as log:
        log.serve({**logs.files(ENTRIES), "checkpoint": logs.sign(logs.head(ENTRIES))})
        place = folder / "copy" if where == "directory" else log.url
        ran = get(folder, folder / "release.json", "--from", place)
    assert ran.code == 0, ran.stderr
    assert parse_proof((folder / "new.tlog-proof").read_bytes()).index == 1
    assert parse_proof(logs.proof(ENTRIES, 1)).hashes == parse_proof((folder / "new.tlog-proof").read_bytes()).hashes
    assert get(folder, "ab" * 32, "--from", folder / "copy").code == 1


@pytest.mark.parametrize("where", ["log", "url", "directory"])
def test_several_proofs_are_for_one_checkpoint_even_where_the_log_grows_between_the_answers(folder: Path, where: str):
    longer = [*ENTRIES, b"more"]
    other = leaf_hash(ENTRIES[2]).hex()
    logs.write(folder / "copy", longer)
    outs = "--out", folder / "new.tlog-proof", "--out", folder / "other.tlog-proof"
    with peer() as log:
        log.serve({**logs.files(longer), "checkpoint": logs.sign(logs.head(longer))})
        log.serve({f"entries/{LEAF}": logs.proof(ENTRIES, 1), f"entries/{other}": logs.proof(longer, 2)})
        how = {"log": ("--url", log.url), "url": ("--from", log.url), "directory": ("--from", folder / "copy")}[where]
        ran = teelog("proof", "get", LEAF, other, "--policy", folder / "policy.txt", *outs, *how, "--json")
    assert ran.code == 0, ran.stderr
    for name, index in (("new", 1), ("other", 2)):
        assert (folder / f"{name}.tlog-proof").read_bytes() == logs.proof(longer, index)
    assert ran.json["size"] == len(longer)
    assert [each["index"] for each in ran.json["proofs"]] == [1, 2]


def test_as_many_places_as_entries_are_named(folder: Path):
    assert get(folder, LEAF, "ab" * 32).code == 2
    assert get(folder, LEAF, "--out", folder / "second").code == 2


def test_CP_13_a_second_view_is_kept_as_a_fork_proof(folder: Path):
    other = [*ENTRIES[:-1], b"instead"]
    with peer() as log:
        log.serve({**logs.files(ENTRIES), f"entries/{LEAF}": logs.proof(ENTRIES, 1)})
        assert get(folder, LEAF, "--url", log.url).code == 0
        (folder / "new.tlog-proof").unlink()
        log.answers[f"/entries/{LEAF}"] = logs.proof(other, 1)
        ran = get(folder, LEAF, "--url", log.url)
    failed(ran, 5, "signed two views")
    assert not (folder / "new.tlog-proof").exists()
    (path,) = (folder / "state" / "forks").iterdir()
    assert teelog("fork", "verify", path, "--policy", folder / "policy.txt").code == 0
    assert f"next: teelog fork verify {path}" in ran.stderr


def test_a_later_checkpoint_is_compared_through_the_logs_tiles(folder: Path):
    longer, forked = [*ENTRIES, b"more"], [*ENTRIES[:-1], b"instead", b"more"]
    with peer() as log:
        log.serve({**logs.files(ENTRIES), f"entries/{LEAF}": logs.proof(ENTRIES, 1)})
        assert get(folder, LEAF, "--url", log.url).code == 0
        log.serve({**logs.files(longer), f"entries/{LEAF}": logs.proof(longer, 1)})
        ran = get(folder, LEAF, "--url", log.url)
        assert (ran.code, ran.stderr) == (0, "")
        log.serve({**logs.files(forked), f"entries/{LEAF}": logs.proof(forked, 1)})
        assert get(folder, LEAF, "--url", log.url).code == 5


def test_an_unusable_url_or_none_at_all_is_6(folder: Path):
    assert get(folder, LEAF, "--url", "http://log.example").code == 6
    (folder / "policy.txt").write_bytes(logs.policy_text())
    failed(get(folder, LEAF), 6, "the log's URL is not known")


def test_defaults_come_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEELOG_POLICY", str(folder / "policy.txt"))
    assert teelog("proof", "verify", folder / "release.json", "--proof", folder / "release.tlog-proof").code == 0
    with peer() as log:
        log.serve({**logs.files(ENTRIES), f"entries/{LEAF}": logs.proof(ENTRIES, 1)})
        monkeypatch.setenv("TEELOG_LOG", log.url)
        assert teelog("proof", "get", LEAF, "--out", folder / "x").code == 0
    assert os.path.exists(folder / "state")
