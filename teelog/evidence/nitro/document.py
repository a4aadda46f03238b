"""First cut: the bytes of a Nitro attestation document to fields, strictly; nothing in it is trusted yet.

A COSE_Sign1, whose payload is a CBOR map. Source: AWS, aws-nitro-enclaves-nsm-api, "Nitro Enclaves Attestation
Process". Real payloads come as maps of definite and of indefinite length: both are signed as they lie there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from teelog import cbor
from teelog.errors import MalformedError, NotEstablished
from teelog.evidence import cose
from teelog.evidence.certificates import utc
from teelog.evidence.cose import Sign1
from teelog.evidence.nitro import pcr

MAX_DOCUMENT = 17_408  # bytes: payload, headers, signature, and room
MAX_PAYLOAD = 16_384
MAX_MODULE_ID = 256  # characters
MAX_CERTIFICATE = 1024
MAX_CHAIN = 7  # certificates above the leaf
MAX_FIELD = 1024  # bytes of nonce, user data, public key
MAX_INDEX = 31

_WHAT = "Nitro attestation document"
_MAX_TIME = 253_402_300_799_999  # ms: the year 9999


@dataclass(frozen=True, slots=True)
class Document:
    """raw: all of it. timestamp: POSIX milliseconds at which the hypervisor made it. pcrs: index -> 48 bytes.

    certificate: DER of the signer's. cabundle: DER, root first. public_key, user_data, nonce: what the program asked
    to have signed; None where it asked for none.
    """

    raw: bytes
    cose: Sign1
    module_id: str
    timestamp: int
    pcrs: Mapping[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None

    @property
    def made_at(self) -> int:
        """POSIX seconds."""
        return self.timestamp // 1000

    @property
    def instance(self) -> str:
        """The parent instance, by the module's name."""
        return self.module_id.partition("-enc")[0]

    @property
    def debug(self) -> bool:
        """An enclave started in debug mode has zeros in the registers of its image."""
        return not any(any(self.pcrs.get(index, b"")) for index in (0, 1, 2))


def looks_like(raw: bytes) -> bool:
    """A COSE_Sign1 whose payload begins as a map with a text key; CCA's tokens have another tag."""
    start = raw[1:] if raw[:1] == b"\xd2" else raw
    if start[:1] != b"\x84" or len(start) < 12:
        return False
    size = start[1] - 0x40
    if not 1 <= size < 24:
        return False
    rest = start[2 + size : 8 + size]
    # {} and a byte string of at least 256 bytes, then a map: of definite or of indefinite length.
    return rest[:2] == b"\xa0\x59" and len(rest) == 6 and (rest[4] >> 5 == 5) and rest[5] >> 5 == 3


def parse(raw: bytes) -> Document:
    """Raises MalformedError; NotEstablished for what this version does not know."""
    if len(raw) > MAX_DOCUMENT:
        raise MalformedError(f"{_WHAT}: too long", expected=f"at most {MAX_DOCUMENT} bytes", actual=len(raw))
    message = cose.parse(raw, _WHAT)
    if message.algorithm != cose.ES384:
        raise NotEstablished(f"{_WHAT}: signed in a way that is not known here", expected="ES384")
    if len(message.payload) > MAX_PAYLOAD:
        raise MalformedError(f"{_WHAT}: the payload is too long", expected=f"at most {MAX_PAYLOAD} bytes")
    fields = cbor.Fields(cbor.load(message.payload, _WHAT, indefinite=True), _WHAT)
    digest = fields.text("digest", 16)
    if digest != "SHA384":
        raise NotEstablished(f"{_WHAT}: the registers' digest is not known here", expected="SHA384", actual=digest)
    found = Document(
        raw,
        message,
        fields.text("module_id", MAX_MODULE_ID),
        fields.number("timestamp", _MAX_TIME),
        _pcrs(fields.mapping("pcrs")),
        fields.octets("certificate", 1, MAX_CERTIFICATE),
        tuple(_certificate(each) for each in fields.items("cabundle", 1, MAX_CHAIN)),
        fields.maybe_octets("public_key", 1, MAX_FIELD),
        fields.maybe_octets("user_data", 0, MAX_FIELD),
        fields.maybe_octets("nonce", 0, MAX_FIELD),
    )
    if fields.left():
        raise NotEstablished(f"{_WHAT}: a member is not known here", actual=str(fields.left()[0])[:40])
    if found.timestamp == 0:
        raise MalformedError(f"{_WHAT}: no time", expected="milliseconds since 1970", actual=0)
    return found


def _pcrs(table: Mapping[int | str, object]) -> Mapping[int, bytes]:
    found: dict[int, bytes] = {}
    for index, value in table.items():
        if type(index) is not int or not 0 <= index <= MAX_INDEX:
            raise MalformedError(f"{_WHAT}: no such register", expected=f"0 to {MAX_INDEX}", actual=str(index)[:40])
        if type(value) is not bytes or len(value) != pcr.SIZE:
            raise MalformedError(f"{_WHAT}: PCR {index} is no SHA-384 digest", expected=f"{pcr.SIZE} bytes")
        found[index] = value
    missing = [index for index in (0, 1, 2) if index not in found]
    if missing:
        raise MalformedError(f"{_WHAT}: PCR {missing[0]} is missing")
    return found


def _certificate(value: object) -> bytes:
    if type(value) is not bytes or not 1 <= len(value) <= MAX_CERTIFICATE:
        raise MalformedError(f"{_WHAT}: not a certificate", expected=f"1 to {MAX_CERTIFICATE} bytes")
    return value


def fields(document: Document) -> Mapping[str, object]:
    """Every field by name, for show."""
    return {
        "module_id": document.module_id,
        "timestamp": utc(document.made_at),
        "digest": "SHA384",
        "pcrs": {str(index): value for index, value in sorted(document.pcrs.items())},
        "public_key": _shown(document.public_key),
        "user_data": _shown(document.user_data),
        "nonce": _shown(document.nonce),
        "certificates": len(document.cabundle) + 1,
    }


def _shown(value: bytes | None) -> object:
    return "none" if value is None else value
