"""GUIDs in the byte order that UEFI stores (UEFI 2.10 appendix A: the first three fields little-endian)."""

from __future__ import annotations

SIZE = 16


def guid(text: str) -> bytes:
    """The 16 stored bytes of ``8-4-4-4-12`` hex."""
    time_low, time_mid, time_high, clock, node = (bytes.fromhex(part) for part in text.split("-"))
    return time_low[::-1] + time_mid[::-1] + time_high[::-1] + clock + node
