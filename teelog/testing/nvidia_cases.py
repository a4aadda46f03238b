"""Good and bad reports of NVIDIA GPUs, each with the check that decides and what it must find.

A user's own verifier can be run over `cases()`: the good ones must pass, every other must not.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from teelog.evidence import der
from teelog.evidence.nvidia.report import DRIVER, FWID, NVDEC0, VBIOS
from teelog.testing import nvidia, x509
from teelog.testing.nvidia import Gpu, block, measurements
from teelog.testing.sev_snp import NOW

NONCE = hashlib.sha256(b"fake challenge").digest()
GPU = Gpu()


@dataclass(frozen=True, slots=True)
class Case:
    """One report for judgement at `sev_snp.NOW` with `nvidia.roots`, the nonce NONCE and a trust file's table floor.

    endorsements: the chain and the golden RIMs. check: ``parse`` (refused as malformed or not known), ``hardware``,
    ``configuration`` or ``freshness``: the first that does not find ``verified``; None where all do. outcome: what that
    check finds. cause: words of its cause.
    """

    name: str
    evidence: bytes
    check: str | None = None
    cause: str = ""
    outcome: str = "failed"
    endorsements: tuple[bytes, ...] = ()
    floor: Mapping[str, object] = field(default_factory=dict)


def cases() -> tuple[Case, ...]:
    """All of them, in a fixed order with unique names."""
    made = (*_good(), *_malformed(), *_unknown(), *_wrong_hardware(), *_misconfigured(), *_wrong_rims(), *_unfresh())
    assert len({case.name for case in made}) == len(made)
    return made


def usual() -> tuple[bytes, ...]:
    return (GPU.endorsement(), *nvidia.rims())


def of_sdk(gpu: Gpu = GPU, count: int = 1, **changes: object) -> bytes:
    """The report as NVIDIA's SDK writes it. changes: members in place of the usual ones."""
    report = gpu.report(NONCE)
    shown = {
        "arch": "HOPPER",
        "certificate": base64.b64encode(gpu.endorsement()).decode(),
        "evidence": base64.b64encode(report).decode(),
        "nonce": NONCE.hex(),
    }
    return json.dumps([{**shown, **changes}] * count).encode()


def _good() -> Iterator[Case]:
    report = GPU.report(NONCE)

    def good(name: str, evidence: bytes, *endorsements: bytes, floor: Mapping[str, object] | None = None) -> Case:
        return Case(name, evidence, endorsements=endorsements or usual(), floor=floor or {})

    yield good("good", report)
    yield good("good-hex", report.hex().encode() + b"\n")
    yield good("good-one-zero-behind", report + b"\0")
    yield good("good-of-the-sdk", of_sdk(), *nvidia.rims())
    yield good("good-chain-in-files", report, *GPU.chain(), *nvidia.rims())
    yield good("good-without-fwid", GPU.other(fwid=None).report(NONCE))
    yield good("good-alternative", GPU.report(NONCE, values=measurements({1: bytes(48)})))
    yield good("good-decoder-off", GPU.report(NONCE, values=measurements({35: b"x" * 48})))
    yield good("good-index-without-golden-value", GPU.report(NONCE, values=measurements({50: b"x" * 48})))
    floor = {"driver": ["1.2", nvidia.DRIVER_VERSION], "vbios": [nvidia.VBIOS_VERSION]}
    yield good("good-and-as-demanded", report, floor=floor)


def _malformed() -> Iterator[Case]:
    report = GPU.report(NONCE)

    def parse(name: str, cause: str, raw: bytes) -> Case:
        return Case(name, raw, "parse", cause)

    def opaque(name: str, cause: str, **changes: object) -> Case:
        return parse(name, cause, GPU.report(NONCE, **changes))

    body = GPU.body(NONCE)
    place = body.index(b"\x11\x60") + 5  # the length of the measurements
    yield parse("truncated", "ends too early", report[:-1])
    yield parse("trailing-byte", "left over", report + b"\1")
    yield parse("two-zeros-behind", "left over", report + b"\0\0")
    yield parse("too-long", "too long", report + bytes(1 << 14))
    yield parse("no-response", "no answer", GPU.report(NONCE, response=b"\x11\x7f\0\0"))
    yield parse("no-request", "GET_MEASUREMENTS", b"\x11\xe1" + report[2:])
    yield parse("length-of-measurements", "another length", body[:place] + b"\1" + body[place + 1 :] + bytes(96))
    first = block(1, measurements()[0])
    for name, cause, wrong in (
        ("block-with-two-lengths", "two lengths", block(1, bytes(48), size=52)),
        ("block-without-index", "no index", block(0, bytes(48))),
        ("block-twice", "occurs twice", block(2, bytes(48))),
    ):
        yield parse(name, cause, body.replace(first, wrong) + bytes(96))
    yield opaque("opaque-twice", "occurs twice", raw_opaque=nvidia.tlvs({3: b"1\0"}) * 2)
    yield opaque("opaque-too-short", "ends too early", raw_opaque=b"\3\0\5\0")
    yield opaque("driver-version-of-letters", "driver's version", opaque={DRIVER: b"\x1b[2J\0"})
    yield opaque("vbios-version-too-short", "VBIOS's version", opaque={VBIOS: bytes(5)})
    yield opaque("fwid-too-short", "identity is something else", opaque={FWID: bytes(47)})
    yield parse("hex-of-odd-length", "hex", report.hex().encode()[:-1])
    yield parse("sdk-member-twice", "strict kind", of_sdk().replace(b'"arch"', b'"nonce": "", "nonce"', 1))
    yield parse("sdk-other-nonce", "nonce beside", of_sdk(nonce="00" * 32))
    yield parse("sdk-no-report", "ends too early", of_sdk(evidence="EeAB/w==", nonce=""))
    yield parse("sdk-empty", "gpus is something else", of_sdk(count=0))
    yield parse("sdk-with-more-behind", "strict kind", of_sdk() + b', "evidence"')


