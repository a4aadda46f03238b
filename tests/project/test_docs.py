"""The documentation holds together: links resolve, decisions have their parts, nothing points outside the project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.project.reference import PAGE, commands, reference
from tests.project.sources import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
HEADINGS = ["Status", "Context", "Decision", "Rejected", "Consequences"]

_FENCE = re.compile(r"^```.*?^```", re.M | re.S)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*?)\s*$", re.M)


def links(text: str) -> list[str]:
    """The targets of inline links, code left out."""
    return _LINK.findall(_CODE.sub("", _FENCE.sub("", text)))


def anchors(text: str) -> set[str]:
    """The anchors that the headings get (GitHub's rule)."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(_FENCE.sub("", text))
    }


def broken(page: Path, text: str) -> list[str]:
    found = []
    for target in links(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        there = aim.is_relative_to(ROOT) and aim.exists()
        if not there or (anchor and anchor not in anchors(text if aim == page else aim.read_text())):
            found.append(target)
    return found


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_internal_link_resolves(page: Path):
    assert broken(page, page.read_text()) == []


def test_links_control_must_fail():
    text = "[a](none.md) [b](#nowhere) [c](design.md#nowhere) [d](../../outside.md) `[e](code.md)` [f](https://example.com)"
    assert broken(ROOT / "docs" / "design.md", text) == ["none.md", "#nowhere", "design.md#nowhere", "../../outside.md"]
    assert broken(ROOT / "docs" / "design.md", "# One: two\n[a](#one-two) [b](design.md) [c](formats)") == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_pages_speak_of_the_project_only(page: Path):
    text = page.read_text()
    # Folders that a public clone does not have.
    assert not re.findall(r"\.\./shared|\bnotes/\w|`vectors/|/work/|/tmp/", text)
    assert text.startswith("# ")
    assert text.endswith("\n")


@pytest.mark.parametrize("page", [*DECISIONS, ROOT / "docs" / "decisions" / "template.md"], ids=name)
def test_every_decision_has_the_templates_headings(page: Path):
    found = re.findall(r"^## (.*)$", page.read_text(), re.M)
    assert [heading for heading in found if heading in HEADINGS] == HEADINGS


@pytest.mark.parametrize("page", DECISIONS, ids=name)
def test_every_decision_is_numbered_and_listed(page: Path):
    number = page.name[:4]
    assert re.match(rf"# {number}: \S", page.read_text())
    assert f"[{number}]({page.name})" in (page.parent / "README.md").read_text()


def test_decisions_have_numbers_of_their_own():
    numbers = [page.name[:4] for page in DECISIONS]
    assert len(set(numbers)) == len(numbers)


def test_every_format_page_is_listed():
    listed = links((ROOT / "docs" / "formats" / "README.md").read_text())
    for page in (ROOT / "docs" / "formats").glob("*.md"):
        assert page.name == "README.md" or page.name in listed


def test_the_command_reference_is_what_the_command_line_says():
    assert PAGE.read_text() == reference(), "make fix writes it anew"


@pytest.mark.parametrize("path", [path for path, _ in commands()])
def test_every_command_explains_itself_in_a_sentence(path: str):
    command = dict(commands())[path]
    assert re.match(r"[A-Z][^\n]*", command.help or "")


# They print a document, or run until they are stopped.
WITHOUT_JSON = {"teelog completion", "teelog policy new", "teelog log serve", "teelog witness serve"}


@pytest.mark.parametrize("path", [path for path, _ in commands() if path not in WITHOUT_JSON])
def test_every_command_speaks_json(path: str):
    assert any("--json" in parameter.opts for parameter in dict(commands())[path].params)
