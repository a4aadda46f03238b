"""A statement's file on its way to the log: bare JSON until the first signature, an envelope from then on.

Unsigned, a statement is never wrapped in an envelope: no reader has to decide what an envelope without signatures is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from teelog.errors import ConfigError, MalformedError
from teelog.keys import PublicKey
from teelog.statement import dsse, ear_token, strict_json
from teelog.statement.admit import Kind, Statement, read_result, read_statement
from teelog.statement.dsse import Envelope, Signer
from teelog.statement.key_set import is_ecdsa
from teelog.statement.token import Token


@dataclass(frozen=True, slots=True)
class Draft:
    """statement: what the file states; nothing is verified. envelope: None while nobody has signed.

    token: in place of an envelope, of an attestation result, which is signed when it is made.
    """

    payload: bytes = field(repr=False)
    statement: Statement
    envelope: Envelope | None
    token: Token | None = None

    @property
    def statement_id(self) -> str:
        return dsse.statement_id(self.payload) if self.token is None else self.token.statement_id

    @property
    def signers(self) -> tuple[str, ...]:
        """Keyids that the file names; hints."""
        signed = self.envelope or self.token
        return () if signed is None else signed.keyids

    @property
    def signed(self) -> bool:
        return self.envelope is not None or self.token is not None

    @property
    def file(self) -> bytes:
        signed = self.envelope or self.token
        return self.payload if signed is None else signed.file


def read(file: bytes) -> Draft:
    """A bare statement, an envelope or a result's token, each in its one accepted encoding. Raises MalformedError."""
    if len(file) > dsse.MAX_FILE:
        raise MalformedError("file is too large for a log", expected=f"at most {dsse.MAX_FILE} bytes", actual=len(file))
    if ear_token.looks_like(file):
        token = ear_token.parse(file)
        return Draft(token.claimed(), read_result(token), None, token)
    tree = strict_json.load(file)
    if not isinstance(tree, dict) or not ("_type" in tree or "payload" in tree):
        raise MalformedError("neither a statement nor an envelope", expected="an in-toto statement, or DSSE around one")
    if "payload" in tree:
        envelope = dsse.parse(file)
        return Draft(envelope.claimed(), read_statement(envelope.claimed()), envelope)
    return Draft(file, read_statement(file), None)


def sign(draft: Draft, signers: Sequence[Signer]) -> Draft:
    """``draft`` with the signatures of ``signers`` that it lacks.

    Raises ConfigError (a key that may not sign this kind), SignatureError, MalformedError (more than 16 signatures).
    """
    if draft.token is not None:
        raise ConfigError("an attestation result has one signature, made with it", hint="teelog verify --result-key")
    for signer in signers:
        check_may_sign(draft.statement.kind, signer.public)
    envelope = draft.envelope
    for signer in signers:
        if envelope is None:
            envelope = dsse.sign(dsse.PAYLOAD_TYPE, draft.payload, [signer])
        else:
            envelope = dsse.add_signature(envelope, signer)
    return Draft(draft.payload, draft.statement, envelope)


def check_may_sign(kind: Kind, key: PublicKey) -> None:
    """Raises ConfigError for a key whose algorithm is for releases only (protocol section 2)."""
    if kind is not Kind.RELEASE and is_ecdsa(key):
        raise ConfigError(
            f"this key cannot sign a {kind}", expected="an ed25519 or ml-dsa-44 key", actual=f"{key.algorithm}"
        )
