"""The published bundles yield what is published of them, and the generator writes them as they are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from teelog.appraisal.inputs import Seen
from tests.appraisal import make_golden
from tests.appraisal.make_golden import GOLDEN

EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
ROWS: dict[str, dict[str, Any]] = {row["bundle"]: row for row in EXPECTED["vectors"]}


def judged(row: dict[str, Any]) -> tuple[dict[str, Any], Seen | None]:
    before = judged(ROWS[row["before"]])[1] if "before" in row else None
    trust = make_golden.read(GOLDEN)(row["trust"])
    return make_golden.judged((GOLDEN / row["bundle"]).read_bytes(), trust, row["now"], before)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_a_published_bundle_yields_what_is_published_of_it(row: dict[str, Any]):
    found, _ = judged(row)
    assert found == {name: row[name] for name in ("verdict", "checks", "cause")}


def test_good_ones_verify_and_no_other_does():
    for name, row in ROWS.items():
        assert (row["verdict"] == "verified-with-waivers") is name.startswith("good"), name


def test_every_published_bundle_is_in_the_list():
    assert {path.name for path in GOLDEN.glob("*.teelog")} == set(ROWS)


def test_the_generator_writes_the_published_bundles():
    for vector in make_golden.vectors():
        if vector.name not in make_golden.KEPT:
            assert (GOLDEN / f"{vector.name}.teelog").read_bytes() == vector.data, vector.name
