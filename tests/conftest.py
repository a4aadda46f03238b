"""Rules of the whole test run.

In continuous integration (CI set) with the vectors at hand, a test that was skipped for want of a vector fails the
run: a renamed vector must not silently switch its test off.
Tests in tests/interop carry the mark `interop`: `make test` leaves them to `make interop`.
No property is held against a clock, and in continuous integration each is tried with the same examples every time: new
ones are for those who can look into what they find.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.vectors import MISSING, ROOT

TESTS = Path(__file__).resolve().parent

settings.register_profile(
    "teelog", deadline=None, derandomize=bool(os.environ.get("CI")), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("teelog")

_missing: list[str] = []


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and MISSING in str(report.longrepr):
        _missing.append(report.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in tests/interop needs another implementation, said here once (before `-m` is applied)."""
    for item in items:
        if TESTS / "interop" in item.path.parents:
            item.add_marker(pytest.mark.interop)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


def _must_fail() -> bool:
    return bool(_missing) and bool(os.environ.get("CI")) and ROOT.is_dir()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    # With pytest-xdist only the controller sees every report; a worker's exit status goes nowhere.
    if _must_fail() and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    real = sum("tests/evidence/" in nodeid for nodeid in _missing)
    if real:
        terminalreporter.line(f"{real} cases of real evidence were skipped: {MISSING} (TEELOG_VECTORS says where)")
    if _must_fail():
        terminalreporter.section("vectors are at hand, yet these tests found theirs missing")
        for nodeid in sorted(set(_missing)):
            terminalreporter.line(f"FAILED {nodeid}")
