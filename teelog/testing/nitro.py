"""Fake Nitro hypervisors: root, the chain below it, attestation documents; the same bytes every time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from teelog.evidence import der
from teelog.evidence.nitro import pcr
from teelog.evidence.platform import Roots
from teelog.testing import x509
from teelog.testing.cose import Indefinite, encode, sign1
from teelog.testing.sev_snp import NOT_AFTER, NOT_BEFORE, NOW

ROOT, REGION, ZONE, INSTANCE = "aws.nitro-enclaves", "region.example", "zone.example", "i-0123456789abcdef0.example"
INSTANCE_ID = "i-0123456789abcdef0"
MODULE_ID = f"{INSTANCE_ID}-enc0123456789abcdef"
ROLE = "arn:aws:iam::123456789012:role/example"
LEAF_LIFE = 10_800
"""Seconds."""

_NAMES = (ROOT, REGION, ZONE, INSTANCE)
LEAF = (
    ("2.5.29.19", True, x509.tlv(der.SEQUENCE)),
    ("2.5.29.15", False, x509.tlv(der.BIT_STRING, b"\x07\x80")),
)
"""The extensions of a certificate whose key signs documents and no certificates."""


def _authority(path_length: int | None) -> tuple[tuple[str, bool, bytes], ...]:
    length = b"" if path_length is None else x509.integer(path_length)
    basic = x509.tlv(der.SEQUENCE, x509.tlv(der.BOOLEAN, b"\xff"), length)
    return ("2.5.29.19", True, basic), ("2.5.29.15", True, x509.tlv(der.BIT_STRING, b"\x01\x86"))


@dataclass(frozen=True)
class Hypervisor:
    """One fake hypervisor and the enclave on it.

    seed: another seed is another leaf key. rogue: its chain begins with a root that `roots` does not pin. made_at:
    POSIX seconds at which it makes documents, for which the leaf lives. path_lengths: of the root and those below it.
    """

    seed: bytes = b"1"
    rogue: bool = False
    made_at: int = NOW - 60
    path_lengths: tuple[int | None, ...] = (None, 2, 1, 0)
    leaf_extensions: tuple[tuple[str, bool, bytes], ...] = field(default=LEAF)

    def cabundle(self) -> list[bytes]:
        """DER, root first."""
        return [link(place, self.rogue, _authority(self.path_lengths[place])) for place in range(len(_NAMES))]

    def certificate(self) -> bytes:
        """DER of the leaf."""
        return x509.Draft(
            MODULE_ID,
            INSTANCE,
            x509.ecdsa_spki(self._key()),
            self.made_at - 3,
            self.made_at - 3 + LEAF_LIFE,
            0x2001,
            self.leaf_extensions,
        ).sign_ecdsa(_key(INSTANCE, self.rogue))

    def document(self, **changes: object) -> bytes:
        """A signed document. changes: members of the payload in place of the usual ones; see `payload`."""
        return self.sign(self.payload(**changes))

    def payload(self, **changes: object) -> bytes:
        """CBOR. changes: None for null, DROP to leave a member out; members that are not usual are added at the end.

        ``indefinite=True``: a map that is written without its length.
        """
        indefinite = changes.pop("indefinite", False)
        members = {**self._members(), **changes}
        kept = {name: value for name, value in members.items() if value is not DROP}
        return encode(Indefinite(kept) if indefinite else kept)

    def _members(self) -> dict[str, object]:
        return {
            "module_id": MODULE_ID,
            "digest": "SHA384",
            "timestamp": self.made_at * 1000 + 123,
            "pcrs": pcrs(),
            "certificate": self.certificate(),
            "cabundle": self.cabundle(),
            "public_key": None,
            "user_data": None,
            "nonce": None,
        }

    def sign(self, payload: bytes, *, tagged: bool = False, **changes: object) -> bytes:
        """See `teelog.testing.cose.sign1` for changes."""
        return sign1(payload, self._key(), tagged=tagged, **changes)  # type: ignore[arg-type]

    def _key(self) -> EllipticCurvePrivateKey:
        return _key("leaf " + self.seed.hex(), self.rogue)

    def other(self, **changes: object) -> Hypervisor:
        return replace(self, **changes)  # type: ignore[arg-type]


DROP = object()


def pcrs(changes: Mapping[int, bytes] | None = None, *, debug: bool = False) -> dict[int, bytes]:
    """The 16 registers of an enclave whose image is not signed. debug: as in debug mode. changes: index -> value."""
    usual = dict.fromkeys(range(16), pcr.ZERO)
    if not debug:
        usual |= {index: pcr.of_image(hashlib.sha384(b"image %d" % index).digest()) for index in (0, 1, 2)}
    usual |= {3: pcr.of_role(ROLE), 4: pcr.of_instance(INSTANCE_ID)}
    return {**usual, **(changes or {})}


@cache
def _key(name: str, rogue: bool) -> EllipticCurvePrivateKey:
    return x509.p384_key(b"nitro " + (b"rogue " if rogue else b"") + name.encode())


@cache
def link(place: int, rogue: bool, extensions: tuple[tuple[str, bool, bytes], ...]) -> bytes:
    """DER of the root (place 0) or of an authority below it."""
    name, issuer = _NAMES[place], _NAMES[max(place - 1, 0)]
    spki = x509.ecdsa_spki(_key(name, rogue))
    return x509.Draft(name, issuer, spki, NOT_BEFORE, NOT_AFTER, 0x1000 + place, extensions).sign_ecdsa(
        _key(issuer, rogue)
    )


@cache
def roots() -> Roots:
    """The fake root, for the ``roots`` argument."""
    return Roots({ROOT: hashlib.sha256(link(0, False, _authority(None))).digest()})
