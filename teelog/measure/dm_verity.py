"""dm-verity: a data image, a salt and block sizes -> the root hash of its hash tree.

    digest of a block = H(salt || block), in format 0 H(block || salt)

A hash block holds as many digests as fit, a power of two, each in a slot of a power of two bytes (format 0: the digests
side by side), zeros behind them; level upon level until one block is left, whose digest is the root. Superblock and
UUID are not hashed. Source: Linux, Documentation/admin-guide/device-mapper/verity.rst, and cryptsetup's
on-disk format of verity. How the root hash reaches a TEE's registers is not said here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from teelog import strict
from teelog.errors import MalformedError, NotEstablished

ALGORITHMS = ("sha1", "sha256", "sha384", "sha512")
MIN_BLOCK, MAX_BLOCK = 512, 1 << 16  # bytes
MAX_SALT = 256  # bytes
MAX_BLOCKS = 1 << 24
"""Data blocks: 64 GiB of 4 KiB each, the digests of which are held one level at a time, partly."""
SUPERBLOCK = 512  # bytes

Read = Callable[[int], bytes]

_MAGIC = b"verity\0\0"
_WHAT = "dm-verity superblock"


@dataclass(frozen=True, slots=True)
class Parameters:
    """format: 1, or 0 (Chromium OS). data_block, hash_block: bytes, powers of two. blocks: of data, None: all."""

    algorithm: str = "sha256"
    format: int = 1
    salt: bytes = b""
    data_block: int = 4096
    hash_block: int = 4096
    blocks: int | None = None

    def check(self) -> None:
        """Raises MalformedError."""
        sizes = (self.data_block, self.hash_block)
        if any(size & (size - 1) or not MIN_BLOCK <= size <= MAX_BLOCK for size in sizes):
            raise MalformedError("not a size of blocks", expected="a power of two, 512 to 65536", actual=sizes)
        if self.algorithm not in ALGORITHMS or self.format not in (0, 1):
            raise NotEstablished("not known here", actual=f"{self.algorithm}, format {self.format}"[:80])
        if len(self.salt) > MAX_SALT or not 1 <= (self.blocks or 1) <= MAX_BLOCKS:
            raise MalformedError("too long a salt, or no such number of blocks", expected=f"{MAX_SALT}, {MAX_BLOCKS}")


def superblock(raw: bytes) -> Parameters:
    """The parameters that the first SUPERBLOCK bytes of a hash device state. Raises MalformedError, NotEstablished."""
    if len(raw) < SUPERBLOCK or raw[:8] != _MAGIC or _number(raw, 8, 4) != 1:
        raise MalformedError(f"not a {_WHAT}", expected="version 1")
    size = _number(raw, 80, 2)
    if any(raw[82:88]) or size > MAX_SALT or any(raw[88 + size : SUPERBLOCK]):
        raise MalformedError(f"{_WHAT}: a reserved field is set, or the salt is too long")
    name, _, rest = raw[32:64].partition(b"\0")
    if any(rest) or name.decode("ascii", "replace") not in ALGORITHMS:
        raise NotEstablished(f"{_WHAT}: the hash is not known here", expected=", ".join(ALGORITHMS), actual=name)
    found = Parameters(
        name.decode(), _number(raw, 12, 4), raw[88 : 88 + size], _number(raw, 64, 4), _number(raw, 68, 4),
        _number(raw, 72, 8),
    )  # fmt: skip
    if not found.blocks:
        raise MalformedError(f"{_WHAT}: no data")
    found.check()
    return found


def root_hash(read: Read, how: Parameters) -> bytes:
    """read: so many bytes of the image at most, none at its end. Raises MalformedError, NotEstablished."""
    how.check()
    tree = _Tree(how)
    count = 0
    while count != how.blocks and (block := _block(read, how.data_block)):
        if count == MAX_BLOCKS:
            raise MalformedError("the image has too many blocks", expected=f"at most {MAX_BLOCKS}")
        tree.add(0, tree.digest(block))
        count += 1
    if count == 0 or count != (how.blocks or count):
        raise MalformedError("the image is too short", expected=f"{how.blocks or 1} blocks", actual=count)
    return tree.root()


def _block(read: Read, size: int) -> bytes:
    block = b""
    while len(block) < size and (piece := read(size - len(block))):
        block += piece
    if block and len(block) != size:
        raise MalformedError("the image is not made of whole blocks", expected=size, actual=len(block))
    return block


class _Tree:
    """Of each level the digests of the hash block that is not full yet."""

    def __init__(self, how: Parameters) -> None:
        self._how, self._start = how, hashlib.new(how.algorithm, how.salt if how.format else b"")
        size = self._start.digest_size
        self._slot = 1 << (size - 1).bit_length()
        self._per = 1 << (how.hash_block // self._slot).bit_length() - 1
        self._levels: list[list[bytes]] = []
        self._counts: list[int] = []

    def digest(self, block: bytes) -> bytes:
        state = self._start.copy()
        state.update(block)
        if not self._how.format:
            state.update(self._how.salt)
        return state.digest()

    def add(self, level: int, digest: bytes) -> None:
        if level == len(self._levels):
            self._levels.append([])
            self._counts.append(0)
        if len(self._levels[level]) == self._per:
            self._close(level)
        self._levels[level].append(digest)
        self._counts[level] += 1

    def _close(self, level: int) -> None:
        """A full block is closed only when a further digest comes: the last one may be the root's."""
        padded = (each.ljust(self._slot, b"\0") if self._how.format else each for each in self._levels[level])
        block = b"".join(padded).ljust(self._how.hash_block, b"\0")
        self._levels[level] = []
        self.add(level + 1, self.digest(block))

    def root(self) -> bytes:
        level = 0
        while self._counts[level] > 1:
            self._close(level)
            level += 1
        return self._levels[level][0]


def salt(text: str) -> bytes:
    """As veritysetup has it: hex, or ``-`` for none. Raises MalformedError."""
    return b"" if text == "-" else strict.unhex(text, "salt")


def _number(raw: bytes, place: int, size: int) -> int:
    return int.from_bytes(raw[place : place + size], "little")
