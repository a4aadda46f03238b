"""Good and bad Nitro attestation documents, each with the check that decides and what it must find.

A user's own verifier can be run over `cases()`: the good ones must pass, every other must not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from teelog.evidence import der, report_data
from teelog.evidence.nitro import pcr
from teelog.testing import nitro, x509
from teelog.testing.cose import Raw
from teelog.testing.nitro import DROP, Hypervisor, pcrs
from teelog.testing.sev_snp import NOW

NONCE = b"fake challenge"


@dataclass(frozen=True, slots=True)
class Case:
    """One document for judgement at `sev_snp.NOW` with `nitro.roots`, the nonce NONCE and a trust file's table floor.

    check: ``parse`` (refused as malformed or not known), ``hardware``, ``configuration`` or ``freshness``: the first
    that does not find ``verified``; None where all do. outcome: what that check finds. cause: words of its cause.
    """

    name: str
    evidence: bytes
    check: str | None = None
    cause: str = ""
    outcome: str = "failed"
    floor: Mapping[str, object] = field(default_factory=dict)


HYPERVISOR = Hypervisor()


def cases() -> tuple[Case, ...]:
    """All of them, in a fixed order with unique names, the same bytes every time."""
    made = (*_good(), *_malformed(), *_unknown(), *_wrong_chains(), *_wrong_documents(), *_misconfigured(), *_unfresh())
    assert len({case.name for case in made}) == len(made)
    return made


def _document(**changes: object) -> bytes:
    return HYPERVISOR.document(**{"nonce": NONCE, **changes})


def _good() -> Iterator[Case]:
    yield Case("good", _document())
    yield Case("good-indefinite", _document(indefinite=True))
    yield Case("good-tagged", HYPERVISOR.sign(HYPERVISOR.payload(nonce=NONCE), tagged=True))
    yield Case("good-all-fields", _document(public_key=b"a key", user_data=b"some data"))
    yield Case("good-commitment", _document(nonce=None, user_data=report_data.commitment(NONCE)))
    yield Case("good-without-optional-members", _document(public_key=DROP, user_data=DROP))
    signed = pcrs({8: pcr.of_signer(b"a certificate")})
    floor = {"role": nitro.ROLE, "instance": nitro.INSTANCE_ID, "pcr8": signed[8].hex(), "max_age": 60}
    yield Case("good-and-as-demanded", _document(pcrs=signed), floor=floor)
    yield Case("good-archived", Hypervisor(made_at=NOW - 86_400 * 30).document(nonce=NONCE))
    yield Case("good-clock-ahead", Hypervisor(made_at=NOW + 299).document(nonce=NONCE))


def _malformed() -> Iterator[Case]:
    good = _document()

    def parse(name: str, cause: str, raw: bytes) -> Case:
        return Case(name, raw, "parse", cause)

    def payload(name: str, cause: str, **changes: object) -> Case:
        return parse(name, cause, _document(**changes))

    yield parse("truncated", "ends too early", good[:-1])
    yield parse("trailing-byte", "left over", good + b"\0")
    yield parse(
        "unprotected-header", "unprotected header", HYPERVISOR.sign(HYPERVISOR.payload(), unprotected={4: b"1"})
    )
    yield parse("protected-header", "algorithm alone", HYPERVISOR.sign(HYPERVISOR.payload(), protected={1: -35, 3: 0}))
    yield parse("short-signature", "another length", HYPERVISOR.sign(HYPERVISOR.payload(), signature=bytes(95)))
    yield parse("payload-no-map", "not a map", HYPERVISOR.sign(b"\x80"))
    yield payload("member-twice", "a key twice", indefinite=True, nonce=Raw(b"\xf6\x65nonce\xf6"))
    yield payload("long-number", "one short form", timestamp=Raw(b"\x1b\0\0\0\0\0\0\0\1"))
    yield payload("float", "expected here", timestamp=Raw(b"\xfb" + bytes(8)))
    yield payload("nested", "nests too deeply", user_data=Raw(b"\x81" * 20 + b"\0"))
    yield payload("no-time", "no time", timestamp=0)
    yield payload("negative-time", "timestamp", timestamp=-1)
    yield payload("no-module", "module_id", module_id="")
    yield payload("module-with-control-characters", "module_id", module_id="i-1\x1b[2J")
    yield payload("no-pcrs", "PCR 0 is missing", pcrs={})
    yield payload("pcr-of-another-size", "no SHA-384", pcrs=pcrs({5: bytes(32)}))
    yield payload("pcr-32", "no such register", pcrs=pcrs({32: bytes(48)}))
    yield payload("pcr-missing", "PCR 2 is missing", pcrs={index: bytes(48) for index in (0, 1, 3)})
    yield payload("no-chain", "cabundle", cabundle=[])
    yield payload("chain-missing", "cabundle is missing", cabundle=DROP)
    yield payload("chain-too-long", "cabundle", cabundle=[b"x"] * 8)
    yield payload("certificate-too-long", "certificate", certificate=bytes(1025))
    yield payload("user-data-too-long", "user_data", user_data=bytes(1025))
    yield payload("empty-public-key", "public_key", public_key=b"")
    yield payload("payload-too-long", "payload is too long", more=bytes(13_200))


def _unknown() -> Iterator[Case]:
    payload = HYPERVISOR.payload(nonce=NONCE)
    yield Case("algorithm-es512", HYPERVISOR.sign(payload, protected={1: -36}), "parse", "algorithm is not known")
    es256 = HYPERVISOR.sign(payload, protected={1: -7}, signature=bytes(64))
    yield Case("algorithm-es256", es256, "parse", "not known here")
    yield Case("digest-sha512", _document(digest="SHA512"), "parse", "digest is not known")
    yield Case("unknown-member", _document(more=1), "parse", "member is not known")


def _wrong_chains() -> Iterator[Case]:
    def hardware(name: str, cause: str, evidence: bytes) -> Case:
        return Case(name, evidence, "hardware", cause)

    def chain(name: str, cause: str, **changes: object) -> Case:
        return hardware(name, cause, HYPERVISOR.other(**changes).document(nonce=NONCE))

    usual = HYPERVISOR.cabundle()
    rogue = HYPERVISOR.other(rogue=True)
    yield chain("rogue-root", "pinned root", rogue=True)
    below = rogue.document(nonce=NONCE, cabundle=[usual[0], *rogue.cabundle()[1:]])
    yield hardware("rogue-below-the-root", "not signed by the key", below)
    last = rogue.document(nonce=NONCE, cabundle=usual)
    yield hardware("rogue-leaf", "not signed by the key", last)
    yield hardware("chain-without-root", "pinned root", _document(cabundle=usual[1:]))
    yield hardware("chain-with-a-gap", "another issuer", _document(cabundle=[usual[0], *usual[2:]]))
    yield hardware("chain-out-of-order", "another issuer", _document(cabundle=[usual[0], usual[2], usual[1], usual[3]]))
    yield hardware("root-twice", "another issuer", _document(cabundle=[*usual, usual[0]]))
    yield chain("path-too-long", "fewer authorities", path_lengths=(None, 1, 1, 0))
    yield chain("leaf-that-is-an-authority", "signing documents", leaf_extensions=x509.AUTHORITY)
    no_usage = (("2.5.29.19", True, x509.tlv(der.SEQUENCE)),)
    yield chain("leaf-that-may-not-sign", "signing documents", leaf_extensions=no_usage)
    critical = (*HYPERVISOR.leaf_extensions, ("1.2.3.4", True, b"\5\0"))
    yield chain("unknown-critical-extension", "critical extension", leaf_extensions=critical)
    no_authority = [*usual[:3], nitro.link(3, False, nitro.LEAF)]
    yield hardware("authority-that-is-none", "none of an authority", _document(cabundle=no_authority))
    yield hardware("no-certificate", "certificate", _document(certificate=b"\x30\0"))
    yield hardware("trailing-byte-in-certificate", "", _document(certificate=HYPERVISOR.certificate() + b"\0"))


def _wrong_documents() -> Iterator[Case]:
    payload = HYPERVISOR.payload(nonce=NONCE)

    def hardware(name: str, cause: str, evidence: bytes) -> Case:
        return Case(name, evidence, "hardware", cause)

    yield hardware("other-key", "not signed by this key", HYPERVISOR.other(seed=b"2").sign(payload))
    yield hardware("signature-zero", "not signed by this key", HYPERVISOR.sign(payload, signature=bytes(96)))
    good = HYPERVISOR.sign(payload)
    for name, place in (("pcr0", good.index(pcrs()[0])), ("module", good.index(b"enc01")), ("signature", -1)):
        flipped = bytearray(good)
        flipped[place] ^= 0x01
        yield hardware(f"flipped-bit-in-{name}", "not signed by this key", bytes(flipped))
    late = nitro.LEAF_LIFE * 1000
    old = Hypervisor(made_at=NOW - 86_400)
    yield hardware("leaf-expired", "has expired", old.document(timestamp=old.made_at * 1000 + late))
    yield hardware("leaf-not-yet-valid", "not valid yet", _document(timestamp=(HYPERVISOR.made_at - 10) * 1000))
    future = Hypervisor(made_at=NOW + 301).document(nonce=NONCE)
    yield hardware("from-the-future", "later than now", future)


def _misconfigured() -> Iterator[Case]:
    def configuration(name: str, cause: str, evidence: bytes, **floor: object) -> Case:
        return Case(name, evidence, "configuration", cause, floor=floor)

    yield configuration("debug", "debug mode", _document(pcrs=pcrs(debug=True)))
    yield configuration("pcr0-zero", "PCR0 is zero", _document(pcrs=pcrs({0: pcr.ZERO})))
    yield configuration("pcr2-zero", "PCR2 is zero", _document(pcrs=pcrs({2: pcr.ZERO})))
    yield configuration("other-role", "PCR3 is another", _document(), role=nitro.ROLE + "2")
    yield configuration("other-instance", "PCR4 is another", _document(), instance="i-0123456789abcdef1")
    yield configuration("not-signed", "PCR8 is another", _document(), pcr8=pcr.of_signer(b"a certificate").hex())
    yield configuration("pcr3-missing", "PCR3 is another", _document(pcrs=_first_three()), role=nitro.ROLE)
    yield configuration("too-old", "too old", _document(), max_age=59)


def _first_three() -> dict[int, bytes]:
    return {index: value for index, value in pcrs().items() if index < 3}


def _unfresh() -> Iterator[Case]:
    yield Case("replayed", _document(nonce=b"an older challenge"), "freshness", "another request")
    yield Case("no-nonce", _document(nonce=None), "freshness", "another request")
    padded = _document(nonce=NONCE + b"\0")
    yield Case("padded-nonce", padded, "freshness", "another request")
    other = _document(nonce=None, user_data=report_data.commitment(b"an older challenge"))
    yield Case("other-commitment", other, "freshness", "another request")
