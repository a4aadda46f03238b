"""`teelog measure sgx`: the registers of an SGX enclave, recomputed from its stream or read from its signature."""

from __future__ import annotations

from pathlib import Path

import click

from teelog.cli import files, measured, output
from teelog.errors import MalformedError
from teelog.measure.registers import Variant

PLATFORM = "sgx"

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("sgx", short_help="MRENCLAVE and MRSIGNER of an Intel SGX enclave.")
@click.argument("enclave", metavar="FILE", type=_FILE)
@click.option("--expect", type=_FILE, help="Release statement that must state the same registers.")
@output.json_option
def command(enclave: Path, expect: Path | None) -> None:
    """MRENCLAVE of an enclave's stream (.sgxs), recomputed; or all registers of its signature (.sig), extracted.

    FILE's content decides which it is. A SIGSTRUCT must hold under its own key; whose key that is, only MRSIGNER says.
    Exit 1 if --expect FILE states other values; no signature of the release is verified.

    Example: teelog measure sgx enclave.sig --json > regs.json
    """
    measured.tell_alternatives([measure(enclave)], expect)


def measure(path: Path) -> Variant:
    """Raises UnavailableError, MalformedError, SignatureError."""
    from teelog.measure import sgx, sigstruct

    with measured.opened(path) as read:
        is_stream = read(8).startswith(b"ECREATE")
    if not is_stream:
        if path.stat().st_size != sigstruct.SIZE:
            raise MalformedError(
                f"{path} is neither an enclave's stream nor its SIGSTRUCT",
                expected=f".sgxs, or .sig of {sigstruct.SIZE} bytes",
                actual=f"{path.stat().st_size} bytes",
            )
        claim = sigstruct.read(files.read(path, sigstruct.SIZE, "SIGSTRUCT"))
        return Variant(PLATFORM, {"file": "sigstruct", "debug": claim.debug}, claim.registers, "extracted")
    with measured.opened(path) as read:
        return Variant(PLATFORM, {"file": "sgxs"}, {"mrenclave": sgx.mrenclave(read).hex()}, "recomputed")
