"""Logs of measured boot, whoever kept them -> the registers that their replay gives.

Nothing in a log is signed, so what it gives is extracted: it holds only as far as a quote confirms it. Crypto-agile
logs of TPMs and CCELs are read by `teelog.evidence`; here are the two forms that no evidence is judged by:

* TCG 1.2, SHA-1 alone (TCG PC Client platform firmware profile, section 10.2.1, TCG_PCR_EVENT);
* dstack's JSON, events {imr, event_type, digest, event, event_payload}, alone or in the answer of its agent. An event
  that a running system extended has no digest: it is SHA-384(u32 event_type || ":" || event || ":" || payload).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from teelog import strict
from teelog.errors import MalformedError, NotEstablished
from teelog.evidence import event_log
from teelog.evidence.event_log import EV_NO_ACTION, MAX_EVENTS, NAMES, SHA1, SHA384, Event
from teelog.evidence.tdx import event_log as ccel
from teelog.evidence.tpm import event_log as tpm
from teelog.statement import strict_json

MAX_LOG = event_log.MAX_LOG
"""Bytes."""
BANKS = {name: number for number, name in NAMES.items()}
"""Name -> TPM_ALG_ID."""

_CCEL = (1).to_bytes(4, "little")  # a CCEL begins with register 1, a TPM's log with register 0
_PCRS, _RTMRS = 24, 4
_RUNTIME = 0x08000001
_WHERE = "event log"


@dataclass(frozen=True, slots=True)
class Replayed:
    """form: ``ccel``, ``tpm``, ``tcg-1.2`` or ``dstack``. bank: name of the hash. registers: those extended."""

    form: str
    bank: str
    registers: Mapping[str, bytes]


def replay(log: bytes, bank: str | None = None) -> Replayed:
    """bank: of a TPM's log, sha256 if not said; sha1 is needed for logs of TCG 1.2, which no first bytes tell apart.

    Raises MalformedError, NotEstablished (the log has no such bank).
    """
    if log[:1] in (b"{", b"["):
        found = Replayed("dstack", "sha384", _dstack(log))
    elif log.startswith(_CCEL):
        found = Replayed("ccel", "sha384", ccel.replay(log))
    elif bank == "sha1" and b"Spec ID Event03\0" not in log[:64]:
        found = Replayed("tcg-1.2", "sha1", _named(event_log.replay(_legacy(log), SHA1), "pcr", _PCRS))
    else:
        name = bank or "sha256"
        found = Replayed("tpm", name, tpm.replay(log, BANKS[name]))
    if bank not in (None, found.bank):
        raise NotEstablished("the log is of another bank", expected=bank, actual=found.bank)
    return found


def _named(registers: Mapping[int, bytes], prefix: str, count: int) -> dict[str, bytes]:
    strange = sorted(index for index in registers if not 0 <= index < count)
    if strange:
        raise MalformedError("extends a register that is not there", where=_WHERE, actual=strange[0])
    return {f"{prefix}{index}": registers[index] for index in sorted(registers)}


def _legacy(log: bytes) -> list[Event]:
    if len(log) > MAX_LOG:
        raise MalformedError("too long", where=_WHERE, expected=f"at most {MAX_LOG} bytes", actual=len(log))
    events: list[Event] = []
    place = 0
    # Behind the last event there may be the unused rest of the log's area.
    used = min(len(log.rstrip(b"\0")), len(log.rstrip(b"\xff")))
    while place < used:
        size = int.from_bytes(log[place + 28 : place + 32], "little")
        if place + 32 + size > len(log) or len(events) == MAX_EVENTS:
            raise MalformedError("ends inside an event, or never", where=_WHERE)
        index, kind = (int.from_bytes(log[start : start + 4], "little") for start in (place, place + 4))
        if kind != EV_NO_ACTION and index >= _PCRS:
            raise MalformedError("extends a register that is not there", where=_WHERE, actual=index)
        events.append(Event(index, kind, {SHA1: log[place + 8 : place + 28]}, log[place + 32 : place + 32 + size]))
        place += 32 + size
    return events


class _DstackEvent(msgspec.Struct):
    imr: Annotated[int, msgspec.Meta(ge=0, lt=_RTMRS)]
    event_type: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
    digest: str
    event: Annotated[str, msgspec.Meta(max_length=1024)]
    event_payload: str


_Events = Annotated[list[_DstackEvent], msgspec.Meta(max_length=MAX_EVENTS)]


class _Answer(msgspec.Struct):
    event_log: str | _Events


_answer, _events = msgspec.json.Decoder(_Answer), msgspec.json.Decoder(_Events)


def _dstack(log: bytes) -> dict[str, bytes]:
    if log[:1] == b"{":
        inner = strict_json.decode(log, _answer, limit=MAX_LOG).event_log
        listed = strict_json.decode(inner.encode(), _events, limit=MAX_LOG) if isinstance(inner, str) else inner
    else:
        listed = strict_json.decode(log, _events, limit=MAX_LOG)
    return _named(event_log.replay(_dstack_events(listed), SHA384), "rtmr", _RTMRS)


def _dstack_events(listed: list[_DstackEvent]) -> Iterator[Event]:
    for each in listed:
        payload = strict.unhex(each.event_payload, "event_payload")
        stated = strict.unhex(each.digest, "digest")
        if each.event_type == _RUNTIME:
            kind = each.event_type.to_bytes(4, "little")
            digest = hashlib.sha384(b":".join((kind, each.event.encode(), payload))).digest()
            if stated not in (b"", digest):
                raise MalformedError("an event has another digest", where=_WHERE, expected=digest.hex())
        elif len(stated) != hashlib.sha384().digest_size:
            raise MalformedError("an event has no SHA-384 digest", where=_WHERE, actual=each.digest[:100])
        else:
            digest = stated
        yield Event(each.imr, each.event_type, {SHA384: digest}, payload)
