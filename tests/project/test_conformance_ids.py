"""Every rule of docs/conformance.md is in the name of a test: `test_W_15_...`, or several ids in one name."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.project.sources import ROOT

CHECKLIST = ROOT / "docs" / "conformance.md"
GROUPS = ("SN", "CP", "TT", "CS", "PR", "PL", "W", "WM", "WS", "MI", "AP")

# Rules that nothing in the project can break yet, with the reason.
NOT_APPLICABLE: dict[str, str] = {
    "MI-44": "this mirror's minimum index is 0: nothing was left out that could be filled in again (MI-42)",
    "MI-47": "entries are pushed: what a log has pruned comes from somebody else, or nothing is signed (MI-35)",
}

_RULE = re.compile(r"^\| ([A-Z]{1,2})-([0-9]{2}) \|", re.MULTILINE)
_IN_NAME = re.compile(r"(?<![A-Za-z])([A-Z]{1,2})_([0-9]{2})(?![0-9])")


def rules(text: str) -> list[str]:
    """The ids of the checklist's rows, in its order."""
    return [f"{group}-{number}" for group, number in _RULE.findall(text) if group in GROUPS]


def named(source: str) -> set[str]:
    """The ids in the names of a file's test functions."""
    functions = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    names = (node.name for node in functions if node.name.startswith("test_"))
    return {f"{group}-{number}" for name in names for group, number in _IN_NAME.findall(name.removeprefix("test_"))}


@cache
def covered() -> frozenset[str]:
    return frozenset().union(*(named(path.read_text()) for path in sorted((ROOT / "tests").rglob("test_*.py"))))


@pytest.mark.parametrize("group", GROUPS)
def test_every_rule_is_in_the_name_of_a_test(group: str):
    have = covered() | NOT_APPLICABLE.keys()
    missing = [rule for rule in rules(CHECKLIST.read_text()) if rule.split("-")[0] == group and rule not in have]
    assert not missing


def test_the_checklist_is_read_whole():
    found = rules(CHECKLIST.read_text())
    assert len(found) == len(set(found))
    counts = {group: sum(rule.startswith(group + "-") for rule in found) for group in GROUPS}
    assert all(counts.values())
    assert len(found) > 180


def test_what_is_not_applicable_is_a_rule_with_a_reason():
    assert set(NOT_APPLICABLE) <= set(rules(CHECKLIST.read_text()))
    assert all(NOT_APPLICABLE.values())


def test_control_a_missing_id_is_noticed():
    source = "def test_W_15_TT_04_two(): ...\nasync def test_AP_01_one(): ...\ndef W_16_no_test(): ...\n"
    assert named(source) == {"W-15", "TT-04", "AP-01"}
    assert rules("| W-15 | M | x |\n| ZZ-01 | M | x |\nW-16\n") == ["W-15"]
