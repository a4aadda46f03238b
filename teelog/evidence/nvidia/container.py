"""The file in which a GPU's report comes: bare, as text in hex, or the JSON that NVIDIA's SDK writes, with the chain.

[{"arch": "HOPPER", "certificate": base64 of PEM, "evidence": base64 of the report, "nonce": hex}]
"""

from __future__ import annotations

from teelog import strict
from teelog.errors import MalformedError, NotEstablished
from teelog.evidence import json_object
from teelog.evidence.nvidia import report

MAX_FILE = 1 << 16  # bytes
_WHAT = "NVIDIA evidence"
_HEX = (b"11e0", b"10e0", b"12e0", b"13e0")


def looks_like(raw: bytes) -> bool:
    return report.looks_like(raw) or raw[:4].lower() in _HEX or (raw[:1] == b"[" and b'"evidence"' in raw[:MAX_FILE])


def open_(raw: bytes) -> tuple[bytes, bytes]:
    """(the report, PEM of its chain or nothing). Raises MalformedError, NotEstablished."""
    if len(raw) > MAX_FILE:
        raise MalformedError(f"{_WHAT}: too long", expected=f"at most {MAX_FILE} bytes", actual=len(raw))
    if raw[:1] == b"[":
        return _of_sdk(raw)
    if raw[:4].lower() in _HEX:
        return _of_text(raw), b""
    return raw, b""


def _of_text(raw: bytes) -> bytes:
    text = raw.strip().lower()
    if not text.isascii():
        raise MalformedError(f"{_WHAT}: not hex")
    return strict.unhex(text.decode(), _WHAT)


def _of_sdk(raw: bytes) -> tuple[bytes, bytes]:
    whole = json_object.load(b'{"gpus":' + raw + b"}", _WHAT, MAX_FILE + 16)
    gpus = whole.items("gpus", 1, 64)
    whole.finish()
    if len(gpus) != 1:
        raise NotEstablished(f"{_WHAT}: reports of several GPUs in one file", expected="a file each", actual=len(gpus))
    gpu = json_object.Object(gpus[0], _WHAT)
    gpu.text("arch", 32)
    chain, found, nonce = gpu.octets("certificate", "base64"), gpu.octets("evidence", "base64"), gpu.hex("nonce")
    gpu.finish()
    if found[4 : 4 + report.NONCE] != nonce:
        raise MalformedError(f"{_WHAT}: the nonce beside the report is not the one in it")
    return found, chain
