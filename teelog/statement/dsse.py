"""DSSE envelopes in the one encoding that a log takes (protocol section 2).

    {"payload":"<base64>","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"<hex>","sig":"<base64>"}]}

Members in this order, no white space, padded standard base64 that re-encodes equal; ``keyid`` is the SHA-256 of the
key's SPKI in lower-case hex; 1 to 16 signatures, sorted by keyid, no keyid twice; at most 65,535 bytes.
What is signed is the pre-authentication encoding of DSSE 1.0.2:

    PAE = "DSSEv1" SP len(type) SP type SP len(payload) SP payload       (lengths in bytes, decimal)

and the SHA-256 of it is the **statement id**, which is the same however the signatures look. Parsing authenticates
nothing: a payload is reachable through ``Envelope.verify`` only, or through ``Envelope.claimed``, which says so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from teelog.errors import MalformedError, SignatureError, UntrustedKey
from teelog.keys import PublicKey
from teelog.statement import strict_json

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_FILE = 65_535
"""Bytes of a file: an entry's length is a uint16 in entry bundles."""
MAX_SIGNATURES = 16

_KEYID = re.compile(r"[0-9a-f]{64}")


class Signer(Protocol):
    """A key that signs: a file, an agent or a KMS behind it."""

    @property
    def public(self) -> PublicKey: ...

    def sign(self, message: bytes, /) -> bytes:
        """The signature in the encoding that ``public.verify`` accepts."""


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """keyid: SHA-256 of the SPKI, lower-case hex. sig: the signature's bytes."""

    keyid: str
    sig: bytes


class _Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: bytes
    payload_type: str = msgspec.field(name="payloadType")
    signatures: tuple[Signature, ...]


_decoder = msgspec.json.Decoder(_Wire)


class VerifiedEnvelope(msgspec.Struct, frozen=True):
    """What ``Envelope.verify`` gives: every signature held, each by one of the given keys.

    payload: the signed bytes. signers: keyids, sorted, distinct. file: the envelope's bytes, an entry of the log.
    """

    payload: bytes
    signers: tuple[str, ...]
    statement_id: str
    file: bytes

    def __repr__(self) -> str:
        return f"VerifiedEnvelope({self.statement_id})"


