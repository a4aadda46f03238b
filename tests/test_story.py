"""From a key to a proof, with real processes: what a user types does what it says, and what goes wrong is told."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from teelog.statement import dsse
from teelog.tlog.proof import parse_proof
from teelog.tlog.rfc6962 import leaf_hash
from tests.story import LAUNCH, ORIGIN, POLICY, STREAM, WITNESSES, World, world
from tests.vectors import vectors


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("story").resolve()) as made:
        yield made


@pytest.fixture(scope="module")
def published(acme: World) -> str:
    """A release that is published, with its proof beside it."""
    file = acme.release("release.json")
    acme.publish(file)
    return file


# -- what a user types ------------------------------------------------------------------------------------------------


def test_a_release_is_published_witnessed_and_proven_offline(acme: World, published: str):
    ran = acme.run("proof", "verify", published, "--proof", f"{published}.tlog-proof", *POLICY, "--max-age", "1h")
    assert "VERIFIED" in ran.text
    assert all(f"witness.example/w{n}" in ran.text for n in (1, 2, 3))
    shown = acme.run("proof", "show", f"{published}.tlog-proof", "--json").json
    assert shown["log"] == ORIGIN


def test_AP_01_publishing_again_keeps_the_index(acme: World, published: str):
    first = parse_proof(acme.read(f"{published}.tlog-proof"))
    acme.publish(acme.release("between.json"))
    again = acme.publish(published, "--json").json
    assert again["new"] is False
    assert again["index"] == first.index
    assert parse_proof(acme.read(f"{published}.tlog-proof")).index == first.index


def test_a_proof_is_fetched_by_file_and_by_leaf_and_made_from_tiles(acme: World, published: str):
    leaf = leaf_hash(acme.read(published)).hex()
    for number, how in enumerate(([published], [leaf], [published, "--from", "LOG"], [leaf, "--from", acme.url()])):
        out = f"got{number}.tlog-proof"
        acme.run("proof", "get", *how, *POLICY, "--out", out)
        acme.run("proof", "verify", published, "--proof", out, *POLICY)


def test_the_policy_is_sound(acme: World):
    assert acme.run("policy", "check", "policy.txt", "--json").json["tolerated"] == 1


def test_an_outsider_measures_the_same(acme: World, published: str):
    acme.run("measure", "sev-snp", *LAUNCH, "--expect", published)
    other = [*LAUNCH[:-3], "8", *LAUNCH[-2:]]
    assert "8" in acme.run("measure", "sev-snp", *other, "--expect", published, code=3).stderr


def test_checkpoints_grow_consistently(acme: World, published: str):
    acme.file("old.checkpoint", parse_proof(acme.read(f"{published}.tlog-proof")).checkpoint)
    acme.publish(acme.release("later.json"))
    acme.run("checkpoint", "show", acme.url())
    acme.run("checkpoint", "verify", acme.url(), *POLICY, "--max-age", "1h", "--require-witness")
    compared = acme.run("checkpoint", "compare", "old.checkpoint", acme.url(), *POLICY, "--json").json
    assert compared["smaller"]["size"] < compared["larger"]["size"]


def test_entry_0_is_the_logs_policy_and_entries_are_found_by_leaf(acme: World, published: str):
    assert acme.run("entry", 0, *POLICY, "--json").json["statement"]["kind"] == "log-policy"
    leaf = leaf_hash(acme.read(published)).hex()
    acme.run("entry", leaf, *POLICY, "--raw", "raw.json")
    assert acme.read("raw.json") == acme.read(published)


def test_the_log_is_whole_from_within_and_from_outside(acme: World, published: str):
    acme.run("log", "status", "LOG")
    for place in (["LOG"], [acme.url(), *POLICY]):
        assert acme.run("log", "fsck", *place, "--json").json["problems"] == []


def test_no_witness_has_seen_a_fork(acme: World, published: str):
    for name in WITNESSES:
        (log,) = acme.run("witness", "list-logs", name, "--json").json["logs"]
        assert log["log"] == ORIGIN
        assert acme.run("witness", "forks", name, "--json").json["forks"] == []


def test_the_environment_gives_the_policy(acme: World, published: str):
    env = {"TEELOG_POLICY": "policy.txt"}
    acme.run("proof", "verify", published, "--proof", f"{published}.tlog-proof", env=env)
    acme.run("entry", 1, env=env)


def test_published_launch_inputs_become_a_release(acme: World):
    expected = json.loads((vectors("measure/sev-snp/dstack-expected.json")).read_text())
    acme.file("launch.json", json.dumps(expected["inputs"]).encode())
    acme.run("measure", "sev-snp", "--launch", "launch.json", "--json", to="dstack.json")
    what = ("--stream", "acme.example/dstack/stable", "--version", "1", "--svn", 0, "--registers", "dstack.json")
    acme.run("release", "new", *what, "--out", "dstack-release.json")
    acme.run("release", "sign", "dstack-release.json", "--key", "acme.key")
    acme.publish("dstack-release.json")
    acme.run("measure", "sev-snp", "--launch", "launch.json", "--expect", "dstack-release.json")
    assert b"7f51e17f72a0" in dsse.parse(acme.read("dstack-release.json")).claimed()


# -- bad input: one cause, the right code, nothing lost ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("truncated", "not JSON"),
        ("oversized", "65,535"),
        ("duplicate member", "repeated"),
        ("unknown predicate", "predicate type"),
    ],
)
def test_a_file_that_is_no_statement_is_refused_before_it_is_sent(acme: World, published: str, name: str, cause: str):
    good = acme.read(published)
    spoiled = {
        "truncated": good[:-20],
        "oversized": bytes(65_536),
        "duplicate member": good.replace(b'"payloadType"', b'"payloadType":"","payloadType"', 1),
        "unknown predicate": _resigned(acme, b"urn:teelog:release:v1", b"urn:teelog:release:v9"),
    }[name]
    ran = acme.publish(acme.file("bad.json", spoiled), code=1)
    assert cause.replace("65,535", "65535") in ran.stderr


def _resigned(acme: World, before: bytes, after: bytes) -> bytes:
    from teelog.cli import keyref

    payload = dsse.parse(acme.read("release.json")).claimed().replace(before, after)
    return dsse.sign(dsse.PAYLOAD_TYPE, payload, [keyref.load_signer(str(acme.folder / "acme.key"))]).file


def test_another_vendors_namespace_is_403(acme: World):
    file = acme.release("foreign.json", stream="globex.example/inference/stable")
    ran = acme.publish(file, code=1)
    assert "403 the namespace is not known" in ran.stderr
    assert "next: teelog namespace new" in ran.stderr


def test_a_strangers_signature_is_403(acme: World):
    acme.run("key", "generate", "--name", "stranger.example", "--out", "stranger.key")
    ran = acme.publish(acme.release("stranger.json", key="stranger.key"), code=1)
    assert "refused: 403" in ran.stderr


def test_a_signature_that_fails_is_403(acme: World, published: str):
    envelope = dsse.parse(acme.read(published))
    signature = dsse.Signature(envelope.signatures[0].keyid, bytes(64))
    bad = dsse.encode(dsse.PAYLOAD_TYPE, envelope.claimed(), [signature]).file
    ran = acme.publish(acme.file("badly-signed.json", bad), code=1)
    assert "403 ed25519 signature does not verify" in ran.stderr


def test_the_same_statement_in_other_bytes_is_409_and_names_the_logged_leaf(acme: World):
    acme.run("key", "generate", "--name", "build.example", "--algorithm", "ecdsa-p256", "--out", "build.key")
    roles = ("--owner", "acme.key", "--release", "build.key", "--status", "acme.key")
    acme.run("namespace", "new", "--namespace", "build.example", "--log", ORIGIN, *roles, "--out", "build-ns.json")
    acme.run("log", "allow", "LOG", "build-ns.json")
    what = ("--stream", "build.example/a/b", "--version", "1", "--svn", 0, "--registers", "regs.json")
    acme.run("release", "new", *what, "--out", "one.json")
    acme.file("two.json", acme.read("one.json"))
    for file in ("one.json", "two.json"):  # ECDSA never gives the same signature twice
        acme.run("release", "sign", file, "--key", "build.key")
    acme.publish("one.json")
    ran = acme.publish("two.json", code=1)
    assert "refused: 409" in ran.stderr
    assert f"next: teelog proof get {leaf_hash(acme.read('one.json')).hex()}" in ran.stderr


def test_a_witness_that_the_log_does_not_ask_leaves_the_quorum_unmet(acme: World, published: str):
    acme.run("witness", "init", "W9", "--name", "witness.example/w9")
    others = [word for name in ("W1", "W9") for word in ("--witness", f"{name}/witness.vkeys")]
    log = ("--log", "LOG/log.vkey", "--url", acme.url())
    acme.run("policy", "new", *log, *others, "--quorum", 2, to="unknown.txt")
    verify = ("proof", "verify", published, "--proof", f"{published}.tlog-proof", "--policy", "unknown.txt")
    assert "witness.example/w9" in acme.run(*verify, code=1).stderr
    get = ("proof", "get", published, "--policy", "unknown.txt", "--out", "no.tlog-proof", "--timeout", "1s")
    acme.run(*get, code=4)
    assert not (acme.folder / "no.tlog-proof").exists()


def test_a_quorum_of_0_is_a_bad_policy(acme: World, published: str):
    acme.run("policy", "new", "--log", "LOG/log.vkey", "--witness", "W1/witness.vkeys", "--quorum", 0, code=6)
    acme.file("zero.txt", acme.read("policy.txt").replace(b"group witnesses 3", b"group witnesses 0"))
    acme.run("policy", "check", "zero.txt", code=6)
    verify = ("proof", "verify", published, "--proof", f"{published}.tlog-proof", "--policy", "zero.txt")
    acme.run(*verify, code=6)


def test_PL_21_quorum_none_warns_and_is_not_enough_where_witnesses_are_asked_for(acme: World, published: str):
    acme.run("policy", "new", "--log", "LOG/log.vkey", "--quorum", "none", to="none.txt")
    verify = ("proof", "verify", published, "--proof", f"{published}.tlog-proof", "--policy", "none.txt")
    assert "QUORUM NONE" in acme.run(*verify).stderr
    acme.run(*verify, "--require-witness", code=3)


def test_keys_open_to_others_are_refused(acme: World, published: str):
    key = acme.folder / "acme.key"
    acme.release("unsigned.json")
    key.chmod(0o644)
    try:
        assert "chmod 600 acme.key" in acme.run("release", "sign", "unsigned.json", "--key", "acme.key", code=6).stderr
    finally:
        key.chmod(0o600)


def test_a_log_in_use_by_another_process_is_refused(acme: World, published: str):
    from tests.commands import teelog_process

    ran = teelog_process("log", "serve", "LOG", "--listen", "127.0.0.1:0", *POLICY, cwd=acme.folder)
    assert ran.code in (4, 6)
    assert ran.stderr.startswith("error: ")
    ran = teelog_process("witness", "serve", "W1", "--listen", "127.0.0.1:0", cwd=acme.folder)
    assert ran.code == 4
    assert "in use by another process" in ran.stderr
    acme.run("log", "init", "LOG", "--origin", ORIGIN, code=6)


def test_a_proof_of_another_release_is_refused(acme: World, published: str):
    other = acme.release("other.json")
    acme.publish(other)
    acme.run("proof", "verify", published, "--proof", f"{other}.tlog-proof", *POLICY, code=1)


def test_an_entry_that_was_never_logged_has_no_proof(acme: World):
    never = acme.release("never.json")
    acme.run("proof", "get", never, *POLICY, "--out", "never.tlog-proof", code=1)
    acme.run("entry", "ab" * 32, *POLICY, code=1)
    acme.run("entry", 10**9, *POLICY, code=3)


# -- what stops and starts --------------------------------------------------------------------------------------------


def test_one_dead_witness_is_tolerated_two_are_4_and_nothing_is_lost(acme: World):
    acme.servers.stop("W4")
    acme.publish(acme.release("three.json"))
    acme.servers.stop("W3")
    late = acme.release("late.json")
    acme.publish(late, "--timeout", "3s", code=4)
    assert not (acme.folder / f"{late}.tlog-proof").exists()
    acme.start("W3", "W4")
    acme.publish(late)
    acme.run("proof", "verify", late, "--proof", f"{late}.tlog-proof", *POLICY)
    acme.run("log", "fsck", acme.url(), *POLICY)


def test_a_stopped_log_is_4_and_goes_on_where_it_was(acme: World, published: str):
    acme.servers.stop("LOG")
    waiting = acme.release("waiting.json")
    assert "cannot reach" in acme.publish(waiting, "--timeout", "3s", code=4).stderr
    acme.run("proof", "get", published, *POLICY, "--out", "x", "--timeout", "3s", code=4)
    acme.run("proof", "verify", published, "--proof", f"{published}.tlog-proof", *POLICY)
    acme.run("proof", "get", published, *POLICY, "--out", "offline.tlog-proof", "--from", "LOG")
    acme.start("LOG")
    acme.publish(waiting)
    acme.publish(published)
    assert STREAM in acme.run("entry", leaf_hash(acme.read(waiting)).hex(), *POLICY).text
