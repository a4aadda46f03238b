"""Golden measurements: NVIDIA's reference integrity manifests (RIM), one of the driver, one of the VBIOS.

A RIM is an ISO 19770-2 SWID tag in XML, signed within (XML-DSig, ECDSA P-384) by a chain to NVIDIA's RIM root. What is
read of it is what the signature covers, nothing else. lxml and signxml come with the extra ``nvidia`` and are loaded
here only, when there is a RIM.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from teelog import strict
from teelog.errors import MalformedError, NotEstablished, SignatureError, VerificationError
from teelog.evidence import certificates
from teelog.evidence.certificates import Certificate
from teelog.evidence.nvidia import chain
from teelog.evidence.nvidia.report import DIGEST

if TYPE_CHECKING:
    from cryptography import x509

MAX_RIM = 1 << 17  # bytes; real ones have up to 25,685
MAX_CHAIN = 6
MAX_ALTERNATIVES = 64

_SWID = "{http://standards.iso.org/iso/19770/-2/2015/schema.xsd}"
_HASHES = "{http://www.w3.org/2001/04/xmlenc#sha384}"
_DS = "{http://www.w3.org/2000/09/xmldsig#}"
_WHAT = "golden RIM"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,2}")
_VERSION = re.compile(r"[0-9A-Za-z.]{1,32}")


@dataclass(frozen=True, slots=True)
class Rim:
    """edition: ``GPU`` or ``SWITCH``. product: such as ``GH100``. version: of driver or VBIOS, as reports name it.

    golden: index, from 0 -> the values of which a machine's must be one, 48 bytes each. not_after: POSIX seconds until
    which its signer's certificate is valid.
    """

    edition: str
    product: str
    version: str
    golden: Mapping[int, tuple[bytes, ...]]
    not_after: int


def looks_like(raw: bytes) -> bool:
    return raw.lstrip()[:1] == b"<"


def verify(raw: bytes, now: int, pins: Mapping[str, bytes]) -> Rim:
    """A RIM that NVIDIA signed and whose certificates are valid ``now`` (POSIX seconds).

    Raises MalformedError, VerificationError and its kinds; NotEstablished where the extra ``nvidia`` is missing.
    """
    root = _root(raw)
    signers = _chain(root)
    chain.check(signers, now, pins)
    leaf = signers[0]
    if leaf.authority or not leaf.signer:
        raise VerificationError("a RIM's certificate is none for signing", actual=leaf.common_name)
    signed = _signed(raw, leaf, now)
    return _read(signed, leaf.not_after)


def _root(raw: bytes) -> Any:
    """The tree, not authenticated."""
    if len(raw) > MAX_RIM:
        raise MalformedError(f"{_WHAT}: too long", expected=f"at most {MAX_RIM} bytes", actual=len(raw))
    # UTF-8 only, so that nothing below hides in another encoding; no document type, so no entities.
    if b"\0" in raw or b"<!" in raw or b"<?" in raw.lstrip()[1:]:
        raise MalformedError(f"{_WHAT}: declarations, comments and instructions have no place in it")
    try:
        raw.decode("utf-8")
        from lxml import etree
    except UnicodeDecodeError as error:
        raise MalformedError(f"{_WHAT}: not UTF-8") from error
    except ImportError as error:
        raise _missing() from error
    try:
        root = etree.fromstring(raw, _parser())
    except (etree.LxmlError, ValueError) as error:
        raise MalformedError(f"{_WHAT}: not XML", actual=ascii(str(error))[:120]) from error
    encoding = (root.getroottree().docinfo.encoding or "UTF-8").upper()
    if encoding not in ("UTF-8", "ASCII", "US-ASCII"):
        raise MalformedError(f"{_WHAT}: another encoding", expected="UTF-8", actual=ascii(encoding)[:40])
    return root


def _parser() -> Any:
    from lxml import etree

    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)


def _missing() -> NotEstablished:
    return NotEstablished(
        "golden RIMs are not read: signxml is not installed", hint="pip install 'teelog[nvidia]'", expected="signxml"
    )


def _chain(root: Any) -> list[Certificate]:
    """Leaf first, as the signature shows them."""
    found = root.findall(f"{_DS}Signature/{_DS}KeyInfo/{_DS}X509Data/{_DS}X509Certificate")
    if not 1 <= len(found) <= MAX_CHAIN:
        raise MalformedError(f"{_WHAT}: its signer's certificates", expected=f"1 to {MAX_CHAIN}", actual=len(found))
    return [certificates.load_cert(_certificate(each.text or "")) for each in found]


def _certificate(text: str) -> bytes:
    if not text.isascii():
        raise MalformedError(f"{_WHAT}: a certificate is not base64")
    return strict.b64("".join(text.split()).encode(), "certificate")


def _signed(raw: bytes, leaf: Certificate, now: int) -> Any:
    """The element that the signature of ``leaf``'s key covers: the whole document without the signature."""
    from cryptography import x509

    certificate = x509.load_der_x509_certificate(leaf.der)
    try:
        return _by_signxml(raw, certificate, now)
    except ImportError as error:
        raise _missing() from error


