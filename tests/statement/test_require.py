"""The require block: what a version does not understand is named, never passed over."""

from __future__ import annotations

from typing import Any

import pytest

from teelog.errors import MalformedError
from teelog.statement import admit, intoto, release, require, strict_json
from teelog.statement.require import MinTcb
from tests.statement import make

TCB = {"bl": 4, "tee": 0, "snp": 23, "ucode": 213}


def test_known_members_are_read() -> None:
    known, unknown = require.read(
        {"debug": False, "min_tcb": TCB, "host_data": "ab" * 32, "platform_info": {"alias_check_complete": True}}
    )
    assert unknown == ()
    assert known.debug is False
    assert known.min_tcb == MinTcb(4, 0, 23, 213)
    assert known.platform_info == {"alias_check_complete": True}


@pytest.mark.parametrize(
    "block",
    [
        {"min_rtmr": 1},
        {"debug": "false"},
        {"debug": 0},
        {"min_tcb": {"bl": 4}},
        {"min_tcb": {**TCB, "new": 1}},
        {"min_tcb": {**TCB, "bl": 256}},
        {"min_tcb": {**TCB, "bl": -1}},
        {"host_data": "AB" * 32},
        {"host_data": "ab" * 32 + "\n"},
        {"tcb_status": "UpToDate"},
        {"min_tcb": None},
    ],
)
def test_member_without_a_meaning_is_named(block: dict[str, Any]) -> None:
    _, unknown = require.read({"debug": False, **block})
    assert unknown == tuple(block)


def test_writing_a_release_refuses_a_requirement_without_a_meaning() -> None:
    with pytest.raises(MalformedError) as caught:
        make.release_payload(variants=(make.variant(require={"debug": False, "later": 1}),))
    assert caught.value.where == "/predicate/variants/0/require/later"


def test_requirement_for_a_newer_verifier_stays_loggable() -> None:
    """An old log must not refuse, and an old verifier must not pass, what a newer release asks for."""
    variant = make.variant(require={"later": {"a": 1}, "debug": "odd"})
    statement = release.ReleaseStatement(
        intoto.STATEMENT_TYPE, (make.SUBJECT,), release.PREDICATE_TYPE, make.release_predicate(variants=(variant,))
    )
    parsed = admit.classify(make.sign(strict_json.encode(statement)).file)
    assert isinstance(parsed.predicate, release.ReleasePredicate)
    assert require.read(parsed.predicate.variants[0].require)[1] == ("later", "debug")
