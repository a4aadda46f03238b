"""Releases, ``urn:teelog:release:v1``: the registers of one version of a program (protocol section 3).

    {"stream":"acme.example/inference/stable","version":"1.4.2","svn":3,
     "validity":{"notBefore":"2026-01-01T00:00:00Z","notAfter":"2027-01-01T00:00:00Z"},
     "variants":[{"platform":"sev-snp","when":{"vcpus":2},"registers":{"measurement":".."},"require":{"debug":false}}],
     "coverage":{"measured":["firmware","kernel"],"unmeasured":["acpi"]},"materials":[{"name":"source","uri":".."}]}

The subjects are the artifacts. Unknown members are ignored, except in a variant, where they are refused; what an
unknown member of ``require`` means is in ``teelog.statement.require``. A release allows nothing by itself: that is the
business of a status.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated

import msgspec

from teelog.errors import MalformedError, UntrustedKey
from teelog.statement import intoto, names, registers, require, strict_json
from teelog.statement.dsse import Envelope
from teelog.statement.names import Stream
from teelog.statement.namespace import Namespace, Role
from teelog.statement.strict_json import Count, Members, Scalar

PREDICATE_TYPE = "urn:teelog:release:v1"
MAX_VARIANTS = 200
MAX_INDEX_KEYS = 256
"""Keys that one entry may have in the verifiable index (protocol section 4)."""

# Hours are bounded here: later Pythons read 24:00:00 as the next day, and every reader has to agree.
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z")


class Validity(msgspec.Struct, frozen=True):
    """First and last second, RFC 3339 in UTC with Z, no fraction."""

    not_before: str = msgspec.field(name="notBefore")
    not_after: str = msgspec.field(name="notAfter")


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """registers: name -> lower-case hex, or ``any``. when: a label for people, never checked."""

    platform: str
    when: Annotated[dict[str, Scalar], Members] = {}
    registers: Annotated[dict[str, str], Members]
    require: require.Block = {}


class Coverage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the registers cover and what they leave out, in the vendor's words."""

    measured: tuple[str, ...] = ()
    unmeasured: tuple[str, ...] = ()


