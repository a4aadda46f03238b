"""Keys of the index (protocol section 4): the kind, then a fixed number of components, each ended by a newline.

    log-policy LF
    namespace LF ns LF
    status LF ns LF product LF channel LF            release likewise
    register LF platform LF name LF hex LF
    subject LF algorithm LF hex LF                   evidence likewise
    signer LF hex LF                                 about LF hex LF

No component is empty or holds a byte below 0x20, and a kind fixes their number: no key is a prefix of another, and the
order of keys as bytes is their order in the trie.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache

from teelog.errors import MalformedError
from teelog.statement import names, registers

MAX_KEY = 1_024
"""Bytes."""
MAX_KEYS_PER_ENTRY = 256


class Kind(StrEnum):
    """What a key is about (protocol section 4): its first component."""

    LOG_POLICY = "log-policy"
    NAMESPACE = "namespace"
    STATUS = "status"
    RELEASE = "release"
    REGISTER = "register"
    SUBJECT = "subject"
    EVIDENCE = "evidence"
    SIGNER = "signer"
    ABOUT = "about"


EFFECTIVE = frozenset({Kind.LOG_POLICY, Kind.NAMESPACE, Kind.STATUS, Kind.RELEASE})
"""Kinds whose lists hold an entry only if it is in force against everything before it."""

ARITY: Mapping[Kind, int] = {
    Kind.LOG_POLICY: 0,
    Kind.NAMESPACE: 1,
    Kind.STATUS: 3,
    Kind.RELEASE: 3,
    Kind.REGISTER: 3,
    Kind.SUBJECT: 2,
    Kind.EVIDENCE: 2,
    Kind.SIGNER: 1,
    Kind.ABOUT: 1,
}
"""Kind -> number of components."""

_ALGORITHM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_DIGEST = re.compile(r"(?:[0-9a-f]{2}){1,64}")
_ID = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def key(kind: Kind, *components: str) -> bytes:
    """The key of at most 1,024 bytes. Raises MalformedError for components that the kind does not have."""
    if len(components) != ARITY[kind]:
        raise MalformedError(f"a {kind} key has another number of components", expected=ARITY[kind])
    return prefix(kind, *components)


def prefix(kind: Kind, *components: str) -> bytes:
    """What all keys of the kind with these leading components, from none to all, start with. Raises MalformedError."""
    if len(components) > ARITY[kind]:
        raise MalformedError(f"a {kind} key has fewer components", expected=ARITY[kind], actual=len(components))
    _check(kind, components)
    made = "".join(f"{part}\n" for part in (kind.value, *components)).encode("ascii")
    if len(made) > MAX_KEY:
        raise MalformedError("index key is too long", expected=f"at most {MAX_KEY} bytes", actual=len(made))
    return made


def parse(data: bytes) -> tuple[Kind, tuple[str, ...]]:
    """(kind, components) of a complete key. Raises MalformedError."""
    kind, components = _split(data)
    if key(kind, *components) != data:
        raise MalformedError("index key is not in its one spelling", actual=data[:80])
    return kind, components


def parse_prefix(data: bytes) -> tuple[Kind, tuple[str, ...]]:
    """(kind, leading components) of a prefix that ends with a component, or of a key. Raises MalformedError."""
    kind, components = _split(data)
    if prefix(kind, *components) != data:
        raise MalformedError("prefix of an index key is not in its one spelling", actual=data[:80])
    return kind, components


@lru_cache(4_096)  # a log is about the same few names; a refusal is not kept
def namespace_key(name: str) -> bytes:
    """Of a namespace such as ``acme.example``. Raises MalformedError."""
    return key(Kind.NAMESPACE, name)


@lru_cache(4_096)  # a log is about the same few names; a refusal is not kept
def status_key(stream: str) -> bytes:
    """Of a stream such as ``acme.example/inference/stable``. Raises MalformedError."""
    return key(Kind.STATUS, *stream.split("/", 3))


@lru_cache(4_096)  # a log is about the same few names; a refusal is not kept
def release_key(stream: str) -> bytes:
    """Of a stream such as ``acme.example/inference/stable``. Raises MalformedError."""
    return key(Kind.RELEASE, *stream.split("/", 3))


def _split(data: bytes) -> tuple[Kind, tuple[str, ...]]:
    if len(data) > MAX_KEY:
        raise MalformedError("index key is too long", expected=f"at most {MAX_KEY} bytes", actual=len(data))
    try:
        first, *rest = data.decode("ascii").split("\n")
        kind = Kind(first)
    except ValueError as error:
        raise MalformedError("not an index key", actual=data[:80]) from error
    if not rest or rest.pop():
        raise MalformedError("index key is not ended by a newline", actual=data[:80])
    return kind, tuple(rest)


def _check(kind: Kind, components: tuple[str, ...]) -> None:
    if kind in (Kind.STATUS, Kind.RELEASE):
        _stream(components)
    elif kind is Kind.NAMESPACE:
        for component in components:
            names.namespace(component)
    elif kind is Kind.REGISTER:
        _register(components)
    else:
        for pattern, component in zip(_PATTERNS[kind], components, strict=False):
            if not pattern.fullmatch(component):
                raise MalformedError(f"not a component of a {kind} key", actual=component[:80])


_PATTERNS: Mapping[Kind, tuple[re.Pattern[str], ...]] = {
    Kind.LOG_POLICY: (),
    Kind.SUBJECT: (_ALGORITHM, _DIGEST),
    Kind.EVIDENCE: (_ALGORITHM, _DIGEST),
    Kind.SIGNER: (_ID,),
    Kind.ABOUT: (_ID,),
}


def _stream(components: tuple[str, ...]) -> None:
    if len(components) == 3:
        stream = names.stream("/".join(components))
        if components != (stream.namespace, stream.product, stream.channel):
            raise MalformedError("not the components of a stream", actual="/".join(components)[:80])
        return
    for check, component in zip((names.namespace, _product), components, strict=False):
        check(component)


def _product(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise MalformedError("not a product", actual=text[:80])
    return text


def _register(components: tuple[str, ...]) -> None:
    if not components:
        return
    platform, *rest = components
    lengths = registers.platform(platform).lengths
    if rest and rest[0] not in lengths:
        raise MalformedError(f"not a register of {platform}", expected=", ".join(lengths), actual=rest[0][:80])
    if len(rest) == 2:
        name, value = rest
        if not _DIGEST.fullmatch(value) or len(value) // 2 not in lengths[name]:
            wanted = " or ".join(str(2 * length) for length in lengths[name])
            raise MalformedError(f"not a value of {name}", expected=f"{wanted} hex digits", actual=value[:80])
