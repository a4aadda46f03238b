"""`teelog namespace rotate` and `show`: a key goes, and no stream is left without a status that counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from teelog.statement import dsse, namespace, status
from teelog.statement.namespace import Role
from tests.cli.growing import Growing, growing
from tests.statement import make

STREAM = "acme.example/inference/stable"
OLD, NEW, SECOND_OWNER = make.key("old status"), make.key("new status"), make.key("second owner")
NAMESPACE = make.namespace_file(keys=(make.held(make.ACME, Role.OWNER, Role.RELEASE), make.held(OLD, Role.STATUS)))
RELEASE = make.release_file()
RELEASE_ID = dsse.parse(RELEASE).statement_id
STATUS = make.status_file(OLD, allowed=make.allowed(RELEASE_ID), next_update="2026-01-20T00:00:00Z")
WHO = ("--policy", "policy.txt")
SWAP = ("--add", "status=new.key.pub", "--remove", "old.key.pub", "--key", "acme.key", "--out", "ns2.json")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Growing]:
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    with growing(tmp_path, [make.log_policy_file(), NAMESPACE, RELEASE, STATUS]) as found:
        for name, key in (("acme", make.ACME), ("old", OLD), ("new", NEW), ("second", SECOND_OWNER)):
            found.key(f"{name}.key", key)
        found.write("ns.json", NAMESPACE)
        yield found


def made(log: Growing, name: str = "ns2.json") -> namespace.NamespacePredicate:
    return namespace.read(dsse.parse((log.folder / name).read_bytes()).claimed())


def test_the_next_version_is_a_file_and_says_that_statuses_are_needed(log: Growing):
    ran = log.run("namespace", "rotate", "ns.json", *SWAP)
    next_version = made(log)
    assert (next_version.version, next_version.prev) == (1, dsse.parse(NAMESPACE).statement_id)
    assert list(namespace.held_keys(next_version)) == [make.ACME.public.fingerprint, NEW.public.fingerprint]
    assert "every stream needs a new status" in ran.stderr
    assert not log.peer.asked


def test_a_removed_status_key_takes_a_new_status_along_in_one_batch(log: Growing):
    ran = log.run("namespace", "rotate", "ns.json", *SWAP, "--publish", "--status-key", "new.key", *WHO)
    (batch,) = log.batches
    after = namespace.verify_next(dsse.parse(batch[0]), namespace.verify_first(dsse.parse(NAMESPACE)))
    found = status.verify(dsse.parse(batch[1]), after)
    assert (found.predicate.seq, found.predicate.prev) == (1, dsse.parse(STATUS).statement_id)
    assert found.predicate.allowed_now == make.allowed(RELEASE_ID)
    assert len(batch) == 2
    assert "is published, with 1 statuses" in ran.text
    shown = log.run("namespace", "show", "acme.example", *WHO, "--json").json
    assert [each["version"] for each in shown["versions"]] == [0, 1]
    assert shown["verified"] is True


def test_without_a_status_key_nothing_is_sent(log: Growing):
    ran = log.run("namespace", "rotate", "ns.json", *SWAP, "--publish", *WHO, code=1)
    assert "--status-key" in ran.stderr
    assert not log.batches


def test_the_old_status_key_cannot_sign_for_the_new_version(log: Growing):
    log.run("namespace", "rotate", "ns.json", *SWAP, "--publish", "--status-key", "old.key", *WHO, code=1)
    assert not log.batches


def test_a_key_that_is_added_alone_needs_no_status(log: Growing):
    words = ("--add", "status=new.key.pub", "--key", "acme.key", "--out", "ns2.json", "--publish", *WHO)
    log.run("namespace", "rotate", "ns.json", *words)
    assert [len(batch) for batch in log.batches] == [1]


def test_who_is_no_owner_cannot_rotate(log: Growing):
    words = ("--add", "status=new.key.pub", "--key", "new.key", "--out", "ns2.json", "--publish", *WHO)
    log.run("namespace", "rotate", "ns.json", *words, code=1)
    assert not log.batches


def test_an_older_version_is_not_rotated_again(log: Growing):
    words = ("namespace", "rotate", "ns.json", "--key", "acme.key", "--publish", *WHO)
    log.run(*words, "--add", "status=new.key.pub", "--out", "ns2.json")
    ran = log.run(*words, "--add", "result=new.key.pub", "--out", "other.json", code=1)
    assert "next: teelog namespace show acme.example tells its index; teelog entry INDEX" in ran.stderr


def test_a_retired_key_counts_for_what_was_logged_before(log: Growing):
    words = ("--retire", "old.key.pub", "--add", "status=new.key.pub", "--key", "acme.key", "--out", "ns2.json")
    log.run("namespace", "rotate", "ns.json", *words, "--publish", "--status-key", "new.key", *WHO)
    (old,) = [key for key in made(log).keys if key.until is not None]
    assert old.until == 4
    assert len(log.batches[0]) == 2


def test_owners_who_sign_apart_publish_the_finished_version(log: Growing):
    two = make.namespace_file(
        make.ACME,
        SECOND_OWNER,
        keys=(
            make.held(make.ACME, Role.OWNER, Role.RELEASE),
            make.held(SECOND_OWNER, Role.OWNER),
            make.held(OLD, Role.STATUS),
        ),
        thresholds={Role.OWNER: 2, Role.RELEASE: 1, Role.STATUS: 1},
    )
    log.entries = [make.log_policy_file(), two, RELEASE, STATUS]
    log.serve()
    log.write("two.json", two)
    log.run("namespace", "rotate", "two.json", *SWAP)
    publish = ("namespace", "rotate", "ns2.json", "--publish", "--status-key", "new.key", *WHO)
    log.run(*publish, code=1)
    log.run("sign", "ns2.json", "--key", "second.key")
    log.run(*publish, "--dry-run")
    assert not log.batches
    log.run(*publish)
    assert len(log.batches[0]) == 2


def test_show_of_a_name_that_the_log_does_not_have_is_1(log: Growing):
    log.run("namespace", "show", "globex.example", *WHO, code=1)
    log.run("namespace", "show", "globex.example", code=2)


@pytest.mark.parametrize(
    "words",
    [
        ("ns.json",),
        ("ns.json", "--add", "status=new.key.pub"),
        ("ns.json", "--add", "status", "--out", "x"),
        ("ns.json", "--remove", "a", "--retire", "b", "--out", "x", *WHO),
        ("ns.json", "--publish"),
    ],
)
def test_wrong_usage_is_2(log: Growing, words: tuple[str, ...]):
    log.run("namespace", "rotate", *words, code=2)


def test_a_signature_of_no_owner_is_not_made(log: Growing):
    ran = log.run("namespace", "rotate", "ns.json", *SWAP[:4], "--key", "second.key", "--out", "ns2.json", code=1)
    assert "no owner of the version before" in ran.stderr
    assert not (log.folder / "ns2.json").exists()


def test_an_allowed_release_does_not_lose_its_key_unasked(log: Growing):
    words = ("namespace", "rotate", "ns.json", "--add", "owner=second.key.pub", "--add", "release=second.key.pub")
    words += ("--remove", "acme.key.pub", "--key", "acme.key", "--out", "ns2.json", "--publish", *WHO)
    ran = log.run(*words, code=1)
    assert "--retire KEYREF: what the key signed before goes on counting" in ran.stderr
    assert f"actual: {STREAM}@1.4.2" in ran.stderr
    assert not log.batches
    assert f"taken by no verifier from then on: {STREAM}@1.4.2" in log.run(*words, "--lose-releases").stderr
    listed = log.run("release", "list", STREAM, *WHO, "--json")
    assert listed.json["without_key"] == [RELEASE_ID]
    assert "its release keys are removed: no verifier takes it" in listed.stderr
    renewed = log.run("release", "renew", STREAM, "--key", "old.key", "--dry-run", *WHO)
    assert "no verifier takes it" in renewed.stderr


def test_a_retired_release_key_keeps_what_it_signed(log: Growing):
    words = ("namespace", "rotate", "ns.json", "--add", "owner=second.key.pub", "--add", "release=second.key.pub")
    words += ("--retire", "acme.key.pub", "--key", "acme.key", "--out", "ns2.json", "--publish", *WHO)
    log.run(*words)
    assert log.run("release", "list", STREAM, *WHO, "--json").json["without_key"] == []
