"""Other tools' DSSE files, re-encoded to the one encoding that a log takes (protocol section 2, A-41).

Accepted: DSSE JSON with any member order and white space, either base64 alphabet, missing or foreign keyids; and
Sigstore bundles (``application/vnd.dev.sigstore.bundle...``) around such an envelope, if they were signed with a key
that the caller knows. A namespace lists keys, so a bundle that rests on a certificate ("keyless") is refused.

The payload is kept byte for byte, and with it the statement id. Signatures are kept too, except that an ECDSA one is
brought to low s; each is assigned to the key under which it verifies.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

from teelog.errors import MalformedError, SignatureError, UntrustedKey
from teelog.keys import PublicKey, low_s
from teelog.statement import dsse, strict_json
from teelog.statement.key_set import is_ecdsa

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle"
MAX_FILE = 1_048_576
"""Bytes of a foreign file: a bundle carries certificates, timestamps and proofs beside the envelope."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")


def canonical(file: bytes, keys: Sequence[PublicKey]) -> dsse.Envelope:
    """The envelope in ``file`` (DSSE JSON or a Sigstore bundle) in its one accepted encoding.

    keys: those that may have signed. Raises MalformedError, UntrustedKey (a signature by none of them).
    """
    document = strict_json.load(file, MAX_FILE)
    if isinstance(document, dict) and is_bundle(document):
        _check_key_signed(document)
        return _canonical(document.get("dsseEnvelope"), "/dsseEnvelope", keys)
    return _canonical(document, "", keys)


def is_bundle(document: dict[str, strict_json.Value]) -> bool:
    """Whether a JSON object says that it is a Sigstore bundle."""
    media_type = document.get("mediaType")
    return isinstance(media_type, str) and media_type.startswith(BUNDLE_TYPE)


def _check_key_signed(bundle: dict[str, strict_json.Value]) -> None:
    material = bundle.get("verificationMaterial")
    if not isinstance(material, dict):
        raise MalformedError("bundle has no verification material", where="/verificationMaterial")
    if "certificate" in material or "x509CertificateChain" in material:
        raise UntrustedKey(
            "bundle is signed with a certificate (keyless), and a namespace lists keys",
            expected="a bundle signed with a key of the namespace (verificationMaterial.publicKey)",
            actual="verificationMaterial." + ("certificate" if "certificate" in material else "x509CertificateChain"),
            hint="cosign attest-blob --key KEY --new-bundle-format ..., or teelog release sign FILE --key KEYREF",
        )
    if "publicKey" not in material:
        raise MalformedError(
            "bundle does not say what it is signed with", where="/verificationMaterial", expected="publicKey"
        )
    if "dsseEnvelope" not in bundle:
        raise MalformedError(
            "bundle holds no DSSE envelope", where="/dsseEnvelope", expected="an attestation, not a signature of a blob"
        )


def _canonical(document: strict_json.Value, where: str, keys: Sequence[PublicKey]) -> dsse.Envelope:
    if not isinstance(document, dict) or "payload" not in document or "signatures" not in document:
        raise MalformedError(
            "neither a DSSE envelope nor a Sigstore bundle",
            where=where or "/",
            expected="payload, payloadType, signatures",
        )
    payload_type = document.get("payloadType")
    if payload_type != dsse.PAYLOAD_TYPE:
        raise MalformedError(
            "payload type is not accepted",
            where=f"{where}/payloadType",
            expected=dsse.PAYLOAD_TYPE,
            actual=str(payload_type)[:80],
        )
    payload = _base64(document["payload"], f"{where}/payload")
    signatures = document["signatures"]
    # bounded before any signature is tried; the work is signatures times keys.
    if not isinstance(signatures, list) or not 1 <= len(signatures) <= dsse.MAX_SIGNATURES:
        raise MalformedError("not a list of 1 to 16 signatures", where=f"{where}/signatures")
    signed = dsse.pae(payload)
    found: dict[str, dsse.Signature] = {}
    for index, entry in enumerate(signatures):
        place = f"{where}/signatures/{index}"
        if not isinstance(entry, dict):
            raise MalformedError("not a signature", where=place, expected='{"keyid": .., "sig": ..}')
        signature = _attribute(_base64(entry.get("sig"), f"{place}/sig"), signed, keys, place)
        # One key counts once, however often it signed.
        found.setdefault(signature.keyid, signature)
    return dsse.encode(dsse.PAYLOAD_TYPE, payload, list(found.values()))


def _attribute(signature: bytes, signed: bytes, keys: Sequence[PublicKey], where: str) -> dsse.Signature:
    """The signature with the keyid of the key under which it verifies; what the file says about it is no evidence."""
    for key in keys:
        try:
            candidate = low_s(key.algorithm, signature) if is_ecdsa(key) else signature
            key.verify(signed, candidate)
        except (SignatureError, MalformedError):
            continue
        return dsse.Signature(key.fingerprint, candidate)
    raise UntrustedKey(
        f"{where.lstrip('/')}: signature is by none of the given keys",
        expected=", ".join(key.fingerprint for key in keys[:4]) or "a key to try",
        hint="name the public keys that may have signed the file",
    )


def _base64(value: strict_json.Value, where: str) -> bytes:
    """Standard or URL-safe alphabet, padded or not: the DSSE specification lets readers meet all of them."""
    if not isinstance(value, str) or not _BASE64.fullmatch(value):
        raise MalformedError("not base64", where=where)
    plain = value.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError as error:
        raise MalformedError("not base64", where=where) from error
