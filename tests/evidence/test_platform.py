"""The table of platforms: every line of it names a module that answers, and nothing else is answered for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from teelog.errors import ConfigError, MalformedError
from teelog.evidence import platform
from teelog.statement import registers


@pytest.mark.parametrize("name", platform.PLATFORMS)
def test_every_platform_of_the_table_has_its_three_functions_and_takes_nothing_for_its_evidence(name: str):
    module = platform.module(name)
    assert not module.looks_like(b"")
    module.check_floor({})
    with pytest.raises(ConfigError):
        module.check_floor({"no-such-member": True})
    with pytest.raises(MalformedError):
        module.parse(b"")


def test_every_platform_that_statements_name_and_that_is_appraised_goes_by_one_name():
    assert set(platform.PLATFORMS) & set(registers.PLATFORMS), "the two tables speak of other platforms"


def test_a_platform_that_is_not_in_the_table_is_refused_by_name():
    with pytest.raises(MalformedError, match="platform is not known"):
        platform.parse(b"x", "toaster")
    with pytest.raises(ConfigError, match="platform is not known"):
        platform.check_floor("toaster", {})


@pytest.mark.parametrize("raw", [b"", b"\0", b"\xff" * 1184, bytes(1184), bytes(5006)], ids=len)
def test_what_is_no_platforms_evidence_is_malformed(raw: bytes):
    with pytest.raises(MalformedError, match="no evidence of a platform"):
        platform.parse(raw)


def test_a_verifier_that_meets_no_quote_or_report_of_a_platform_loads_no_library_that_only_one_platform_needs():
    code = (
        "import sys; from teelog.evidence import platform\n"
        "try: platform.detect(bytes(100))\n"
        "except Exception: pass\n"
        "from teelog.testing import sev_snp; one = sev_snp.Machine()\n"
        "finding = platform.parse(one.report()).hardware([one.endorsement()], sev_snp.NOW, sev_snp.roots())\n"
        "assert finding.outcome == 'verified'\n"
        "print([name for name in ('dcap_qvl', 'signxml', 'lxml', 'aiohttp') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
