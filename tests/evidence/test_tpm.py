"""Forged quotes of TPMs: each yields what its case says, no mutation of a good one passes, logs replay."""

from __future__ import annotations

import hashlib
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import ConfigError, MalformedError, NotEstablished, SignatureError
from teelog.evidence import certificates, json_object, platform, report_data
from teelog.evidence.platform import Expected
from teelog.evidence.tpm import Tpm, event_log
from teelog.evidence.tpm import quote as quotes
from teelog.testing import tpm, tpm_cases
from teelog.testing.sev_snp import NOW, pem
from teelog.testing.tpm_cases import NONCE, TPM
from teelog.verdict import Check, Outcome
from tests.evidence.contract import check_case, mutations
from tests.vectors import vectors

CASES = {case.name: case for case in tpm_cases.cases()}
GOOD = [name for name, case in CASES.items() if case.check is None]
REFUSED = (MalformedError, NotEstablished)
AUTHORITIES = (tpm.authority(), tpm.authority(tpm.ROOT))
REAL = "tpm/trustee/tpm_evidence.json"
REAL_KEY = "a517f03ffdaee469aef1a19569547e330726335d0461c3ef6383409c6295679e"
EVENTS = ((0, b"firmware"), (4, b"loader"), (7, b"keys"), (4, b"kernel"), (9, b"initrd"))


@pytest.mark.parametrize("name", CASES)
def test_each_case_yields_what_it_says(name: str):
    case = CASES[name]
    check_case(case, "tpm", NONCE, lambda evidence: evidence.hardware([], 0, case.pinned.roots()))


def test_without_a_pinned_key_a_quote_is_anybodys():
    finding = platform.parse(TPM.evidence(NONCE)).hardware([], 0)
    assert finding.outcome is Outcome.NOT_ESTABLISHED
    assert TPM.roots().pins[tpm.LABEL].hex() in str(finding.cause)


CERTIFIED = {
    "good": (None, TPM.certificate()),
    "expired": ("has expired", TPM.certificate(not_after=NOW - 1)),
    "key-that-decrypts": ("none for a key that signs", TPM.certificate(usage=b"\x05\x20")),
    "of-a-web-server": ("for other purposes than attestation", TPM.certificate(purposes=["1.3.6.1.5.5.7.3.1"])),
    "good-that-names-its-purpose": (None, TPM.certificate(purposes=["1.3.6.1.5.5.7.3.2", "2.23.133.8.3"])),
    "good-for-any-purpose": (None, TPM.certificate(purposes=["2.5.29.37.0"])),
    "rogue-authority": ("not signed by the key of", TPM.certificate(rogue=True)),
    "of-another-key": ("no certificate for it", TPM.other(key="rogue").certificate()),
}


@pytest.mark.parametrize("name", CERTIFIED)
def test_a_key_may_be_certified_below_a_pinned_root(name: str):
    cause, leaf = CERTIFIED[name]
    evidence = platform.parse(TPM.evidence(NONCE))
    for files in ([leaf, tpm.authority(), tpm.authority(tpm.ROOT)], [b"".join(map(pem, (leaf, *AUTHORITIES)))]):
        finding = evidence.hardware(files, NOW, tpm.root())
        assert finding.outcome is (Outcome.FAILED if cause else Outcome.VERIFIED)
        assert (cause or "None") in str(finding.cause)


def test_a_chain_without_its_root_or_to_another_root_fails():
    evidence = platform.parse(TPM.evidence(NONCE))
    for files in ([TPM.certificate()], [TPM.certificate(), AUTHORITIES[0]]):
        assert "does not chain" in str(evidence.hardware(files, NOW, tpm.root()).cause)
    files = [TPM.certificate(), *AUTHORITIES]
    assert evidence.hardware(files, NOW, platform.Roots({"x": bytes(32)})).outcome is Outcome.FAILED
    assert evidence.hardware([b"no certificate"], NOW, tpm.root()).outcome is Outcome.FAILED
    assert evidence.hardware([*files, *files, *files], NOW, tpm.root()).outcome is Outcome.FAILED


