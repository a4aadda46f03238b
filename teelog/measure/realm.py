"""``teelog-realm/v1``: the description of an Arm CCA realm that `teelog.measure.cca` measures.

    {"schema": "teelog-realm/v1", "hash_algorithm": "sha-256", "ipa_bits": 48, "num_bps": 6, "num_wps": 6,
     "sve_vl": 0, "pmu_counters": null, "lpa2": false,
     "steps": [{"ripas": {"base": "0x40000000", "top": "0x80000000"}},
               {"data": {"ipa": "0x40200000", "file": "Image"}},
               {"data": {"ipa": "0x48000000", "file": "realm.dtb"}},
               {"rec": {"pc": "0x40200000", "gprs": ["0x48000000"]}}]}

The steps stand in the order in which the host takes them: for KVM's that is the RAM, the data by ascending address, the
first processor. Numbers are JSON numbers or hex with 0x; registers that are left out are 0. The device tree that the
host makes is data as well: it has to be taken from the host (or from the tool that makes the same one).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Literal

import msgspec

from teelog.errors import MalformedError
from teelog.measure import cca
from teelog.measure.cca import Data, Hash, Params, Rec, Ripas, Step
from teelog.statement import strict_json

SCHEMA = "teelog-realm/v1"
MAX_BYTES = 1 << 20
MAX_STEPS = 4096

Number = Annotated[str, msgspec.Meta(pattern=r"\A0x[0-9a-fA-F]{1,16}\Z")] | strict_json.Int53
Open = Callable[[str], Iterable[bytes]]
"""File name -> its content in pieces, each but the last one a multiple of `cca.GRANULE`."""

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,512}")


class Area(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    base: Number
    top: Number


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """measured false: the host does not ask for the content to be measured."""

    ipa: Number
    file: str
    measured: bool = True


class Processor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pc: Number
    gprs: Annotated[tuple[Number, ...], msgspec.Meta(max_length=cca.GPRS)] = ()


class Taken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step: exactly one of the three."""

    ripas: Area | None = None
    data: File | None = None
    rec: Processor | None = None


class Realm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["teelog-realm/v1"]
    hash_algorithm: Literal["sha-256", "sha-512"]
    ipa_bits: int
    num_bps: int
    num_wps: int
    sve_vl: int = 0
    pmu_counters: int | None = None
    lpa2: bool = False
    steps: Annotated[tuple[Taken, ...], msgspec.Meta(max_length=MAX_STEPS)] = ()


_decoder = msgspec.json.Decoder(Realm)


def decode(data: bytes) -> Realm:
    """Strict JSON of at most MAX_BYTES; raises MalformedError."""
    return strict_json.decode(data, _decoder, limit=MAX_BYTES)


def rim(realm: Realm, open_file: Open) -> bytes:
    """32 or 64 bytes. Raises MalformedError, and whatever ``open_file`` raises."""
    params = Params(
        Hash(realm.hash_algorithm), realm.ipa_bits, realm.num_bps, realm.num_wps, realm.sve_vl, realm.pmu_counters,
        realm.lpa2,
    )  # fmt: skip
    return cca.rim(params, (_step(each, place, open_file) for place, each in enumerate(realm.steps)))


def _step(taken: Taken, place: int, open_file: Open) -> Step:
    given = [each for each in (taken.ripas, taken.data, taken.rec) if each is not None]
    if len(given) != 1:
        raise MalformedError("not one step", where=f"/steps/{place}", expected="one of ripas, data, rec")
    if taken.ripas is not None:
        return Ripas(_number(taken.ripas.base), _number(taken.ripas.top))
    if taken.data is not None:
        if not _NAME.fullmatch(taken.data.file):
            raise MalformedError("not a file name", where=f"/steps/{place}/data/file")
        return Data(_number(taken.data.ipa), open_file(taken.data.file), taken.data.measured)
    assert taken.rec is not None
    gprs = tuple(map(_number, taken.rec.gprs))
    return Rec(_number(taken.rec.pc), gprs + (0,) * (cca.GPRS - len(gprs)))


def _number(value: str | int) -> int:
    number = int(value, 16) if isinstance(value, str) else value
    if number < 0:
        raise MalformedError("not an address", expected="0 and up", actual=number)
    return number
