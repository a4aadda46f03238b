"""Measuring a large enclave image: what it costs beside one SHA-384 over its bytes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from teelog.cli import measure_nitro
from teelog.testing.eif import Image
from tests.bench.ratio import Row, Settings, interleave, quotients

MIB = 1 << 20


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def enclave_image(folder: Path, settings: Settings) -> list[Row]:
    """The time that a user waits, the file in the page cache. Where the bulk lies decides: in the first ramdisk one
    hash covers it, behind that two do, side by side if there are two cores.
    """
    size = settings.count(100, 10)
    return [
        _row(folder, settings, "measure-nitro", f"{size} MB in the application's ramdisk", (MIB, (size - 1) * MIB)),
        _row(folder, settings, "measure-nitro-one", f"{size} MB in one ramdisk", (size * MIB,)),
    ]


def _row(folder: Path, settings: Settings, name: str, where: str, ramdisks: tuple[int, ...]) -> Row:
    path = folder / f"{name}.eif"
    path.write_bytes(Image(ramdisks=tuple(map(bytes, ramdisks))).build())

    def bare() -> None:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha384")

    def measure() -> None:
        assert len(measure_nitro.measure(path).pcrs) == 3

    _, base, ours = interleave(lambda _: _seconds(bare), lambda _: _seconds(measure), settings)
    return Row(
        name=name,
        what=f"measure an enclave image, {where}",
        against="one SHA-384 over the file",
        samples=quotients(ours, base),
        bound=1.3,
        at_most=True,
        unit="s",
        base=base,
        ours=ours,
    )
