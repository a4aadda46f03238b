"""Third cut: the fields of an authentic document against what the verifier and the release ask for.

Two tables in one form: the trust file's ``[platform.nitro]`` and the ``require`` block of a release's variant. Both
apply, which is the stricter of the two, on top of what always holds: an enclave in debug mode fails.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec

from teelog import strict
from teelog.errors import ConfigError
from teelog.evidence import tables
from teelog.evidence.certificates import utc
from teelog.evidence.nitro import pcr
from teelog.evidence.nitro.document import Document
from teelog.verdict import Check, Finding, not_established, verified

_Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{96}\Z")]
_Seconds = Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]
_Arn = Annotated[str, msgspec.Meta(pattern=r"\Aarn:[!-~]{1,2043}\Z")]
_Instance = Annotated[str, msgspec.Meta(pattern=r"\Ai-[0-9a-f]{8,17}\Z")]

_IMAGE = (0, 1, 2)
_ROLE, _INSTANCE, _SIGNER = 3, 4, 8


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """max_age: seconds since the document was made. pcr3, pcr4, pcr8: hex, exact. role: ARN of the parent instance's
    IAM role, which PCR3 must stand for. instance: identifier of the parent instance, which PCR4 must stand for.
    """

    debug: bool | None = None
    max_age: _Seconds | None = None
    pcr3: _Digest | None = None
    pcr4: _Digest | None = None
    pcr8: _Digest | None = None
    role: _Arn | None = None
    instance: _Instance | None = None

    def exact(self) -> Iterator[tuple[int, bytes]]:
        """(index, value) of each register that is demanded."""
        for index, value in ((_ROLE, self.pcr3), (_INSTANCE, self.pcr4), (_SIGNER, self.pcr8)):
            if value is not None:
                yield index, strict.unhex(value)
        if self.role is not None:
            yield _ROLE, pcr.of_role(self.role)
        if self.instance is not None:
            yield _INSTANCE, pcr.of_instance(self.instance)


def check_floor(table: Mapping[str, object]) -> None:
    """Raises ConfigError for a member that means nothing here, or that would allow an enclave in debug mode."""
    if tables.check_floor("nitro", table, Policy).debug:
        raise ConfigError(
            "no trust file allows an enclave in debug mode: its registers say nothing and its console is open",
            expected="debug = false",
            hint="to accept one nevertheless, switch the check off by name: configuration",
        )


def configuration(
    document: Document, age: int | None, floor: Mapping[str, object], require: Mapping[str, object]
) -> Finding:
    """See `teelog.evidence.platform.Evidence.configuration`. age: seconds, as `chain.verify` found it; None before.

    Raises ConfigError for a floor that is not understood.
    """
    check_floor(floor)
    trust, _ = tables.read(floor, Policy)
    release, unknown = tables.read(require, Policy)
    for finding in _breaches(document, age, trust, release):
        return finding
    if unknown:
        return tables.unchecked(unknown)
    return verified(Check.CONFIGURATION, *facts(document))


def _breaches(document: Document, age: int | None, *policies: Policy) -> Iterator[Finding]:
    if document.debug:
        yield tables.breach(
            "the enclave runs in debug mode: the parent instance reads its console", "debug off", "debug on"
        )
    for index in _IMAGE:
        if not any(document.pcrs[index]):
            yield tables.breach(f"PCR{index} is zero: the enclave's image is not measured", "a measurement", "zeros")
    for policy in policies:
        for index, wanted in policy.exact():
            own = document.pcrs.get(index, b"")
            if not hmac.compare_digest(own, wanted):
                yield tables.breach(f"PCR{index} is another", wanted.hex(), own.hex() or "missing")
    for policy in policies:
        if policy.max_age is None:
            continue
        if age is None:
            yield not_established(Check.CONFIGURATION, "the document's age is established together with hardware")
        elif age > policy.max_age:
            yield tables.breach("the document is too old", f"at most {policy.max_age} s", f"{age} s")


def facts(document: Document) -> tuple[str, ...]:
    """What the document says about isolation, in plain words."""
    return tuple(_facts(document))


def _facts(document: Document) -> Iterator[str]:
    yield (
        "debug: ON, the parent instance reads the enclave's console, and its registers say nothing"
        if document.debug
        else "debug: off, the enclave has no console"
    )
    instance = document.pcrs.get(_INSTANCE, b"") == pcr.of_instance(document.instance)
    yield f"parent instance: {document.instance}, {'as' if instance else 'which is NOT what'} PCR4 says"
    yield (
        "role: PCR3 stands for the parent instance's IAM role"
        if _is_set(document, _ROLE)
        else "role: the parent instance has no IAM role"
    )
    yield (
        "image: signed, PCR8 stands for the signer's certificate"
        if _is_set(document, _SIGNER)
        else "image: not signed (PCR8 is zero)"
    )
    known = (*_IMAGE, _ROLE, _INSTANCE, _SIGNER)
    others = [f"PCR{index}" for index in sorted(document.pcrs) if index not in known and _is_set(document, index)]
    if others:
        yield f"extended by the program itself: {', '.join(others)}"
    yield f"made at: {utc(document.made_at)}, says the hypervisor"


def _is_set(document: Document, index: int) -> bool:
    return any(document.pcrs.get(index, b""))
