"""Attestation results: EAR claims (draft-ietf-rats-ear-03; AR4SI values of draft-ietf-rats-ar4si), as JSON.

Two dialects are on the wire. Both are read: the draft's (``ear_status``, profile ``tag:ietf.org,2026:rats/ear#03``) and
the deployed one of Veraison and Trustee (``ear.status``). The draft's is written. In CBOR the claims have numbers
(``ear_cbor``); which token carries them is ``ear_token``'s business.

What this project adds is one claim, ``urn:teelog:appraisal:v1``: the statement ids and the checkpoint that the evidence
was judged against, and what each check found. Raw evidence, nonces and chip ids are never written; ``read`` lists the
claims that hold such things, as a log refuses them by default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from teelog.errors import MalformedError
from teelog.statement import intoto, names, strict_json
from teelog.statement.strict_json import Count, Value

PROFILE = "tag:ietf.org,2026:rats/ear#03"
CLAIM = "urn:teelog:appraisal:v1"
MAX_SUBMODS = 64
MAX_NAMED = 200
"""Versions of namespaces that one result names."""
MAX_DIGESTS = 16

TIERS: Mapping[str, int] = {"none": 0, "affirming": 2, "warning": 32, "contraindicated": 96}
"""Trust tiers, each with its least value; ``none`` says nothing, so it is not better or worse than another."""
_TIER_OF = {number: name for name, number in TIERS.items()}

CLAIMS = (
    "instance-identity", "configuration", "executables", "file-system", "hardware", "runtime-opaque", "storage-opaque",
    "sourced-data",
)  # fmt: skip
"""Of the trustworthiness vector, AR4SI section 2.3."""

PRIVATE = frozenset(
    {
        "ear_raw_evidence", "ear.raw-evidence", "eat_nonce", "nonce", "ueid", "sueids", "hwid", "chip_id", "oemboot",
        "ear_veraison_annotated_evidence", "ear.veraison.annotated-evidence", "annotated-evidence", "raw-evidence",
    }
)  # fmt: skip
"""Claims that hold evidence, a nonce or a machine's identity, at whatever depth."""


DRAFT, DEPLOYED = "draft", "deployed"
"""The dialects."""


@dataclass(frozen=True, slots=True)
class _Names:
    """How a dialect spells what both have."""

    verifier: str
    status: str
    vector: str


_NAMES = {
    DRAFT: _Names("ear_verifier_id", "ear_status", "ear_trustworthiness_vector"),
    DEPLOYED: _Names("ear.verifier-id", "ear.status", "ear.trustworthiness-vector"),
}


class JudgedCheckpoint(msgspec.Struct, frozen=True):
    """root: lower-case hex."""

    origin: str
    size: Count
    root: str


class JudgedClaim(msgspec.Struct, frozen=True):
    """The claim ``urn:teelog:appraisal:v1``. release, namespaces: statement ids. checks: name -> outcome.

    evidence: algorithm -> lower-case hex, digests of the evidence's exact bytes; where the verifier gives them, whoever
    has the evidence finds the result in an index.
    """

    verdict: str
    stream: str
    release: str | None
    namespaces: tuple[str, ...]
    checkpoint: JudgedCheckpoint | None
    checks: dict[str, str]
    as_of: int | None = None
    evidence: Annotated[dict[str, str], strict_json.Members] | msgspec.UnsetType = msgspec.UNSET

    @property
    def evidence_digests(self) -> dict[str, str]:
        """Empty where the verifier gives none."""
        return {} if isinstance(self.evidence, msgspec.UnsetType) else self.evidence


# msgspec learns a type's fields when the type is first used, and another thread that comes meanwhile reads what is not
# there yet (a crash): while a module is imported there is no other.
msgspec.json.Decoder(JudgedClaim)


class Submodule(msgspec.Struct, frozen=True):
    """One appraisal. status: a tier. vector: AR4SI claim -> value, -128 to 127. policies: ids of appraisal policies."""

    name: str
    status: str
    vector: Mapping[str, int]
    policies: tuple[str, ...] = ()


