"""A statement is read only as the kind that its signed bytes say it is."""

from __future__ import annotations

from typing import Any

import pytest

from teelog.errors import MalformedError
from teelog.statement import log_policy, namespace, release, status
from tests.statement import make

READERS: dict[str, tuple[Any, bytes]] = {
    log_policy.PREDICATE_TYPE: (log_policy, log_policy.payload(make.log_policy_predicate())),
    namespace.PREDICATE_TYPE: (namespace, namespace.payload(make.namespace_predicate())),
    release.PREDICATE_TYPE: (release, make.release_payload()),
    status.PREDICATE_TYPE: (status, status.payload(make.status_predicate())),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("other", [*READERS, "urn:teelog:status:v2", ""])
def test_A_51_no_reader_takes_what_is_signed_as_another_kind(kind: str, other: str):
    reader, payload = READERS[kind]
    reader.read(payload)
    if other == kind:
        return
    renamed = payload.replace(f'"predicateType":"{kind}"'.encode(), f'"predicateType":"{other}"'.encode())
    assert renamed != payload
    with pytest.raises(MalformedError, match="another kind"):
        reader.read(renamed)
