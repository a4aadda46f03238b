"""Bundles that the user names."""

from __future__ import annotations

from teelog import bundle as bundles
from teelog.cli import files
from teelog.errors import MalformedError

GET = "teelog bundle get STREAM --trust TRUST --out FILE"


def read(path: str) -> bytes:
    """The bytes of a bundle, not verified. Raises UnavailableError, MalformedError with the file and what to type."""
    data = files.read(path, bundles.MAX_LENGTH, "bundle")
    try:
        bundles.parse(data)
    except MalformedError as error:
        raise MalformedError(
            f"{path} is no bundle: {error.message}", expected=error.expected, actual=error.actual, hint=GET
        ) from error
    return data
