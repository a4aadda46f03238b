"""What explains a TPM's registers: the event log that firmware and boot loader keep, in the crypto-agile format.

Source: TCG PC Client platform firmware profile, sections 3.3.4 (initial values) and 10.4 (StartupLocality).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from teelog.errors import MalformedError
from teelog.evidence import event_log
from teelog.evidence.event_log import Event
from teelog.evidence.tpm.quote import BANK, PCRS
from teelog.verdict import Check, Finding, failed, verified

_FIRMWARE = range(8)
"""PCRs that firmware alone extends, so that its log must explain them."""
_LOCALITY = b"StartupLocality\0"
_LOCALITIES = (0, 3, 4)


def replay(log: bytes, algorithm: int = event_log.SHA256) -> Mapping[str, bytes]:
    """``pcrN`` -> its value after the log's events, those only that it extends. Raises MalformedError.

    algorithm: TPM_ALG_ID of the bank.
    """
    events = event_log.parse(log)
    size = hashlib.new(event_log.NAMES[algorithm]).digest_size
    start = {0: _locality(events).to_bytes(size)}
    found = event_log.replay(events, algorithm, start)
    strange = sorted(index for index in found if index >= PCRS)
    if strange:
        raise MalformedError("the event log extends a register that a TPM does not have", actual=strange[0])
    return {f"pcr{index}": found[index] for index in sorted(found)}


def _locality(events: Iterable[Event]) -> int:
    """From where the TPM was started: PCR0 begins with that number."""
    said = {
        event.data[len(_LOCALITY)]
        for event in events
        if event.kind == event_log.EV_NO_ACTION
        and event.index == 0
        and event.data.startswith(_LOCALITY)
        and len(event.data) == len(_LOCALITY) + 1
    }
    if len(said) > 1 or not said <= set(_LOCALITIES):
        raise MalformedError("the event log names an unlikely locality", expected="0, 3 or 4, once")
    return said.pop() if said else 0


def compare(log: bytes, registers: Mapping[str, bytes]) -> Finding:
    """registers: those that were quoted. What the system extended later is not in such a log: the finding says so."""
    try:
        replayed = replay(log)
    except MalformedError as error:
        return failed(Check.MEASUREMENT, error)
    for name, value in replayed.items():
        own = registers.get(name)
        if own is None:
            return failed(Check.MEASUREMENT, f"the event log extends {name}, which was not quoted")
        if own != value:
            cause = f"the event log does not explain {name}"
            return failed(Check.MEASUREMENT, cause, expected=value.hex(), actual=own.hex())
    missing = [name for name, own in registers.items() if name not in replayed and _was_extended(own)]
    firmware = [name for name in missing if int(name[3:]) in _FIRMWARE]
    if firmware:
        cause = f"the event log has no event for {', '.join(firmware)}, which was extended"
        return failed(Check.MEASUREMENT, cause, expected="zeros", actual=registers[firmware[0]].hex())
    said = [f"the event log gives {', '.join(replayed) or 'no register'} ({BANK}), event by event"]
    if missing:
        said.append(f"NOT explained by it, extended later by the system: {', '.join(missing)}")
    return verified(Check.MEASUREMENT, *said)


def _was_extended(value: bytes) -> bool:
    return bool(value.strip(b"\0")) and bool(value.strip(b"\xff"))
