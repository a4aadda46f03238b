"""Registers of SGX enclaves: real files' stated values, and each kind of stream and signature that is refused."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import MalformedError, SignatureError, TeelogError
from teelog.measure import registers, sgx, sigstruct
from teelog.testing.enclave import CODE, DATA, TCS, Sigstruct, add, create, extend, page, stream
from tests.commands import teelog
from tests.measure.damage import unharmed
from tests.measure.releases import stating
from tests.vectors import vectors

FOLDER = "measure/sgx"
MRENCLAVE = "784acfd7d5096a8f0fbd3265760bff21b120f62407a9a9e5ba31aa3c8ed198fc"
STREAMS = {
    "test_enclave.sgxs": MRENCLAVE,
    "report.sgxs": "a06a560b26f5e397b2d7872fac66fe4b43bf4f507296ee048f110be6fb1a2290",
}
SIGNED = {
    "mrenclave": MRENCLAVE,
    "mrsigner": "fb4bab3d6036ac1d730fa83d7366df1dd2dfeac194ef335d6854d8a6c6475542",
    "isvprodid": "ffff",
    "isvsvn": "0000",
}


def mrenclave(raw: bytes) -> bytes:
    return sgx.mrenclave(io.BytesIO(raw).read)


@pytest.mark.parametrize("name", STREAMS)
def test_sgxs_yields_its_stated_mrenclave_recomputed(name: str):
    ran = teelog("measure", "sgx", vectors(f"{FOLDER}/{name}"), "--json")
    (variant,) = registers.decode(ran.stdout.rstrip(b"\n")).variants
    assert (variant.platform, variant.how, variant.registers) == ("sgx", "recomputed", {"mrenclave": STREAMS[name]})
    assert variant.when == {"file": "sgxs"}


def test_test_enclave_sig_yields_its_stated_registers_extracted():
    ran = teelog("measure", "sgx", vectors(f"{FOLDER}/test_enclave.sig"), "--json")
    (variant,) = registers.decode(ran.stdout.rstrip(b"\n")).variants
    assert (variant.platform, variant.how, variant.registers) == ("sgx", "extracted", SIGNED)
    assert variant.when == {"file": "sigstruct", "debug": "any"}


def test_what_is_loaded_and_not_measured_does_not_count():
    text = b"".join(
        [create(), page(0, CODE, b"c" * 4096), add(0x1000, DATA)]
        + [extend(0x1000 + 256 * n, b"d" * 256) for n in range(1, 16, 2)]
        + [page(0x2000, TCS)]
    )
    assert mrenclave(stream()) == hashlib.sha256(text).digest() == mrenclave(text)


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (b"", "ends inside"),
        (create()[:-1], "ends inside"),
        (create(), "no page"),
        (add(0, CODE), "not an enclave stream"),
        (create() + create(), "no such record"),
        (create() + page(0, CODE) + b"EINIT\0\0\0" + bytes(56), "no such record"),
        (create(size=0x3000) + page(0, CODE), "how an enclave is created"),
        (create(size=0x1000) + page(0, CODE), "how an enclave is created"),
        (create(size=1 << 39) + page(0, CODE), "how an enclave is created"),
        (create(frame=0) + page(0, CODE), "how an enclave is created"),
        (create(rest=bytes(43) + b"x") + page(0, CODE), "how an enclave is created"),
        (create() + add(1, CODE), "no such page"),
        (create() + add(0x4000, CODE), "no such page"),
        (create() + add(0, 0x202), "no such page"),
        (create() + add(0, TCS | 1), "no such page"),
        (create() + add(0, 0x005), "no such page"),
        (create() + add(0, CODE | 1 << 60), "no such page"),
        (create() + add(0, CODE, b"x" + bytes(39)), "no such page"),
        (create() + page(0, CODE) + add(0, CODE), "added twice"),
        (create() + page(0, CODE) + extend(0x1000, bytes(256)), "was not added"),
        (create() + page(0, CODE) + extend(1, bytes(256)), "was not added"),
        (create() + page(0, CODE) + extend(1 << 40, bytes(256)), "was not added"),
        (create() + page(0, CODE) + extend(0, bytes(256), rest=b"x" + bytes(47)), "was not added"),
        (create() + page(0, CODE) + extend(0, bytes(255)), "ends inside"),
        (create() + page(0, CODE) + extend(0, bytes(255), b"UNMEASRD"), "ends inside"),
    ],
)  # fmt: skip
def test_stream_that_no_processor_would_build_is_refused(bad: bytes, cause: str):
    with pytest.raises(MalformedError, match=cause):
        mrenclave(bad)


def test_A_48_damaged_streams_are_refused_or_another_enclave():
    # Content that is not measured is loaded all the same, and its bytes may be any.
    assert unharmed(create() + page(0, CODE, b"c" * 4096), mrenclave) == 0
    assert unharmed(stream(), mrenclave, 200) < 60


@pytest.mark.parametrize("name", STREAMS)
def test_A_48_damaged_real_streams_are_refused_or_another_enclave(name: str):
    assert unharmed(vectors(f"{FOLDER}/{name}").read_bytes(), mrenclave) == 0


def test_signature_of_an_enclave_made_here_is_read():
    made = Sigstruct()
    claim = sigstruct.read(made.build())
    assert claim.registers == {
        "mrenclave": bytes(range(32)).hex(),
        "mrsigner": made.mrsigner.hex(),
        "isvprodid": "0007",
        "isvsvn": "0003",
    }
    for attributes, mask, word in ((4, 2, "off"), (6, 2, "on"), (6, 0, "any")):
        assert sigstruct.read(Sigstruct(attributes=attributes, mask=mask).build()).debug == word


@pytest.mark.parametrize(
    ("made", "cause"),
    [
        (Sigstruct(fields={0: b"\x07"}), "not a SIGSTRUCT"),
        (Sigstruct(fields={24: b"\x02"}), "not a SIGSTRUCT"),
        (Sigstruct(fields={16: b"\x01"}), "reserved"),
        (Sigstruct(fields={44: b"\x01"}), "reserved"),
        (Sigstruct(fields={1039: b"\x01"}), "reserved"),
        (Sigstruct(fields={512: b"\x05"}), "exponent"),
        (Sigstruct(after={511: b"\0"}), "RSA key"),
        (Sigstruct(after={128: b"\0"}), "RSA key"),
    ],
)  # fmt: skip
def test_what_is_no_sigstruct_is_malformed(made: Sigstruct, cause: str):
    with pytest.raises(MalformedError, match=cause):
        sigstruct.read(made.build())
    with pytest.raises(MalformedError, match="size"):
        sigstruct.read(made.build() + b"\0")


@pytest.mark.parametrize("place", [20, 40, 516, 904, 960, 1008, 1024, 1026])
def test_changed_claim_has_no_signature(place: int):
    raw = bytearray(Sigstruct().build())
    raw[place] ^= 1
    with pytest.raises(SignatureError, match="does not hold"):
        sigstruct.read(bytes(raw))


@pytest.mark.parametrize("place", [1040, 1424])
def test_quotients_that_no_processor_takes_are_refused(place: int):
    raw = bytearray(Sigstruct().build())
    raw[place] ^= 1
    with pytest.raises(SignatureError, match="Q1 or Q2"):
        sigstruct.read(bytes(raw))


def test_A_48_no_damaged_sigstruct_passes():
    assert unharmed(Sigstruct().build(), sigstruct.read) == 0


def test_A_48_the_real_sigstruct_damaged_does_not_pass():
    assert unharmed(vectors(f"{FOLDER}/test_enclave.sig").read_bytes(), sigstruct.read) == 0


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600))
def test_A_48_arbitrary_bytes_raise_nothing_else(junk: bytes):
    for raw in (junk, create() + junk, create() + add(0, CODE) + junk):
        try:
            mrenclave(raw)
        except TeelogError:
            continue
    with pytest.raises(MalformedError):
        sigstruct.read(junk)


def test_expect_compares_what_was_measured_and_names_the_rest(tmp_path: Path):
    made = Sigstruct()
    (tmp_path / "enclave.sig").write_bytes(made.build())
    (tmp_path / "enclave.sgxs").write_bytes(stream())
    own = sigstruct.read(made.build()).registers

    def expecting(name: str, stated: dict[str, str]) -> tuple[int, str]:
        release = stating(tmp_path / "release.json", [("sgx", stated)])
        ran = teelog("measure", "sgx", tmp_path / name, "--expect", release)
        return ran.code, ran.stderr

    assert expecting("enclave.sig", own)[0] == 0
    assert expecting("enclave.sig", {**own, "isvsvn": "0002"})[0] == 0  # a minimum
    assert expecting("enclave.sig", {**own, "isvsvn": "0004"})[0] == 1
    code, said = expecting("enclave.sgxs", {**own, "mrenclave": mrenclave(stream()).hex()})
    assert (code, "not compared: isvprodid, isvsvn, mrsigner" in said) == (0, True)
    code, said = expecting("enclave.sgxs", own)
    assert (code, "register mrenclave of sgx differs" in said) == (1, True)
    del own["mrenclave"]
    assert expecting("enclave.sgxs", own)[0] == 3
    (tmp_path / "enclave.sgxs").write_bytes(b"")
    assert expecting("enclave.sgxs", own)[0] == 1
