# Every target sets up what it needs; the machine needs python3 (3.11 or later) with venv, and make.
#   make demo     the whole story on this machine, ends with a fork being caught
#   make test     the tests            (TESTS=tests/tlog for a part, PYTEST_ARGS=... for options)
#   make long     the tests that take longest: the demo from the wheel, the tutorials as written
#   make check    ruff, mypy --strict, the import rule
#   make fix      what can be repaired by itself: ruff's findings, docs/commands.md
#   make bench    ratios of design section 10
#   make floors   that no ratio falls below half its target, in short; on a quiet machine
#   make interop  other implementations read ours, ours reads theirs (needs Go)
#   make faults   the long fault campaigns of design section 11
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTS ?= tests
PYTEST_ARGS ?= -n 3 --dist loadfile

.PHONY: demo test long check fix bench floors interop faults clean
.DEFAULT_GOAL := test

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or later is needed, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/teelog demo

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS) $(TESTS)

long: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m long $(TESTS)

check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/project/test_imports.py

fix: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/python -m tests.project.reference

bench: $(STAMP)
	$(BIN)/python -m tests.bench

floors: $(STAMP)
	$(BIN)/python -m pytest -p no:cacheprovider -m floor tests/bench

interop: $(STAMP)
	$(BIN)/python -m pytest -p no:cacheprovider -m interop tests

faults: $(STAMP)
	$(BIN)/python -m pytest -p no:cacheprovider -m slow --timeout 3600 $(TESTS)

clean:
	rm -rf $(VENV) build dist teelog.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
