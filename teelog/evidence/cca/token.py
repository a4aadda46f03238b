"""First cut: the bytes of an Arm CCA attestation token to claims, strictly; nothing in it is trusted yet.

    tag 399 {44234: platform token, 44241: realm token}        each a COSE_Sign1 over a CBOR map of claims

Source: Arm, "Realm Management Monitor specification" (DEN0137) section A7.2, and draft-ffm-rats-cca-token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from teelog import cbor
from teelog.errors import MalformedError, NotEstablished
from teelog.evidence import cose
from teelog.evidence.cose import Sign1

TAG = 399
PLATFORM_TOKEN, REALM_TOKEN = 44234, 44241
MAX_TOKEN = 32_768  # bytes
MAX_COMPONENTS = 64
MAX_TEXT = 256  # characters

PLATFORM_PROFILES = ("http://arm.com/CCA-SSD/1.0.0", "tag:arm.com,2023:cca_platform#1.0.0")
REALM_PROFILES = ("tag:arm.com,2023:realm#1.0.0",)
HASHES = {"sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}
"""Names in tokens -> names in hashlib."""

PROFILE, CHALLENGE = 265, 10
INSTANCE, LIFECYCLE, IMPLEMENTATION, COMPONENTS, INDICATOR, CONFIG, HASH = 256, 2395, 2396, 2399, 2400, 2401, 2402
PERSONALIZATION, REALM_HASH, REALM_KEY, RIM, REM, REALM_KEY_HASH = 44235, 44236, 44237, 44238, 44239, 44240
KIND, MEASUREMENT, VERSION, SIGNER, COMPONENT_HASH = 1, 2, 4, 5, 6

_TOKEN, _PLATFORM, _REALM = "CCA token", "CCA platform token", "CCA realm token"
_START = b"\xd9\x01\x8f"
_TAGGED = bytes((0xC0 | cose.TAG,))
_LENGTHS = (32, 48, 64)
_REGISTER_LENGTHS = (32, 64)
_REMS = 4


@dataclass(frozen=True, slots=True)
class Component:
    """A piece of the platform's firmware. kind: its name, such as ``RMM``; empty where it has none."""

    kind: str
    measurement: bytes
    signer: bytes
    version: str
    hash: str


@dataclass(frozen=True, slots=True)
class Platform:
    """What the platform's own token claims. challenge: the hash of the realm's key. lifecycle: 16 bits."""

    cose: Sign1
    profile: str
    challenge: bytes
    implementation: bytes
    instance: bytes
    config: bytes
    lifecycle: int
    hash: str
    indicator: str
    components: tuple[Component, ...]


@dataclass(frozen=True, slots=True)
class Realm:
    """What the realm's token claims. challenge: 64 bytes. key: as it lies there, which is what is hashed.

    hash, key_hash: members of HASHES; what the registers were made with, and what the platform's challenge was.
    """

    cose: Sign1
    profile: str
    challenge: bytes
    personalization: bytes
    hash: str
    key: bytes
    key_hash: str
    rim: bytes
    rem: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Token:
    raw: bytes
    platform: Platform
    realm: Realm


def looks_like(raw: bytes) -> bool:
    return raw[:3] == _START


def parse(raw: bytes) -> Token:
    """Raises MalformedError; NotEstablished for what this version does not know."""
    if len(raw) > MAX_TOKEN:
        raise MalformedError(f"{_TOKEN}: too long", expected=f"at most {MAX_TOKEN} bytes", actual=len(raw))
    tree = cbor.load(raw, _TOKEN)
    if not isinstance(tree, cbor.Tag) or tree.number != TAG:
        raise MalformedError(f"{_TOKEN}: not a CCA token", expected=f"tag {TAG}")
    fields = cbor.Fields(tree.value, _TOKEN)
    order = fields.left()
    platform, realm = (fields.octets(key, 1, MAX_TOKEN) for key in (PLATFORM_TOKEN, REALM_TOKEN))
    if fields.left():
        raise NotEstablished(f"{_TOKEN}: a part is not known here", actual=str(fields.left()[0])[:40])
    # Nobody signs the outer map: one token has one encoding.
    if order != [PLATFORM_TOKEN, REALM_TOKEN]:
        raise MalformedError(f"{_TOKEN}: the parts are not in ascending order")
    return Token(raw, _platform(_signed(platform, _PLATFORM)), _realm(_signed(realm, _REALM)))


def _signed(part: bytes, what: str) -> Sign1:
    if part[:1] != _TAGGED:
        raise MalformedError(f"{what}: not a tagged COSE_Sign1", expected=f"tag {cose.TAG}")
    return cose.parse(part, what)