def test_a_real_clouds_authority_for_such_keys_is_read_and_chains_to_its_root():
    files = [f"evidence/tpm/go-tpm-tools/gcp_ek_ak_ca_{name}.crt" for name in ("intermediate_v3", "root")]
    below, above = (certificates.load_cert(vectors(each).read_bytes()) for each in files)
    assert certificates.by_hand(below.der) == below
    certificates.issued(below, above)
    with pytest.raises(SignatureError):
        certificates.issued(msgspec.structs.replace(below, tbs=below.tbs + b"\0"), above)


def test_registers_are_those_that_were_quoted():
    evidence = platform.parse(TPM.evidence(selected=(4, 11)))
    assert dict(evidence.registers) == {"pcr4": tpm.pcrs()[4], "pcr11": bytes(32)}


def test_the_stricter_of_trust_file_and_release_holds_and_an_unknown_demand_is_not_established():
    evidence = platform.parse(TPM.evidence(NONCE))
    right = {"pcrs": {"pcr4": tpm.pcrs()[4].hex()}}
    assert evidence.configuration(right, {"pcrs": {"pcr4": "00" * 32}}).outcome is Outcome.FAILED
    assert evidence.configuration({"pcrs": {"pcr4": "00" * 32}}, right).outcome is Outcome.FAILED
    assert evidence.configuration(right, {"moon": "full"}).outcome is Outcome.NOT_ESTABLISHED
    pcrs = ({"pcr24": "00" * 32}, {"pcr1": "AA" * 32}, {})
    tables: list[dict[str, object]] = [{"moon": 1}, *({"pcrs": each} for each in pcrs)]
    for table in tables:
        with pytest.raises(ConfigError):
            platform.check_floor("tpm", table)


@pytest.mark.parametrize("form", ["commitment", "its-sha256"])
def test_extra_data_commits_to_nonce_and_key(form: str):
    whole = report_data.commitment(NONCE, b"a key")
    extra = whole if form == "commitment" else hashlib.sha256(whole).digest()
    evidence = platform.parse(TPM.evidence(extra))
    right, wrong = Expected(nonce=NONCE, binds=b"a key"), Expected(nonce=NONCE, binds=b"another")
    assert evidence.freshness(right).outcome is Outcome.VERIFIED
    assert evidence.binding(right).outcome is Outcome.VERIFIED
    assert evidence.binding(wrong).outcome is Outcome.FAILED
    assert evidence.freshness(wrong).outcome is Outcome.FAILED
    assert evidence.freshness(Expected(report_data=extra)).outcome is Outcome.VERIFIED
    assert evidence.freshness(Expected(report_data=extra[:-1])).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", ["sha512", "sha384", "sha256"])
def test_extra_data_may_be_a_plain_digest_of_what_is_bound_where_no_nonce_is_expected(name: str):
    evidence = platform.parse(TPM.evidence(hashlib.new(name, b"a key").digest()))
    assert evidence.binding(Expected(binds=b"a key")).outcome is Outcome.VERIFIED
    assert evidence.binding(Expected(binds=b"a key", nonce=NONCE)).outcome is Outcome.FAILED
    preimage = report_data.DOMAIN + b"x"
    evidence = platform.parse(TPM.evidence(hashlib.new(name, preimage).digest()))
    assert evidence.binding(Expected(binds=preimage)).outcome is Outcome.FAILED


def test_equal_nonces_alone_say_nothing_about_parts_of_composite_evidence():
    expected = Expected(nonce=NONCE, parts=(b"gpu",))
    assert platform.parse(TPM.evidence(NONCE)).freshness(expected).outcome is Outcome.FAILED


@pytest.mark.parametrize("locality", [None, 0, 3, 4])
def test_a_log_explains_the_registers_of_a_quote(locality: int | None):
    log = tpm.event_log(EVENTS, locality=locality)
    evidence = platform.parse(TPM.evidence(values=tpm.extended(EVENTS, locality=locality or 0)))
    finding = evidence.replay(log)  # type: ignore[attr-defined]
    assert (finding.check, finding.outcome) == (Check.MEASUREMENT, Outcome.VERIFIED)
    assert "pcr0, pcr4, pcr7, pcr9" in finding.details[0]


