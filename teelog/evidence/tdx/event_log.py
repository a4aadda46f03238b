"""What explains the RTMRs: the confidential computing event log (CCEL) that the firmware and loader of a TD keep.

Source: UEFI 2.10 section 38.4.1, mapping of measurement registers: index 0 is MRTD, 1 to 4 are RTMR 0 to 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from teelog.errors import MalformedError
from teelog.evidence import event_log
from teelog.verdict import Check, Finding, failed, verified

_REGISTERS = range(1, 5)


def replay(log: bytes) -> Mapping[str, bytes]:
    """``rtmr0`` to ``rtmr3`` -> its value after the log's events, those only that it extends. Raises MalformedError."""
    found = event_log.replay(event_log.parse(log), event_log.SHA384)
    strange = sorted(set(found) - set(_REGISTERS))
    if strange:
        raise MalformedError("the event log extends a register that a TD does not have", actual=strange[0])
    return {f"rtmr{index - 1}": found[index] for index in sorted(found)}


def compare(replayed: Mapping[str, bytes], rtmr: Sequence[bytes]) -> Finding:
    """rtmr: the four of the report. Registers that the log does not extend are not explained by it: it says so."""
    for name, value in replayed.items():
        own = rtmr[int(name[-1])]
        if own != value:
            return failed(
                Check.MEASUREMENT, f"the event log does not explain {name}", expected=value.hex(), actual=own.hex()
            )
    unexplained = [f"rtmr{number}" for number, own in enumerate(rtmr) if any(own) and f"rtmr{number}" not in replayed]
    if unexplained:
        return failed(
            Check.MEASUREMENT,
            f"the event log has no event for {', '.join(unexplained)}, which was extended",
            expected="zeros",
            actual=rtmr[int(unexplained[0][-1])].hex(),
        )
    return verified(Check.MEASUREMENT, f"the event log gives {', '.join(replayed) or 'no register'}, event by event")
