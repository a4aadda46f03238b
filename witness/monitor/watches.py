"""What a monitor's owner wants to be told of: ``teelog monitor watch``."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from teelog.errors import MalformedError
from teelog.index import keys
from teelog.statement import names

_REGISTER = re.compile(r"(?P<platform>[^:=]+):(?P<name>[^:=]+)=(?P<value>[0-9a-f]+)")


class Subject(enum.StrEnum):
    """What can be watched."""

    NAMESPACE = "namespace"
    STREAM = "stream"
    REGISTER = "register"
    SIGNER = "signer"
    ALL = "all"


@dataclass(frozen=True, slots=True, order=True)
class Watch:
    """One thing that is watched. value: a namespace, a stream, P:NAME=HEX, a key's SHA-256 in hex; empty for all."""

    subject: Subject
    value: str = ""

    def __str__(self) -> str:
        return f"{self.subject} {self.value}".rstrip()

    @property
    def key(self) -> bytes | None:
        """The index key of a register or signer, None for other subjects."""
        if self.subject is Subject.REGISTER:
            found = _REGISTER.fullmatch(self.value)
            assert found is not None
            return keys.key(keys.Kind.REGISTER, found["platform"], found["name"], found["value"])
        return keys.key(keys.Kind.SIGNER, self.value) if self.subject is Subject.SIGNER else None


def parse(subject: str, value: str) -> Watch:
    """A watch as it is typed. Raises MalformedError."""
    try:
        chosen = Subject(subject)
    except ValueError as error:
        raise MalformedError("nothing that can be watched", expected=", ".join(Subject), actual=subject[:80]) from error
    watch = Watch(chosen, value)
    if chosen is Subject.NAMESPACE:
        names.namespace(value)
    elif chosen is Subject.STREAM:
        names.stream(value)
    elif chosen is Subject.REGISTER:
        if not _REGISTER.fullmatch(value):
            raise MalformedError("not a register", expected="PLATFORM:NAME=HEX", actual=value[:80])
        assert watch.key is not None
    elif chosen is Subject.SIGNER:
        if not re.fullmatch(r"[0-9a-f]{64}", value):
            raise MalformedError("not a key", expected="SHA-256 of its SPKI, 64 hex digits", actual=value[:80])
    elif value:
        raise MalformedError("`all` takes nothing more", expected="no VALUE", actual=value[:80])
    return watch
