"""`teelog policy`: pairing of options, one operator one vote, and a lint that fails where it must."""

from __future__ import annotations

from pathlib import Path

import pytest

from teelog.keys import Algorithm
from teelog.tlog.policy import parse_policy
from teelog.tlog.vkey import NoteSigner, SignatureType
from tests.client import logs
from tests.commands import Ran, teelog

LOG = str(logs.LOG.verifier)
W = [str(witness.verifier) for witness in logs.WITNESSES]


def both_keys(name: str) -> list[NoteSigner]:
    return [
        NoteSigner.of(name, SignatureType.COSIGNATURE_ED25519, logs.key(name)),
        NoteSigner.of(name, SignatureType.COSIGNATURE_ML_DSA_44, logs.key(name, Algorithm.ML_DSA_44)),
    ]


def vkeys_file(folder: Path, name: str) -> Path:
    path = folder / f"{name.replace('/', '_')}.vkeys"
    path.write_text("".join(f"{signer.verifier}\n" for signer in both_keys(name)))
    return path


def write(folder: Path, text: bytes) -> Path:
    path = folder / "policy.txt"
    path.write_bytes(text)
    return path


def new(*arguments: object) -> Ran:
    return teelog("policy", "new", *map(str, arguments))


def test_a_url_belongs_to_the_log_or_witness_before_it():
    ran = new(
        *("--log", LOG, "--url=https://log.example/tee"),
        *("--witness", W[0], "--witness", W[1], "--url", "https://w2.example"),
        *("--witness", W[2], "--url", "https://w3.example", "--quorum", 2),
    )
    assert ran.code == 0, ran.stderr
    policy = parse_policy(ran.stdout)
    assert [log.url for log in policy.logs] == ["https://log.example/tee"]
    assert [witness.url for witness in policy.witnesses.values()] == [None, "https://w2.example", "https://w3.example"]
    assert [str(witness.key) for witness in policy.witnesses.values()] == W[:3]


def test_the_order_of_kinds_does_not_matter():
    ran = new(
        *("--quorum", 1, "--witness", W[0], "--url", "https://w1.example"),
        *("--log", LOG, "--url", "https://l.example"),
    )
    policy = parse_policy(ran.stdout)
    assert policy.logs[0].url == "https://l.example"
    assert policy.witnesses["witness.example/w1"].url == "https://w1.example"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url", "https://x.example", "--log", LOG, "--witness", W[0], "--quorum", 1],
        ["--log", LOG, "--url", "https://x.example", "--url", "https://y.example", "--witness", W[0], "--quorum", 1],
        ["--log", LOG, "--witness", W[0]],
        ["--witness", W[0], "--quorum", 1],
        ["--log", LOG, "--witness", W[0], "--quorum", "two"],
        ["--log", LOG, "--witness", W[0], "--quorum", "²"],
    ],
    ids=["url first", "two urls", "no quorum", "no log", "word", "digit that is none"],
)
def test_wrong_usage_is_2(arguments: list[object]):
    ran = new(*arguments)
    assert ran.code == 2
    assert ran.stdout == b""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--log", LOG, "--witness", W[0], "--quorum", 0],
        ["--log", LOG, "--witness", W[0], "--quorum", 2],
        ["--log", LOG, "--witness", W[0], "--quorum", "none"],
        ["--log", LOG, "--quorum", 1],
        ["--log", W[0], "--witness", W[1], "--quorum", 1],
        ["--log", LOG, "--witness", LOG, "--quorum", 1],
        ["--log", LOG, "--log", LOG, "--witness", W[0], "--quorum", 1],
        ["--log", LOG, "--witness", W[0], "--witness", W[0], "--quorum", 1],
        ["--log", LOG[:-1], "--witness", W[0], "--quorum", 1],
        ["--log", LOG, "--url", "javascript:alert(1)", "--witness", W[0], "--quorum", 1],
        ["--log", LOG, "--url", "https://a b", "--witness", W[0], "--quorum", 1],
        ["--log", LOG, "--url", "https://a\nquorum none", "--witness", W[0], "--quorum", 1],
    ],
    ids=[
        *("quorum 0", "quorum above n", "none with a witness", "no witness", "a witness as log", "a log as witness"),
        *("log twice", "witness twice", "broken vkey", "no web address", "space in url", "line in url"),
    ],
)
def test_a_policy_that_would_not_hold_is_6_and_nothing_is_written(arguments: list[object]):
    ran = new(*arguments)
    assert ran.code == 6, ran.stderr
    assert ran.stdout == b""
    assert ran.stderr.startswith("error: ")


