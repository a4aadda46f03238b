"""`teelog release allow`, `withdraw`, `renew`, `list`: the next status follows the last one that the log really has."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from teelog.statement import dsse, log_policy, status
from teelog.statement.namespace import Role
from tests.cli.growing import Growing, growing
from tests.client.peers import Reply
from tests.commands import Ran
from tests.statement import make

STREAM = "acme.example/inference/stable"
STATUS_KEY = make.key("status")
NAMESPACE = make.namespace_file(
    keys=(make.held(make.ACME, Role.OWNER, Role.RELEASE), make.held(STATUS_KEY, Role.STATUS)),
)
RELEASES = {
    version: make.release_file(version=version, svn=svn)
    for svn, version in enumerate(("1.4.1", "1.4.2", "1.4.3"), start=2)
}
IDS = {version: dsse.parse(file).statement_id for version, file in RELEASES.items()}
JUNK = make.release_file(make.STRANGER, version="6.6.6")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Growing]:
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    with growing(tmp_path, [make.log_policy_file(), NAMESPACE, *RELEASES.values(), JUNK]) as found:
        found.key("status.key", STATUS_KEY)
        found.key("acme.key", make.ACME)
        for version, file in RELEASES.items():
            found.write(f"{version}.json", file)
        yield found


WHO = ("--key", "status.key", "--policy", "policy.txt")


def allow(log: Growing, *words: object, code: int = 0) -> Ran:
    return log.run("release", "allow", *words, *WHO, "--yes", code=code)


def last(log: Growing) -> status.StatusPredicate:
    return status.read(dsse.parse(log.entries[-1]).claimed())


def held(predicate: status.StatusPredicate) -> list[tuple[str, str]]:
    back = {each: version for version, each in IDS.items()}
    return [(back[each.release], each.state) for each in predicate.allowed_now]


def test_the_first_status_allows_what_is_named_and_is_shown_before(log: Growing):
    ran = allow(log, "1.4.2.json")
    made = last(log)
    assert (made.seq, made.prev, made.log, made.stream, made.max_age_s) == (0, None, make.LOG, STREAM, 86_400)
    assert held(made) == [("1.4.2", "current")]
    assert "no status -> seq 0" in ran.stderr
    assert "not allowed" in next(line for line in ran.stderr.splitlines() if line.startswith("+  1.4.2"))
    assert ran.text.startswith(f"ok      status {STREAM} seq 0 is published")
    assert f"index         {len(log.entries) - 1} of {len(log.entries)} in {make.LOG}" in ran.text


def test_what_was_allowed_stays_unless_replaced(log: Growing):
    allow(log, f"{STREAM}@1.4.1")
    allow(log, IDS["1.4.2"], "--stream", STREAM)
    assert sorted(held(last(log))) == [("1.4.1", "current"), ("1.4.2", "current")]
    assert last(log).prev == dsse.parse(log.entries[-2]).statement_id
    allow(log, "1.4.3.json", "--replace", "--grace", "1.4.2=72h")
    assert held(last(log)) == [("1.4.3", "current"), ("1.4.2", "grace")]
    assert last(log).seq == 2


def test_dry_run_publishes_nothing_and_tells_the_same(log: Growing):
    allow(log, "1.4.1.json")
    size = len(log.entries)
    ran = log.run("release", "allow", "1.4.2.json", *WHO, "--dry-run", "--replace", "--out", "next.json", "--json")
    assert len(log.entries) == size
    found = ran.json
    assert found["schema"] == "teelog-status-change/v1"
    assert found["published"] is False
    assert [each["version"] for each in found["before"]["allowed"]] == ["1.4.1"]
    assert [each["version"] for each in found["after"]["allowed"]] == ["1.4.2"]
    assert dsse.parse((log.folder / "next.json").read_bytes()).statement_id == found["statement_id"]


def test_nobody_is_asked_off_a_terminal_and_nothing_happens(log: Growing):
    size = len(log.entries)
    ran = log.run("release", "allow", "1.4.2.json", *WHO, code=2)
    assert "--yes" in ran.stderr
    assert len(log.entries) == size


@pytest.mark.parametrize(
    ("words", "code", "cause"),
    [
        ((f"{STREAM}@6.6.6",), 1, "6.6.6 is no release of"),
        ((f"{STREAM}@9",), 1, "is no release of"),
        (("ab" * 32, "--stream", STREAM), 1, "is no release of"),
        (("ab" * 32,), 2, "which stream"),
        (("1.4.2.json", "acme.example/other/stable@1"), 2, "is of one stream"),
        (("no such file",), 2, "no statement id"),
        (("1.4.2.json", "--grace", "1.4.1=72h"), 6, "grace is for a release that was allowed"),
        (("1.4.2.json", "--grace", "1.4.1"), 2, "RELEASE=DURATION"),
        (("globex.example/a/b@1",), 1, "the log has no namespace globex.example"),
    ],
)
def test_what_cannot_be_allowed_is_refused_before_anything_is_sent(
    log: Growing, words: tuple[str, ...], code: int, cause: str
):
    ran = allow(log, *words, code=code)
    assert cause in ran.stderr
    assert not [asked for asked in log.peer.asked if asked.method == "POST"]


def test_a_key_without_the_role_is_refused_before_anything_is_sent(log: Growing):
    words = ("release", "allow", "1.4.2.json", "--key", "acme.key", "--policy", "policy.txt", "--yes")
    assert "next: teelog namespace show acme.example" in log.run(*words, code=1).stderr
    assert not [asked for asked in log.peer.asked if asked.method == "POST"]


def test_a_status_signed_by_a_stranger_changes_nothing(log: Growing):
    allow(log, "1.4.1.json")
    log.entries.append(make.status_file(make.STRANGER, seq=1, prev=dsse.parse(log.entries[-1]).statement_id))
    log.serve()
    allow(log, "1.4.2.json")
    assert last(log).seq == 1


def test_the_logs_no_is_told(log: Growing):
    problem = {"type": "urn:teelog:problem:stale", "detail": "another status came first"}
    log.refuse = Reply(json.dumps(problem).encode(), 409, {"Content-Type": "application/problem+json"})
    ran = allow(log, "1.4.2.json", code=1)
    assert "another status came first" in ran.stderr


def test_withdraw_names_the_cause_and_keeps_the_rest(log: Growing):
    allow(log, "1.4.1.json", "1.4.2.json")
    ran = log.run("release", "withdraw", f"{STREAM}@1.4.1", "--cause", "CVE-2026-1234", *WHO, "--no-wait")
    assert held(last(log)) == [("1.4.2", "current")]
    assert [(each.release, each.cause) for each in last(log).revoked] == [(IDS["1.4.1"], "CVE-2026-1234")]
    assert "withdrawn: CVE-2026-1234" in ran.stderr


def test_withdrawing_again_publishes_nothing(log: Growing):
    allow(log, "1.4.1.json", "1.4.2.json")
    words = ("release", "withdraw", f"{STREAM}@1.4.1", "--cause", "CVE-2026-1234", *WHO, "--no-wait", "--json")
    log.run(*words)
    size = len(log.entries)
    assert log.run(*words).json["published"] is False
    assert len(log.entries) == size


def test_a_withdrawal_without_an_index_policy_is_published_yet_not_known_to_bind(log: Growing):
    allow(log, "1.4.1.json", "1.4.2.json")
    ran = log.run("release", "withdraw", f"{STREAM}@1.4.1", "--cause", "x", *WHO, code=3)
    assert last(log).seq == 1
    assert "--index-policy" in ran.stderr


def test_nothing_is_withdrawn_where_nothing_is_allowed(log: Growing):
    log.run("release", "withdraw", f"{STREAM}@1.4.1", "--cause", "x", *WHO, code=1)


def test_renew_says_the_same_for_longer(log: Growing):
    allow(log, "1.4.1.json", "--max-age", "1h", "--next-update", "2d", "--reason", "first")
    before = last(log)
    log.run("release", "renew", STREAM, *WHO)
    after = last(log)
    assert held(after) == held(before)
    assert (after.seq, after.max_age_s) == (1, 3600)
    assert after.next_update_time > before.next_update_time


def test_renew_needs_a_status(log: Growing):
    assert "has no status" in log.run("release", "renew", STREAM, *WHO, code=1).stderr


def test_a_withdrawal_without_a_cause_is_wrong_usage(log: Growing):
    allow(log, "1.4.1.json")
    log.run("release", "withdraw", f"{STREAM}@1.4.1", "--cause", "", *WHO, code=2)
    assert last(log).seq == 0


def test_allowing_what_is_allowed_publishes_nothing_and_says_until_when(log: Growing):
    allow(log, "1.4.1.json", "1.4.2.json")
    size = len(log.entries)
    ran = allow(log, "1.4.1.json", "--json")
    assert ran.json["published"] is False
    ran = allow(log, "1.4.1.json")
    assert f"they are allowed: seq 0 of the stream says so already, believed until {last(log).next_update}" in ran.text
    assert len(log.entries) == size
    for more in (("--reason", "checked again"), ("--next-update", "2d"), ("--max-age", "1h"), ("--replace",)):
        allow(log, "1.4.1.json", *more)
    assert len(log.entries) == size + 4


def test_allowing_what_is_allowed_by_a_status_that_is_over_says_it_anew(log: Growing):
    past = make.status_file(STATUS_KEY, allowed=make.allowed(IDS["1.4.1"]), next_update="2026-01-01T00:00:00Z")
    log.entries.append(past)
    log.serve()
    allow(log, "1.4.1.json")
    assert last(log).seq == 1


def test_two_of_three_keys_sign_apart(log: Growing):
    keys: Any = [make.key(f"status-{n}") for n in range(3)]
    held_by = (make.held(make.ACME, Role.OWNER, Role.RELEASE), *(make.held(key, Role.STATUS) for key in keys))
    log.entries = [
        make.log_policy_file(),
        make.namespace_file(keys=held_by, thresholds={Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 2}),
        *RELEASES.values(),
    ]
    log.serve()
    for number, key in enumerate(keys):
        log.key(f"s{number}.key", key)
    words = ("release", "allow", "1.4.2.json", "--key", "s0.key", "--policy", "policy.txt")
    log.run(*words, "--yes", code=1)
    log.run(*words, "--dry-run", "--out", "next.json")
    log.run("sign", "next.json", "--key", "s2.key")
    log.run("release", "publish", "next.json", "--policy", "policy.txt", "--out", "next.tlog-proof")
    assert held(last(log)) == [("1.4.2", "current")]


# -- list -------------------------------------------------------------------------------------------------------------


def listed(log: Growing, *words: object) -> list[str]:
    found = log.run("release", "list", STREAM, "--policy", "policy.txt", "--json", *words).json
    assert found["schema"] == "teelog-release-list/v1"
    return [] if found["status"] is None else [each["version"] for each in found["status"]["allowed"]]


def test_list_says_what_is_allowed_and_what_was_at_each_size(log: Growing):
    start = len(log.entries)
    assert listed(log) == []
    allow(log, "1.4.1.json")
    allow(log, "1.4.2.json")
    log.run("release", "withdraw", f"{STREAM}@1.4.1", "--cause", "CVE-2026-1234", *WHO, "--no-wait")
    assert listed(log) == ["1.4.2"]
    sizes = [listed(log, "--size", size) for size in range(start, start + 4)]
    assert [sorted(each) for each in sizes] == [[], ["1.4.1"], ["1.4.1", "1.4.2"], ["1.4.2"]]
    ran = log.run("release", "list", STREAM, "--policy", "policy.txt")
    assert "1 release allowed" in ran.text
    assert "withdrawn     1.4.1" in ran.text
    assert "the whole log was read" in ran.text


def test_list_of_what_the_log_does_not_have_yet_is_3(log: Growing):
    log.run("release", "list", STREAM, "--policy", "policy.txt", "--size", 10**6, code=3)
    log.run("release", "list", STREAM, "--policy", "policy.txt", "--size", 1, "--at", "2026-01-01", code=2)


def test_list_warns_of_a_status_that_is_believed_no_more(log: Growing):
    log.entries.append(make.status_file(STATUS_KEY, next_update="2020-01-01T00:00:00Z"))
    log.serve()
    ran = log.run("release", "list", STREAM, "--policy", "policy.txt", "--json")
    assert ran.json["late"] is True
    assert "next_update is past" in ran.stderr


def test_an_answer_that_the_quorum_did_not_witness_is_refused(log: Growing):
    log.peer.answers["/checkpoint"] = log.ledger.publish(1_790_000_000, by=log.ledger.witnesses[:2]).main
    log.run("release", "list", STREAM, "--policy", "policy.txt", code=1)


# -- with the log's index ---------------------------------------------------------------------------------------------

BY_INDEX = (*WHO, "--index-policy", "index.policy")


def test_the_index_answers_where_its_policy_is_given(log: Growing):
    for word in ("1.4.1.json", "1.4.2.json"):
        log.run("release", "allow", word, *BY_INDEX, "--yes")
    log.peer.asked.clear()
    assert sorted(listed(log, "--index-policy", "index.policy")) == ["1.4.1", "1.4.2"]
    assert listed(log, "--index-policy", "index.policy", "--size", len(log.entries) - 1) == ["1.4.1"]
    assert any(path.startswith("/index/v1/") for path in log.peer.paths())
    ran = log.run("release", "list", STREAM, *BY_INDEX[2:])
    assert "by the index, quorum: 2 of 3" in ran.text


def test_withdraw_returns_once_the_index_covers_it_and_says_when_it_binds(log: Growing):
    log.run("release", "allow", "1.4.1.json", "1.4.2.json", *BY_INDEX, "--yes", "--max-age", "1h")
    words = ("release", "withdraw", f"{STREAM}@1.4.1", "--cause", "CVE-2026-1234", *BY_INDEX)
    before = int(time.time())
    found = log.run(*words, "--json").json
    assert found["published"] is True
    assert (found["size"], found["index_size"]) == (len(log.entries), 3)
    assert before + 3600 <= found["binding_by"] <= int(time.time()) + 3600
    again = log.run(*words)
    assert "says so already" in again.text
    assert "binding for every verifier by 20" in again.text


def test_what_the_old_status_promised_ends_before_its_age(log: Growing):
    log.run("release", "allow", "1.4.1.json", *BY_INDEX, "--yes", "--max-age", "7d", "--next-update", "1h")
    words = ("release", "withdraw", f"{STREAM}@1.4.1", "--cause", "x", *BY_INDEX)
    assert log.run(*words, "--json").json["binding_by"] <= int(time.time()) + 3600


def test_withdraw_is_4_where_the_index_does_not_follow_and_goes_on_later(log: Growing):
    log.run("release", "allow", "1.4.1.json", *BY_INDEX, "--yes")
    log.lag = True
    words = ("release", "withdraw", f"{STREAM}@1.4.1", "--cause", "x", *BY_INDEX)
    ran = log.run(*words, "--timeout", "900ms", code=4)
    assert "the log's index does not cover it yet" in ran.stderr
    assert last(log).seq == 1
    size = len(log.entries)
    log.lag = False
    log.entries.append(JUNK)
    log.serve()
    assert "binding for every verifier" in log.run(*words).text
    assert len(log.entries) == size + 1


def test_the_trust_file_gives_both_policies(log: Growing):
    text = 'main = "main.policy"\nindex = "index.policy"\nmax_age = "1h"\n[[namespace]]\nname = "acme.example"\n'
    log.write("trust.toml", text.encode())
    log.run("release", "allow", "1.4.1.json", "--key", "status.key", "--trust", "trust.toml", "--yes")
    ran = log.run("release", "list", STREAM, "--trust", "trust.toml")
    assert "by the index" in ran.text


def test_a_log_that_has_ended_takes_nothing_and_lets_nobody_wait(log: Growing):
    """No index covers the policy that ended it: semantic witnesses have stopped."""
    allow(log, "1.4.1.json")
    log.lag = True
    end = log_policy.Frozen("log2.example/tee")
    prev = dsse.parse(log.entries[0]).statement_id
    log.entries.append(make.log_policy_file(version=1, prev=prev, frozen=end))
    log.serve()
    ran = log.run("release", "allow", "1.4.2.json", *BY_INDEX, "--yes", "--timeout", "1h", code=1)
    assert "log.example/tee has ended" in ran.stderr
    assert "actual: its streams go on at log2.example/tee" in ran.stderr
    assert listed(log, "--index-policy", "index.policy", "--timeout", "1h") == ["1.4.1"]


def test_an_index_policy_of_another_log_is_6(log: Growing):
    log.run("release", "list", STREAM, "--policy", "policy.txt", "--index-policy", "policy.txt", code=6)
    log.run("release", "list", STREAM, code=2)
