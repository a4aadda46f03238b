"""Webhooks: each alert is posted as JSON, with an HMAC that says who sent it and when (A-17).

    Teelog-Alert: <id>-<number>
    Teelog-Timestamp: <POSIX seconds>
    Teelog-Signature: v1=<hex of HMAC-SHA-256(key, timestamp "." body)>

The receiver refuses a timestamp more than five minutes away, and an alert that it has already: the same one may come
again, since what was delivered is written down only afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp

from teelog import durable
from teelog.client import outbound
from teelog.errors import ConfigError, SignatureError, UnavailableError
from teelog.witness.monitor.finding import Alert
from teelog.witness.monitor.form import document
from teelog.witness.monitor.notify.text import json_line
from teelog.witness.monitor.state import Followed

WINDOW = 300  # seconds
KEY_BYTES = 32
MAX_NAME = 64
_SIGNATURE = re.compile(r"v1=([0-9a-f]{64})")


def sign(key: bytes, timestamp: int, body: bytes) -> str:
    """The value of ``Teelog-Signature``."""
    return "v1=" + hmac.new(key, b"%d." % timestamp + body, hashlib.sha256).hexdigest()


def verify(key: bytes, headers: Mapping[str, str], body: bytes, now: int) -> None:
    """What a receiver does first. headers: by their exact names. Raises SignatureError."""
    timestamp, signature = headers.get("Teelog-Timestamp", ""), headers.get("Teelog-Signature", "")
    if not re.fullmatch(r"[0-9]{1,12}", timestamp) or not _SIGNATURE.fullmatch(signature):
        raise SignatureError("not signed as a monitor signs", expected="Teelog-Timestamp and Teelog-Signature")
    if not hmac.compare_digest(sign(key, int(timestamp), body), signature):
        raise SignatureError("the signature is not by this key, or of another body")
    if abs(now - int(timestamp)) > WINDOW:
        raise SignatureError("sent too long ago", expected=f"within {WINDOW} s of {now}", actual=timestamp)


def new_key(folder: Path, name: str, draw: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """Makes the key of a webhook and keeps it (mode 0600). Raises UnavailableError."""
    key = draw(KEY_BYTES)
    try:
        (folder / name).unlink(missing_ok=True)
        durable.create(folder / name, key.hex().encode() + b"\n", 0o600)
    except OSError as error:
        raise UnavailableError(f"cannot write {folder / name}", actual=error.strerror) from error
    return key


def read_key(folder: Path, name: str) -> bytes:
    """Raises ConfigError."""
    try:
        return bytes.fromhex((folder / name).read_text("ascii").strip())
    except (OSError, ValueError) as error:
        raise ConfigError(f"the key of webhook {name} cannot be read", actual=str(error)[:200]) from error


class Webhook:
    """local: whether it may be on this machine. clock: POSIX seconds."""

    whole = False

    def __init__(
        self, http: aiohttp.ClientSession, url: str, key: bytes, clock: Callable[[], int], *, local: bool = False
    ) -> None:
        self._http = http
        self._url = url
        self._key = key
        self._clock = clock
        self._local = local

    async def tell(self, alert: Alert, followed: Followed) -> None:
        """Raises UnavailableError, RefusedError, ConfigError."""
        body, timestamp = json_line(document(alert, followed)), self._clock()
        headers = {
            "Content-Type": "application/json",
            "Teelog-Alert": f"{alert.finding.id}-{alert.number}",
            "Teelog-Timestamp": str(timestamp),
            "Teelog-Signature": sign(self._key, timestamp, body),
        }
        await outbound.post(self._http, self._url, body, headers, local=self._local)
