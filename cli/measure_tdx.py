"""`teelog measure tdx`: the registers of an Intel TDX guest that is booted directly, recomputed from its files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import click

from teelog.cli import files, measured, output
from teelog.errors import MalformedError
from teelog.measure.registers import Variant

PLATFORM = "tdx"
MAX_CMDLINE = 1 << 16

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_RAM = re.compile(r"([1-9][0-9]{0,7})([MGT])")
_PIECE = 1 << 18


def _ram(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """Bytes."""
    if text is None:
        return None
    found = _RAM.fullmatch(text)
    if not found:
        raise click.BadParameter("not a size, such as 2048M or 4G")
    return int(found[1]) << {"M": 20, "G": 30, "T": 40}[found[2]]


@click.command("tdx", short_help="MRTD and RTMR0 to 2 of an Intel TDX guest.")
@click.option("--firmware", type=_FILE, required=True, help="TDVF or OVMF image, as given to the VMM.")
@click.option("--kernel", type=_FILE, help="Kernel file, as given to QEMU's -kernel.")
@click.option("--initrd", type=_FILE, help="Initial ramdisk, as given to -initrd.")
@click.option("--cmdline", metavar="TEXT", help="Kernel command line, as given to -append.")
@click.option("--ram", metavar="SIZE", callback=_ram, help="Memory of the guest, such as 2048M or 4G.")
@click.option("--acpi", type=_FILE, help="QEMU's etc/acpi/tables, read from a guest.")
@click.option("--expect", type=_FILE, help="Release statement, a variant of which must state the same registers.")
@output.json_option
def command(
    firmware: Path,
    kernel: Path | None,
    initrd: Path | None,
    cmdline: str | None,
    ram: int | None,
    acpi: Path | None,
    expect: Path | None,
) -> None:
    """MRTD of a TDX guest; with --ram and --acpi RTMR0; with --kernel and --initrd RTMR1 and RTMR2.

    Which value is right depends on versions: each is a variant, labelled. A release takes variants that have all four
    registers; what lacks some can be compared.

    Example: teelog measure tdx --firmware OVMF.fd --kernel vmlinuz --initrd initrd.img --cmdline console=ttyS0
    --ram 4G --acpi tables.bin --json > regs.json
    """
    if (kernel is None) != (initrd is None):
        raise click.UsageError("--kernel and --initrd go together")
    if cmdline is not None and kernel is None:
        raise click.UsageError("--cmdline needs --kernel")
    if acpi is not None and ram is None:
        raise click.UsageError("--acpi needs --ram: RTMR0 depends on both")
    from teelog.measure import acpi as tables
    from teelog.measure import ovmf, tdvf, tdx_boot

    parsed = tdvf.parse(files.read(firmware, ovmf.MAX_IMAGE, "firmware"))
    common: dict[str, bytes] = {}
    if acpi is not None and ram is not None:
        common["rtmr0"] = tdx_boot.rtmr0(parsed, ram, files.read(acpi, tables.MAX_BYTES, "ACPI tables"))
    kernels: list[tuple[dict[str, str | int], dict[str, bytes]]] = [({}, {})]
    if kernel is not None and initrd is not None:
        digest, size = _initrd(initrd)
        common["rtmr2"] = tdx_boot.rtmr2(tdx_boot.cmdline_digest(_text(cmdline or "")), digest)
        kernels = _kernels(files.read(kernel, tdx_boot.MAX_KERNEL, "kernel"), size, ram)
    if expect is None and (kernel is None or acpi is None):
        lacking = [
            *(["--ram and --acpi"] if acpi is None else []),
            *(["--kernel and --initrd"] if kernel is None else []),
        ]
        output.note(f"not all four registers that a release of tdx states: add {', '.join(lacking)}")
    variants = []
    for order in tdvf.Order:
        mrtd = parsed.mrtd(order)
        for label, own in kernels:
            when: dict[str, str | int] = {"pages": order.value, **label}
            if ram is not None:
                when["ram_mib"] = ram >> 20
            registers = {"mrtd": mrtd, **common, **own}
            values = {name: registers[name].hex() for name in sorted(registers)}
            variants.append(Variant(PLATFORM, when, values, "recomputed"))
    measured.tell_alternatives(variants, expect)


def _kernels(raw: bytes, initrd: int, ram: int | None) -> list[tuple[dict[str, str | int], dict[str, bytes]]]:
    """As newer versions measure it, and, where the memory is known, as older ones do."""
    from teelog.measure import tdx_boot

    found: list[tuple[dict[str, str | int], dict[str, bytes]]] = []
    found.append(({"kernel": "as given"}, {"rtmr1": tdx_boot.rtmr1(tdx_boot.kernel_digest(raw))}))
    if ram is not None:
        patched = tdx_boot.patched(raw, initrd, ram)
        found.append(({"kernel": "patched by qemu"}, {"rtmr1": tdx_boot.rtmr1(tdx_boot.kernel_digest(patched))}))
    else:
        output.note("without --ram the kernel is measured as given; older QEMU changes it first")
    return found


def _initrd(path: Path) -> tuple[bytes, int]:
    """SHA-384 and bytes."""
    state, size = hashlib.sha384(), 0
    with measured.opened(path) as read:
        while piece := read(_PIECE):
            state.update(piece)
            size += len(piece)
    return state.digest(), size


def _text(cmdline: str) -> str:
    if not cmdline.isascii() or len(cmdline) > MAX_CMDLINE:
        raise MalformedError("the command line has other characters than ASCII, or too many", actual=len(cmdline))
    return cmdline
