"""Statuses: one reading, the sets in them, who signs, and what follows what."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from teelog.errors import MalformedError, SignatureError, UntrustedKey, VerificationError
from teelog.statement import admit, dsse, status
from teelog.statement.namespace import Role
from teelog.statement.status import Allowed, Closed, Revoked, State, StatusHead
from tests.statement import make

ONE, TWO, THREE = "11" * 32, "22" * 32, "33" * 32
GRACE = Allowed(ONE, State.GRACE, "2026-06-01T00:00:00Z")
TWO_OF_THREE: dict[str, Any] = {
    "keys": (
        make.held(make.ACME, Role.OWNER),
        *(make.held(make.key(f"status {n}"), Role.STATUS) for n in range(3)),
    ),
    "thresholds": {Role.OWNER: 1, Role.STATUS: 2},
}


def test_status_reads_back() -> None:
    predicate = make.status_predicate(
        seq=7, prev=THREE, allowed=(*make.allowed(TWO), GRACE), revoked=(Revoked(THREE, "CVE-2026-1234"),)
    )
    parsed = admit.classify(make.sign(status.payload(predicate)).file)
    assert parsed.predicate == predicate
    assert (parsed.kind, parsed.namespace, str(parsed.stream)) == ("status", "acme.example", predicate.stream)
    found = admit.check_status(parsed, make.acme(), 9)
    assert found.head == StatusHead(parsed.statement_id, 7, closed=False)
    assert found.predicate.next_update_time == datetime(2026, 6, 20, tzinfo=UTC)
    assert [item.until_time for item in found.predicate.allowed_now] == [None, datetime(2026, 6, 1, tzinfo=UTC)]


def test_closed_stream_allows_nothing_and_names_its_successor() -> None:
    predicate = make.status_predicate(allowed=msgspec.UNSET, closed=Closed("log.example/tee2"))
    read = status.read(status.payload(predicate))
    assert (read.is_closed, read.successor, read.allowed_now) == (True, "log.example/tee2", ())
    assert b'"allowed"' not in status.payload(predicate)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"stream": "acme.example/inference"}, "/predicate/stream"),
        ({"log": "log example"}, "/predicate/log"),
        ({"seq": 0, "prev": ONE}, "/predicate/prev"),
        ({"seq": 1}, "/predicate/prev"),
        ({"seq": 1, "prev": "11"}, "/predicate/prev"),
        ({"reason": "x" * 513}, "/predicate/reason"),
        ({"allowed": msgspec.UNSET}, "/predicate/allowed"),
        ({"closed": Closed(None)}, "/predicate/allowed"),
        ({"allowed": make.allowed(ONE, TWO, ONE)}, "/predicate/allowed/2/release"),
        ({"allowed": make.allowed("11")}, "/predicate/allowed/0/release"),
        ({"allowed": make.allowed(*(f"{n:064x}" for n in range(201)))}, "/predicate/allowed"),
        ({"allowed": (Allowed(ONE, State.GRACE, None),)}, "/predicate/allowed/0/until"),
        ({"allowed": (Allowed(ONE, State.CURRENT, "2026-06-01T00:00:00Z"),)}, "/predicate/allowed/0/until"),
        ({"allowed": (Allowed(ONE, State.GRACE, "2026-06-01"),)}, "/predicate/allowed/0/until"),
        ({"revoked": (Revoked(ONE, "a"), Revoked(ONE, "b"))}, "/predicate/revoked/1/release"),
        ({"revoked": (Revoked(ONE, ""),)}, "/predicate/revoked/0/cause"),
        ({"revoked": (Revoked(ONE, "x" * 513),)}, "/predicate/revoked/0/cause"),
        ({"max_age_s": 0}, "/predicate/max_age_s"),
        ({"max_age_s": -1}, "/predicate/max_age_s"),
        ({"next_update": "2026-06-20T00:00:00+00:00"}, "/predicate/next_update"),
        ({"next_update": "2026-02-30T00:00:00Z"}, "/predicate/next_update"),
        ({"allowed": msgspec.UNSET, "closed": Closed("not an origin")}, "/predicate/closed/successor"),
    ],
)
def test_malformed_status_is_refused_with_its_place(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(MalformedError) as caught:
        status.payload(make.status_predicate(**changes))
    assert caught.value.where == where


def test_id_in_both_allowed_and_revoked_is_malformed() -> None:
    with pytest.raises(MalformedError) as caught:
        status.payload(make.status_predicate(allowed=make.allowed(ONE, TWO), revoked=(Revoked(TWO, "CVE-2026-1"),)))
    assert caught.value.where == "/predicate/revoked/0/release"


@pytest.mark.parametrize("name", ["reason", "revoked", "max_age_s", "next_update", "prev", "log", "seq", "stream"])
def test_every_member_is_required(name: str) -> None:
    document = json.loads(status.payload(make.status_predicate()))
    del document["predicate"][name]
    with pytest.raises(MalformedError):
        status.read(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("predicate", "note"), "x"),
        (("note",), "x"),
        (("predicate", "allowed"), None),
        (("predicate", "closed"), None),
        (("predicate", "closed"), {}),
        (("predicate", "max_age_s"), 86_400.0),
        (("predicate", "allowed"), [{"release": ONE, "state": "Current", "until": None}]),
        (("predicate", "allowed"), [{"release": ONE, "state": "current"}]),
        (("predicate", "allowed"), [{"release": ONE, "state": "current", "until": None, "more": 1}]),
        (("subject",), [{"name": "acme.example/inference/beta", "digest": {"sha256": ONE}}]),
    ],
)
def test_unknown_members_and_second_spellings_are_refused(place: tuple[str, ...], value: Any) -> None:
    document = json.loads(status.payload(make.status_predicate()))
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    with pytest.raises(MalformedError):
        status.read(json.dumps(document).encode())


# -- who signs --------------------------------------------------------------------------------------------------------


def _verify(file: bytes, index: int | None = None, **changes: Any) -> status.Status:
    return status.verify(dsse.parse(file), make.acme(**changes), index)


def test_two_of_three_status_keys_act_and_one_stolen_one_does_not() -> None:
    keys = [make.key(f"status {n}") for n in range(3)]
    assert len(_verify(make.status_file(keys[0], keys[2]), **TWO_OF_THREE).signers) == 2
    with pytest.raises(UntrustedKey):
        _verify(make.status_file(keys[1]), **TWO_OF_THREE)
    # An owner's key is no status key, so it does not make up the number.
    with pytest.raises(UntrustedKey):
        _verify(make.status_file(keys[1], make.ACME), **TWO_OF_THREE)


def test_A_40_stolen_key_that_signs_twice_counts_once() -> None:
    stolen = make.key("status 1")
    file = json.loads(make.status_file(stolen))
    file["signatures"] *= 2
    with pytest.raises(MalformedError, match="repeated"):
        dsse.parse(json.dumps(file, separators=(",", ":")).encode())


def test_key_counts_for_entries_before_its_until() -> None:
    changes: dict[str, Any] = {
        "keys": (make.held(make.ACME, Role.OWNER), make.held(make.key("old"), Role.STATUS, until=40)),
        "thresholds": {Role.OWNER: 1, Role.STATUS: 1},
    }
    file = make.status_file(make.key("old"))
    assert _verify(file, 39, **changes).index == 39
    for late in (40, None):
        with pytest.raises(UntrustedKey):
            _verify(file, late, **changes)


def test_release_key_signs_no_status() -> None:
    with pytest.raises(UntrustedKey):
        _verify(make.status_file(make.BUILD))


def test_status_of_another_namespace_log_or_content_is_refused() -> None:
    with pytest.raises(UntrustedKey, match="another namespace"):
        _verify(make.status_file(stream="other.example/inference/stable"))
    with pytest.raises(VerificationError, match="another log"):
        _verify(make.status_file(log="log.example/tee2"))
    first, second = dsse.parse(make.status_file()), dsse.parse(make.status_file(reason="other"))
    forged = dsse.encode(dsse.PAYLOAD_TYPE, second.claimed(), first.signatures)
    with pytest.raises(SignatureError):
        status.verify(forged, make.acme())


def test_check_status_takes_no_other_kind() -> None:
    with pytest.raises(ValueError, match="not a status"):
        admit.check_status(admit.classify(make.release_file()), make.acme())
    with pytest.raises(ValueError, match="not a log-policy"):
        admit.check_log_policy_v0(admit.classify(make.status_file()), make.LOG)


# -- what follows what ------------------------------------------------------------------------------------------------


def test_chain_starts_at_seq_0_and_goes_on_from_the_head() -> None:
    status.check_follows(make.status_predicate(), None)
    status.check_follows(make.status_predicate(seq=5, prev=ONE), StatusHead(ONE, 4, closed=False))


@pytest.mark.parametrize(
    ("changes", "head"),
    [
        ({"seq": 1, "prev": ONE}, None),
        ({}, StatusHead(ONE, 0, closed=False)),
        ({"seq": 1, "prev": TWO}, StatusHead(ONE, 0, closed=False)),
        ({"seq": 2, "prev": ONE}, StatusHead(ONE, 0, closed=False)),
        ({"seq": 1, "prev": ONE}, StatusHead(ONE, 1, closed=False)),
        ({"seq": 1, "prev": ONE}, StatusHead(ONE, 0, closed=True)),
    ],
)
def test_status_that_does_not_follow_the_head_is_refused(changes: dict[str, Any], head: StatusHead | None) -> None:
    with pytest.raises(VerificationError):
        status.check_follows(make.status_predicate(**changes), head)


def test_allowed_are_effective_releases_of_the_same_stream() -> None:
    streams = {ONE: "acme.example/inference/stable", TWO: "acme.example/inference/beta"}
    status.check_allowed(make.status_predicate(allowed=make.allowed(ONE)), streams.get)
    for other in (TWO, THREE):
        with pytest.raises(VerificationError, match="no release of its stream"):
            status.check_allowed(make.status_predicate(allowed=make.allowed(ONE, other)), streams.get)
