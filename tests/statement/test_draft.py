"""A statement's file before and after its signatures."""

from __future__ import annotations

import pytest

from teelog.errors import ConfigError, MalformedError
from teelog.statement import draft, namespace
from tests.statement import make


def test_bare_statement_becomes_an_envelope_with_the_same_identity() -> None:
    before = draft.read(make.release_payload())
    assert before.envelope is None
    after = draft.sign(before, [make.ACME])
    assert draft.read(after.file) == after
    assert after.statement_id == before.statement_id
    assert after.file == make.release_file()


def test_signing_in_any_order_gives_the_same_file() -> None:
    one = draft.sign(draft.sign(draft.read(make.release_payload()), [make.ACME]), [make.key("fourth")])
    other = draft.sign(draft.read(make.release_payload()), [make.key("fourth"), make.ACME, make.ACME])
    assert one.file == other.file


def test_ecdsa_key_signs_releases_only() -> None:
    draft.sign(draft.read(make.release_payload()), [make.BUILD])
    with pytest.raises(ConfigError, match="cannot sign a namespace"):
        draft.sign(draft.read(namespace.payload(make.namespace_predicate())), [make.BUILD])


@pytest.mark.parametrize(
    "file",
    [b"", b"{}", b"[]", b'{"payload":"e30=","payloadType":"x","signatures":[]}', b'{"_type":"x"}', b" " * 65_536],
)
def test_file_that_is_no_statement_is_refused(file: bytes) -> None:
    with pytest.raises(MalformedError):
        draft.read(file)
