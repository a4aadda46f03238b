"""What strangers wrote, made harmless for each format that alerts leave in (A-18, A-76)."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any


def plain(text: str) -> str:
    """``text`` without anything that steers a terminal, hides, or reorders what is around it: such become \\u{...}.

    What is left are letters, marks, digits, punctuation, symbols and the space; all of them legal in XML.
    """
    return "".join(each if _harmless(each) else f"\\u{{{ord(each):x}}}" for each in text)


def _harmless(each: str) -> bool:
    return each == " " or unicodedata.category(each)[0] in "LMNPS"


def json_line(value: Mapping[str, Any]) -> bytes:
    """One line of JSON in printable ASCII, without its end."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f").encode()
