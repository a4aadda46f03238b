"""What every `teelog measure` command does with its values: print them, compare them with a release (--expect)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from teelog.cli import output, statements
from teelog.errors import NotEstablished, UnavailableError, VerificationError
from teelog.measure import expectation, registers, values
from teelog.measure.registers import Registers, Variant
from teelog.measure.values import Measured, Value
from teelog.statement.admit import Kind
from teelog.statement.draft import Draft
from teelog.statement.release import ReleaseClaim


@contextmanager
def opened(path: Path) -> Iterator[Callable[[int], bytes]]:
    """How to read a file from its beginning, piece by piece. Raises UnavailableError."""
    with _file(path) as file:
        yield file.read


@contextmanager
def at_any_place(path: Path) -> Iterator[tuple[Callable[[int, int], bytes], int]]:
    """How to read so many bytes of a file at an offset, and its size. Raises UnavailableError."""
    with _file(path) as file:

        def read(offset: int, size: int) -> bytes:
            file.seek(offset)
            piece = file.read(size)
            if len(piece) != size:
                raise UnavailableError(f"{path} became shorter while it was read")
            return piece

        yield read, os.fstat(file.fileno()).st_size


@contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    try:
        # Not a pipe or a device, whose end may never come.
        if not path.is_file():
            raise UnavailableError(f"cannot read {path}", actual="not a file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise UnavailableError(f"cannot read {path}", actual=error.strerror or str(error)) from error


def tell(variants: Sequence[Variant], expect: Path | None) -> None:
    """Prints each register on a line of its own, after its variant's labels; compares first.

    Raises VerificationError (a register differs from the release's) or NotEstablished (it has no such variant).
    """
    if expect is not None:
        compare(variants, expect)
    _print(variants)


def tell_alternatives(variants: Sequence[Variant], expect: Path | None) -> None:
    """As `tell`, for variants of which one is what will run, and which may lack registers.

    Where no release could state them, the result is ``teelog-measured/v1``.
    """
    if expect is not None:
        made, claim = _release(expect)
        found = expectation.compare_alternatives(variants, claim.predicate.variants)
        _warn_open(found.left_open)
        if found.not_compared:
            output.warn(f"not measured, so not compared: {', '.join(found.not_compared)}")
        _say(made, f"as {expectation.describe(found.alternative.when)}")
    if registers.is_complete(variants):
        _print(variants)
    else:
        own = tuple(Value(each.when, each.registers, each.how) for each in variants)
        _print_values(Measured(values.SCHEMA, variants[0].platform, own))


def tell_artifact(kind: str, value: Value, digests: Mapping[str, str], expect: Path | None) -> None:
    """Prints what is no register. digests: algorithm -> hex, of which a subject of the release must have one.

    Raises VerificationError (its subjects have others) or NotEstablished (none has a digest of such an algorithm).
    """
    if expect is not None:
        made, claim = _release(expect)
        _say(made, f"in {_compare_subjects(claim, digests)}")
    _print_values(Measured(values.SCHEMA, kind, (value,)))


def compare(variants: Sequence[Variant], path: Path) -> None:
    """Raises VerificationError (a register differs) or NotEstablished (the release has no such variant)."""
    made, claim = _release(path)
    agreement = expectation.compare(variants, claim.predicate.variants)
    _warn_open(agreement.left_open)
    for other in agreement.unmeasured:
        output.warn(f"not measured, so not compared: {other.platform} {expectation.describe(other.when)}")
    _say(made, f"in {len(variants)} variant{'' if len(variants) == 1 else 's'}")


def _release(path: Path) -> tuple[Draft, ReleaseClaim]:
    made = statements.read(str(path))
    claim = made.statement.claim
    if not isinstance(claim, ReleaseClaim):
        raise statements.wrong_kind(str(path), Kind.RELEASE, made.statement.kind)
    return made, claim


def _compare_subjects(claim: ReleaseClaim, digests: Mapping[str, str]) -> str:
    """Which digest of which subject is equal."""
    others: list[str] = []
    for subject in claim.statement.subject:
        common = sorted(subject.digest.keys() & digests.keys())
        wrong = [name for name in common if subject.digest[name] != digests[name]]
        if common and not wrong:
            return f"{', '.join(common)} of {subject.name or 'a subject'}"
        others += [f"{name}:{subject.digest[name]}" for name in wrong]
    if not others:
        raise NotEstablished("no subject of the release has a digest to compare with", expected=" or ".join(digests))
    actual = " or ".join(f"{name}:{value}" for name, value in digests.items() if others[0].startswith(f"{name}:"))
    raise VerificationError("no subject of the release has this digest", expected=others[0], actual=actual)


def _warn_open(names: Sequence[str]) -> None:
    for name in names:
        output.warn(f"the release leaves register {name} open: any value passes")


def _say(made: Draft, where: str) -> None:
    output.note(f"equal to {statements.describe(made)} {where}; no signature was verified")


def _print(variants: Sequence[Variant]) -> None:
    lines = [line for each in variants for line in _lines(each.when, each.registers, each.how)]
    output.result(lines, msgspec.to_builtins(Registers(registers.SCHEMA, tuple(variants))))


def _print_values(document: Measured) -> None:
    lines = [line for each in document.values for line in _lines(each.when, each.values, each.how)]
    output.result(lines, msgspec.to_builtins(document))


def _lines(when: Mapping[str, object], found: Mapping[str, str], how: str) -> list[str]:
    return output.columns([*((name, str(value)) for name, value in when.items()), *found.items(), ("how", how)])