class Result(msgspec.Struct, frozen=True):
    """An attestation result as it claims to be. Times: POSIX seconds.

    dialect: ``draft`` or ``deployed``. issuer: whose word it is, for a log a namespace. status: the overall tier, None
    where the token has none. private: JSON pointers of claims that hold evidence, a nonce or a machine's identity.
    """

    dialect: str
    profile: str
    issuer: str | None
    subject: str | None
    issued_at: int
    expires: int | None
    developer: str | None
    build: str | None
    status: str | None
    submodules: tuple[Submodule, ...]
    judged: JudgedClaim | None
    private: tuple[str, ...]


# -- reading ----------------------------------------------------------------------------------------------------------


def read(payload: bytes) -> Result:
    """A result from the payload of its JWT. Claims without a meaning here are ignored (RFC 7519 section 4).

    Raises MalformedError (``where``: a JSON pointer into the claims).
    """
    claims = strict_json.load(payload)
    if not isinstance(claims, dict):
        raise MalformedError("claims are not a JSON object", where="/")
    return of_claims(claims)


def of_claims(claims: Mapping[str, Any], *, named_as: str | None = None, private: frozenset[str] = PRIVATE) -> Result:
    """A result from its claims by name. named_as: the dialect of the names; by default the profile's. private: names
    of claims that hold what is private, at whatever depth.

    Raises as ``read``.
    """
    profile = _text(claims, "eat_profile", "")
    if profile is None:
        raise MalformedError("no profile", where="/eat_profile", expected=PROFILE)
    issued_at = _time(claims, "iat")
    if issued_at is None:
        raise MalformedError("no time of issue", where="/iat", expected="POSIX seconds")
    dialect = DRAFT if profile.startswith("tag:ietf.org") else DEPLOYED
    names_ = _NAMES[named_as or dialect]
    verifier = _verifier(claims, names_.verifier)
    submodules = tuple(_submodules(claims, names_))
    return Result(
        dialect,
        profile,
        _text(claims, "iss", ""),
        _text(claims, "sub", ""),
        issued_at,
        _time(claims, "exp"),
        *verifier,
        _overall(claims, submodules),
        submodules,
        _judged(claims),
        tuple(_private(claims, private, "")) if _holds_private(claims, private) else (),
    )


def _text(claims: Mapping[str, Any], name: str, where: str) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 512:
        raise MalformedError("not text of 1 to 512 characters", where=f"{where}/{strict_json.pointer_step(name)}")
    return value


def _time(claims: Mapping[str, Any], name: str) -> int | None:
    value = claims.get(name)
    # whole seconds only; strict_json has no floats.
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise MalformedError("not a time", where=f"/{name}", expected="POSIX seconds", actual=str(value)[:40])
    return value


def _verifier(claims: Mapping[str, Any], name: str) -> tuple[str | None, str | None]:
    found = claims.get(name)
    if not isinstance(found, dict):
        raise MalformedError("does not say which verifier it is", where=f"/{name}", expected="developer and build")
    return _text(found, "developer", f"/{name}"), _text(found, "build", f"/{name}")


def _submodules(claims: Mapping[str, Any], names_: _Names) -> Iterator[Submodule]:
    found = claims.get("submods")
    if not isinstance(found, dict) or not 1 <= len(found) <= MAX_SUBMODS:
        raise MalformedError("no appraisals", where="/submods", expected=f"1 to {MAX_SUBMODS} of them")
    for name, appraisal in found.items():
        where = f"/submods/{strict_json.pointer_step(name)}"
        if not isinstance(appraisal, dict):
            raise MalformedError("not an appraisal", where=where)
        status = _status(appraisal.get(names_.status), f"{where}/{names_.status}")
        if status is None:
            raise MalformedError("no status", where=f"{where}/{names_.status}", expected=", ".join(TIERS))
        vector = _vector(appraisal, names_.vector, where)
        worst = max((TIERS[tier(value)] for value in vector.values()), default=0)
        # EAR section 4: the status may not be better than the worst claim.
        if status != "none" and TIERS[status] < worst:
            raise MalformedError(
                "status is better than the worst claim", where=f"{where}/{names_.status}", actual=status
            )
        yield Submodule(name, status, vector, tuple(_policies(appraisal)))


