"""`teelog evidence`: what is shown, what is verified, and which exit code each has."""

from __future__ import annotations

from pathlib import Path

import pytest

from teelog.evidence.report_data import commitment
from teelog.testing import sev_snp
from teelog.testing.sev_snp_cases import DEBUG, POLICY
from tests.commands import Ran, teelog, teelog_process
from tests.evidence import real

MACHINE = sev_snp.Machine()
OTHER = sev_snp.Machine(seed=b"2")
NONCE = b"\x5a" * 32
ROOT = f"Milan={sev_snp.roots().pins['Milan'].hex()}"
AT = "2026-10-01T00:00:00Z"


class Place:
    """Files in a folder, and the command over them with the fake root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.put("chain.pem", MACHINE.chain())

    def put(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def verify(self, report: bytes, *options: str | Path, root: str | None = ROOT) -> Ran:
        given = ("--root", root) if root else ()
        path = self.put("report.bin", report)
        return teelog("evidence", "verify", path, "--endorsement", self.folder / "chain.pem", *given, *options)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


WAIVED = ("--without", "freshness", "--without", "binding")


def test_show_decodes_every_field_and_trusts_none(place: Place):
    path = place.put("report.bin", MACHINE.report(report_data=NONCE))
    ran = teelog("evidence", "show", path)
    assert ran.code == 0
    assert ran.stderr == "nothing of this is verified: that is what teelog evidence verify does\n"
    for words in ("platform", "sev-snp", NONCE.hex(), "guest_policy.debug", "Milan", "debug: off", "signature.r"):
        assert words in ran.text
    shown = teelog("evidence", "show", path, "--json").json
    assert shown["schema"] == "teelog-evidence/v1"
    assert shown["verified"] is False
    assert shown["fields"]["report_data"] == NONCE.hex().ljust(128, "0")
    assert shown["fields"]["reported_tcb"] == MACHINE.certified_tcb.parts()
    assert set(shown["registers"]) == {"measurement"}


def test_show_of_a_debug_report_says_so(place: Place):
    ran = teelog("evidence", "show", place.put("report.bin", MACHINE.report(guest_policy=POLICY | DEBUG)))
    assert "debug: ON" in ran.text


@pytest.mark.parametrize("command", ["show", "verify"])
@pytest.mark.parametrize("data", [b"", b"x" * 1184, b"\x30\x82", bytes(1183), b"\x1b]0;evil\x07" * 10])
def test_what_is_no_evidence_is_refused(place: Place, command: str, data: bytes):
    ran = teelog("evidence", command, place.put("report.bin", data))
    assert ran.code == 1
    assert ran.stderr.startswith("error: ")
    assert "\x1b" not in ran.stderr + ran.text


def test_all_four_checks_verify(place: Place):
    key = place.put("output.txt", b"approved results")
    report = MACHINE.report(report_data=commitment(NONCE, b"approved results"))
    ran = place.verify(report, "--nonce", NONCE.hex(), "--binds", key)
    assert ran.code == 0, ran.stderr
    assert "verdict: verified\n" in ran.text
    assert "NOT AMD's" in ran.text
    told = place.verify(report, "--nonce", NONCE.hex(), "--binds", key, "--json").json
    assert told["verdict"] == "verified"
    assert {name: check["outcome"] for name, check in told["checks"].items()} == dict.fromkeys(
        ("hardware", "configuration", "freshness", "binding"), "verified"
    )


@pytest.mark.parametrize(
    ("options", "open_check"),
    [((), "freshness"), (("--nonce", NONCE.hex()), "binding"), (("--without", "freshness"), "binding")],
)
def test_check_without_its_input_is_not_established(place: Place, options: tuple[str, ...], open_check: str):
    ran = place.verify(MACHINE.report(report_data=NONCE), *options)
    assert ran.code == 3
    assert f"error: {open_check}: no " in ran.stderr
    assert "verdict: not established" in ran.text


def test_waivers_are_printed(place: Place):
    ran = place.verify(MACHINE.report(), *WAIVED)
    assert ran.code == 0
    assert "verdict: verified-with-waivers" in ran.text
    assert "switched off by name" in ran.text


def test_everything_switched_off_is_no_success(place: Place):
    ran = place.verify(MACHINE.report(), *WAIVED, "--without", "hardware", "--without", "configuration")
    assert ran.code == 3


def test_without_endorsement_nothing_is_established(place: Place):
    path = place.put("report.bin", MACHINE.report())
    ran = teelog("evidence", "verify", path, *WAIVED)
    assert ran.code == 3
    assert "hardware: no endorsement" in ran.stderr
    assert f"next: teelog evidence fetch {path} --out endorsements; or --endorsement FILE" in ran.stderr


def flipped() -> bytes:
    report = bytearray(MACHINE.report(report_data=NONCE))
    report[0x90] ^= 1
    return bytes(report)


ATTACKS = {
    "another program's report": (flipped(), (), "hardware: the report is not signed"),
    "another machine": (OTHER.report(report_data=NONCE), (), "hardware: the certificate is for another"),
    "debug": (MACHINE.report(report_data=NONCE, guest_policy=POLICY | DEBUG), (), "configuration: the guest can be"),
    "replayed nonce": (MACHINE.report(report_data=b"old"), (), "freshness: the report data answers another"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_A_50_attack_is_refused_with_its_own_cause(place: Place, name: str):
    report, options, cause = ATTACKS[name]
    ran = place.verify(report, "--nonce", NONCE.hex(), "--without", "binding", *options)
    assert ran.code == 1
    assert f"error: {cause}" in ran.stderr
    assert "verdict: failed" in ran.text


def test_output_that_the_report_does_not_bind_is_refused(place: Place):
    other = place.put("output.txt", b"other results")
    ran = place.verify(
        MACHINE.report(report_data=commitment(NONCE, b"results")), "--nonce", NONCE.hex(), "--binds", other
    )
    assert ran.code == 1
    alone = place.verify(MACHINE.report(report_data=commitment(b"", b"results")), "--binds", other, *WAIVED[:2])
    assert alone.code == 1
    assert "error: binding: the report data does not commit" in alone.stderr


def test_nothing_of_unauthentic_evidence_is_judged_or_printed(place: Place):
    told = place.verify(flipped(), "--nonce", NONCE.hex(), "--json").json
    assert told["registers"] == {}
    others = [told["checks"][name]["outcome"] for name in ("configuration", "freshness", "binding")]
    assert others == ["not established"] * 3


def test_fake_root_is_not_trusted_unless_given(place: Place):
    ran = place.verify(MACHINE.report(), *WAIVED, root=None)
    assert ran.code == 1
    assert "pinned root" in ran.stderr


def test_at_is_never_verified(place: Place):
    ran = place.verify(MACHINE.report(), *WAIVED, "--at", AT)
    assert ran.code == 3
    assert f"verdict: verified as of {AT}" in ran.text
    assert "--historical" in ran.stderr
    ran = place.verify(MACHINE.report(), *WAIVED, "--at", AT, "--historical")
    assert ran.code == 0
    assert f"verdict: verified as of {AT}" in ran.text
    expired = place.verify(MACHINE.report(), *WAIVED, "--at", "2047-01-01T00:00:00Z", "--historical")
    assert expired.code == 1
    assert "expired" in expired.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--historical",), ("--at", "yesterday"), ("--at", "2026-13-01T00:00:00Z"), ("--at", "2026-10-1"),
        ("--nonce", "AA"), ("--nonce", ""), ("--nonce", "00" * 65), ("--nonce", "aa", "--report-data", "aa"),
        ("--report-data", "zz"), ("--without", "witnessed"), ("--root", "Milan=aa"), ("--root", "Milan"),
    ],
)  # fmt: skip
def test_wrong_use_is_exit_2(place: Place, options: tuple[str, ...]):
    assert place.verify(MACHINE.report(), *options).code == 2


def test_missing_file_is_unavailable(place: Place):
    assert teelog("evidence", "verify", place.folder / "none").code == 4
    assert place.verify(MACHINE.report(), "--binds", place.folder / "none").code == 4


def test_hostile_provider_name_reaches_no_terminal_raw(place: Place):
    from teelog.testing import x509

    machine = sev_snp.Machine(vlek=True)
    leaf = machine.endorsement({"5": x509.tlv(0x16, b"CN=\x1b[2Jevil")})
    place.put("chain.pem", sev_snp.pem(leaf) + machine.chain().split(b"-----\n", 2)[2])
    ran = place.verify(machine.report(), *WAIVED)
    assert ran.code == 1
    assert "\x1b" not in ran.text + ran.stderr


def test_real_machine_verifies_as_its_own_process():
    """AMD's own signature over a dstack machine, today."""
    case = real.load("derived/snp/milan-v3-dstack.report.bin")
    folder = real.vectors("evidence/derived/snp")
    ran = teelog_process(
        "evidence", "verify", folder / "milan-v3-dstack.report.bin",
        "--endorsement", folder / "milan-v3-dstack.vcek.der",
        "--report-data", b"attest-test-fixture-2026".hex(), "--without", "binding",
        "--at", "2026-11-01T00:00:00Z", "--historical",
    )  # fmt: skip
    assert ran.code == 0, ran.stderr
    assert f"measurement {case.expect['measurement']}" in ran.text
    assert "NOT AMD's" not in ran.text
