"""Large or private parts of a result, logged as salted digests only (SD-JWT, RFC 9901 section 4.2).

    disclosure = BASE64URL( [salt, name, value] as JSON )        "_sd": [ BASE64URL( SHA-256( disclosure ) ) ]

The token holds the digests; the disclosures lie in a file of their own, one a line, and whoever is given one learns the
claim and that this result is about it. Without the salt, 128 bits at least, a digest tells nothing, not even about a
nonce that could be guessed. A CWT has the same two claims under the same names, as SD-CWT is a draft still.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from teelog.errors import MalformedError, VerificationError
from teelog.statement import jws, strict_json

DIGESTS, ALGORITHM = "_sd", "_sd_alg"
SHA_256 = "sha-256"
SALT_LENGTH = 16
"""Bytes of a salt, at least."""
MAX_DISCLOSURE = 1 << 22
"""Bytes of one disclosure: a megabyte of evidence, twice encoded."""
MAX_DISCLOSURES = 64

_RESERVED = (DIGESTS, "...")


@dataclass(frozen=True, slots=True)
class Disclosed:
    """A claim that a disclosure adds. where: JSON pointer of the object in the claims that it belongs to."""

    where: str
    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Checked:
    """withheld: how many digests of the result no disclosure was given for; some may be decoys."""

    disclosed: tuple[Disclosed, ...]
    withheld: int


def conceal(
    claims: Mapping[str, Any], parts: Mapping[str, Any], salts: Sequence[bytes]
) -> tuple[dict[str, Any], list[bytes]]:
    """``claims`` with the digests of ``parts``, and a disclosure for each part, in order.

    parts: claims by name. salts: fresh random bytes, one for each. Raises ValueError for a salt too few or too short,
    MalformedError for a part that is too long.
    """
    if len(salts) != len(parts) or any(len(salt) < SALT_LENGTH for salt in salts):
        raise ValueError(f"each part needs a salt of {SALT_LENGTH} bytes")
    made = [
        jws.b64url(strict_json.encode([jws.b64url(salt).decode(), name, value]))
        for salt, (name, value) in zip(salts, parts.items(), strict=True)
    ]
    longest = max(map(len, made), default=0)
    if longest > MAX_DISCLOSURE:
        raise MalformedError("part is too long", expected=f"at most {MAX_DISCLOSURE} bytes, encoded", actual=longest)
    # RFC 9901 section 4.2.4.1: the order of the digests tells nothing about that of the claims.
    return {**claims, DIGESTS: sorted(map(_digest, made)), ALGORITHM: SHA_256}, made


def write(disclosures: Sequence[bytes]) -> bytes:
    """The file of these disclosures."""
    return b"".join(each + b"\n" for each in disclosures)


def read(file: bytes) -> list[bytes]:
    """The disclosures in a file, one a line. Raises MalformedError."""
    found = file.split(b"\n")
    if found.pop() != b"" or not 1 <= len(found) <= MAX_DISCLOSURES:
        raise MalformedError("not a file of disclosures", expected=f"1 to {MAX_DISCLOSURES} lines")
    return found


def check(claims: Mapping[str, Any], disclosures: Sequence[bytes]) -> Checked:
    """What the disclosures say, each of which the claims of a verified token hold the digest of.

    Raises MalformedError (RFC 9901 section 7.1: reserved and repeated names, digests given twice), VerificationError
    for a disclosure of another result.
    """
    algorithm = claims.get(ALGORITHM, SHA_256)
    if algorithm != SHA_256:
        raise MalformedError("digests of another kind", where=f"/{ALGORITHM}", expected=SHA_256, actual=str(algorithm))
    places: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for where, holder in _holders(claims, ""):
        for digest in holder[DIGESTS]:
            if not isinstance(digest, str) or digest in places:
                raise MalformedError("not digests, each once", where=f"{where}/{DIGESTS}")
            places[digest] = (where, holder)
    found: dict[tuple[str, str], Disclosed] = {}
    for disclosure in disclosures:
        name, value = _parse(disclosure)
        digest = _digest(disclosure)
        if digest not in places:
            raise VerificationError(
                "the result does not hold this disclosure's digest", expected="a disclosure of this result", actual=name
            )
        where, holder = places.pop(digest)
        if name in holder or (where, name) in found:
            raise MalformedError("the disclosed claim is there already", where=f"{where}/{name}")
        found[where, name] = Disclosed(where, name, value)
    return Checked(tuple(found.values()), len(places))


def _holders(value: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, dict):
        if DIGESTS in value:
            if not isinstance(value[DIGESTS], list):
                raise MalformedError("not a list of digests", where=f"{where}/{DIGESTS}")
            yield where, value
        for name, item in value.items():
            yield from _holders(item, f"{where}/{strict_json.pointer_step(name)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _holders(item, f"{where}/{index}")


def _parse(disclosure: bytes) -> tuple[str, Any]:
    if len(disclosure) > MAX_DISCLOSURE:
        raise MalformedError("disclosure is too long", expected=f"at most {MAX_DISCLOSURE} bytes")
    tree = strict_json.load(jws.unb64url(disclosure, "/disclosure"), MAX_DISCLOSURE)
    if not isinstance(tree, list) or len(tree) != 3 or not isinstance(tree[0], str) or not isinstance(tree[1], str):
        raise MalformedError("not a disclosure", expected="a salt, a name, a value")
    if tree[1] in _RESERVED:
        raise MalformedError("a disclosure of this name", actual=tree[1])
    return tree[1], tree[2]


def _digest(disclosure: bytes) -> str:
    return jws.b64url(hashlib.sha256(disclosure).digest()).decode()
