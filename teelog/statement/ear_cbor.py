"""EAR claims in CBOR, as a CWT carries them (draft-ietf-rats-ear-03, RFC 9711): numbers in place of names.

Both dialects have the same numbers; the names here are the draft's. Nonces and raw evidence are byte strings. What is
read need not be sorted, nor of definite length, as deployed verifiers write neither; what is written is deterministic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from teelog import cbor
from teelog.errors import MalformedError
from teelog.statement import ear, strict_json
from teelog.statement.ear import Result

NUMBERS: Mapping[str, int] = {
    "iss": 1, "sub": 2, "aud": 3, "exp": 4, "nbf": 5, "iat": 6, "cti": 7, "eat_nonce": 10,
    "ueid": 256, "sueids": 257, "oemid": 258, "hwmodel": 259, "hwversion": 260, "oemboot": 262, "dbgstat": 263,
    "eat_profile": 265, "submods": 266, "measurements": 273, "intuse": 275,
    "ear_status": 1000, "ear_trustworthiness_vector": 1001, "ear_raw_evidence": 1002,
    "ear_appraisal_policy_ids": 1003, "ear_verifier_id": 1004, "ear_device_topology": 1007, "ear_teep_claims": 65000,
    "ear_veraison_annotated_evidence": -70000, "ear_veraison_policy_claims": -70001,
    "ear_veraison_key_attestation": -70002,
}  # fmt: skip
"""Claims of a result and of its appraisals -> their numbers."""
PRIVATE = ear.PRIVATE | {str(number) for name, number in NUMBERS.items() if name in ear.PRIVATE}
"""``ear.PRIVATE``, and their numbers as text: below an appraisal numbers have no names here."""
VERIFIER: Mapping[str, int] = {"developer": 0, "build": 1}
VECTOR: Mapping[str, int] = {name: number for number, name in enumerate(ear.CLAIMS)}

_STATUS, _VECTOR = "ear_status", "ear_trustworthiness_vector"


def _by_number(numbers: Mapping[str, int]) -> Mapping[int, str]:
    return {number: name for name, number in numbers.items()}


_CLAIMS, _VERIFIER, _VECTOR_NAMES = _by_number(NUMBERS), _by_number(VERIFIER), _by_number(VECTOR)


# -- reading ----------------------------------------------------------------------------------------------------------


def read(payload: bytes) -> Result:
    """A result from the payload of its CWT, as ``ear.read`` reads that of a JWT. Raises MalformedError."""
    return ear.of_claims(claims(payload), named_as=ear.DRAFT, private=PRIVATE)


def claims(payload: bytes) -> dict[str, Any]:
    """The claims by the draft's names. Raises MalformedError."""
    if len(payload) > strict_json.MAX_BYTES:
        raise MalformedError("CBOR is too long", expected=f"at most {strict_json.MAX_BYTES} bytes", actual=len(payload))
    tree = cbor.load(payload, "claims", indefinite=True, depth=strict_json.MAX_DEPTH)
    if type(tree) is not dict:
        raise MalformedError("claims are not a CBOR map", where="/")
    found = _named(tree, _CLAIMS, "")
    if type(found.get("ear_verifier_id")) is dict:
        found["ear_verifier_id"] = _named(found["ear_verifier_id"], _VERIFIER, "/ear_verifier_id")
    if type(found.get("submods")) is dict:
        found["submods"] = _submodules(found["submods"])
    _check_count(found, "/")
    return {name: _plain(value, f"/{strict_json.pointer_step(name)}") for name, value in found.items()}


def _submodules(tree: Mapping[int | str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, appraisal in _named(tree, {}, "/submods").items():
        where = f"/submods/{strict_json.pointer_step(name)}"
        if type(appraisal) is dict:
            appraisal = _named(appraisal, _CLAIMS, where)
            if type(appraisal.get(_VECTOR)) is dict:
                appraisal[_VECTOR] = _named(appraisal[_VECTOR], _VECTOR_NAMES, f"{where}/{_VECTOR}")
        found[name] = appraisal
    return found


def _named(tree: Mapping[int | str, Any], known: Mapping[int, str], where: str) -> dict[str, Any]:
    """The members by name; a number that has none is its own. Raises MalformedError for two of one name."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = key if isinstance(key, str) else known.get(key, str(key))
        if name in found:
            raise MalformedError("member is repeated", where=f"{where}/{strict_json.pointer_step(name)}")
        found[name] = value
    return found


def _plain(value: Any, where: str) -> Any:
    """The value within the bounds of ``strict_json``, the keys of its maps as text. Raises MalformedError."""
    if type(value) is dict:
        _check_count(value, where)
        return {name: _plain(item, where) for name, item in _named(value, {}, where).items()}
    if type(value) is list:
        return [_plain(item, where) for item in value]
    if type(value) is int and abs(value) > strict_json.MAX_SAFE_INT:
        raise MalformedError("integer is outside +-(2^53-1)", where=where)
    if isinstance(value, cbor.Tag):
        raise MalformedError("tag inside of claims", where=where, actual=value.number)
    return value


def _check_count(found: Mapping[Any, Any], where: str) -> None:
    if len(found) > strict_json.MAX_MEMBERS:
        raise MalformedError("map has too many members", where=where, expected=strict_json.MAX_MEMBERS)


# -- writing ----------------------------------------------------------------------------------------------------------


def encode(made: Mapping[str, Any]) -> bytes:
    """Claims by the draft's names as CBOR. Raises MalformedError if ``read`` would."""
    tree = _numbered(made, NUMBERS)
    tree[NUMBERS["ear_verifier_id"]] = _numbered(made["ear_verifier_id"], VERIFIER)
    tree[NUMBERS["submods"]] = {name: _appraisal(each) for name, each in made["submods"].items()}
    _number_status(tree)
    encoded = cbor.encode(tree)
    read(encoded)
    return encoded


def _appraisal(made: Mapping[str, Any]) -> dict[int | str, Any]:
    tree = _numbered(made, NUMBERS)
    if _VECTOR in made:
        tree[NUMBERS[_VECTOR]] = _numbered(made[_VECTOR], VECTOR)
    _number_status(tree)
    return tree


def _number_status(tree: dict[int | str, Any]) -> None:
    status = tree.get(NUMBERS[_STATUS])
    if isinstance(status, str):
        tree[NUMBERS[_STATUS]] = ear.TIERS[status]


def _numbered(made: Mapping[str, Any], numbers: Mapping[str, int]) -> dict[int | str, Any]:
    return {numbers.get(name, name): value for name, value in made.items()}
