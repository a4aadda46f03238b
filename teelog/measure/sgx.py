"""Intel SGX: the stream that builds an enclave (.sgxs) -> MRENCLAVE.

    MRENCLAVE = SHA-256 of one 64-byte record for ECREATE, one for each EADD, and one with 256 bytes for each EEXTEND

An .sgxs file is that stream, record by record. Records UNMEASRD carry content that is loaded and not measured: they
are left out. All numbers are little-endian. Sources: Intel SDM volume 3D, sections 39.1 and 40.3 (ECREATE, EADD,
EEXTEND); Fortanix, SGXS format. What the processor would not build raises MalformedError.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

from teelog.errors import MalformedError

PAGE, CHUNK, RECORD = 4096, 256, 64  # bytes
MAX_ENCLAVE = 1 << 38
"""Bytes of address space, so that the map of its pages stays below 8 MiB."""

_ECREATE, _EADD, _EEXTEND, _UNMEASURED = b"ECREATE\0", b"EADD\0\0\0\0", b"EEXTEND\0", b"UNMEASRD"
_CREATE = struct.Struct("<IQ44s")  # SSAFRAMESIZE in pages, size, zeros
_ADD = struct.Struct("<QQ40s")  # offset, SECINFO.FLAGS, zeros
_EXTEND = struct.Struct("<Q48s")  # offset, zeros
_RIGHTS, _READ, _WRITE = 0x7, 0x1, 0x2
_TCS, _REG = 0x100, 0x200
_WHAT = "enclave stream"

Read = Callable[[int], bytes]
"""At most so many bytes of the file, none at its end."""


def mrenclave(read: Read) -> bytes:
    """32 bytes. Raises MalformedError."""
    return _Enclave(_Stream(read)).measure()


class _Stream:
    def __init__(self, read: Read) -> None:
        self._read = read

    def take(self, size: int, *, may_end: bool = False) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._read(size - len(data))
            if not piece:
                break
            data += piece
        if len(data) != size and not (may_end and not data):
            raise MalformedError(f"{_WHAT}: ends inside a record")
        return data


class _Enclave:
    def __init__(self, stream: _Stream) -> None:
        self._stream, self._state, self._size, self._added = stream, hashlib.sha256(), 0, bytearray()

    def measure(self) -> bytes:
        self._create(self._stream.take(RECORD))
        while record := self._stream.take(RECORD, may_end=True):
            kind = record[:8]
            if kind == _EADD:
                self._add(record)
            elif kind in (_EEXTEND, _UNMEASURED):
                self._content(record, measured=kind == _EEXTEND)
            else:
                raise MalformedError(f"{_WHAT}: no such record", expected="EADD, EEXTEND, UNMEASRD", actual=kind)
        if not any(self._added):
            raise MalformedError(f"{_WHAT}: the enclave has no page")
        return self._state.digest()

    def _create(self, record: bytes) -> None:
        if record[:8] != _ECREATE:
            raise MalformedError(f"not an {_WHAT}", expected="ECREATE first", actual=record[:8])
        frame, size, rest = _CREATE.unpack(record[8:])
        if frame == 0 or size & (size - 1) or not 2 * PAGE <= size <= MAX_ENCLAVE or any(rest):
            raise MalformedError(
                f"{_WHAT}: not how an enclave is created",
                expected=f"a size that is a power of two up to {MAX_ENCLAVE}, and a save area",
                actual=f"size {size:#x}, {frame} pages of save area",
            )
        self._size, self._added = size, bytearray(-(-size // PAGE // 8))
        self._state.update(record)

    def _add(self, record: bytes) -> None:
        offset, flags, rest = _ADD.unpack(record[8:])
        kind, rights = flags & ~_RIGHTS, flags & _RIGHTS
        # The processor sets no rights on a TCS, and refuses a page that can be written and not read.
        possible = (kind == _TCS and not rights) or (kind == _REG and not (rights & _WRITE and not rights & _READ))
        if offset % PAGE or offset >= self._size or not possible or any(rest):
            raise MalformedError(f"{_WHAT}: no such page", actual=f"{offset:#x}, flags {flags:#x}")
        if self._has(offset):
            raise MalformedError(f"{_WHAT}: a page is added twice", actual=f"{offset:#x}")
        page = offset // PAGE
        self._added[page // 8] |= 1 << page % 8
        self._state.update(record)

    def _content(self, record: bytes, *, measured: bool) -> None:
        offset, rest = _EXTEND.unpack(record[8:])
        if offset % CHUNK or offset >= self._size or any(rest) or not self._has(offset):
            raise MalformedError(f"{_WHAT}: content of a page that was not added", actual=f"{offset:#x}")
        content = self._stream.take(CHUNK)
        if measured:
            self._state.update(record)
            self._state.update(content)

    def _has(self, offset: int) -> bool:
        page = offset // PAGE
        return bool(self._added[page // 8] & 1 << page % 8)
