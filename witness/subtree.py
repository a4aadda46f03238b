"""What a witness answers to sign-subtree: a function of the request, the known logs and its own keys.

No state: the checkpoint carries the witness's own cosignature, and a subtree of a cosigned tree stays one for ever.
Source: c2sp.org/tlog-witness, "sign-subtree".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from teelog import strict
from teelog.errors import MalformedError, ProofError, SignatureError, UntrustedKey
from teelog.tlog import cosignature, note, subtree
from teelog.tlog.checkpoint import parse_body
from teelog.tlog.rfc6962 import HASH_LENGTH
from teelog.tlog.vkey import NoteSigner, SignatureType
from teelog.tlog.witness import encode_answer, parse_hashes
from teelog.witness.decide import Answer, KnownLog, refuse


@dataclass(frozen=True, slots=True)
class SignSubtree:
    """A request.

    [start, end): a valid subtree range. root: its claimed hash. checkpoint: the reference note, as sent.
    """

    start: int
    end: int
    root: bytes
    proof: tuple[bytes, ...]
    checkpoint: bytes

    @property
    def origin(self) -> bytes:
        return self.checkpoint.partition(b"\n")[0]


def read(body: bytes) -> SignSubtree | Answer:
    """The request, strictly (WS-02 to WS-04). No cryptography."""
    try:
        return _parse(body)
    except MalformedError as error:
        # "If the request is invalid according to the rules above, the witness MUST respond with a "400 Bad Request"".
        return refuse(HTTPStatus.BAD_REQUEST, error.message)


def _parse(body: bytes) -> SignSubtree:
    head, separator, checkpoint = body.partition(b"\n\n")
    lines = head.split(b"\n")
    if not separator or len(lines) < 2 or not checkpoint.partition(b"\n")[1] or checkpoint.startswith(b"\n"):
        raise MalformedError("request lacks a range, a hash or a checkpoint")
    words = lines[0].split(b" ")
    if len(words) != 3 or words[0] != b"subtree":
        raise MalformedError("request does not start with a subtree range line")
    start, end = strict.decimal(words[1], "subtree start"), strict.decimal(words[2], "subtree end")
    # WS-04: "The half-open interval [start, end) MUST be a valid subtree".
    if not subtree.is_valid(start, end):
        raise MalformedError("subtree range is not valid")
    root = strict.b64(lines[1], "subtree hash", HASH_LENGTH)
    return SignSubtree(start, end, root, parse_hashes(lines[2:]), checkpoint)  # WS-03


def decide(request: SignSubtree, log: KnownLog | None, signers: Sequence[NoteSigner]) -> Answer | list[NoteSigner]:
    """The signers that may sign the subtree, or the refusal. log: that of ``request.origin``, None if unknown."""
    # WS-07: "If the checkpoint origin is unknown, the witness MUST respond with a "404 Not Found"".
    if log is None or log.origin.encode() != request.origin:
        return refuse(HTTPStatus.NOT_FOUND, "log is not known here")
    if log.disabled:
        return refuse(HTTPStatus.FORBIDDEN, "log is disabled here")
    try:
        opened = note.open_note(request.checkpoint, [signer.verifier for signer in signers])
        checkpoint = parse_body(opened.text)
    except (UntrustedKey, SignatureError):
        # WS-08: "MUST verify that the checkpoint includes a valid cosignature from one of its own keys [...] 403".
        return refuse(HTTPStatus.FORBIDDEN, "no valid cosignature of this witness")
    except MalformedError as error:
        return refuse(HTTPStatus.BAD_REQUEST, error.message)
    if checkpoint.origin != log.origin:
        return refuse(HTTPStatus.BAD_REQUEST, "checkpoint's origin line is ambiguous")
    # WS-05: "end MUST be less than or equal to the checkpoint size".
    if request.end > checkpoint.size:
        return refuse(HTTPStatus.BAD_REQUEST, "subtree ends beyond the checkpoint")
    # WS-09, WS-10: "The cosignature format MUST support subtree cosigning"; WS-11: the key that signed the reference.
    signed_by = {line.verifier for line in opened.signatures}
    able = [s for s in signers if s.verifier in signed_by and s.verifier.type is SignatureType.COSIGNATURE_ML_DSA_44]
    if not able:
        return refuse(HTTPStatus.FORBIDDEN, "no cosignature of a key that can sign subtrees")
    try:
        # WS-06: "If the Merkle Consistency Proof doesn't verify [...] 422".
        subtree.verify(request.start, request.end, checkpoint.size, request.root, checkpoint.root, request.proof)
    except ProofError:
        return refuse(HTTPStatus.UNPROCESSABLE_ENTITY, "subtree proof does not verify")
    return able


def answer(request: SignSubtree, log: KnownLog, signers: Sequence[NoteSigner]) -> Answer:
    """Decides and signs."""
    able = decide(request, log, signers)
    if isinstance(able, Answer):
        return able
    return Answer(HTTPStatus.OK, encode_answer(sign(request, log.origin, signer) for signer in able))


def sign(request: SignSubtree, origin: str, signer: NoteSigner) -> note.Signature:
    """The subtree cosignature. WS-10: "the timestamp MUST be zero"."""
    key = signer.verifier
    message = cosignature.ml_dsa_44_message(key.name, 0, origin, request.start, request.end, request.root)
    return note.Signature(key.name, key.key_id, cosignature.encode_blob(0, signer.private.sign(message)))
