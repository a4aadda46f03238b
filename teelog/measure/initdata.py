"""Initdata of confidential containers: the digest of a TOML file, as each platform's field for it holds it.

The file names the hash; its exact bytes are hashed; the digest is cut, or filled with zeros, to the field's length.
Source: Kata Containers, the initdata specification.
"""

from __future__ import annotations

import hashlib
import tomllib

from teelog.errors import MalformedError, NotEstablished

MAX_BYTES = 1 << 20
ALGORITHMS = ("sha256", "sha384", "sha512")
FIELDS = {"snp_host_data": 32, "tdx_mrconfigid": 48, "cca_rpv": 64}
"""Bytes."""

_VERSION = "0.1.0"
_MAX_NESTING = 64  # the reader descends into each bracket


def measure(raw: bytes) -> tuple[str, dict[str, bytes]]:
    """The hash's name; ``digest_ALGORITHM`` and FIELDS -> value. Raises MalformedError, NotEstablished."""
    if len(raw) > MAX_BYTES or raw.count(b"[") + raw.count(b"{") > _MAX_NESTING * 16:
        raise MalformedError("initdata: too long", expected=f"at most {MAX_BYTES} bytes", actual=len(raw))
    try:
        table = tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise MalformedError("initdata: not TOML", actual=str(error)[:80]) from error
    algorithm, version = table.get("algorithm"), table.get("version")
    if type(table.get("data")) is not dict or type(algorithm) is not str:
        raise MalformedError("initdata: no data, or no algorithm")
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
