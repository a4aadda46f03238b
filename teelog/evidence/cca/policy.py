"""Third cut: the claims of an authentic token against what the verifier and the release ask for.

Two tables in one form: the trust file's ``[platform.cca]`` and the ``require`` block of a release's variant. Both
apply, which is the stricter of the two, on top of what always holds: the platform's lifecycle state is ``secured``.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec

from teelog import strict
from teelog.errors import ConfigError
from teelog.evidence import tables
from teelog.evidence.cca.token import Token
from teelog.verdict import Check, Finding, verified

_LIFECYCLES = {
    0x00: "unknown",
    0x10: "assembly and test",
    0x20: "provisioning of the platform's root of trust",
    0x30: "secured",
    0x40: "debug of what is not the platform's root of trust",
    0x50: "recoverable debug of the platform's root of trust",
    0x60: "decommissioned",
}
"""The upper byte of the lifecycle claim -> what it means (DEN0137 section A7.2.3.2.6)."""
_SECURED = 0x30

_Digest = Annotated[str, msgspec.Meta(pattern=r"\A(?:[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})\Z")]
_Implementation = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Instance = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{66}\Z")]
_Personalization = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]
_Config = Annotated[str, msgspec.Meta(pattern=r"\A(?:[0-9a-f]{2}){0,1024}\Z")]
_Any = msgspec.Meta(min_length=1, max_length=256)


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """implementation_id, instance_id, signer_ids, config: lists of what is accepted, hex. components: name of a piece
    of firmware -> its measurement, or the list of those that are accepted; it must be there. personalization: exact.
    hash_algorithm: of the realm's registers. debug: false is what always holds.
    """

    debug: bool | None = None
    implementation_id: Annotated[list[_Implementation], _Any] | None = None
    instance_id: Annotated[list[_Instance], _Any] | None = None
    config: Annotated[list[_Config], _Any] | None = None
    signer_ids: Annotated[list[_Digest], _Any] | None = None
    components: Annotated[dict[str, _Digest | Annotated[list[_Digest], _Any]], _Any] | None = None
    personalization: _Personalization | None = None
    hash_algorithm: Literal["sha-256", "sha-384", "sha-512"] | None = None


def check_floor(table: Mapping[str, object]) -> None:
    """Raises ConfigError for a member that means nothing here, or that would allow a platform in debug."""
    if tables.check_floor("cca", table, Policy).debug:
        raise ConfigError(
            "no trust file allows a platform that can be debugged: it reads the realm's memory",
            expected="debug = false",
            hint="to accept one nevertheless, switch the check off by name: configuration",
        )


def configuration(token: Token, floor: Mapping[str, object], require: Mapping[str, object]) -> Finding:
    """See `teelog.evidence.platform.Evidence.configuration`. Raises ConfigError for a floor that is not understood."""
    check_floor(floor)
    trust, _ = tables.read(floor, Policy)
    release, unknown = tables.read(require, Policy)
    for finding in _breaches(token, trust, release):
        return finding
    if unknown:
        return tables.unchecked(unknown)
    return verified(Check.CONFIGURATION, *_facts(token, compared=_names(trust, release)))


def _names(*policies: Policy) -> frozenset[str]:
    return frozenset(name for policy in policies for name in policy.components or {})


def _breaches(token: Token, *policies: Policy) -> Iterator[Finding]:
    if token.platform.lifecycle >> 8 != _SECURED:
        yield tables.breach("the platform is not in its secured state", "secured", _lifecycle(token))
    for policy in policies:
        yield from _platform_breaches(token, policy)
        yield from _component_breaches(token, policy)
        yield from _realm_breaches(token, policy)


def _platform_breaches(token: Token, policy: Policy) -> Iterator[Finding]:
    own = token.platform
    for what, accepted, value in (
        ("implementation", policy.implementation_id, own.implementation),
        ("instance", policy.instance_id, own.instance),
        ("configuration", policy.config, own.config),
    ):
        if accepted is not None and value.hex() not in accepted:
            yield tables.breach(f"the platform's {what} is another", " or ".join(accepted), value.hex())


def _component_breaches(token: Token, policy: Policy) -> Iterator[Finding]:
    components = token.platform.components
    for name, value in (policy.components or {}).items():
        accepted = [value] if isinstance(value, str) else value
        found = [each.measurement.hex() for each in components if each.kind == name]
        if not found:
            yield tables.breach(f"the platform names no firmware component {name}", " or ".join(accepted), "none")
        for own in found:
            if own not in accepted:
                yield tables.breach(f"the firmware component {name} is another", " or ".join(accepted), own)
    for each in components if policy.signer_ids is not None else ():
        assert policy.signer_ids is not None
        if each.signer.hex() not in policy.signer_ids:
            name = each.kind or "without a name"
            yield tables.breach(
                f"the firmware component {name} is signed by another", " or ".join(policy.signer_ids), each.signer.hex()
            )


def _realm_breaches(token: Token, policy: Policy) -> Iterator[Finding]:
    own, wanted = token.realm, policy.personalization
    if wanted is not None and not hmac.compare_digest(own.personalization, strict.unhex(wanted)):
        yield tables.breach("the realm's personalization is another", wanted, own.personalization.hex())
    if policy.hash_algorithm is not None and own.hash != policy.hash_algorithm:
        yield tables.breach("the realm's hash algorithm is another", policy.hash_algorithm, own.hash)


def _lifecycle(token: Token) -> str:
    value = token.platform.lifecycle
    return f"{_LIFECYCLES.get(value >> 8, 'not known here')} ({value:#06x})"


def facts(token: Token) -> tuple[str, ...]:
    """What the token says about isolation, in plain words."""
    return tuple(_facts(token))


def _facts(token: Token, compared: frozenset[str] = frozenset()) -> Iterator[str]:
    yield f"lifecycle of the platform: {_lifecycle(token)}"
    yield f"platform implementation: {token.platform.implementation.hex()}"
    components = token.platform.components
    # A component without a name is compared with nothing, whatever the policy says.
    rest = [each.kind or "(no name)" for each in components if each.kind not in compared]
    yield f"firmware: {len(components)} components" + (f", NOT compared: {', '.join(rest)}" if rest else ", compared")
    set_ = any(token.realm.personalization)
    yield "personalization: the realm has one" if set_ else "personalization: none, the realm's is zero"
    yield f"registers made with {token.realm.hash}"
    extended = [f"rem{number}" for number, value in enumerate(token.realm.rem) if any(value)]
    yield f"extended by the realm itself: {', '.join(extended) or 'nothing'}"