class Envelope(msgspec.Struct, frozen=True):
    """A well-formed envelope of which nothing is verified.

    file: its exact bytes. statement_id: SHA-256 of the PAE, lower-case hex. _held: keys, by keyid, under which the
    signature held when it was checked before; for them it is not checked again.
    """

    file: bytes
    signatures: tuple[Signature, ...]
    statement_id: str
    _payload: bytes
    _pae: bytes
    _held: Mapping[str, PublicKey] = {}

    def __repr__(self) -> str:
        return f"Envelope({self.statement_id})"

    @property
    def keyids(self) -> tuple[str, ...]:
        """Who the envelope says has signed it: hints, until ``verify``."""
        return tuple(signature.keyid for signature in self.signatures)

    def claimed(self) -> bytes:
        """The payload, unverified: to find out whose keys to verify with, or to show it as a claim."""
        return self._payload

    def verify(self, keys: Mapping[str, PublicKey]) -> VerifiedEnvelope:
        """Verifies every signature.

        keys: by keyid. Raises UntrustedKey for a signature by none of them, SignatureError for one that fails.
        """
        for signature in self.signatures:
            key = keys.get(signature.keyid)
            # Protocol section 2: every one valid and by a key of the namespace, so no junk rides beside a good one.
            if key is None:
                raise UntrustedKey(
                    "a signature is by none of the keys that may sign this",
                    expected=_shortened(keys),
                    actual=f"keyid {signature.keyid}",
                )
            self._check(signature, key)
        return VerifiedEnvelope(self._payload, self.keyids, self.statement_id, self.file)

    def holding(self, keys: Mapping[str, PublicKey]) -> tuple[str, ...]:
        """Keyids, sorted, of those among ``keys`` whose signatures hold, whatever the others are.

        To list who has signed: no basis for trust in the payload, which is ``verify``'s matter.
        """
        held = []
        for signature in self.signatures:
            key = keys.get(signature.keyid)
            if key is None:
                continue
            with suppress(SignatureError):
                self._check(signature, key)
                held.append(signature.keyid)
        return tuple(held)

    def checked(self, keys: Mapping[str, PublicKey]) -> Envelope:
        """The same, knowing which signatures hold under ``keys`` (by keyid): ``verify`` costs less, and says the same.

        For whoever checks many by several threads, before what has to be done in order.
        """
        held = {keyid: keys[keyid] for keyid in self.holding(keys)}
        return msgspec.structs.replace(self, _held=held)

    def _check(self, signature: Signature, key: PublicKey) -> None:
        # What held counts for this very key only, whatever it is called.
        if self._held.get(signature.keyid) != key:
            key.verify(self._pae, signature.sig)


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """The bytes that are signed. Lengths count bytes, not characters (A-40)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def statement_id(payload: bytes) -> str:
    """Identity of a statement: SHA-256 of its PAE, lower-case hex, 64 characters."""
    return hashlib.sha256(pae(payload)).hexdigest()


def parse(file: bytes) -> Envelope:
    """An envelope from the exact bytes of its file.

    Raises MalformedError (``where``: a JSON pointer into the envelope).
    """
    if len(file) > MAX_FILE:
        raise MalformedError("file is too large for a log", expected=f"at most {MAX_FILE} bytes", actual=len(file))
    try:
        wire = _decoder.decode(file)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        strict_json.load(file)
        strict_json.raise_located(error)
    _check(wire)
    # one accepted encoding. Order, white space, escapes, base64 and repeated members all show here.
    if strict_json.encode(wire) != file:
        strict_json.load(file)
        raise MalformedError(
            "envelope is not in its one accepted encoding",
            expected="payload, payloadType, signatures [keyid, sig] in this order, no white space, standard base64",
            hint="teelog release publish re-encodes what other tools wrote",
        )
    return _envelope(wire, file)


def _check(wire: _Wire) -> None:
    # a type is signed with the payload, yet only this one may be read as a statement.
    if wire.payload_type != PAYLOAD_TYPE:
        raise MalformedError(
            "payload type is not accepted", where="/payloadType", expected=PAYLOAD_TYPE, actual=wire.payload_type[:80]
        )
    # bounded work, every key counted once, one order.
    if not 1 <= len(wire.signatures) <= MAX_SIGNATURES:
        raise MalformedError(
            "wrong number of signatures",
            where="/signatures",
            expected=f"1 to {MAX_SIGNATURES}",
            actual=len(wire.signatures),
        )
    before = ""
    for index, signature in enumerate(wire.signatures):
        if not _KEYID.fullmatch(signature.keyid):
            raise MalformedError(
                "keyid is not a SHA-256 in lower-case hex",
                where=f"/signatures/{index}/keyid",
                actual=signature.keyid[:80],
            )
        if signature.keyid <= before:
            problem = "keyid is repeated" if signature.keyid == before else "signatures are not sorted by keyid"
            raise MalformedError(problem, where=f"/signatures/{index}/keyid", actual=signature.keyid)
        before = signature.keyid


def _envelope(wire: _Wire, file: bytes) -> Envelope:
    signed = pae(wire.payload)
    return Envelope(file, wire.signatures, hashlib.sha256(signed).hexdigest(), wire.payload, signed)


def encode(payload_type: str, payload: bytes, signatures: Sequence[Signature]) -> Envelope:
    """The envelope of ``payload`` with these signatures, sorted. Raises MalformedError where ``parse`` would."""
    wire = _Wire(payload, payload_type, tuple(sorted(signatures, key=lambda signature: signature.keyid)))
    _check(wire)
    file = strict_json.encode(wire)
    if len(file) > MAX_FILE:
        raise MalformedError("file is too large for a log", expected=f"at most {MAX_FILE} bytes", actual=len(file))
    return _envelope(wire, file)


def sign(payload_type: str, payload: bytes, signers: Sequence[Signer]) -> Envelope:
    """A new envelope, signed by all of ``signers``; ``payload_type`` is PAYLOAD_TYPE.

    Raises SignatureError if a signer's signature does not verify under its own public key, MalformedError beyond the
    bounds of the format.
    """
    signed = pae(payload, payload_type)
    return encode(payload_type, payload, [_signature(signer, signed) for signer in signers])


def add_signature(envelope: Envelope, signer: Signer) -> Envelope:
    """``envelope`` with one signature more; the same envelope if this key has signed it already.

    A signature is made once and kept: ML-DSA and ECDSA never give the same bytes twice. Raises SignatureError if the
    signature that is there already fails.
    """
    keyid = signer.public.fingerprint
    for signature in envelope.signatures:
        if signature.keyid == keyid:
            signer.public.verify(envelope._pae, signature.sig)
            return envelope
    return encode(PAYLOAD_TYPE, envelope._payload, [*envelope.signatures, _signature(signer, envelope._pae)])


def _signature(signer: Signer, signed: bytes) -> Signature:
    signature = signer.sign(signed)
    try:
        signer.public.verify(signed, signature)
    except SignatureError as error:
        raise SignatureError(
            "the signer's signature does not verify under its public key", actual=f"key {signer.public.fingerprint}"
        ) from error
    return Signature(signer.public.fingerprint, signature)


def _shortened(keys: Mapping[str, PublicKey]) -> str:
    shown = ", ".join(sorted(keys)[:4]) or "no key at all"
    return shown if len(keys) <= 4 else f"{shown} or {len(keys) - 4} more"
