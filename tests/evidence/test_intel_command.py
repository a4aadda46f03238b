"""`teelog evidence` over quotes of TDX and SGX: what is shown, what is verified, which exit code each has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from teelog.testing import intel, intel_cases
from teelog.testing.intel_cases import NONCE, PLATFORM
from tests.commands import Ran, teelog
from tests.evidence import intel_real
from tests.evidence.test_event_log import LOG, extended
from tests.trust.test_trust import FILES, HEAD
from tests.vectors import vectors

ROOT = f"Intel={intel.roots().pins[intel.ROOT].hex()}"
AT = ("--at", "2026-09-22T00:00:00Z", "--historical")
ASKED = ("--nonce", NONCE.hex(), "--without", "binding")


class Place:
    """Files in a folder, and the command over them with the fake root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.put("collateral.json", PLATFORM.collateral())

    def put(self, name: str, data: bytes | str) -> Path:
        path = self.folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def verify(self, quote: bytes, *options: str | Path, collateral: str | None = "collateral.json") -> Ran:
        given = ("--collateral", self.folder / collateral) if collateral else ()
        return teelog("evidence", "verify", self.put("quote.bin", quote), *given, "--root", ROOT, *AT, *ASKED, *options)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def quote(**fields: object) -> bytes:
    return PLATFORM.tdx(report_data=NONCE, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("raw", [quote(), PLATFORM.sgx(report_data=NONCE)], ids=["tdx", "sgx"])
def test_show_detects_the_platform_and_decodes_every_field(place: Place, raw: bytes):
    path = place.put("quote.bin", raw + bytes(100))
    shown = teelog("evidence", "show", path, "--json").json
    assert shown["platform"] in ("tdx", "sgx")
    assert shown["fields"]["report_data"] == NONCE.hex().ljust(128, "0")
    assert shown["fields"]["quote_size"] == len(raw)
    assert shown["verified"] is False
    assert "debug: off" in teelog("evidence", "show", path).text


def test_verify_tells_status_and_registers(place: Place):
    ran = place.verify(quote())
    assert ran.code == 0
    assert "TCB status: UpToDate" in ran.text
    assert "mrtd " in ran.text
    assert place.verify(quote(), "--json").json["registers"]["rtmr0"]


def test_collateral_is_one_of_the_endorsements(place: Place):
    assert place.verify(quote(), "--endorsement", place.folder / "collateral.json", collateral=None).code == 0


def test_without_collateral_nothing_is_established(place: Place):
    ran = place.verify(quote(), collateral=None)
    assert ran.code == 3
    assert "no collateral" in ran.stderr


def test_A_50_debug_fails(place: Place):
    ran = place.verify(quote(td_attributes=intel.SEPT_VE_DISABLE | intel_cases.DEBUG))
    assert ran.code == 1
    assert "debugged" in ran.stderr


def test_a_version_that_is_not_known_is_not_established(place: Place):
    ran = place.verify(b"\6" + quote()[1:])
    assert ran.code == 3
    assert "version 6" in ran.stderr


def test_require_makes_it_stricter(place: Place):
    stricter = place.put("require.json", json.dumps({"mrowner": "01" * 48}))
    ran = place.verify(quote(), "--require", stricter)
    assert ran.code == 1
    assert "mrowner" in ran.stderr
    unknown = place.put("require.json", json.dumps({"moon_phase": "full"}))
    assert place.verify(quote(), "--require", unknown).code == 3
    assert place.verify(quote(), "--require", place.put("require.json", "[]")).code not in (0, 3)


def test_the_trust_files_floor_and_roots_apply(place: Place):
    for name, text in FILES.items():
        place.put(name, text)
    place.put("collateral.json", PLATFORM.collateral(status="OutOfDate"))
    ran = place.verify(quote())
    assert ran.code == 1
    assert "actual: OutOfDate" in ran.stderr
    roots = f'[platform.tdx.roots]\n"{intel.ROOT}" = "{intel.roots().pins[intel.ROOT].hex()}"\n'
    trust = place.put("trust.toml", HEAD + '[platform.tdx]\ntcb_status = ["UpToDate", "OutOfDate"]\n' + roots)
    assert place.verify(quote(), "--trust", trust).code == 0
    path = place.put("quote.bin", quote())
    words = ("--collateral", place.folder / "collateral.json", "--trust", trust, *AT, *ASKED)
    assert teelog("evidence", "verify", path, *words).code == 0


def test_event_log_must_explain_the_registers(place: Place):
    log = place.put("ccel.bin", LOG)
    own = {"rtmr0": extended(b"a", b"b"), "rtmr1": extended(b"c"), "rtmr2": b""}
    ran = place.verify(quote(**own), "--event-log", log)
    assert ran.code == 0
    assert "the event log gives rtmr0, rtmr1" in ran.text
    ran = place.verify(quote(), "--event-log", log)
    assert ran.code == 1
    assert "does not explain rtmr0" in ran.stderr
    place.put("collateral.json", PLATFORM.collateral("SGX"))
    assert place.verify(PLATFORM.sgx(report_data=NONCE), "--event-log", log).code == 3


def test_real_quote_with_its_event_log():
    name = "tdx/go-tdx-guest/cos-113-tdx-quote.dat"
    case = intel_real.load(name)
    ran = teelog(
        "evidence", "verify", vectors(f"evidence/{name}"), "--at", "2025-06-25T00:00:00Z", "--historical",
        "--collateral", vectors("evidence/derived/collateral/tdx-00806F05-2025-06.json"),
        "--event-log", vectors(f"evidence/{intel_real.EVENT_LOG}"),
        "--report-data", case.expect["report_data"], "--without", "binding",
    )  # fmt: skip
    assert ran.code == 0
    assert "the event log gives rtmr0, rtmr1, rtmr2" in ran.text
