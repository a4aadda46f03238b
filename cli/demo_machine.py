"""The demo's machine: AMD's own signed reports where the test vectors are at hand, else forged ones, and it says so."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from teelog.cli import demo_firmware
from teelog.testing import sev_snp

_BESIDE = Path(__file__).resolve().parent.parent.parent / "shared" / "vectors"

_INPUTS = "measure/sev-snp/dstack-expected.json"
_REAL = {  # name -> report, certificate
    "report": ("evidence/derived/snp/milan-v3-dstack.report.bin", "evidence/derived/snp/milan-v3-dstack.vcek.der"),
    "another": ("evidence/derived/snp/az-evidence-v1.report.bin", "evidence/derived/snp/az-evidence-v1.vcek.der"),
    "debug": ("evidence/snp/go-sev-guest/attestation.bin", "evidence/snp/go-sev-guest/vcek.testcer"),
}
WANTED = (_INPUTS, *(path for pair in _REAL.values() for path in pair))

_DEBUG = 0xB0000  # guest policy: debugging allowed
_REPORT_DATA = slice(0x50, 0x90)
_MEASUREMENT = 0x90

_MADE_UP = (
    *("--ovmf", "OVMF.fd", "--kernel", "vmlinuz", "--initrd", "initrd.img", "--append", "console=ttyS0"),
    *("--vcpus", "1,2,4", "--cpu-type", "EPYC-v4"),
)


@dataclass(frozen=True, slots=True)
class Report:
    """A report in NAME.bin, its certificates in a PEM file, and its report data in hex."""

    name: str
    certificates: str
    report_data: str


@dataclass(frozen=True, slots=True)
class Machine:
    """Where what it runs and what it says comes from. vectors: of real evidence, or None: all is made up and forged."""

    folder: Path
    vectors: Path | None

    @property
    def launch(self) -> tuple[str, ...]:
        """What `teelog measure sev-snp` measures."""
        return _MADE_UP if self.vectors is None else ("--launch", "launch.json")

    @property
    def artifacts(self) -> tuple[str, ...]:
        return ("--artifact", "initrd.img") if self.vectors is None else ()

    @property
    def said(self) -> str:
        """Whose signature it is."""
        if self.vectors is None:
            return "FORGED: no real report is at hand. Made-up roots, which the trust file names, stand in for AMD's"
        return "The report is signed by AMD's hardware: a real machine, from the test vectors"

    def put_programs(self) -> None:
        """Writes what is measured: a made-up program in any case, to play with."""
        for name, data in (
            ("OVMF.fd", demo_firmware.image()),
            ("vmlinuz", demo_firmware.part("kernel", 1 << 20)),
            ("initrd.img", demo_firmware.part("initrd", 1 << 20)),
        ):
            (self.folder / name).write_bytes(data)
        if self.vectors is not None:
            known = json.loads((self.vectors / _INPUTS).read_bytes())
            (self.folder / "launch.json").write_text(json.dumps(known["inputs"]))

    def put_reports(self, registers: Path) -> Mapping[str, Report]:
        """Writes the reports and certificates. registers: of the program, as measured; a forged report claims them.

        Returns ``report``, the good one; ``flipped``, a bit of it changed; ``another``, of another program; ``debug``.
        """
        data = self._forged(registers) if self.vectors is None else self._real(self.vectors)
        good = bytearray(data["report"][0])
        good[_MEASUREMENT] ^= 1
        data["flipped"] = bytes(good), data["report"][1]
        written: dict[bytes, str] = {}
        found = {}
        for name, (report, certificates) in data.items():
            if certificates not in written:
                written[certificates] = "vcek.pem" if name == "report" else f"{name}.pem"
                (self.folder / written[certificates]).write_bytes(certificates)
            (self.folder / f"{name}.bin").write_bytes(report)
            found[name] = Report(name, written[certificates], report[_REPORT_DATA].rstrip(b"\0").hex())
        (self.folder / "report-data").write_text(found["report"].report_data + "\n")
        return found

    def roots(self) -> str | None:
        """The lines of the trust file that put the forger in the vendor's place; None where the vendor's hold."""
        if self.vectors is not None:
            return None
        pin = hashlib.sha256(sev_snp.authority("ark", "Milan")).hexdigest()
        return f'[platform.sev-snp]\nroots = {{ Milan = "{pin}" }}\n'

    def _real(self, vectors: Path) -> dict[str, tuple[bytes, bytes]]:
        return {
            name: ((vectors / report).read_bytes(), sev_snp.pem((vectors / certificate).read_bytes()))
            for name, (report, certificate) in _REAL.items()
        }

    def _forged(self, registers: Path) -> dict[str, tuple[bytes, bytes]]:
        runs = json.loads(registers.read_bytes())["variants"][0]["registers"]["measurement"]
        machine = sev_snp.Machine()

        def forge(measurement: bytes = bytes.fromhex(runs), **fields: Any) -> tuple[bytes, bytes]:
            challenge = hashlib.sha256(b"teelog demo challenge").digest()[:16]
            return machine.report(report_data=challenge, measurement=measurement, **fields), machine.chain()

        another = hashlib.sha384(b"teelog demo, another program").digest()
        return {"report": forge(), "another": forge(another), "debug": forge(guest_policy=_DEBUG)}


def find(folder: Path) -> Machine:
    """The real machine if TEELOG_VECTORS, or else the folder beside the project, has it; the forged one otherwise."""
    vectors = Path(os.environ.get("TEELOG_VECTORS") or _BESIDE)
    return Machine(folder, vectors if all((vectors / path).is_file() for path in WANTED) else None)
