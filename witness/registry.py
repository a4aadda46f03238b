"""The known logs: who may be added, and the view of them that requests are judged by.

The list only grows: a log that was removed and added again could be made to fork in front of an honest witness, so logs
are disabled, never deleted, and their heads stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from heapq import nsmallest
from urllib.parse import urlsplit

from teelog.errors import ConfigError, MalformedError
from teelog.index import leaf
from teelog.tlog import vkey
from teelog.tlog.checkpoint import MAX_ORIGIN
from teelog.tlog.vkey import LOG_TYPES, SignatureType, VerifierKey
from teelog.witness.decide import KnownLog
from teelog.witness.state import LogEntry

MAX_KEYS = 8  # of one log
MAX_TEXT = 300  # characters of url and contact
MAX_PER_DAY = 10**9
PARSED = 4096  # logs whose keys are held parsed


@lru_cache(maxsize=PARSED)
def parse_keys(vkeys: tuple[str, ...]) -> tuple[VerifierKey, ...]:
    """Log keys. Raises ConfigError."""
    return tuple(vkey.parse_for(text, LOG_TYPES, "log") for text in vkeys)


def new_entry(
    vkeys: Sequence[str],
    witness_name: str,
    *,
    url: str | None = None,
    contact: str | None = None,
    per_day: int | None = None,
    main: Sequence[str] = (),
) -> LogEntry:
    """A log list entry from what an operator typed. main: of the log that this one indexes. Raises ConfigError."""
    texts = tuple(dict.fromkeys(vkeys))
    keys = parse_keys(texts)
    names = {key.name for key in keys}
    if len(names) != 1 or len(keys) > MAX_KEYS:
        raise ConfigError(
            "a log is added with the keys of one origin",
            expected=f"1 to {MAX_KEYS} vkeys of one name",
            actual=f"{len(keys)} vkeys of {len(names)} names",
        )
    origin = names.pop()
    # W-03, R-24: who said what must stay clear.
    if origin == witness_name:
        raise ConfigError("a log cannot have the witness's own name", actual=origin)
    if len(origin.encode()) > MAX_ORIGIN:
        raise ConfigError(
            "origin is too long to be cosigned", expected=f"at most {MAX_ORIGIN} bytes", actual=len(origin.encode())
        )
    for what, text in (("url", url), ("contact", contact)):
        if text is not None and (len(text) > MAX_TEXT or not text.isprintable()):
            raise ConfigError(f"{what} is not usable", expected=f"at most {MAX_TEXT} printable characters", actual=text)
    if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise ConfigError("url is not usable", expected="http:// or https://", actual=url)
    if per_day is not None and not 1 <= per_day <= MAX_PER_DAY:
        raise ConfigError("requests a day are out of range", expected=f"1 to {MAX_PER_DAY}", actual=per_day)
    return LogEntry(origin, texts, url, contact, per_day, main=_main_keys(origin, main, witness_name))


def _main_keys(origin: str, main: Sequence[str], witness_name: str) -> tuple[str, ...]:
    """The keys of the log whose index ``origin`` is. Raises ConfigError."""
    if not main:
        return ()
    try:
        indexed = leaf.main_of(origin)
    except MalformedError as error:
        # Protocol section 4: "cosigns only origins that end in /index/v1".
        raise ConfigError(
            "only index logs are cosigned by a semantic witness", expected=f"<origin>{leaf.SUFFIX}", actual=origin
        ) from error
    texts = tuple(dict.fromkeys(main))
    keys = parse_keys(texts)
    others = {key.name for key in keys} - {indexed}
    if others or len(keys) > MAX_KEYS:
        raise ConfigError(
            "an index log is added with the keys of the log that it indexes",
            expected=f"1 to {MAX_KEYS} vkeys of {indexed}",
            actual=", ".join(sorted(others)) or f"{len(keys)} vkeys",
        )
    if not any(key.type is SignatureType.ED25519 for key in keys):
        raise ConfigError("the input of an index carries the log's Ed25519 line", expected="a vkey of type 0x01")
    if indexed == witness_name:
        raise ConfigError("a log cannot have the witness's own name", actual=indexed)
    return texts


def merge(known: LogEntry | None, new: LogEntry, *, add_key: bool = False, replace_keys: bool = False) -> LogEntry:
    """The entry to store. An origin that is known with other keys needs a word from the operator (W-48).

    add_key: the new keys join the old ones (rotation, W-47). replace_keys: the old ones lose their trust.
    What is not given again keeps its value; a disabled log is enabled again. Raises ConfigError.
    """
    if known is None:
        return new

    def merged(old: tuple[str, ...], given: tuple[str, ...], origin: str) -> tuple[str, ...]:
        if set(given) == set(old):
            return old
        if not replace_keys and not add_key:
            raise ConfigError(
                f"{origin} is known with other keys",
                expected=", ".join(key[:80] for key in old),
                actual=", ".join(key[:80] for key in given),
                hint="add --add-key to trust both, or --replace-keys to trust the new ones only",
            )
        keys = given if replace_keys else tuple(dict.fromkeys((*old, *given)))
        if len(keys) > MAX_KEYS:
            raise ConfigError("too many keys for one log", expected=f"at most {MAX_KEYS}", actual=len(keys))
        return keys

    return replace(
        new,
        vkeys=merged(known.vkeys, new.vkeys, new.origin),
        main=merged(known.main, new.main, new.origin.removesuffix(leaf.SUFFIX)) if new.main else known.main,
        url=new.url if new.url is not None else known.url,
        contact=new.contact if new.contact is not None else known.contact,
        per_day=new.per_day if new.per_day is not None else known.per_day,
    )


class Registry:
    """The log list in memory: written by the engine's thread, read by any. A reader sees one state of it, whole."""

    def __init__(self, entries: Iterable[LogEntry]) -> None:
        self._entries: Mapping[str, LogEntry] = {entry.origin: entry for entry in entries}
        self._listed: tuple[Mapping[str, LogEntry], list[LogEntry]] | None = None

    def put(self, entries: Iterable[LogEntry]) -> None:
        """Adds or replaces entries."""
        self._entries = {**self._entries, **{entry.origin: entry for entry in entries}}

    def entry(self, origin: str) -> LogEntry | None:
        return self._entries.get(origin)

    def log(self, origin: str) -> KnownLog | None:
        entry = self._entries.get(origin)
        return None if entry is None else KnownLog(entry.origin, parse_keys(entry.vkeys), entry.disabled)

    def disabled(self) -> int:
        return sum(entry.disabled for entry in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def first(self, count: int) -> list[LogEntry]:
        """The first ``count`` entries by origin. Sorted once for each state of the list: anyone may ask for it."""
        entries = self._entries
        if self._listed is None or self._listed[0] is not entries or len(self._listed[1]) < min(count, len(entries)):
            self._listed = entries, nsmallest(count, entries.values(), key=lambda entry: entry.origin)
        return self._listed[1][:count]
