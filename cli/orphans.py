"""Releases that are allowed, and that no verifier takes: the keys that signed them are removed from the namespace."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from teelog.cli import output
from teelog.errors import UntrustedKey
from teelog.statement.namespace import Namespace, Role
from teelog.statement.release import Release


def among(releases: Iterable[Release], namespace: Namespace) -> list[Release]:
    """Those that count no more under this version of the namespace."""
    found = []
    for release in releases:
        try:
            namespace.require(Role.RELEASE, release.signers, release.index)
        except UntrustedKey:
            found.append(release)
    return found


def warn(releases: Iterable[Release]) -> None:
    for release in releases:
        version = output.safe(release.claim.predicate.version, 200)
        output.warn(f"{version} is allowed, its release keys are removed: no verifier takes it; allow one signed anew")


def warn_of_allowed(allowed: Collection[str], known: Iterable[Release], namespace: Namespace) -> None:
    """allowed: statement ids."""
    warn(among((each for each in known if each.statement_id in allowed), namespace))