class Material(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that the artifact was made from: an in-toto ResourceDescriptor, further members ignored."""

    name: str = ""
    uri: str = ""
    digest: intoto.Digest = {}


class ReleasePredicate(msgspec.Struct, frozen=True, omit_defaults=True):
    """svn: security version number; grows when going back would be a risk."""

    stream: str
    version: str
    svn: Count
    validity: Validity
    variants: tuple[Variant, ...]
    coverage: Coverage = Coverage()
    materials: tuple[Material, ...] = ()


class ReleaseStatement(intoto.Frame, frozen=True):
    subject: tuple[intoto.Subject, ...]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: ReleasePredicate


_decoder = msgspec.json.Decoder(ReleaseStatement)


class ReleaseClaim(msgspec.Struct, frozen=True):
    """A well-formed release of which nothing is verified. not_before, not_after: aware, UTC."""

    statement: ReleaseStatement
    stream: Stream
    not_before: datetime
    not_after: datetime

    @property
    def predicate(self) -> ReleasePredicate:
        return self.statement.predicate


class Release(msgspec.Struct, frozen=True):
    """A release whose signatures held under its namespace: made by ``verify`` only.

    signers: keyids, sorted. index: of its entry in the log, None before it has one.
    """

    claim: ReleaseClaim
    statement_id: str
    signers: tuple[str, ...]
    index: int | None
    file: bytes

    def __repr__(self) -> str:
        return f"Release({self.claim.stream} {self.claim.predicate.version}, {self.statement_id})"


def payload(predicate: ReleasePredicate, subjects: tuple[intoto.Subject, ...]) -> bytes:
    """The bytes to sign, the same for the same input. Raises MalformedError, also for a requirement without meaning."""
    for index, variant in enumerate(predicate.variants):
        require.check_known(variant.require, f"/predicate/variants/{index}/require")
    encoded = strict_json.encode(ReleaseStatement(intoto.STATEMENT_TYPE, subjects, PREDICATE_TYPE, predicate))
    read(encoded)
    return encoded


def read(claimed: bytes) -> ReleaseClaim:
    """A release from its payload, well-formed; nothing is verified. Raises MalformedError."""
    statement = intoto.decode(claimed, _decoder)
    intoto.check_predicate_type(statement.predicate_type, PREDICATE_TYPE)
    predicate = statement.predicate
    intoto.check_subjects(statement.subject)
    stream = names.stream(predicate.stream, "/predicate/stream")
    names.version(predicate.version, "/predicate/version")
    not_before = time(predicate.validity.not_before, "/predicate/validity/notBefore")
    not_after = time(predicate.validity.not_after, "/predicate/validity/notAfter")
    if not_after < not_before:
        raise MalformedError(
            "release is never valid",
            where="/predicate/validity/notAfter",
            expected=f"after {predicate.validity.not_before}",
            actual=predicate.validity.not_after,
        )
    if not 1 <= len(predicate.variants) <= MAX_VARIANTS:
        raise MalformedError(
            "wrong number of variants",
            where="/predicate/variants",
            expected=f"1 to {MAX_VARIANTS}",
            actual=len(predicate.variants),
        )
    for index, variant in enumerate(predicate.variants):
        registers.check(variant.platform, variant.registers, f"/predicate/variants/{index}")
    return ReleaseClaim(statement, stream, not_before, not_after)


def time(text: str, where: str | None = None) -> datetime:
    """RFC 3339 in UTC, whole seconds, ``Z``: one spelling. Raises MalformedError."""
    try:
        return _time(text)
    except ValueError:
        pass
    raise MalformedError("not a time", where=where, expected="as 2026-01-31T12:00:00Z", actual=text[:80])


@lru_cache(1_024)  # releases of one stream share their validity; a refusal is not kept
def _time(text: str) -> datetime:
    if not _TIME.fullmatch(text):
        raise ValueError
    return datetime.fromisoformat(text)


def format_time(moment: datetime) -> str:
    """The spelling that ``time`` reads, to the second. moment: aware."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_index_keys(claim: ReleaseClaim, signatures: int) -> None:
    """At most 256 keys in the verifiable index. Raises MalformedError (protocol section 4).

    signatures: of the envelope. One key each is taken by the stream and by every distinct register value, subject
    digest and signer; a register left open has none.
    """
    variants, subjects = claim.predicate.variants, claim.statement.subject
    most = 1 + signatures + sum([len(v.registers) for v in variants]) + sum([len(s.digest) for s in subjects])
    if most <= MAX_INDEX_KEYS:
        return
    values = {(v.platform, *item) for v in variants for item in v.registers.items() if item[1] != registers.ANY}
    digests = {item for s in subjects for item in s.digest.items()}
    keys = 1 + signatures + len(values) + len(digests)
    if keys > MAX_INDEX_KEYS:
        raise MalformedError(
            "release has too many distinct values",
            where="/predicate/variants",
            expected=f"at most {MAX_INDEX_KEYS} registers, digests and signers",
            actual=keys,
        )


def verify(
    envelope: Envelope, namespace: Namespace, index: int | None = None, claim: ReleaseClaim | None = None
) -> Release:
    """A release signed by a threshold of the namespace's release keys.

    index: of the entry in the log, None before it has one. claim: ``read(envelope.claimed())`` if it is at hand.
    Raises MalformedError, SignatureError, UntrustedKey (also for a stream of another namespace).
    """
    if claim is None:
        claim = read(envelope.claimed())
    if claim.stream.namespace != namespace.name:
        raise UntrustedKey(
            "release is for a stream of another namespace", expected=namespace.name, actual=claim.stream.namespace
        )
    verified = envelope.verify(namespace.public_keys)
    namespace.require(Role.RELEASE, verified.signers, index)
    return Release(claim, verified.statement_id, verified.signers, index, verified.file)
