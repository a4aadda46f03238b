"""in-toto Statement v1: the frame of every statement that is logged (in-toto attestation spec, v1/statement.md).

    {"_type":"https://in-toto.io/Statement/v1","subject":[{"name":..,"digest":{"sha256":..}}],"predicateType":..,"predicate":{..}}

Any JSON text that ``strict_json`` reads is accepted as a payload; the signature covers its exact bytes. What teelog
writes itself is compact and in the order above.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

import msgspec

from teelog.errors import MalformedError
from teelog.statement import strict_json

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MAX_SUBJECTS = 200
MAX_NAME = 512  # characters of a subject's name
DIGEST_LENGTHS = {"sha256": 32, "sha384": 48, "sha512": 64}
"""Bytes; other algorithms have 1 to 64."""

_ALGORITHM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_HEX = re.compile(r"(?:[0-9a-f]{2}){1,64}")

Digest = Annotated[dict[str, str], strict_json.Members]

_S = TypeVar("_S", bound="Frame")


class Subject(msgspec.Struct, frozen=True, omit_defaults=True):
    """An artifact of a release: an in-toto ResourceDescriptor, of which further members are ignored.

    digest: algorithm -> lower-case hex. name: for people, never compared.
    """

    name: str = ""
    digest: Digest = {}


class Topic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The subject of a statement that is about a name and no artifact: its digest is SHA-256 of the name."""

    name: str
    digest: Digest


class Frame(msgspec.Struct, frozen=True):
    """The members before ``subject``; the kinds of statements derive from it and add the others, in order."""

    type: str = msgspec.field(name="_type")


class _Peek(msgspec.Struct):
    predicate_type: str = msgspec.field(name="predicateType")


_peek_decoder = msgspec.json.Decoder(_Peek)


def claimed_predicate_type(payload: bytes) -> str:
    """The predicate type that a payload names, to choose its reader: nothing else is checked. Raises MalformedError."""
    try:
        return _peek_decoder.decode(payload).predicate_type
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        strict_json.load(payload)
        strict_json.raise_located(error)


def decode(payload: bytes, decoder: msgspec.json.Decoder[_S]) -> _S:
    """A statement of the decoder's kind, its frame checked.

    Raises MalformedError (``where``: a JSON pointer into the statement).
    """
    statement = strict_json.decode(payload, decoder)
    # the type stands inside the signed bytes and decides how they are read.
    if statement.type != STATEMENT_TYPE:
        raise MalformedError(
            "statement type is not known", where="/_type", expected=STATEMENT_TYPE, actual=statement.type[:80]
        )
    return statement


def check_predicate_type(found: str, expected: str) -> None:
    """Raises MalformedError unless a statement is of the type that its reader is for.

    A-51: what was signed as one kind is never read as another, however alike the two look.
    """
    if found != expected:
        raise MalformedError(
            "statement is of another kind", where="/predicateType", expected=expected, actual=found[:80]
        )


def topic(name: str, sha256: str) -> tuple[Topic, ...]:
    """The ``subject`` of a statement about a name. sha256: of the name's bytes, hex."""
    return (Topic(name, {"sha256": sha256}),)


def check_topic(subject: tuple[Topic, ...], name: str, sha256: str) -> None:
    """Raises MalformedError unless ``subject`` is what ``topic`` gives."""
    if subject != topic(name, sha256):
        raise MalformedError(
            "subject is not the name that the statement is about", where="/subject", expected=f"{name} with its SHA-256"
        )


def check_subjects(subjects: tuple[Subject, ...]) -> None:
    """One to 200 artifacts, each with a digest. Raises MalformedError."""
    if not 1 <= len(subjects) <= MAX_SUBJECTS:
        raise MalformedError(
            "wrong number of subjects", where="/subject", expected=f"1 to {MAX_SUBJECTS}", actual=len(subjects)
        )
    for index, subject in enumerate(subjects):
        if len(subject.name) > MAX_NAME:
            raise MalformedError(
                "name is too long", where=f"/subject/{index}/name", expected=f"at most {MAX_NAME} characters"
            )
        check_digest(subject.digest, f"/subject/{index}/digest")


def check_digest(digest: dict[str, str], where: str) -> None:
    """At least one ``algorithm: lower-case hex``, of the exact length where the algorithm is known."""
    if not digest:
        raise MalformedError("no digest", where=where, expected='{"sha256": "..."}')
    for algorithm, value in digest.items():
        if not _ALGORITHM.fullmatch(algorithm):
            place = f"{where}/{strict_json.pointer_step(algorithm)}"
            raise MalformedError("not the name of a digest algorithm", where=place)
        length = DIGEST_LENGTHS.get(algorithm)
        if not _HEX.fullmatch(value) or (length is not None and len(value) != 2 * length):
            expected = f"{length} bytes" if length else "1 to 64 bytes"
            raise MalformedError(
                "not a digest",
                where=f"{where}/{strict_json.pointer_step(algorithm)}",
                expected=f"{expected} in lower-case hex",
                actual=value[:140],
            )
