"""Event logs in the crypto-agile format: replayed exactly, and refused where they are not exact."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import MalformedError
from teelog.evidence import event_log, platform
from teelog.evidence.event_log import EV_NO_ACTION, SHA256, SHA384
from teelog.evidence.platform import Logged
from teelog.evidence.tdx import event_log as ccel
from teelog.testing.intel_cases import PLATFORM
from teelog.verdict import Check, Finding, Outcome
from tests.evidence.contract import mutations
from tests.vectors import vectors

SIZES = {SHA256: 32, SHA384: 48}


def head(sizes: dict[int, int] = SIZES, index: int = 1, signature: bytes = b"Spec ID Event03\0") -> bytes:
    body = signature + bytes(4) + b"\0\2\0\2" + len(sizes).to_bytes(4, "little")
    body += b"".join(struct.pack("<HH", *item) for item in sizes.items()) + b"\0"
    return struct.pack("<II", index, EV_NO_ACTION) + bytes(20) + len(body).to_bytes(4, "little") + body


def event(index: int, data: bytes, kind: int = 0x0D, algorithms: dict[int, int] = SIZES) -> bytes:
    digests = b"".join(
        algorithm.to_bytes(2, "little") + hashlib.new(event_log.NAMES[algorithm], data).digest()
        for algorithm in algorithms
    )
    start = struct.pack("<III", index, kind, len(algorithms)) + digests
    return start + len(data).to_bytes(4, "little") + data


def extended(*datas: bytes, name: str = "sha384") -> bytes:
    value = bytes(hashlib.new(name).digest_size)
    for data in datas:
        value = hashlib.new(name, value + hashlib.new(name, data).digest()).digest()
    return value


LOG = head() + event(1, b"a") + event(1, b"b") + event(2, b"c") + event(1, b"said", EV_NO_ACTION)


def test_replay_extends_in_order_and_skips_what_only_informs():
    assert ccel.replay(LOG) == {"rtmr0": extended(b"a", b"b"), "rtmr1": extended(b"c")}
    by_sha256 = event_log.replay(event_log.parse(LOG), SHA256)
    assert by_sha256 == {1: extended(b"a", b"b", name="sha256"), 2: extended(b"c", name="sha256")}


def test_what_is_parsed_is_what_was_written():
    (first, *_) = event_log.parse(LOG)
    assert (first.index, first.kind, first.data) == (1, 0x0D, b"a")
    assert first.digests[SHA384] == hashlib.sha384(b"a").digest()


@pytest.mark.parametrize("rest", [b"", bytes(64), b"\xff" * 64, b"\0", b"\xff" * 4], ids=len)
def test_the_unused_rest_of_the_area_is_no_event(rest: bytes):
    assert ccel.replay(LOG + rest) == ccel.replay(LOG)


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (b"", "ends inside"),
        (LOG[:-1], "ends inside"),
        (LOG + b"\xff" * 8 + b"x", "follows the end"),
        (LOG + bytes(32) + b"x", "ends inside"),
        (head(signature=b"Spec ID Event02\0"), "crypto-agile"),
        (head(index=7), "crypto-agile"),
        (head({SHA256: 31}), "another size"),
        (head({}), "number of hash algorithms"),
        (head(dict.fromkeys(range(20, 29), 1)), "number of hash algorithms"),
        (head({SHA256: 32}) + event(1, b"a"), "more digests"),
        (head({SHA256: 32}) + event(1, b"a", algorithms={SHA384: 48}), "undeclared"),
        (head({SHA256: 32}) + event(1, b"a", algorithms={SHA256: 32}), "no sha384"),
        (LOG + event(5, b"x"), "does not have"),
        (LOG + event(0, b"x"), "does not have"),
        (bytes(event_log.MAX_LOG + 1), "too long"),
    ],
)
def test_A_48_a_log_that_is_not_exact_is_malformed(log: bytes, cause: str):
    with pytest.raises(MalformedError, match=cause):
        ccel.replay(log)


def test_A_48_an_event_with_two_digests_of_one_algorithm_is_malformed():
    digest = SHA384.to_bytes(2, "little") + bytes(48)
    twice = struct.pack("<III", 1, 1, 2) + digest + digest + bytes(4)
    with pytest.raises(MalformedError, match="two digests"):
        event_log.parse(head() + twice)


def judged(log: bytes, **fields: object) -> Finding:
    evidence = platform.parse(PLATFORM.tdx(**fields))  # type: ignore[arg-type]
    assert isinstance(evidence, Logged)
    return evidence.replay(log)


def test_a_log_explains_the_rtmrs_of_a_quote_or_the_finding_says_which_it_does_not():
    own = {"rtmr0": extended(b"a", b"b"), "rtmr1": extended(b"c"), "rtmr2": b"", "rtmr3": b""}
    assert judged(LOG, **own).outcome is Outcome.VERIFIED
    other = judged(LOG, **{**own, "rtmr1": extended(b"d")})
    assert (other.check, other.outcome) == (Check.MEASUREMENT, Outcome.FAILED)
    assert other.expected == extended(b"c").hex()
    assert "rtmr1" in str(other.cause)
    assert "rtmr3" in str(judged(LOG, **{**own, "rtmr3": extended(b"e")}).cause)
    assert judged(LOG[:-1], **own).outcome is Outcome.FAILED


def test_event_logs_are_for_evidence_that_has_such_registers():
    assert not isinstance(platform.parse(PLATFORM.sgx()), Logged)


@pytest.mark.parametrize(
    "name", ["dstack/ccel.bin", "trustee/CCEL_data_gcp", "trustee/CCEL_data_grub_gke", "trustee/CCEL_data_ovmf"]
)
def test_real_ccel_logs_replay(name: str):
    found = ccel.replay(vectors(f"evidence/tdx/{name}").read_bytes())
    assert {"rtmr0", "rtmr1"} <= set(found)


@pytest.mark.parametrize(
    "name",
    [
        "dstack/tpm_eventlog.bin",
        "go-tpm-tools/ubuntu-2404-amd-sevsnp.bin",
        "go-tpm-tools/cos-101-amd-sev.bin",
        "go-attestation/coreos_36_shielded_vm_no_secure_boot_eventlog",
        "go-attestation/crypto_agile_eventlog",
        "go-attestation/ubuntu_2104_shielded_vm_no_secure_boot_eventlog",
        "go-attestation/sb_cert_eventlog",
    ],
)
def test_real_tpm_logs_are_read(name: str):
    assert len(event_log.parse(vectors(f"evidence/tpm/{name}").read_bytes())) > 10


@pytest.mark.parametrize("name", [None, "go-tdx-guest/ccel_data.dat"])
def test_A_48_flipped_bits_and_truncations_raise_nothing_else_and_change_a_register_or_only_words(name: str | None):
    log = LOG if name is None else vectors(f"evidence/tdx/{name}").read_bytes().rstrip(b"\xff")
    for bad in mutations(log, name):
        try:
            ccel.replay(bad)
        except MalformedError:
            continue


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=512))
def test_A_48_no_bytes_raise_anything_else(rest: bytes):
    for log in (rest, head() + rest):
        try:
            ccel.replay(log)
        except MalformedError:
            continue


def test_A_48_a_log_of_empty_events_is_read_in_proportion_to_its_length():
    empty = struct.pack("<IIII", 0, 0, 0, 0) * 60_000
    with pytest.raises(MalformedError, match="more digests"):
        event_log.parse((head() + empty).ljust(event_log.MAX_LOG, b"\1"))