def _unknown() -> Iterator[Case]:
    def parse(name: str, cause: str, raw: bytes) -> Case:
        return Case(name, raw, "parse", cause, "not established")

    body, first = GPU.body(NONCE), block(1, measurements()[0])
    yield parse("spdm-1.2", "version of SPDM", GPU.report(NONCE, request=b"\x12\xe0\x01\xff", response=b"\x12\x60\0\0"))
    yield parse("not-signed", "all measurements", GPU.report(NONCE, request=b"\x11\xe0\0\xff"))
    yield parse("not-all-measurements", "all measurements", GPU.report(NONCE, request=b"\x11\xe0\x01\x01"))
    yield parse("raw-measurement", "no SHA-384 digest", body.replace(first, block(1, bytes(48), kind=0x81)) + bytes(96))
    yield parse("vendors-form", "no SHA-384 digest", body.replace(first, block(1, bytes(48), form=2)) + bytes(96))
    yield parse("several-gpus", "several GPUs", of_sdk(count=2))
    yield parse("sdk-unknown-member", "not known here", of_sdk(more="x"))


def _wrong_hardware() -> Iterator[Case]:
    report, rims = GPU.report(NONCE), nvidia.rims()

    def hardware(name: str, cause: str, evidence: bytes, *endorsements: bytes) -> Case:
        return Case(name, evidence, "hardware", cause, endorsements=(*endorsements, *rims))

    def gpu(name: str, cause: str, **changes: object) -> Case:
        made = GPU.other(**changes)
        return hardware(name, cause, made.report(NONCE), made.endorsement())

    def chain(name: str, cause: str, *ders: bytes) -> Case:
        return hardware(name, cause, report, nvidia.pem(list(ders)))

    yield gpu("rogue-root", "pinned root", rogue=True)
    rogue, own = GPU.other(rogue=True), GPU.chain()
    yield hardware("rogue-below-the-root", "not signed by the key", rogue.report(NONCE), *rogue.chain()[:-1], own[-1])
    yield chain("chain-without-root", "pinned root", *own[:-1])
    yield chain("chain-of-root-alone", "end with a GPU's", own[-1])
    yield chain("chain-with-a-gap", "another issuer", *own[:2], *own[3:])
    yield chain("chain-without-leaf", "end with a GPU's", *own[1:])
    yield chain("chain-out-of-order", "another issuer", own[0], own[2], own[1], *own[3:])
    yield Case("chain-missing", report, "hardware", "were not given", "not established", endorsements=tuple(rims))
    yield hardware("chain-of-garbage", "PEM", report, b"garbage")
    yield gpu("expired", "has expired", not_after=NOW - 1)
    yield gpu("leaf-that-is-an-authority", "end with a GPU's", extensions=(*x509.AUTHORITY, nvidia.identity()))
    yield gpu("leaf-without-fwid", "end with a GPU's", extensions=nvidia.SIGNER)
    yield gpu("leaf-with-a-short-fwid", "name its firmware", extensions=(*nvidia.SIGNER, nvidia.identity(bytes(47))))
    yield gpu("leaf-of-another-form", "name its firmware", extensions=(*nvidia.SIGNER, nvidia.identity(version=2)))
    critical = (*nvidia.SIGNER, nvidia.identity(), ("1.2.3.4", True, x509.tlv(der.SEQUENCE)))
    yield gpu("unknown-critical-extension", "critical extension", extensions=critical)
    yield gpu("other-fwid", "other firmware", fwid=bytes(48))
    yield hardware("other-gpus-report", "not signed by the key", GPU.other(seed=b"2").report(NONCE), GPU.endorsement())
    yield hardware("signature-zero", "not signed by the key", report[:-96] + bytes(96), GPU.endorsement())


