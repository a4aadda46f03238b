"""Initdata of confidential containers: the digest of a TOML file, as each platform's field for it holds it.

The file names the hash; its exact bytes are hashed; the digest is cut, or filled with zeros, to the field's length.
The data themselves are not read: their meaning is the guest's.
Source: Kata Containers, the initdata specification.
"""

from __future__ import annotations

import hashlib
import re

from teelog.errors import MalformedError, NotEstablished

MAX_BYTES = 1 << 20
ALGORITHMS = ("sha256", "sha384", "sha512")
FIELDS = {"snp_host_data": 32, "tdx_mrconfigid": 48, "cca_rpv": 64}
"""Bytes."""

_VERSION = "0.1.0"
_SETTING = re.compile(rb'^(algorithm|version)[ \t]*=[ \t]*"([0-9a-z.-]{1,32})"', re.MULTILINE)
# Each line ends before the next begins, so that nothing is tried twice.
_HEAD = re.compile(
    rb'(?:(?:(?:algorithm|version)[ \t]*=[ \t]*"[0-9a-z.-]{1,32}")?[ \t]*(?:#[^\n]*)?\r?\n){2,64}'
    rb"\[data\][ \t]*\r?\n"
)


def measure(raw: bytes) -> tuple[str, dict[str, bytes]]:
    """The hash's name; ``digest_ALGORITHM`` and FIELDS -> value. Raises MalformedError, NotEstablished."""
    if len(raw) > MAX_BYTES:
        raise MalformedError("initdata: too long", expected=f"at most {MAX_BYTES} bytes", actual=len(raw))
    head = _HEAD.match(raw)
    if head is None:
        raise MalformedError("not initdata", expected="algorithm and version, then [data]")
    settings = _SETTING.findall(head[0])
    found = {name: value.decode() for name, value in settings}
    if len(settings) != 2 or len(found) != 2:
        raise MalformedError("initdata: no algorithm, or no version")
    algorithm, version = found[b"algorithm"], found[b"version"]
    if algorithm not in ALGORITHMS or version != _VERSION:
        raise NotEstablished(
            "initdata: its hash or its version is not known here",
            expected=f"{', '.join(ALGORITHMS)}; {_VERSION}",
            actual=f"{algorithm}; {version}"[:80],
        )
    digest = hashlib.new(algorithm, raw).digest()
    return algorithm, {f"digest_{algorithm}": digest, **{name: fit(digest, size) for name, size in FIELDS.items()}}


def fit(digest: bytes, size: int) -> bytes:
    return digest[:size].ljust(size, b"\0")