def test_a_log_that_lacks_an_event_or_has_one_more_does_not_explain_the_registers():
    evidence = platform.parse(TPM.evidence(values=tpm.extended(EVENTS)))
    for events in (EVENTS[:-1], EVENTS[1:], (*EVENTS, (4, b"more")), EVENTS[::-1]):
        finding = event_log.compare(tpm.event_log(events), evidence.registers)
        if events == EVENTS[:-1]:  # pcr9 is not the firmware's alone: said, not failed
            assert any("NOT explained" in each and "pcr9" in each for each in finding.details)
        else:
            assert finding.outcome is Outcome.FAILED
    few = platform.parse(TPM.evidence(values=tpm.extended(EVENTS), selected=(0, 7)))
    assert "was not quoted" in str(event_log.compare(tpm.event_log(EVENTS), few.registers).cause)
    for log in (b"", tpm.event_log(EVENTS, locality=2), tpm.event_log([(24, b"no such register")])):
        assert event_log.compare(log, evidence.registers).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "name",
    [
        "dstack/tpm_eventlog.bin",
        "go-attestation/coreos_36_shielded_vm_no_secure_boot_eventlog",
        "go-attestation/sb_cert_eventlog",
        "go-attestation/ubuntu_2104_shielded_vm_no_secure_boot_eventlog",
        "go-tpm-tools/cos-101-amd-sev.bin",
        "go-tpm-tools/ubuntu-2404-amd-sevsnp.bin",
    ],
)
def test_real_logs_replay_and_explain_a_quote_of_the_registers_that_they_give(name: str):
    log = vectors(f"evidence/tpm/{name}").read_bytes()
    found = event_log.replay(log)
    assert {"pcr0", "pcr4", "pcr7"} <= set(found)
    values = [found.get(f"pcr{index}", bytes(32)) for index in range(24)]
    assert event_log.compare(log, platform.parse(TPM.evidence(values=values)).registers).outcome is Outcome.VERIFIED
    values[4] = bytes(32)
    assert event_log.compare(log, platform.parse(TPM.evidence(values=values)).registers).outcome is Outcome.FAILED


def test_the_real_quote_is_signed_by_its_key_and_covers_its_registers():
    evidence = platform.parse(vectors(f"evidence/{REAL}").read_bytes())
    assert isinstance(evidence, Tpm)
    assert evidence.fingerprint.hex() == REAL_KEY
    roots = platform.Roots({"real": evidence.fingerprint})
    assert evidence.hardware([], 0, roots).outcome is Outcome.VERIFIED
    assert evidence.hardware([], 0, platform.Roots({"real": bytes(32)})).outcome is Outcome.FAILED
    assert len(evidence.registers) == 24


@pytest.mark.parametrize("name", [*GOOD[:2], REAL])
def test_A_48_flipped_bits_and_truncations_never_pass(name: str):
    raw = vectors(f"evidence/{name}").read_bytes() if name == REAL else CASES[name].evidence
    good = platform.parse(raw)
    assert isinstance(good, Tpm)
    roots = platform.Roots({"pinned": good.fingerprint})
    for bad in mutations(raw, name):
        never_passes(bad, roots)


def never_passes(raw: bytes, roots: platform.Roots) -> None:
    try:
        evidence = platform.parse(raw, "tpm")
    except REFUSED:
        return
    assert evidence.hardware([], 0, roots).outcome is Outcome.FAILED


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_A_48_no_bytes_raise_anything_else(junk: bytes):
    for read in (quotes.parse, quotes.parse_signature, quotes.load_key):
        for raw in (junk, b"\xffTCG\x80\x18" + junk, b"\0\x18\0\x0b" + junk):
            try:
                read(raw)
            except REFUSED:
                continue
    assert event_log.compare(junk, {}).outcome is Outcome.FAILED


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9), lambda x: st.lists(x, max_size=4)))
def test_A_48_whatever_a_member_holds_is_refused_or_fails(value: object):
    whole = json.loads(CASES["good"].evidence)
    for part, name in ((whole, "ak_public"), (whole["tpm_quote"], "message"), (whole["tpm_quote"], "pcrs")):
        kept, part[name] = part[name], value
        never_passes(json.dumps(whole).encode(), TPM.roots())
        part[name] = kept


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', '{"a":1.0}', '{"a":NaN}', "[" * 100_000, "[]", "\xff", "1"])
def test_A_46_json_is_of_the_strict_kind_only(text: str):
    with pytest.raises(MalformedError):
        json_object.load(text.encode("latin-1"), "file", 1 << 20)