def _status(value: Value, where: str) -> str | None:
    if value is None:
        return None
    found = _TIER_OF.get(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(found, str) or found not in TIERS:
        raise MalformedError("not a trust tier", where=where, expected=", ".join(TIERS), actual=str(value)[:40])
    return found


def _overall(claims: Mapping[str, Any], submodules: tuple[Submodule, ...]) -> str | None:
    status = _status(claims.get("ear_status"), "/ear_status")
    worst = max(TIERS[each.status] for each in submodules)
    if status not in (None, "none") and TIERS[str(status)] < worst:
        raise MalformedError("status is better than the worst appraisal", where="/ear_status", actual=status)
    return status


def _vector(appraisal: Mapping[str, Any], name: str, where: str) -> dict[str, int]:
    found = appraisal.get(name, {})
    if not isinstance(found, dict):
        raise MalformedError("not a trustworthiness vector", where=f"{where}/{name}")
    for claim, value in found.items():
        if type(value) is not int or not -128 <= value <= 127:
            place = f"{where}/{name}/{strict_json.pointer_step(claim)}"
            raise MalformedError("not a trustworthiness value", where=place, expected="-128 to 127")
    return {claim: value for claim, value in found.items() if claim in CLAIMS}


def _policies(appraisal: Mapping[str, Any]) -> Iterator[str]:
    found = appraisal.get("ear_appraisal_policy_ids", appraisal.get("ear.appraisal-policy-id", []))
    for policy in found if isinstance(found, list) else [found]:
        if isinstance(policy, str):
            yield policy[:512]


def _judged(claims: Mapping[str, Any]) -> JudgedClaim | None:
    if CLAIM not in claims:
        return None
    where = f"/{CLAIM}"
    try:
        found = msgspec.convert(claims[CLAIM], JudgedClaim)
    except msgspec.ValidationError as error:
        raise MalformedError(str(error)[:200], where=where) from error
    names.stream(found.stream, f"{where}/stream")
    # With the release, the signer and the evidence's digests: no more keys than an entry may have in the index.
    if len(found.namespaces) > MAX_NAMED or len(found.evidence_digests) > MAX_DIGESTS:
        raise MalformedError(
            "too many names", where=where, expected=f"{MAX_NAMED} namespace versions, {MAX_DIGESTS} digests of evidence"
        )
    for statement_id in (*found.namespaces, *(() if found.release is None else (found.release,))):
        names.statement_id(statement_id, where)
    if not isinstance(found.evidence, msgspec.UnsetType):
        intoto.check_digest(found.evidence, f"{where}/evidence")
    return found


def _holds_private(claims: Mapping[str, Any], private: frozenset[str]) -> bool:
    """Whether ``_private`` finds anything: the places cost most of the time, and few results have one."""
    todo: list[Any] = [claims]
    for value in todo:  # grows as it is gone through
        if type(value) is dict:
            if not private.isdisjoint(value):
                return True
            value = value.values()
        for item in value:
            if type(item) is dict or type(item) is list:
                todo.append(item)
    return False


def _private(value: Any, private: frozenset[str], where: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            place = f"{where}/{strict_json.pointer_step(name)}"
            if name in private:
                yield place
            else:
                yield from _private(item, private, place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _private(item, private, f"{where}/{index}")


def tier(value: int) -> str:
    """The trust tier of a trustworthiness value (AR4SI section 2.3.2)."""
    if -1 <= value <= 1:
        return "none"
    if -32 <= value <= 31:
        return "affirming"
    return "warning" if -96 <= value <= 95 else "contraindicated"


# -- writing ----------------------------------------------------------------------------------------------------------


def encode(made: Mapping[str, Any]) -> bytes:
    """Claims as JSON. Raises MalformedError if ``read`` would."""
    encoded = strict_json.encode(made)
    read(encoded)
    return encoded
