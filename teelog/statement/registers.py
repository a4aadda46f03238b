"""Registers by platform: which a variant must name, and how their values are written (protocol section 3).

A value is lower-case hex of the register's exact length, or the literal ``any``, which leaves it open. "Admission
refuses less": a platform that is not here, a register that is not the platform's, a required register without a value,
a second spelling of one value. The table is part of what every reader of a log must agree on: it changes only together
with the predicate's version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from teelog.errors import MalformedError
from teelog.statement.strict_json import pointer_step

ANY = "any"

_HEX = re.compile(r"[0-9a-f]+")
_SHA256, _SHA384, _SHA512, _UINT16 = 32, 48, 64, 2


@dataclass(frozen=True, slots=True)
class Platform:
    """lengths: register -> lengths in bytes that a value may have; required: alternatives, one of them complete.

    sets: the same as ``required``. identity: registers of which one at least must hold a value, so that no variant
    lets every program pass. least: registers whose value in a variant is a minimum, big-endian, not the exact value.
    """

    lengths: Mapping[str, tuple[int, ...]]
    required: tuple[tuple[str, ...], ...]
    sets: tuple[frozenset[str], ...]
    identity: tuple[str, ...]
    least: tuple[str, ...] = ()


def _platform(lengths: dict[str, tuple[int, ...]], *required: tuple[str, ...], least: tuple[str, ...] = ()) -> Platform:
    hashes = tuple(name for names in required for name in names if lengths[name] != (_UINT16,))
    return Platform(lengths, required, tuple(map(frozenset, required)), hashes, least)


_PCRS = tuple(f"pcr{number}" for number in range(24))

PLATFORMS: Mapping[str, Platform] = {
    # SEV-SNP ABI: MEASUREMENT of the attestation report. host_data is configuration: see the require block.
    "sev-snp": _platform({"measurement": (_SHA384,)}, ("measurement",)),
    "tdx": _platform(
        dict.fromkeys(
            ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig"), (_SHA384,)
        ),
        ("mrtd", "rtmr0", "rtmr1", "rtmr2"),
    ),
    "nitro": _platform(dict.fromkeys(_PCRS[:16], (_SHA384,)), ("pcr0", "pcr1", "pcr2")),
    # isvprodid is equal, isvsvn a minimum; both are big-endian 16-bit numbers ("0001").
    "sgx": _platform(
        {"mrenclave": (_SHA256,), "mrsigner": (_SHA256,), "isvprodid": (_UINT16,), "isvsvn": (_UINT16,)},
        ("mrenclave",),
        ("mrsigner", "isvprodid", "isvsvn"),
        least=("isvsvn",),
    ),
    "cca": _platform(dict.fromkeys(("rim", "rem0", "rem1", "rem2", "rem3"), (_SHA256, _SHA512)), ("rim",)),
    # The guest's vTPM, SHA-256 bank. The policy of the release chooses the PCRs: any one makes the set complete.
    "azure": _platform(dict.fromkeys(_PCRS, (_SHA256,)), *((name,) for name in _PCRS)),
}


def platform(name: str, where: str | None = None) -> Platform:
    """Raises MalformedError for a platform that is not known."""
    found = PLATFORMS.get(name)
    if found is None:
        raise MalformedError("platform is not known", where=where, expected=", ".join(PLATFORMS), actual=name[:80])
    return found


def check(platform_name: str, values: Mapping[str, str], where: str = "") -> None:
    """Complete, known, each one value in its one spelling.

    where: JSON pointer of the variant, in which ``platform`` and ``registers`` lie. Raises MalformedError.
    """
    known = platform(platform_name, f"{where}/platform")
    for name, value in values.items():
        lengths = known.lengths.get(name)
        if lengths is None:
            raise MalformedError(
                f"not a register of {platform_name}",
                where=f"{where}/registers/{pointer_step(name)}",
                expected=", ".join(known.lengths),
            )
        if value != ANY and not (len(value) // 2 in lengths and len(value) % 2 == 0 and _HEX.fullmatch(value)):
            expected = " or ".join(f"{2 * length}" for length in lengths)
            raise MalformedError(
                f"not a value of {platform_name} {name}",
                where=f"{where}/registers/{name}",
                expected=f"{expected} lower-case hex digits, or any",
                actual=value[:140],
            )
    _check_complete(platform_name, known, values, f"{where}/registers")


def _check_complete(platform_name: str, known: Platform, values: Mapping[str, str], where: str) -> None:
    if not any(values.keys() >= names for names in known.sets):
        raise MalformedError(
            f"registers of {platform_name} are not complete",
            where=where,
            expected=", or ".join(" + ".join(names) for names in known.required),
            actual=" + ".join(values)[:140] or "none",
            hint="a register that may hold anything is written as any",
        )
    if all(values.get(name, ANY) == ANY for name in known.identity):
        raise MalformedError(
            "every program would match: no register is fixed",
            where=where,
            expected="one of " + ", ".join(known.identity),
        )
