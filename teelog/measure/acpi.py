"""QEMU's ACPI tables -> the two files that it hands to the firmware with them, which RTMR0 holds as well.

The tables are an input: they depend on the version of QEMU and on every device. In a guest they are
/sys/firmware/qemu_fw_cfg/by_name/etc/acpi/tables/raw. Pointers in them are offsets: the firmware has not placed them.
Sources: QEMU, docs/specs/acpi and hw/acpi/bios-linker-loader; ACPI 6.5 section 5.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from teelog.errors import MalformedError

MAX_BYTES = 1 << 22
MAX_TABLES = 64

_HEADER, _COMMAND, _PAGE = 36, 128, 4096  # bytes
_TABLES, _RSDP = b"etc/acpi/tables", b"etc/acpi/rsdp"
_WHAT = "ACPI tables"


@dataclass(frozen=True, slots=True)
class Table:
    name: bytes
    start: int
    size: int


def tables(raw: bytes) -> tuple[Table, ...]:
    """In the order of the file; behind the last one there are zeros. Raises MalformedError."""
    if len(raw) > MAX_BYTES:
        raise MalformedError(f"{_WHAT}: too long", expected=f"at most {MAX_BYTES} bytes", actual=len(raw))
    found: list[Table] = []
    place, used = 0, len(raw.rstrip(b"\0"))
    while place < used:
        name, size = raw[place : place + 4], int.from_bytes(raw[place + 4 : place + 8], "little")
        if not name.isalnum() or size < _HEADER or place + size > len(raw) or len(found) == MAX_TABLES:
            raise MalformedError(f"{_WHAT}: no table where one should be", actual=f"{place:#x}")
        found.append(Table(name, place, size))
        place += size
    for name in (b"DSDT", b"FACP", b"RSDT"):
        if [each.name for each in found].count(name) != 1:
            raise MalformedError(f"{_WHAT}: not one {name.decode()}")
    return tuple(found)


def rsdp(raw: bytes) -> bytes:
    """``etc/acpi/rsdp`` (revision 0). Raises MalformedError."""
    return b"RSD PTR \0BOCHS \0" + struct.pack("<I", _one(raw, b"RSDT").start)


def loader(raw: bytes) -> bytes:
    """``etc/table-loader``. Raises MalformedError."""
    return b"".join(_commands(raw)).ljust(_PAGE, b"\0")


def _commands(raw: bytes) -> Iterator[bytes]:
    facp, root = _one(raw, b"FACP"), _one(raw, b"RSDT")
    yield _command(1, _name(_RSDP), struct.pack("<IB", 16, 2))
    yield _command(1, _name(_TABLES), struct.pack("<IB", 64, 1))
    yield _checksum(_one(raw, b"DSDT"))
    for offset, size in ((36, 4), (40, 4), (140, 8)):
        yield _pointer(_TABLES, facp.start + offset, size)
    yield _checksum(facp)
    for table in tables(raw):
        if table.name not in (b"DSDT", b"FACP", b"FACS", b"RSDT"):
            yield _checksum(table)
    for offset in range(_HEADER, root.size, 4):
        yield _pointer(_TABLES, root.start + offset, 4)
    yield _checksum(root)
    yield _pointer(_RSDP, 16, 4)
    yield _command(3, _name(_RSDP), struct.pack("<III", 8, 0, 20))


def _one(raw: bytes, name: bytes) -> Table:
    return next(each for each in tables(raw) if each.name == name)


def _checksum(table: Table) -> bytes:
    return _command(3, _name(_TABLES), struct.pack("<III", table.start + 9, table.start, table.size))


def _pointer(file: bytes, offset: int, size: int) -> bytes:
    return _command(2, _name(file), _name(_TABLES), struct.pack("<IB", offset, size))


def _command(number: int, *fields: bytes) -> bytes:
    return (number.to_bytes(4, "little") + b"".join(fields)).ljust(_COMMAND, b"\0")


def _name(file: bytes) -> bytes:
    return file.ljust(56, b"\0")
