"""Rules raise nothing whatever a log holds, in whatever order, and what they keep and tell stays small."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from teelog.witness.monitor.finding import MAX_ABOUT, MAX_TEXT
from tests.statement import make
from tests.statement.test_index_map_total import CHAIN, JUNK
from tests.witness.monitor.judging import CHECKERS, NAMESPACE, NOW, OURS, STREAM, Judging, identity, result

ENTRIES = (
    *CHAIN,
    *JUNK,
    NAMESPACE,
    CHECKERS,
    result(),
    result(executables=33),
    result(make.STRANGER, evidence={"sha256": "0e" * 32}),
    result(release="ab" * 32, evidence={"sha512": "0e" * 64}),
)
EVERYTHING = (
    OURS,
    ("stream", STREAM),
    ("register", f"sev-snp:measurement={make.MEASUREMENT}"),
    ("signer", make.ACME.public.fingerprint),
    ("all", ""),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """An entry as it is, cut, or with one byte changed."""
    entry = draw(st.sampled_from(ENTRIES))
    how = draw(st.sampled_from(("whole", "whole", "cut", "changed")))
    if how == "whole" or not entry:
        return entry
    at = draw(st.integers(0, len(entry) - 1))
    return entry[:at] if how == "cut" else entry[:at] + bytes([draw(st.integers(0, 255))]) + entry[at + 1 :]


@given(st.lists(mutated(), max_size=12), st.booleans())
def test_any_entries_in_any_order_are_judged(entries: list[bytes], listed: bool) -> None:
    judging = Judging(*EVERYTHING, known={identity(NAMESPACE)} if listed else None)
    judging.add(*(make.log_policy_file(), *entries))
    for each in (*judging.found, *judging.rules().standing(NOW, timedelta(days=1))):
        assert len(each.text) <= MAX_TEXT
        assert len(each.about) <= MAX_ABOUT
        assert len(each.id) == 32
    assert len(judging.kept) < 10_000