def test_PL_22_all_keys_of_one_witness_count_once(tmp_path: Path):
    files = [vkeys_file(tmp_path, f"witness.example/w{n}") for n in range(1, 5)]
    ran = new("--log", LOG, *(word for file in files for word in ("--witness", file)), "--quorum", 3)
    assert ran.code == 0, ran.stderr
    assert "tolerates 1 colluding of 4 witnesses" in ran.stderr
    policy = parse_policy(ran.stdout)
    assert len(policy.witnesses) == 8
    two_operators = {name for name in policy.witnesses if "w1" in name or "w2" in name}
    assert policy.satisfied(two_operators)[policy.quorum] is False
    checked = teelog("policy", "check", write(tmp_path, ran.stdout), "--json")
    assert checked.code == 0
    assert checked.json["tolerated"] == 1
    assert checked.json["operators"] == [f"witness.example/w{n}" for n in range(1, 5)]


@pytest.mark.parametrize(
    ("n", "k", "f", "code"), [(4, 3, 1, 0), (4, 4, 3, 0), (3, 2, 0, 0), (4, 2, -1, 1), (3, 1, -1, 1), (1, 1, 0, 0)]
)
def test_PL_22_check_prints_f_and_fails_below_zero(tmp_path: Path, n: int, k: int, f: int, code: int):
    made = new("--log", LOG, *(word for vkey in W[:n] for word in ("--witness", vkey)), "--quorum", k)
    ran = teelog("policy", "check", write(tmp_path, made.stdout))
    assert ran.code == code
    assert f"(f = {f})" in ran.text


def test_PL_22_a_name_outside_a_common_any_group_fails(tmp_path: Path):
    one, two = (signer.verifier for signer in both_keys("witness.example/w1"))
    text = f"log {LOG}\nwitness a {one}\nwitness b {two}\nwitness c {W[1]}\ngroup g 2 a b c\nquorum g\n"
    ran = teelog("policy", "check", write(tmp_path, text.encode()), "--json")
    assert ran.code == 1
    assert ran.json["counted_twice"] == ["witness.example/w1"]


@pytest.mark.parametrize(
    "text", [b"", b"quorum none", b"nonsense\n", f"log {LOG}\nquorum nobody\n".encode(), b"\x00\n", b"#\n" * 10_001]
)
def test_a_policy_that_cannot_be_read_is_6(tmp_path: Path, text: bytes):
    for command in ("check", "show"):
        ran = teelog("policy", command, write(tmp_path, text))
        assert ran.code == 6
        assert ran.stdout == b""
        assert len(ran.stderr.splitlines()) <= 4


def test_an_oversized_policy_is_6_and_a_missing_one_4(tmp_path: Path):
    assert teelog("policy", "check", write(tmp_path, b"#" * (4 * 1024 * 1024 + 1))).code == 6
    assert teelog("policy", "check", tmp_path / "none").code == 4


def test_PL_21_quorum_none_is_loud_and_fails_the_check(tmp_path: Path):
    ran = new("--log", LOG, "--quorum", "none")
    assert ran.code == 0
    assert "QUORUM NONE" in ran.stderr
    path = write(tmp_path, ran.stdout)
    assert parse_policy(ran.stdout).quorum == "none"
    checked = teelog("policy", "check", path)
    assert checked.code == 1
    assert "QUORUM NONE" in checked.stderr


def test_show_names_every_line_and_escapes_what_others_wrote(tmp_path: Path):
    made = new("--log", LOG, "--url", "https://l.example", "--witness", W[0], "--quorum", 1)
    path = write(
        tmp_path,
        made.stdout.replace(b"witness.example/w1 ", "w\u202e1 ".encode(), 1).replace(
            b" witness.example/w1\n", " w\u202e1\n".encode()
        ),
    )
    ran = teelog("policy", "show", path)
    assert ran.code == 0, ran.stderr
    assert "https://l.example" in ran.text
    assert "w\\u{202e}1" in ran.text
    shown = teelog("policy", "show", path, "--json").json
    assert shown["quorum"] == "witnesses"
    assert shown["logs"] == [{"origin": logs.ORIGIN, "vkey": LOG, "url": "https://l.example"}]


def test_out_writes_a_file(tmp_path: Path):
    path = tmp_path / "p.txt"
    assert new("--log", LOG, "--witness", W[0], "--quorum", 1, "--out", path).stdout == b""
    assert parse_policy(path.read_bytes()).quorum == "witnesses"
