"""The real quotes of TDX and SGX among the shared vectors, and what each must yield (expected.json).

The names stand here too, so that each case shows up as skipped where the vectors are not at hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.evidence.real import seconds
from tests.vectors import vectors

UP_TO_DATE = (
    "tdx/dcap-qvl/tdx_quote",
    "tdx/dcap-qvl/near-quote_hex.txt",
    "tdx/go-tdx-guest/quote_v5_sample.dat",
    "tdx/go-tdx-guest/cos-113-tdx-quote.dat",
)
OUT_OF_DATE = "tdx/trustee/tdx_quote_6.dat"
DEBUG_TD = "tdx/trustee/tdx_quote_4.dat"
AZURE = "az-tdx-vtpm/trustee/td-quote.bin"
NO_LEVEL = (
    "tdx/trustee/tdx_quote_5.dat",
    "tdx/dcap-qvl/tdx_quote_outdated",
    "tdx/dcap-qvl/tdx-quote.hex",
    "tdx/dcap-qvl/quote-from-tappd.hex",
    "tdx/go-tdx-guest/tdx_prod_quote_SPR_E4.dat",
)
ENCLAVE = "sgx/dcap-qvl/sgx_quote"
DEBUG_ENCLAVE = "sgx/trustee/occlum_quote.dat"
GENUINE = (*UP_TO_DATE, OUT_OF_DATE, DEBUG_TD, AZURE, ENCLAVE, DEBUG_ENCLAVE)
ALL = (*GENUINE, *NO_LEVEL)
EVENT_LOG = "tdx/go-tdx-guest/ccel_data.dat"
BYTES_BEHIND = b"\nextra bytes"
"""Begins what one of the files has behind its quote."""


@dataclass(frozen=True, slots=True)
class With:
    """One collateral and time for a quote. said: what dcap-qvl 0.7.0 said of it."""

    collateral: bytes
    now: int
    said: str


@dataclass(frozen=True, slots=True)
class Real:
    raw: bytes
    stated: dict[str, Any]

    @property
    def expect(self) -> dict[str, Any]:
        return dict(self.stated["expect"])

    def withs(self) -> Iterator[With]:
        for each in self.stated["with_collateral"]:
            yield With(
                vectors(f"evidence/{each['collateral']}").read_bytes(),
                seconds(each["verify_at"]),
                each["dcap_qvl_070"].replace("\n", " "),
            )

    def first(self) -> With:
        """The first collateral under which the quote is genuine, or has no level: not one of another time."""
        return next(each for each in self.withs() if "CertNotValidYet" not in each.said)


def stated() -> dict[str, dict[str, Any]]:
    """expected.json's entries of TDX and SGX by their evidence; skips where the vectors are missing."""
    entries = json.loads(vectors("evidence/expected.json").read_bytes())
    return {entry["evidence"]: entry for entry in entries if entry["platform"] in ("tdx", "sgx", "tdx-ccel")}


def load(name: str) -> Real:
    raw = vectors(f"evidence/{name}").read_bytes()
    if name.endswith((".hex", ".txt")):
        raw = bytes.fromhex(raw.decode().strip().removeprefix("0x"))
    return Real(raw.partition(BYTES_BEHIND)[0], stated()[name])
