"""What the certificate of a platform's provisioning certification key (PCK) says about the platform.

Source: Intel SGX PCK certificate and CRL profile specification, extension 1.2.840.113741.1.13.1.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from teelog.errors import MalformedError
from teelog.evidence import der as asn1
from teelog.evidence.certificates import Certificate

NAME = "Intel SGX PCK Certificate"
ISSUERS = ("Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA")

_ARC = "1.2.840.113741.1.13.1"
_TCB, _PCEID, _FMSPC = _ARC + ".2", _ARC + ".3", _ARC + ".4"
_COMPONENTS = tuple(f"{_TCB}.{number}" for number in range(1, 17))
_PCESVN = _TCB + ".17"
_WHAT = "PCK certificate"
_MAX_ITEMS = 32


class Pck(msgspec.Struct, frozen=True):
    """fmspc: the kind of platform, 6 bytes. pceid: 2 bytes. components: 16 security versions; pcesvn: the PCE's."""

    certificate: Certificate
    fmspc: bytes
    pceid: bytes
    components: tuple[int, ...]
    pcesvn: int


@lru_cache(maxsize=64)
def _parsed(der: bytes) -> tuple[bytes, bytes, tuple[int, ...], int]:
    items = _items(asn1.only(der, asn1.SEQUENCE, _WHAT))
    tcb = _items(asn1.only(_item(items, _TCB), asn1.SEQUENCE, _WHAT))
    fmspc = asn1.only(_item(items, _FMSPC), asn1.OCTET_STRING, _WHAT)
    pceid = asn1.only(_item(items, _PCEID), asn1.OCTET_STRING, _WHAT)
    if len(fmspc) != 6 or len(pceid) != 2:
        raise MalformedError("FMSPC or PCEID has another size", where=_WHAT)
    return fmspc, pceid, tuple(_number(tcb, name, 0xFF) for name in _COMPONENTS), _number(tcb, _PCESVN, 0xFFFF)


def read(certificate: Certificate) -> Pck:
    """Raises MalformedError."""
    value = certificate.extensions.get(_ARC)
    if value is None:
        raise MalformedError("the extension that describes the platform is missing", where=_WHAT)
    return Pck(certificate, *_parsed(value))


def _items(content: bytes) -> dict[str, bytes]:
    """Object identifier -> DER of its value."""
    reader = asn1.Reader(content, _WHAT)
    found: dict[str, bytes] = {}
    while not reader.at_end():
        item = reader.inside(asn1.SEQUENCE)
        name, tag = item.oid(), item.peek()
        if name in found or len(found) == _MAX_ITEMS or tag is None:
            raise MalformedError("an item of the platform's description is there twice or has no value", where=_WHAT)
        found[name] = item.element(tag)
        item.finish()
    return found


def _item(items: dict[str, bytes], name: str) -> bytes:
    if name not in items:
        raise MalformedError(f"{name} is missing", where=_WHAT)
    return items[name]


def _number(items: dict[str, bytes], name: str, most: int) -> int:
    value = asn1.integer(asn1.only(_item(items, name), asn1.INTEGER, _WHAT), _WHAT)
    if not 0 <= value <= most:
        raise MalformedError(f"{name} is out of range", where=_WHAT, actual=value)
    return value