def _misconfigured() -> Iterator[Case]:
    report = GPU.report(NONCE)

    def failing(name: str, cause: str, evidence: bytes = report, **floor: object) -> Case:
        return Case(name, evidence, "configuration", cause, endorsements=usual(), floor=floor)

    for name, index in (("driver-measurement", 0), ("vbios-measurement", 3)):
        wrong = GPU.report(NONCE, values=measurements({index: b"x" * 48}))
        yield failing(f"other-{name}", f"measurement {index} is none of the golden", wrong)
    fewer = {index: value for index, value in measurements().items() if index != 2}
    yield failing("measurement-missing", "measurement 2 is none", GPU.report(NONCE, values=fewer))
    changed = measurements({35: b"x" * 48})
    on = GPU.report(NONCE, values=changed, opaque={NVDEC0: nvidia.ON})
    yield failing("decoder-on-and-other", "measurement 35 is none", on)
    yield failing("driver-not-allowed", "driver is of another version", driver=["1.2.3"])
    yield failing("vbios-not-allowed", "VBIOS is of another version", vbios=["00"])


def _wrong_rims() -> Iterator[Case]:
    report, (driver, vbios) = GPU.report(NONCE), nvidia.rims()

    def rims(name: str, cause: str, *given: bytes, outcome: str = "failed") -> Case:
        return Case(name, report, "configuration", cause, outcome, (GPU.endorsement(), *given))

    plain = nvidia.golden(nvidia.DRIVER_VERSION, nvidia.DRIVER_INDEXES)
    yield rims("no-rim", "no golden RIM was given", outcome="not established")
    yield rims("no-rim-of-the-vbios", "no golden RIM of the VBIOS", driver, outcome="not established")
    older = nvidia.signed(nvidia.golden("550.54.14", nvidia.DRIVER_INDEXES))
    yield rims("rim-of-another-driver", "no golden RIM of the driver", older, vbios, outcome="not established")
    switch = nvidia.signed(nvidia.swid(nvidia.VBIOS_VERSION, nvidia.resource(3, measurements()[3]), "SWITCH"))
    yield rims("rim-of-a-switch", "no golden RIM of the VBIOS", driver, switch, outcome="not established")
    yield rims("rim-twice", "several golden RIMs", driver, driver, vbios)
    yield rims("too-many-rims", "too many golden RIMs", *(driver,) * 5)
    yield rims("rim-with-another-value", "signature", driver.replace(bytes(48).hex().encode(), b"11" * 48, 1), vbios)
    yield rims("rim-not-signed", "certificates", plain, vbios)
    yield rims("rim-of-a-rogue", "pinned root", nvidia.signed(plain, rogue=True), vbios)
    yield rims("rim-expired", "has expired", nvidia.signed(plain, not_after=NOW - 1), vbios)
    yield rims("rim-by-an-authority", "none for signing", nvidia.signed(plain, extensions=x509.AUTHORITY), vbios)
    yield rims("rim-too-long", "too long", driver + b" " * (1 << 17), vbios)
    yield rims("rim-with-entities", "declarations", b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + driver, vbios)
    yield rims("rim-in-utf-16", "declarations", b"<" + driver.decode().encode("utf-16-le"), vbios)
    yield rims("rim-wrapped", "certificates", b"<x>" + driver + b"</x>", vbios)
    double = nvidia.swid(nvidia.DRIVER_VERSION, nvidia.resource(0, measurements()[0]) * 2)
    yield rims("rim-index-twice", "occurs twice", nvidia.signed(double), vbios)
    nothing = nvidia.swid(nvidia.DRIVER_VERSION, nvidia.resource(0, measurements()[0], active=False))
    yield rims("rim-without-values", "no golden value", nvidia.signed(nothing), vbios)
    fewer = plain.replace(b'alternatives="2"', b'alternatives="1"', 1)
    yield rims("rim-with-a-value-too-many", "another number of values", nvidia.signed(fewer), vbios)
    both = nvidia.signed(nvidia.golden(nvidia.DRIVER_VERSION, (0, 3)))
    yield rims("rims-for-one-index", "for one index", both, vbios)


def _unfresh() -> Iterator[Case]:
    for name, nonce in (("other-nonce", bytes(32)), ("nonce-and-one-bit", bytes([NONCE[0] ^ 1]) + NONCE[1:])):
        yield Case(name, GPU.report(nonce), "freshness", "another request", endorsements=usual())
