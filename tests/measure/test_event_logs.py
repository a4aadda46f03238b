"""Event logs: what quotes, other tools and hardware state of real ones, and each kind of bad log."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import MalformedError, NotEstablished, TeelogError
from teelog.evidence import event_log, platform
from teelog.measure import event_logs
from teelog.testing import tpm
from tests.commands import teelog
from tests.evidence.test_event_log import LOG as CCEL
from tests.measure.damage import unharmed
from tests.measure.releases import stating
from tests.vectors import vectors

TDX, TPM = "measure/tdx", "measure/tpm-uki"
BANKS = {4: "sha1", 11: "sha256", 12: "sha384"}


def told(path: Path, *more: str) -> tuple[dict[str, Any], dict[str, str], str]:
    """Labels, registers and how of the one variant."""
    ran = teelog("measure", "event-log", path, *more, "--json")
    assert ran.code == 0, ran.stderr
    (one,) = ran.json.get("values") or ran.json["variants"]
    return one["when"], one.get("values") or one["registers"], one["how"]


def fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    """Of a protobuf message: number, then bytes or a number."""
    place = 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = raw[place]
            place, value, shift = place + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while place < len(raw):
        tag = number()
        if tag & 7 == 2:
            size = number()
            place += size
            yield tag >> 3, raw[place - size : place]
        else:
            yield tag >> 3, number()


def test_gce_ccel_data_yields_the_rtmrs_of_gce_cos_113_tdx_quote_extracted():
    vectors(f"{TDX}/gce-ccel_table.dat")  # where the log lies in memory; no value is in it
    when, found, how = told(vectors(f"{TDX}/gce-ccel_data.dat"))
    quoted = platform.parse(vectors(f"{TDX}/gce-cos-113-tdx-quote.dat").read_bytes()).registers
    assert (when, how) == ({"log": "ccel", "bank": "sha384"}, "extracted")
    assert found == {name: quoted[name].hex() for name in found}
    assert not any(quoted["rtmr3"])
    assert list(found) == ["rtmr0", "rtmr1", "rtmr2"]


def test_ubuntu_grub_ccel_has_the_digests_of_its_parsed_json():
    path = vectors(f"{TDX}/ubuntu-grub-CCEL.bin")
    stated = json.loads(vectors(f"{TDX}/ubuntu-grub-CCEL.parsed.json").read_bytes())["uefi_event_logs"]
    wanted = [(each["index"], each["digests"][0]["digest"]) for each in stated]
    events = event_log.parse(path.read_bytes())
    found = [(event.index, event.digests[event_log.SHA384].hex()) for event in events]
    assert found == wanted
    when, registers, how = told(path)
    assert (when["log"], how, list(registers)) == ("ccel", "extracted", ["rtmr0", "rtmr1", "rtmr2"])


def test_gke_uki_ccel_yields_registers_extracted():
    when, found, how = told(vectors(f"{TDX}/gke-uki-CCEL.bin"))
    assert (when["log"], how, list(found)) == ("ccel", "extracted", ["rtmr0", "rtmr1", "rtmr2"])


def test_dstack_tdx_lite_getquote_yields_the_registers_of_its_quote_extracted():
    path = vectors(f"{TDX}/dstack-tdx-lite-getquote.json")
    stated = json.loads(vectors(f"{TDX}/dstack-tdx-lite.expected.json").read_bytes())["expected_from_quote"]
    when, found, how = told(path)
    assert (when, how) == ({"log": "dstack", "bank": "sha384"}, "extracted")
    assert found == {name: stated[name] for name in ("rtmr0", "rtmr1", "rtmr2", "rtmr3")}


@pytest.mark.parametrize("algorithm", BANKS)
def test_gce_cos_85_yields_its_quoted_pcrs_in_each_bank_extracted(algorithm: int, tmp_path: Path):
    parts = list(fields(vectors(f"{TPM}/gce-cos-85-nonce9009.pb").read_bytes()))
    (log,) = (value for number, value in parts if number == 3)
    (tmp_path / "log").write_bytes(log)
    quotes = [list(fields(dict(fields(value))[3])) for number, value in parts if number == 2]
    (quoted,) = (quote for quote in quotes if dict(quote)[1] == algorithm)
    pcrs = {dict(fields(value)).get(1, 0): dict(fields(value))[2].hex() for number, value in quoted if number == 2}
    when, found, how = told(tmp_path / "log", "--bank", BANKS[algorithm])
    assert (when, how) == ({"log": "tpm", "bank": BANKS[algorithm]}, "extracted")
    own = {f"pcr{index}": pcrs[index] for index in range(10)}
    assert {name: value for name, value in found.items() if name in own} == {name: own[name] for name in found} != {}
    assert set(own) - set(found) <= {name for name, value in own.items() if not int(value, 16)}


@pytest.mark.parametrize("bank", ["sha1", "sha256", "sha384"])
def test_ubuntu_2404_amd_sevsnp_is_read_in_each_bank(bank: str):
    when, found, how = told(vectors(f"{TPM}/ubuntu-2404-amd-sevsnp.eventlog.bin"), "--bank", bank)
    assert (when["log"], how) == ("tpm", "extracted")
    assert {"pcr0", "pcr4", "pcr7"} <= set(found)


def test_windows_gcp_shielded_vm_yields_its_stated_sha1_pcrs_extracted(tmp_path: Path):
    stated = json.loads(vectors(f"{TPM}/windows_gcp_shielded_vm.json").read_bytes())["Log"]
    pcrs = {each["Index"]: base64.b64decode(each["Digest"]).hex() for each in stated["PCRs"]}
    (tmp_path / "log").write_bytes(base64.b64decode(stated["Raw"]))
    when, found, how = told(tmp_path / "log", "--bank", "sha1")
    assert (when, how) == ({"log": "tcg-1.2", "bank": "sha1"}, "extracted")
    assert found == {name: pcrs[int(name[3:])] for name in found}
    assert {"pcr0", "pcr4", "pcr7", "pcr11"} <= set(found)
    assert teelog("measure", "event-log", tmp_path / "log").code == 1  # nobody asked for SHA-1


def legacy(*events: tuple[int, int, bytes]) -> bytes:
    return b"".join(
        struct.pack("<II", index, kind) + hashlib.sha1(data).digest() + struct.pack("<I", len(data)) + data
        for index, kind, data in events
    )


def sha1(*datas: bytes) -> bytes:
    value = bytes(20)
    for data in datas:
        value = hashlib.sha1(value + hashlib.sha1(data).digest()).digest()
    return value


@pytest.mark.parametrize("rest", [b"", bytes(100), b"\xff" * 100])
def test_logs_of_tcg_1_2_replay(rest: bytes):
    log = legacy((0, 8, b"v"), (0, 3, b"said"), (4, 13, b"a"), (4, 13, b"b")) + rest
    assert event_logs.replay(log, "sha1").registers == {"pcr0": sha1(b"v"), "pcr4": sha1(b"a", b"b")}


def runtime(name: str, payload: bytes, **more: object) -> dict[str, object]:
    return {"imr": 3, "event_type": 0x08000001, "digest": "", "event": name, "event_payload": payload.hex(), **more}


def test_dstack_events_without_a_digest_get_the_one_that_was_extended():
    digest = hashlib.sha384(b"\x01\0\0\x08:app-id:\xab").digest()
    wanted = {"rtmr3": hashlib.sha384(bytes(48) + digest).digest()}
    listed = [runtime("app-id", b"\xab")]
    for log in (listed, {"event_log": listed}, {"event_log": json.dumps(listed)}, {"event_log": listed, "quote": "00"}):
        assert event_logs.replay(json.dumps(log).encode()).registers == wanted
    assert event_logs.replay(json.dumps([runtime("app-id", b"\xab", digest=digest.hex())]).encode()).registers == wanted


@pytest.mark.parametrize(
    ("log", "bank"),
    [
        (b"", None), (b"", "sha256"), (legacy((0, 8, b"v")), None), (legacy((0, 8, b"v")) + b"x", "sha1"),
        (legacy((24, 8, b"v")), "sha1"), (legacy((0, 8, b"v"))[:-1], "sha1"), (bytes(event_log.MAX_LOG) + b"x", "sha1"),
        (b"[{}]", None), (b"{}", None), (b'{"event_log":7}', None), (b'{"event_log":"["}', None), (b"[", None),
        (json.dumps([runtime("a", b"", imr=4)]).encode(), None),
        (json.dumps([runtime("a", b"", digest="00" * 48)]).encode(), None),
        (json.dumps([runtime("a", b"", event_type=1)]).encode(), None),
        (json.dumps([runtime("a", b"", event_payload="0")]).encode(), None),
    ],
)  # fmt: skip
def test_what_is_no_log_is_malformed(log: bytes, bank: str | None):
    with pytest.raises(MalformedError):
        event_logs.replay(log, bank)


def test_a_log_without_the_bank_asked_for_is_not_established():
    with pytest.raises(NotEstablished, match="another bank"):
        event_logs.replay(CCEL, "sha256")
    with pytest.raises(MalformedError, match="no sha384"):
        event_logs.replay(tpm.event_log([(4, b"a")]), "sha384")


@pytest.mark.parametrize(
    ("log", "bank"),
    [
        (CCEL, None),
        (tpm.event_log([(0, b"a"), (4, b"b")], locality=3), None),
        (legacy((0, 8, b"v"), (4, 13, b"a")), "sha1"),
        (json.dumps([runtime("app-id", b"\xab")]).encode(), None),
    ],
)
def test_A_48_damaged_logs_raise_nothing_else(log: bytes, bank: str | None):
    # What an event says in words is no part of what was extended, so some of them give the same.
    assert unharmed(log, lambda bad: event_logs.replay(bad, bank).registers) < 600


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([None, "sha1", "sha384"]))
def test_A_48_arbitrary_bytes_raise_nothing_else(junk: bytes, bank: str | None):
    for log in (junk, b"[" + junk, legacy((0, 8, b"v")) + junk):
        try:
            event_logs.replay(log, bank)
        except TeelogError:
            continue


def test_expect_compares_the_registers_that_the_log_gives(tmp_path: Path):
    (tmp_path / "ccel").write_bytes(CCEL)
    _, found, _ = told(tmp_path / "ccel")
    zeros = dict.fromkeys(("mrtd", "rtmr0", "rtmr1", "rtmr2"), "00" * 48)
    release = stating(tmp_path / "release.json", [("tdx", {**zeros, **found})])
    ran = teelog("measure", "event-log", tmp_path / "ccel", "--expect", release)
    assert (ran.code, "not compared: mrtd, rtmr2" in ran.stderr) == (0, True)
    stating(release, [("tdx", zeros)])
    assert teelog("measure", "event-log", tmp_path / "ccel", "--expect", release).code == 1
    stating(release)
    assert teelog("measure", "event-log", tmp_path / "ccel", "--expect", release).code == 3
