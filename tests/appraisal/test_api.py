"""The calls that users make: what they raise, what they cost, what a verdict refuses to be."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

import teelog
from tests.appraisal import fake_tee
from tests.appraisal.case import Case

GOOD = Case()


def test_verify_returns_the_verdict_and_names_the_waivers():
    verdict = teelog.verify(**GOOD.arguments())
    assert verdict.overall is teelog.Overall.VERIFIED_WITH_WAIVERS


def test_verify_raises_with_the_verdict_and_the_first_cause():
    with pytest.raises(teelog.NotVerified) as caught:
        teelog.verify(**replace(GOOD, evidence=fake_tee.report(debug=True)).arguments())
    assert caught.value.verdict[teelog.Check.CONFIGURATION].outcome is teelog.Outcome.FAILED
    assert caught.value.message == "configuration: debugging is allowed"
    assert caught.value.exit_code == 1


def test_verify_raises_where_a_check_lacks_its_input():
    with pytest.raises(teelog.NotVerified) as caught:
        teelog.verify(**replace(GOOD, without=frozenset()).arguments())
    assert caught.value.exit_code == 3
    assert caught.value.verdict.overall is teelog.Overall.NOT_ESTABLISHED


def test_verify_knows_no_other_time_than_now():
    with pytest.raises(TypeError, match="historical"):
        teelog.verify(**GOOD.arguments(), historical=True)


def test_a_verdict_is_no_bool():
    with pytest.raises(TypeError, match="not a bool"):
        bool(teelog.appraise(**GOOD.arguments()))


def test_every_public_name_is_there_and_described():
    for name in teelog.__all__:
        assert getattr(teelog, name) is not None
    assert teelog.verify.__doc__
    assert teelog.appraise.__doc__
    with pytest.raises(AttributeError, match="nothing"):
        teelog.nothing  # noqa: B018


def loaded(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_teelog_loads_nothing_else():
    assert not {"cryptography", "msgspec", "teelog.errors", "teelog.trust"} & loaded("import teelog")


def test_verifying_loads_no_server_and_no_client():
    modules = loaded("import teelog\nteelog.verify, teelog.trust.parse")
    assert "teelog.appraisal.api" in modules
    assert not {"aiohttp", "sqlite3", "click", "asyncio", "teelog.client", "socket"} & modules
    # What reads bundles is loaded where there is one.
    assert not {"cbor2", "teelog.bundle", "teelog.index"} & modules
