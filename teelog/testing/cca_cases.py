"""Good and bad Arm CCA tokens, each with the check that decides and what it must find.

A user's own verifier can be run over `cases()`: the good ones must pass, every other must not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from teelog import cbor
from teelog.evidence.cca import token as tokens
from teelog.testing import cca
from teelog.testing.cca import DROP, Machine
from teelog.testing.cose import Raw, encode

NONCE = b"fake challenge"
MACHINE = Machine()


@dataclass(frozen=True, slots=True)
class Case:
    """One token for judgement with ``machine.roots()``, its endorsements, the nonce NONCE and a trust file's table.

    check: ``parse`` (refused as malformed or not known), ``hardware``, ``configuration`` or ``freshness``: the first
    that does not find ``verified``; None where all do. outcome: what that check finds. cause: words of its cause.
    """

    name: str
    evidence: bytes
    check: str | None = None
    cause: str = ""
    outcome: str = "failed"
    floor: Mapping[str, object] = field(default_factory=dict)
    machine: Machine = MACHINE
    endorsements: tuple[bytes, ...] | None = None

    @property
    def given(self) -> tuple[bytes, ...]:
        return (self.machine.endorsement(),) if self.endorsements is None else self.endorsements


def cases() -> tuple[Case, ...]:
    """All of them, in a fixed order with unique names, the same bytes every time."""
    made = (*_good(), *_malformed(), *_unknown(), *_wrong_keys(), *_wrong_tokens(), *_misconfigured(), *_unfresh())
    assert len({case.name for case in made}) == len(made)
    return made


def _token(platform: Any = None, realm: Any = None) -> bytes:
    return MACHINE.token(challenge=NONCE, platform=platform, realm=realm)


def _good() -> Iterator[Case]:
    yield Case("good", _token())
    p256, raw = Machine(p256=True), Machine(raw_key=True)
    yield Case("good-p256", p256.token(challenge=NONCE), machine=p256)
    yield Case("good-key-as-a-point", raw.token(challenge=NONCE), machine=raw)
    yield Case("good-without-realm-profile", _token(realm={tokens.PROFILE: DROP}))
    yield Case("good-newer-profile", _token({tokens.PROFILE: tokens.PLATFORM_PROFILES[1]}))
    short = {tokens.REALM_HASH: "sha-256", tokens.RIM: bytes(range(32)), tokens.REM: [bytes(32)] * 4}
    yield Case("good-sha-256", _token(realm=short))
    other = Machine(b"2").endorsement()
    yield Case("good-several-keys", _token(), endorsements=(other, MACHINE.endorsement()))
    floor = {
        "implementation_id": [cca.IMPLEMENTATION.hex()],
        "instance_id": [cca.INSTANCE.hex()],
        "signer_ids": [cca.SIGNER.hex()],
        "config": ["cfcfcfcf"],
        "components": {name: [cca.measurement(name).hex()] for name in cca.FIRMWARE},
        "personalization": "00" * 64,
        "hash_algorithm": "sha-512",
    }
    yield Case("good-and-as-demanded", _token(), floor=floor)


def _malformed() -> Iterator[Case]:
    good = _token()

    def parse(name: str, cause: str, raw: bytes) -> Case:
        return Case(name, raw, "parse", cause)

    def platform(name: str, cause: str, **claims: Any) -> Case:
        return parse(name, cause, _token(_numbered(claims)))

    def realm(name: str, cause: str, **claims: Any) -> Case:
        return parse(name, cause, _token(realm=_numbered(claims)))

    yield parse("truncated", "ends too early", good[:-1])
    yield parse("trailing-byte", "left over", good + b"\0")
    yield parse("other-tag", "not a CCA token", b"\xd9\x01\x90" + good[3:])
    parts = [MACHINE.platform_token(), MACHINE.realm_token(NONCE)]
    swapped = {tokens.REALM_TOKEN: parts[1], tokens.PLATFORM_TOKEN: parts[0]}
    yield parse("parts-swapped", "ascending order", encode(cbor.Tag(tokens.TAG, swapped)))
    only = {tokens.PLATFORM_TOKEN: parts[0]}
    yield parse("no-realm-token", "44241 is missing", encode(cbor.Tag(tokens.TAG, only)))
    bare = MACHINE.join(MACHINE.platform_token(tagged=False), parts[1])
    yield parse("not-tagged", "not a tagged", bare)
    header = MACHINE.join(MACHINE.platform_token(unprotected={4: b"key"}), parts[1])
    yield parse("unprotected-header", "unprotected header", header)
    yield parse("trailing-byte-in-part", "left over", MACHINE.join(parts[0] + b"\0", parts[1]))
    yield platform("long-number", "short form", LIFECYCLE=Raw(b"\x1a\0\0\x30\0"))
    yield platform("lifecycle-of-17-bits", "2395", LIFECYCLE=0x13000)
    yield platform("no-lifecycle", "2395 is missing", LIFECYCLE=DROP)
    yield platform("short-instance", "256", INSTANCE=bytes(32))
    yield platform("no-components", "2399", COMPONENTS=[])
    yield platform("component-without-measurement", "2 is missing", COMPONENTS=[{1: "RMM", 5: bytes(32)}])
    yield platform("challenge-of-33-bytes", "no digest", CHALLENGE=bytes(33))
    yield platform("indefinite", "not expected", COMPONENTS=Raw(b"\x9f\xff"))
    yield realm("short-challenge", "10", CHALLENGE=bytes(63))
    yield realm("rim-of-48-bytes", "no digest", RIM=bytes(48))
    yield realm("three-rems", "44239", REM=[bytes(64)] * 3)
    yield realm("rem-of-48-bytes", "not a register", REM=[bytes(48)] * 4)
    yield realm("no-key", "44237", REALM_KEY=b"")


def _numbered(claims: Mapping[str, Any]) -> dict[Any, Any]:
    return {getattr(tokens, name): value for name, value in claims.items()}


def _unknown() -> Iterator[Case]:
    def parse(name: str, cause: str, platform: Any = None, realm: Any = None) -> Case:
        return Case(name, _token(platform, realm), "parse", cause)

    yield parse("other-profile", "profile is not known", {tokens.PROFILE: "http://arm.com/CCA-SSD/2.0.0"})
    yield parse("other-realm-profile", "profile is not known", realm={tokens.PROFILE: "tag:arm.com,2025:realm#2.0.0"})
    yield parse("unknown-platform-claim", "claim is not known", {9999: 1})
    yield parse("unknown-realm-claim", "claim is not known", realm={9999: 1})
    yield parse("unknown-hash", "hash algorithm is not known", realm={tokens.REALM_HASH: "sha3-256"})
    es512 = MACHINE.join(MACHINE.platform_token(protected={1: -36}), MACHINE.realm_token(NONCE))
    yield Case("algorithm-es512", es512, "parse", "algorithm is not known")
    parts = {tokens.PLATFORM_TOKEN: b"1", tokens.REALM_TOKEN: b"2", 44242: b"3"}
    yield Case("unknown-part", encode(cbor.Tag(tokens.TAG, parts)), "parse", "part is not known")


def _wrong_keys() -> Iterator[Case]:
    def hardware(name: str, cause: str, *endorsements: bytes, outcome: str = "failed") -> Case:
        return Case(name, _token(), "hardware", cause, outcome, endorsements=endorsements)

    yield hardware("no-endorsement", "key is missing", outcome="not established")
    yield hardware("unpinned-key", "not pinned", Machine(b"2").endorsement())
    yield hardware("unreadable-key", "cannot be read", b"\x30\0")
    yield hardware("jwk-of-another-kind", "another kind", b'{"kty":"OKP","crv":"Ed25519","x":"","y":""}')
    yield hardware("jwk-off-the-curve", "point of the curve", _jwk(b"\1" * 48))
    yield hardware("too-many-keys", "too many", *[MACHINE.endorsement()] * 9)
    p256 = Machine(p256=True)
    yield Case("key-of-another-kind", _token(), "hardware", "another kind", machine=p256)


def _jwk(coordinate: bytes) -> bytes:
    import base64

    text = base64.urlsafe_b64encode(coordinate).rstrip(b"=")
    return b'{"kty":"EC","crv":"P-384","x":"' + text + b'","y":"' + text + b'"}'


def _wrong_tokens() -> Iterator[Case]:
    def hardware(name: str, cause: str, evidence: bytes) -> Case:
        return Case(name, evidence, "hardware", cause)

    platform, realm = MACHINE.platform_token(), MACHINE.realm_token(NONCE)
    elsewhere = Machine(realm=b"2")
    yield hardware("other-platform", "not signed by", Machine(b"2").token(challenge=NONCE))
    yield hardware("realm-of-another", "another realm's key", MACHINE.join(platform, elsewhere.realm_token(NONCE)))
    forged = elsewhere.realm_token(NONCE, {tokens.REALM_KEY: MACHINE.realm_key()})
    yield hardware("realm-signed-by-another", "not signed by", MACHINE.join(platform, forged))
    other_hash = MACHINE.realm_token(NONCE, {tokens.REALM_KEY_HASH: "sha-512"})
    yield hardware("key-hash-of-another-kind", "another realm's key", MACHINE.join(platform, other_hash))
    off = b"\x04" + b"\1" * 96
    challenge = {tokens.CHALLENGE: _sha256(off)}
    off_curve = MACHINE.join(MACHINE.platform_token(challenge), MACHINE.realm_token(NONCE, {tokens.REALM_KEY: off}))
    yield hardware("realm-key-off-the-curve", "point of the curve", off_curve)
    for name, part in (("platform", cca.IMPLEMENTATION), ("rim", cca.rim()), ("nonce", NONCE)):
        flipped = bytearray(_token())
        flipped[flipped.index(part)] ^= 1
        yield hardware(f"flipped-bit-in-{name}", "not signed by", bytes(flipped))
    zero = MACHINE.join(platform, MACHINE.realm_token(NONCE, signature=bytes(96)))
    yield hardware("realm-signature-zero", "not signed by", zero)
    short = MACHINE.join(platform, realm[:-1])
    yield Case("realm-signature-cut", short, "parse", "ends too early")


def _sha256(data: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(data).digest()


def _misconfigured() -> Iterator[Case]:
    def configuration(name: str, cause: str, evidence: bytes, **floor: object) -> Case:
        return Case(name, evidence, "configuration", cause, floor=floor)

    yield configuration("debug", "secured state", _token({tokens.LIFECYCLE: cca.DEBUG}))
    yield configuration("decommissioned", "secured state", _token({tokens.LIFECYCLE: 0x6000}))
    yield configuration("lifecycle-zero", "secured state", _token({tokens.LIFECYCLE: 0}))
    yield configuration("other-implementation", "implementation is another", _token(), implementation_id=["00" * 32])
    yield configuration("other-instance", "instance is another", _token(), instance_id=["00" * 33])
    yield configuration("other-config", "configuration is another", _token(), config=["00"])
    yield configuration("other-firmware", "RMM is another", _token(), components={"RMM": ["00" * 32]})
    yield configuration("missing-firmware", "no firmware component", _token(), components={"SCP_BL2": ["00" * 32]})
    twice = _token({tokens.COMPONENTS: [cca.component("RMM"), cca.component("RMM", measurement=bytes(32))]})
    yield configuration("firmware-twice", "RMM is another", twice, components={"RMM": cca.measurement("RMM").hex()})
    yield configuration("other-signer", "signed by another", _token(), signer_ids=["00" * 32])
    yield configuration("other-personalization", "personalization", _token(), personalization="01" * 64)
    yield configuration("other-hash", "hash algorithm is another", _token(), hash_algorithm="sha-256")


def _unfresh() -> Iterator[Case]:
    yield Case("replayed", MACHINE.token(challenge=b"an older challenge"), "freshness", "another request")