def _platform(message: Sign1) -> Platform:
    fields = cbor.Fields(cbor.load(message.payload, _PLATFORM), _PLATFORM)
    found = Platform(
        message,
        _known(fields, PROFILE, PLATFORM_PROFILES, "profile"),
        _digest(fields, CHALLENGE, _LENGTHS),
        fields.octets(IMPLEMENTATION, 32, 32),
        fields.octets(INSTANCE, 33, 33),
        fields.octets(CONFIG, 0, 1024),
        fields.number(LIFECYCLE, 0xFFFF),
        _known(fields, HASH, tuple(HASHES), "hash algorithm"),
        fields.text(INDICATOR, MAX_TEXT) if fields.has(INDICATOR) else "",
        tuple(_component(each) for each in fields.items(COMPONENTS, 1, MAX_COMPONENTS)),
    )
    _finish(fields, _PLATFORM)
    return found


def _component(tree: Any) -> Component:
    what = f"{_PLATFORM}, component"
    fields = cbor.Fields(tree, what)
    found = Component(
        fields.text(KIND, MAX_TEXT) if fields.has(KIND) else "",
        _digest(fields, MEASUREMENT, _LENGTHS),
        _digest(fields, SIGNER, _LENGTHS),
        fields.text(VERSION, MAX_TEXT) if fields.has(VERSION) else "",
        _known(fields, COMPONENT_HASH, tuple(HASHES), "hash algorithm") if fields.has(COMPONENT_HASH) else "",
    )
    _finish(fields, what)
    return found


def _realm(message: Sign1) -> Realm:
    fields = cbor.Fields(cbor.load(message.payload, _REALM), _REALM)
    found = Realm(
        message,
        _known(fields, PROFILE, REALM_PROFILES, "profile") if fields.has(PROFILE) else "",
        fields.octets(CHALLENGE, 64, 64),
        fields.octets(PERSONALIZATION, 64, 64),
        _known(fields, REALM_HASH, tuple(HASHES), "hash algorithm"),
        fields.octets(REALM_KEY, 1, 256),
        _known(fields, REALM_KEY_HASH, tuple(HASHES), "hash algorithm"),
        _digest(fields, RIM, _REGISTER_LENGTHS),
        tuple(_register(each) for each in fields.items(REM, _REMS, _REMS)),
    )
    _finish(fields, _REALM)
    return found


def _digest(fields: cbor.Fields, key: int, lengths: tuple[int, ...]) -> bytes:
    value = fields.octets(key, lengths[0], lengths[-1])
    if len(value) not in lengths:
        raise MalformedError(f"{_TOKEN}: claim {key} is no digest", expected=" or ".join(map(str, lengths)) + " bytes")
    return value


def _register(value: Any) -> bytes:
    if type(value) is not bytes or len(value) not in _REGISTER_LENGTHS:
        raise MalformedError(f"{_REALM}: not a register", expected="32 or 64 bytes")
    return value


def _known(fields: cbor.Fields, key: int, values: tuple[str, ...], what: str) -> str:
    value = fields.text(key, MAX_TEXT)
    if value not in values:
        raise NotEstablished(f"{_TOKEN}: the {what} is not known here", expected=" or ".join(values), actual=value)
    return value


def _finish(fields: cbor.Fields, what: str) -> None:
    if fields.left():
        raise NotEstablished(f"{what}: a claim is not known here", actual=str(fields.left()[0])[:40])


def fields(token: Token) -> Mapping[str, object]:
    """Every claim by name, for show."""
    platform, realm = token.platform, token.realm
    shown: dict[str, object] = {
        "platform": {
            "profile": platform.profile,
            "challenge": platform.challenge,
            "implementation_id": platform.implementation,
            "instance_id": platform.instance,
            "config": platform.config,
            "lifecycle": f"{platform.lifecycle:#06x}",
            "hash_algorithm": platform.hash,
            "verification_service": platform.indicator or "none",
        },
        "realm": {
            "profile": realm.profile or "none",
            "challenge": realm.challenge,
            "personalization": realm.personalization,
            "hash_algorithm": realm.hash,
            "public_key": realm.key,
            "public_key_hash_algorithm": realm.key_hash,
            "rim": realm.rim,
            **{f"rem{number}": value for number, value in enumerate(realm.rem)},
        },
    }
    for number, each in enumerate(platform.components):
        shown[f"component{number}"] = {
            "type": each.kind or "none",
            "version": each.version or "none",
            "measurement": each.measurement,
            "signer_id": each.signer,
        }
    return shown
