"""What every `teelog measure` command does with its registers: print them, compare them with a release (--expect)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from teelog.cli import output, statements
from teelog.measure import expectation
from teelog.measure.registers import SCHEMA, Registers, Variant
from teelog.statement.admit import Kind
from teelog.statement.release import ReleaseClaim


def tell(variants: Sequence[Variant], expect: Path | None) -> None:
    """Prints each register on a line of its own, after its variant's labels; compares first.

    Raises VerificationError (a register differs from the release's) or NotEstablished (it has no such variant).
    """
    if expect is not None:
        compare(variants, expect)
    lines: list[str] = []
    for variant in variants:
        rows = [(name, str(value)) for name, value in variant.when.items()]
        lines += output.columns([*rows, *variant.registers.items(), ("how", variant.how)])
    output.result(lines, msgspec.to_builtins(Registers(SCHEMA, tuple(variants))))


def compare(variants: Sequence[Variant], path: Path) -> None:
    """Raises VerificationError (a register differs) or NotEstablished (the release has no such variant)."""
    made = statements.read(str(path))
    claim = made.statement.claim
    if not isinstance(claim, ReleaseClaim):
        raise statements.wrong_kind(str(path), Kind.RELEASE, made.statement.kind)
    agreement = expectation.compare(variants, claim.predicate.variants)
    for name in agreement.left_open:
        output.warn(f"the release leaves register {name} open: any value passes")
    for other in agreement.unmeasured:
        output.warn(f"not measured, so not compared: {other.platform} {expectation.describe(other.when)}")
    compared = f"{len(variants)} variant{'' if len(variants) == 1 else 's'}"
    output.note(f"equal to {statements.describe(made)} in {compared}; no signature was verified")
