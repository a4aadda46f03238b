"""Committed statements: their bytes never change by accident, and every one of their bytes matters."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import TeelogError
from teelog.statement import admit
from tests.statement import make, make_golden
from tests.statement.make_golden import GOLDEN

OTHERS = ("expected.json", "map-function.json")
FILES = {path.name: path.read_bytes() for path in sorted(GOLDEN.glob("*.json")) if path.name not in OTHERS}


def test_generator_writes_what_is_committed() -> None:
    made = make_golden.entries()
    assert made == FILES
    assert make_golden.expected(made) == (GOLDEN / "expected.json").read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_committed_statement_reads_as_stated(name: str) -> None:
    stated = json.loads((GOLDEN / "expected.json").read_bytes())[name]
    parsed = admit.classify(FILES[name])
    assert parsed.kind == stated["kind"]
    assert parsed.statement_id == stated["statement_id"]
    assert parsed.namespace == stated["namespace"]
    assert (None if parsed.stream is None else str(parsed.stream)) == stated["stream"]
    assert parsed.envelope.claimed().decode() == stated["payload"]


@given(st.sampled_from(sorted(FILES)), st.data())
def test_A_41_one_changed_byte_is_refused_or_another_statement(name: str, data: st.DataObject) -> None:
    """No second file of one signed statement: a change is refused, changes the statement id, or breaks a signature."""
    file = bytearray(FILES[name])
    place = data.draw(st.integers(0, len(file) - 1))
    file[place] ^= data.draw(st.integers(1, 255))
    before = admit.classify(FILES[name])
    try:
        after = admit.classify(bytes(file))
    except TeelogError:
        return
    if after.statement_id == before.statement_id:
        keys = {key.public.fingerprint: key.public for key in (make.ACME, make.key("fourth"))}
        before.envelope.verify(keys)
        with pytest.raises(TeelogError):
            after.envelope.verify(keys)


@given(st.sampled_from(sorted(FILES)), st.data())
def test_A_41_truncated_or_extended_file_is_refused(name: str, data: st.DataObject) -> None:
    file = FILES[name]
    cut = data.draw(st.integers(0, len(file) - 1))
    extra = data.draw(st.binary(min_size=1, max_size=4))
    for other in (file[:cut], file + extra, extra + file):
        with pytest.raises(TeelogError):
            admit.classify(other)