def _by_signxml(raw: bytes, leaf: x509.Certificate, now: int) -> Any:
    from cryptography.exceptions import InvalidKey
    from lxml import etree
    from signxml.algorithms import DigestAlgorithm, SignatureMethod
    from signxml.exceptions import InvalidDigest, InvalidSignature, SignXMLException
    from signxml.verifier import SignatureConfiguration, XMLVerifier

    config = SignatureConfiguration(
        location="./",
        expect_references=1,
        signature_methods=frozenset({SignatureMethod.ECDSA_SHA384}),
        digest_algorithms=frozenset({DigestAlgorithm.SHA384}),
        verification_time=datetime.fromtimestamp(now, UTC),
    )
    try:
        result = XMLVerifier().verify(raw, x509_cert=leaf, parser=_parser(), expect_config=config)
    except (InvalidSignature, InvalidDigest) as error:
        raise SignatureError(f"{_WHAT}: its signature is not its signer's", actual=ascii(str(error))[:120]) from error
    except (SignXMLException, etree.LxmlError, InvalidKey, ValueError, TypeError, LookupError) as error:
        raise VerificationError(f"{_WHAT}: its signature cannot be verified", actual=ascii(str(error))[:120]) from error
    assert not isinstance(result, list)  # one reference was asked for
    if result.signed_xml is None:
        raise VerificationError(f"{_WHAT}: what is signed is no XML")
    return result.signed_xml


def _read(root: Any, not_after: int) -> Rim:
    if root.tag != f"{_SWID}SoftwareIdentity":
        raise VerificationError(f"{_WHAT}: what is signed is not the whole", actual=ascii(root.tag)[:80])
    metas, payloads = root.findall(f"{_SWID}Meta"), root.findall(f"{_SWID}Payload")
    if len(metas) != 1 or len(payloads) != 1:
        raise MalformedError(f"{_WHAT}: one Meta and one Payload are expected")
    version, edition, product = (_text(metas[0], name) for name in ("colloquialVersion", "edition", "product"))
    golden: dict[int, tuple[bytes, ...]] = {}
    for resource in payloads[0].findall(f"{_SWID}Resource"):
        if resource.get("type") != "Measurement" or not _active(resource):
            continue
        index = _number(resource, "index", 254)
        if index in golden:
            raise MalformedError(f"{_WHAT}: an index occurs twice", actual=index)
        golden[index] = _values(resource)
    if not golden:
        raise MalformedError(f"{_WHAT}: no golden value in it")
    return Rim(edition, product, version, golden, not_after)


def _text(element: Any, name: str) -> str:
    value = element.get(name, "")
    if not _VERSION.fullmatch(value):
        raise MalformedError(f"{_WHAT}: {name} is something else", actual=ascii(value)[:40])
    return str(value)


def _active(resource: Any) -> bool:
    value = resource.get("active")
    if value not in ("True", "False"):
        raise MalformedError(f"{_WHAT}: a measurement is neither active nor not")
    return bool(value == "True")


def _number(element: Any, name: str, most: int) -> int:
    text = element.get(name, "")
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise MalformedError(f"{_WHAT}: {name} is something else", expected=f"0 to {most}", actual=ascii(text)[:40])
    return int(text)


def _values(resource: Any) -> tuple[bytes, ...]:
    count = _number(resource, "alternatives", MAX_ALTERNATIVES)
    names = [name for name in resource.keys() if name.startswith(f"{_HASHES}Hash")]  # noqa: SIM118
    if count == 0 or set(names) != {f"{_HASHES}Hash{number}" for number in range(count)}:
        raise MalformedError(f"{_WHAT}: another number of values than it says", expected=count, actual=len(names))
    return tuple(strict.unhex(resource.get(f"{_HASHES}Hash{number}"), _WHAT, DIGEST) for number in range(count))


def of_version(rims: Sequence[Rim], version: str, what: str) -> Rim:
    """The one RIM for a version. Raises NotEstablished where there is none; MalformedError for several."""
    found = [rim for rim in rims if rim.version == version and rim.edition == "GPU"]
    if not found:
        given = ", ".join(rim.version for rim in rims)
        raise NotEstablished(f"no golden RIM of the {what} was given", expected=version, actual=given or "none")
    if len(found) > 1:
        raise MalformedError(f"several golden RIMs of the {what} were given", actual=version)
    return found[0]
