"""The import rule holds, and the judge that says so can say no."""

from __future__ import annotations

import re
import tomllib

import pytest

import teelog
from tests.project.imports import complaints
from tests.project.sources import ROOT, Source, sources

ALL = list(sources())

# Shipped files that may exceed 400 lines, each with its reason.
LONG_FILES: dict[str, str] = {}
MAX_LINES = 400


def test_there_are_sources_to_judge():
    modules = {source.module for source in ALL}
    assert {"teelog", "teelog.cli", "teelog.log_server", "teelog.witness", "teelog.keys"} <= modules


@pytest.mark.parametrize("source", ALL, ids=lambda source: source.module)
def test_import_rule(source: Source):
    assert complaints(source.path.read_text(), source.module, source.is_package) == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("teelog.log_server.sequencer", "import teelog.witness"),
        ("teelog.log_server.sequencer", "from teelog import witness"),
        ("teelog.log_server.sequencer", "def f():\n    from teelog.witness.store import Store"),
        ("teelog.log_server.sequencer", "def f():\n    from teelog.cli import output"),
        ("teelog.log_server.sequencer", "from ..witness import store"),
        ("teelog.log_server.sequencer", "import importlib\nimportlib.import_module('teelog.witness')"),
        ("teelog.witness.app", "from teelog.log_server import store"),
        ("teelog.witness.app", "import cli"),
        ("teelog.cli.log", "from teelog.log_server import app"),
        ("teelog.cli.log", "class A:\n    from teelog.log_server import app"),
        ("teelog.cli.log", "try:\n    import teelog.witness\nexcept ImportError:\n    pass"),
        ("teelog.cli.log", "def f():\n    from log_server import app"),
        ("teelog.cli.log", "import aiohttp"),
        ("teelog.cli.log", "from sqlite3 import connect"),
        ("teelog.client.http", "def f():\n    import teelog.log_server"),
        ("teelog.tlog.note", "import os"),
        ("teelog.tlog.note", "def f():\n    import os.path"),
        ("teelog.tlog.note", "def f():\n    import time"),
        ("teelog.tlog.note", "from pathlib import Path"),
        ("teelog.tlog.note", "import logging"),
        ("teelog.tlog.note", "import random"),
        ("teelog.tlog.note", "from teelog.evidence import snp"),
        ("teelog.tlog.note", "from teelog.statement import dsse"),
        ("teelog.tlog.note", "from teelog.client import http"),
        ("teelog.tlog.note", "def f(path):\n    return open(path)"),
        ("teelog.tlog.note", "import datetime\ndef f():\n    return datetime.datetime.now(datetime.UTC)"),
        ("teelog.evidence.snp", "from teelog.tlog import note"),
        ("teelog.statement.dsse", "import aiohttp"),
        ("teelog.statement.dsse", "from urllib.request import urlopen"),
        ("teelog.measure.sev_snp", "import tempfile"),
        ("teelog.keys", "import secrets"),
        ("teelog.keys", "from teelog.tlog import note"),
        ("teelog.strict", "import sqlite3"),
    ],
)
def test_import_rule_control_must_fail(module: str, text: str):
    assert complaints(text, module), "the judge let a breach pass"


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("teelog.cli.log", "def f():\n    from teelog.log_server import app"),
        ("teelog.cli.log", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import aiohttp"),
        ("teelog.cli.log", "from teelog.cli import output\nfrom teelog.tlog import note\nimport os, time"),
        ("teelog.log_server.app", "import aiohttp, os, time\nfrom teelog.log_server import store"),
        ("teelog.tlog.note", "import hashlib, struct\nfrom teelog.errors import MalformedError"),
        ("teelog.statement.dsse", "from datetime import datetime\nfrom teelog import strict"),
    ],
)
def test_import_rule_lets_the_ordinary_pass(module: str, text: str):
    assert complaints(text, module) == []


@pytest.mark.parametrize("source", ALL, ids=lambda source: source.module)
def test_files_are_named_for_what_they_do(source: Source):
    assert source.path.stem not in {"utils", "util", "common", "helpers", "helper", "misc", "base"}


@pytest.mark.parametrize("source", ALL, ids=lambda source: source.module)
def test_files_stay_short(source: Source):
    lines = len(source.path.read_text().splitlines())
    if source.relative in LONG_FILES:
        assert lines > MAX_LINES, "no longer long: take it off the list"
    else:
        assert lines <= MAX_LINES


def test_every_package_is_in_the_wheel_and_tests_are_not():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(packages) == sorted({source.module for source in ALL if source.is_package})
    assert all(package.partition(".")[0] == "teelog" and "tests" not in package for package in packages)


def test_the_version_is_said_once_and_the_same():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == teelog.__version__


@pytest.mark.parametrize("folder", ["cli", "log_server", "witness"])
def test_the_folder_is_also_visible_inside_the_package(folder: str):
    link = ROOT / "teelog" / folder
    assert link.is_symlink()
    assert link.readlink().as_posix() == f"../{folder}"


PRINTING = re.compile(r"\bprint\(|\bsecho\(|\becho\(|sys\.std(out|err)\b|rich\b")
CLI = [each for each in ALL if each.relative.startswith("cli/")]


@pytest.mark.parametrize("source", CLI, ids=lambda source: source.module)
def test_only_the_printer_prints(source: Source):
    if source.module in ("teelog.cli", "teelog.cli.main", "teelog.cli.output"):
        return
    assert not PRINTING.search(source.path.read_text())
