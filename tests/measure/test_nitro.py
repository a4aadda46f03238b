"""PCRs of enclave images: AWS's own values for real and synthetic files, and each kind of bad image."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import MalformedError, NotEstablished, SignatureError, TeelogError, VerificationError
from teelog.evidence.nitro import document, pcr
from teelog.measure import nitro, registers
from teelog.measure.nitro import CMDLINE, KERNEL, METADATA, RAMDISK, SIGNATURE
from teelog.testing import eif
from teelog.testing.cose import Indefinite, encode
from teelog.testing.eif import Image
from tests.commands import teelog
from tests.vectors import vectors

FOLDER = "measure/nitro"
IMAGES = ("unsigned", "signed", "one-ramdisk-arm64", "three-ramdisks")
DOCUMENTS = ("attestation-i-0827e799ec9232d44.bin", "attestation-dstack-attest.bin", "attestation-debugmode.bin")
COSE = bytes.fromhex("8444a1013822a0")


def measured(raw: bytes) -> dict[str, bytes]:
    return nitro.measure(lambda offset, size: raw[offset : offset + size], len(raw)).pcrs


def formulas() -> dict[str, Any]:
    return dict(json.loads(vectors(f"{FOLDER}/pcr-formula-vectors.json").read_bytes()))


@pytest.mark.parametrize("name", IMAGES)
def test_image_yields_what_aws_states_recomputed(name: str):
    stated = json.loads(vectors(f"{FOLDER}/{name}.expected.json").read_bytes())
    wanted = {key.lower(): value for key, value in stated.items() if key.startswith("PCR")}
    ran = teelog("measure", "nitro", vectors(f"{FOLDER}/{name}.eif"), "--json")
    assert ran.code == 0, ran.stderr
    (variant,) = registers.decode(ran.stdout.rstrip(b"\n")).variants
    assert (variant.platform, variant.how, dict(variant.registers)) == ("nitro", "recomputed", wanted)
    assert variant.when == {"arch": "aarch64" if "arm64" in name else "x86_64"}


def test_parts_yield_the_same_as_the_image_that_was_made_from_them():
    parts = {path.name: path.read_bytes() for path in vectors(f"{FOLDER}/parts").iterdir()}
    disks = [parts[f"ramdisk{number}.cpio.gz"] for number in range(2)]
    image = Image(parts["kernel.bin"], parts["cmdline"], disks)
    stated = json.loads(vectors(f"{FOLDER}/unsigned.expected.json").read_bytes())
    assert {name: value.hex() for name, value in measured(image.build()).items()} == {
        key.lower(): value for key, value in stated.items() if key.startswith("PCR")
    }


def test_parts_with_ramdisk0_ramdisk1_ramdisk2_yield_what_three_ramdisks_does():
    parts = {path.name: path.read_bytes() for path in vectors(f"{FOLDER}/parts").iterdir()}
    image = Image(parts["kernel.bin"], parts["cmdline"], [parts[f"ramdisk{number}.cpio.gz"] for number in range(3)])
    stated = json.loads(vectors(f"{FOLDER}/three-ramdisks.expected.json").read_bytes())
    assert {name: value.hex() for name, value in measured(image.build()).items()} == {
        key.lower(): value for key, value in stated.items() if key.startswith("PCR")
    }


def test_pcr8_is_the_signers_certificate():
    from teelog.evidence import certificates

    (der,) = certificates.load_pem(vectors(f"{FOLDER}/signing-cert.pem").read_bytes())
    stated = json.loads(vectors(f"{FOLDER}/signed.expected.json").read_bytes())
    assert pcr.of_signer(der).hex() == stated["PCR8"]


def test_pcr2_without_an_application_ramdisk_is_the_published_constant():
    constant = formulas()["PCR2_no_app_ramdisk"]["value"]
    assert measured(Image(ramdisks=(b"init",)).build())["pcr2"].hex() == constant


def test_pcr3_and_pcr4_are_the_published_values(tmp_path: Path):
    role, instances = formulas()["PCR3"], formulas()["PCR4"]["values"]
    assert pcr.of_role(role["preimage"]).hex() == role["value"]
    (tmp_path / "app.eif").write_bytes(Image().build())
    for instance, value in instances.items():
        more = ("--role", role["preimage"], "--instance", instance, "--json")
        stated = teelog("measure", "nitro", tmp_path / "app.eif", *more).json["variants"][0]["registers"]
        assert list(stated) == ["pcr0", "pcr1", "pcr2", "pcr3", "pcr4"]
        assert (stated["pcr3"], stated["pcr4"]) == (role["value"], value)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_that_hardware_signed_hold_what_the_rules_yield(name: str):
    raw = vectors(f"{FOLDER}/{name}").read_bytes()
    start = raw.index(COSE)
    payload = start + len(COSE) + 3
    size = int.from_bytes(raw[payload - 2 : payload])
    parsed = document.parse(raw[start : payload + size + 98])
    assert parsed.pcrs[4] == pcr.of_instance(parsed.instance)
    assert formulas()["PCR4"]["values"].get(parsed.instance, parsed.pcrs[4].hex()) == parsed.pcrs[4].hex()
    assert parsed.debug == ("debugmode" in name)


GOOD = {
    "plain": Image(),
    "arm64": Image(flags=1),
    "no metadata, version 3": Image(metadata=None, version=3),
    "one ramdisk": Image(ramdisks=(b"init",)),
    "many ramdisks": Image(ramdisks=tuple(b"%d" % number for number in range(28))),
    "empty parts": Image(b"", b"", (b"", b"")),
    "signed": Image(signed=True),
    "larger than a piece": Image(kernel=b"k" * nitro.PIECE, ramdisks=(b"i" * (nitro.PIECE + 1), b"a" * 3)),
}


@pytest.mark.parametrize("name", GOOD)
def test_forged_image_yields_what_its_parts_do(name: str):
    assert measured(GOOD[name].build()) == GOOD[name].pcrs()


def test_metadata_is_not_measured_and_every_measured_part_counts():
    usual = measured(Image().build())
    assert measured(Image(metadata=b"{}").build()) == usual
    for changes in ({"kernel": b"x"}, {"cmdline": b"x"}, {"ramdisks": (b"x", b"y")}):
        assert measured(Image().other(**changes).build())["pcr0"] != usual["pcr0"]


def test_jobs_may_run_in_any_order():
    image = Image(signed=True)
    raw = image.build()

    def backwards(jobs: Sequence[nitro.Job]) -> list[tuple[bytes, ...]]:
        return [job() for job in reversed(jobs)][::-1]

    assert nitro.measure(lambda offset, size: raw[offset : offset + size], len(raw), backwards).pcrs == image.pcrs()


K, C, M, R, S = (KERNEL, b"k"), (CMDLINE, b"c"), (METADATA, b"m"), (RAMDISK, b"r"), (SIGNATURE, b"s")


@pytest.mark.parametrize(
    ("sections", "cause"),
    [
        ([], "number of sections"),
        ([K], "missing or out of order"),
        ([K, C], "missing or out of order"),
        ([K, C, M], "missing or out of order"),
        ([C, K, R], "missing or out of order"),
        ([K, R, C], "missing or out of order"),
        ([R, K, C], "missing or out of order"),
        ([K, K, C, R], "more than one kernel"),
        ([K, C, C, R], "more than one cmdline"),
        ([K, C, M, M, R], "more than one metadata"),
        ([K, C, R, S, S], "more than one signature"),
        ([K, C, S, R], "out of order"),
        ([K, C, R, M], "out of order"),
    ],
)
def test_sections_are_complete_and_in_the_order_that_is_measured(sections: list[tuple[int, bytes]], cause: str):
    with pytest.raises(MalformedError, match=cause):
        measured(eif.assemble(sections))


RAW = Image().build()
SECOND = int.from_bytes(RAW[36:44])


@pytest.mark.parametrize(
    ("raw", "error", "cause"),
    [
        (b"", MalformedError, "too short"),
        (RAW[:547], MalformedError, "too short"),
        (RAW[:-1], MalformedError, "not where it should be"),
        (RAW + b"\0", MalformedError, "behind the last"),
        (b"x" + RAW[1:], MalformedError, "not an enclave image"),
        (eif.patched(RAW, {4: b"\0\5"}), NotEstablished, "version"),
        (eif.patched(RAW, {4: b"\0\1"}), NotEstablished, "version"),
        (eif.patched(RAW, {6: b"\0\2"}), NotEstablished, "flag"),
        (eif.patched(RAW, {26: b"\0\x21"}), MalformedError, "number of sections"),
        (eif.patched(RAW, {26: b"\0\4"}), MalformedError, "behind its last"),
        (eif.patched(RAW, {26: b"\0\6"}), MalformedError, "not where"),
        (eif.patched(RAW, {28: b"\xff" * 8}), MalformedError, "not where"),
        (eif.patched(RAW, {284: b"\xff" * 8}), MalformedError, "not where"),
        (eif.patched(RAW, {552: b"\xff" * 8}), MalformedError, "two sizes"),
        (eif.patched(RAW, {548: b"\0\x06"}), NotEstablished, "of a kind"),
        (eif.patched(RAW, {548: b"\0\0"}), NotEstablished, "of a kind"),
        (eif.patched(RAW, {550: b"\0\1"}), NotEstablished, "flags"),
        (eif.patched(RAW, {SECOND: b"\0\1"}), MalformedError, "more than one kernel"),
    ],
)
def test_bad_image_is_refused(raw: bytes, error: type[TeelogError], cause: str):
    with pytest.raises(error, match=cause):
        measured(raw)


def test_a_damaged_image_is_refused_by_its_checksum():
    chance = random.Random(1)
    for _ in range(300):
        bad = bytearray(RAW)
        place = chance.randrange(8 * len(bad))
        bad[place // 8] ^= 1 << place % 8
        with pytest.raises((MalformedError, NotEstablished)):
            measured(bytes(bad))
        with pytest.raises(MalformedError):
            measured(RAW[: chance.randrange(len(RAW))])


SIGNED = Image(signed=True)


def resigned(section: bytes) -> bytes:
    return eif.assemble([*Image().sections(), (SIGNATURE, section)])


OTHER_REGISTER = encode({"register_index": 1, "register_value": list(SIGNED.pcrs()["pcr0"])})


@pytest.mark.parametrize(
    ("section", "error", "cause"),
    [
        (SIGNED.other(kernel=b"another").signature(), VerificationError, "another image"),
        (SIGNED.signature(signature=bytes(96)), SignatureError, "not signed"),
        (SIGNED.other(payload=OTHER_REGISTER).signature(), VerificationError, "another image"),
        (SIGNED.other(payload=encode({"register_index": 0})).signature(), MalformedError, "missing"),
        (SIGNED.other(payload=encode(Indefinite({}))).signature(), MalformedError, "not expected"),
        (SIGNED.signature() + b"\0", MalformedError, "left over"),
        (b"", MalformedError, "too early"),
        (encode([]), MalformedError, "not one signature"),
        (encode([{"signing_certificate": [256], "signature": [0]}]), MalformedError, "byte values"),
        (encode([{"signing_certificate": [True], "signature": [0]}]), MalformedError, "byte values"),
        (encode([{"signing_certificate": list(b"x"), "signature": [0]}]), MalformedError, "not a PEM file"),
        (b"\x9a\xff\xff\xff\xff", MalformedError, "too early"),
        (b"\0" * 65_537, MalformedError, "too long"),
    ],
)  # fmt: skip
def test_a_signature_that_does_not_verify_gives_no_registers(section: bytes, error: type[TeelogError], cause: str):
    with pytest.raises(error, match=cause):
        measured(resigned(section))


def test_a_signature_by_another_key_than_the_certificates_fails():
    other = Image(signed=True, signer=b"2").signature()
    mine = SIGNED.signature()
    # The other signer's certificate with this one's signature.
    from teelog import cbor

    (theirs,), (ours,) = cbor.load(other, "other"), cbor.load(mine, "mine")
    with pytest.raises(SignatureError):
        measured(resigned(encode([{**ours, "signing_certificate": theirs["signing_certificate"]}])))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 900))
def test_A_48_arbitrary_bytes_within_an_image_are_an_error_of_ours_or_measured(junk: bytes, place: int):
    raw = SIGNED.build()
    bad = eif.with_checksum(raw[:place] + junk + raw[place + len(junk) :])
    try:
        found = measured(bad)
    except TeelogError:
        return
    assert set(found) == {"pcr0", "pcr1", "pcr2", "pcr8"}


def test_an_image_costs_a_few_pieces_of_memory_whatever_its_size(tmp_path: Path):
    size = 32 << 20
    path = tmp_path / "app.eif"
    path.write_bytes(Image(ramdisks=(b"init", bytes(size))).build())
    with path.open("rb") as file:

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        tracemalloc.start()
        nitro.measure(read, path.stat().st_size)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 8 * nitro.PIECE


def test_command_says_what_is_wrong(tmp_path: Path):
    path = tmp_path / "app.eif"
    path.write_bytes(RAW[:-1])
    ran = teelog("measure", "nitro", path)
    assert (ran.code, ran.stdout) == (1, b"")
    assert "not where it should be" in ran.stderr
    path.write_bytes(eif.patched(RAW, {4: b"\0\x09"}))
    assert teelog("measure", "nitro", path).code == 3
