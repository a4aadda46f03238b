"""Releases to compare with (--expect)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from teelog.statement import intoto, release
from teelog.statement.release import ReleasePredicate, Validity, Variant

ZEROS = MappingProxyType({"sha256": "00" * 32})
SGX = (("sgx", {"mrenclave": "00" * 32}),)


def stating(
    path: Path, variants: Sequence[tuple[str, Mapping[str, str]]] = SGX, digest: Mapping[str, str] = ZEROS
) -> Path:
    """Writes a release whose variants (platform, registers) and whose one subject are these."""
    made = tuple(Variant(platform=name, registers=dict(values)) for name, values in variants)
    validity = Validity("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")
    predicate = ReleasePredicate("acme.example/inference/stable", "1.4.2", 1, validity, made)
    path.write_bytes(release.payload(predicate, (intoto.Subject("artifact", dict(digest)),)))
    return path
