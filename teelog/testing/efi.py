"""EFI programs and unified kernel images made up here, and what they measure, written down a second time."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

ALIGNMENT = 512


@dataclass(frozen=True)
class Program:
    """sections: name -> content, in file order. loaded: name -> bytes in memory, where that is not the content's size.

    signatures: what stands behind the program. plus: PE32+, else PE32. fields: offset -> bytes, put over the rest.
    """

    sections: Mapping[str, bytes] = field(default_factory=lambda: {".text": b"code" * 300, ".data": b"data"})
    loaded: Mapping[str, int] = field(default_factory=dict)
    signatures: bytes = b""
    trailing: bytes = b""
    plus: bool = True
    fields: Mapping[int, bytes] = field(default_factory=dict)

    def other(self, **changes: object) -> Program:
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def directory(self) -> int:
        """Offset of the signatures' entry."""
        return 0x40 + 24 + (112 if self.plus else 96) + 32

    @property
    def headers(self) -> int:
        return -(-(0x40 + 24 + self._optional + 40 * len(self.sections)) // ALIGNMENT) * ALIGNMENT

    @property
    def _optional(self) -> int:
        return (112 if self.plus else 96) + 16 * 8

    def build(self) -> bytes:
        table, body, address = b"", b"", 0x1000
        for name, content in self.sections.items():
            raw = content + bytes(-len(content) % ALIGNMENT)
            loaded = self.loaded.get(name, len(content))
            start = self.headers + len(body) if raw else 0
            table += struct.pack("<8sIIII16x", name.encode(), loaded, address, len(raw), start)
            body += raw
            address += -(-max(loaded, 1) // 4096) * 4096
        optional = bytearray(self._optional)
        optional[:2] = struct.pack("<H", 0x20B if self.plus else 0x10B)
        optional[60:68] = struct.pack("<II", self.headers, 0x12345678)
        optional[self._optional - 132 : self._optional - 128] = (16).to_bytes(4, "little")
        whole = self.headers + len(body) + len(self.trailing)
        if self.signatures:
            place = self.directory - 0x40 - 24
            optional[place : place + 8] = struct.pack("<II", whole, len(self.signatures))
        coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(self.sections), 0, 0, 0, self._optional, 0x22)
        head = b"MZ" + bytes(58) + (0x40).to_bytes(4, "little") + coff + bytes(optional) + table
        made = bytearray(head.ljust(self.headers, b"\0") + body + self.trailing + self.signatures)
        for place, value in self.fields.items():
            made[place : place + len(value)] = value
        return bytes(made)

    def authenticode(self, algorithm: str) -> bytes:
        """Digest of the program as it would be without checksum and signatures."""
        bare = self.other(signatures=b"").build()
        checksum = 0x40 + 24 + 64
        kept = bare[:checksum] + bare[checksum + 4 : self.directory] + bare[self.directory + 8 :]
        return hashlib.new(algorithm, kept).digest()


def uki(version: int | None = 257, **more: bytes) -> Program:
    """A unified kernel image; more: sections by name without the dot."""
    sections = {".text": b"stub" * 100}
    if version is not None:
        sections[".sdmagic"] = b"#### LoaderInfo: systemd-stub %d.1-1 ####" % version
    parts = {"osrel": b"ID=example\n", "cmdline": b"quiet", "linux": Program().build(), "initrd": b"i" * 1000, **more}
    return Program({**sections, **{f".{name}": content for name, content in parts.items()}})
