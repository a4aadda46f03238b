"""The README's table of platforms says what the tests over real evidence run."""

from __future__ import annotations

import pytest

from teelog.evidence import platform
from tests.evidence import table
from tests.vectors import vectors


def test_the_table_is_not_stale():
    expected = table.stale(table.README.read_text())
    assert expected is None, "run: python -m tests.evidence.table"


def test_every_platform_has_a_row_and_its_page():
    assert set(table.shown()) == set(platform.MODULES)
    for name in table.shown():
        assert (table.ROOT / "docs" / "formats" / f"evidence-{name}.md").exists()


@pytest.mark.parametrize("change", [("SEV-SNP", "SEV-ES"), (" of ", " off "), ("| checked |", "| verified |")])
def test_table_control_a_changed_cell_is_noticed(change: tuple[str, str]):
    readme = table.README.read_text()
    block = table.block(readme)
    assert table.stale(readme.replace(block, block.replace(*change, 1))) is not None


def test_table_control_the_date_alone_is_not_noticed():
    readme = table.README.read_text()
    block = table.block(readme)
    assert table.stale(readme.replace(block, table._DATE.sub("2020-01-01", block))) is None


@pytest.mark.parametrize("name", table.ROWS)
def test_every_vector_of_the_table_is_there(name: str):
    if name not in table.shown():
        pytest.skip(f"{name} is not appraised by this version")
    for each in table.ROWS[name].vectors():
        assert vectors(f"evidence/{each if '/' in each else f'{name}/{each}'}").exists()


def report(nodeid: str, outcome: str = "passed", when: str = "call") -> pytest.TestReport:
    return pytest.TestReport(nodeid, ("", None, ""), {}, outcome, None, when)  # type: ignore[arg-type]


def test_a_vector_passes_if_all_its_tests_do():
    first, second, third = table.ROWS["sev-snp"].vectors()[:3]
    recorder = table.Recorder()
    file = "tests/evidence/test_real.py"
    for name in (first, second):
        recorder.pytest_runtest_logreport(report(f"{file}::test_a[{name}]"))
    recorder.pytest_runtest_logreport(report(f"{file}::test_b[then-{second}]", "failed"))
    recorder.pytest_runtest_logreport(report(f"{file}::test_b[{third}]", "skipped", "setup"))
    recorder.pytest_runtest_logreport(report(f"tests/evidence/test_other.py::test_c[{third}]"))
    assert recorder.good - recorder.bad == {first}
