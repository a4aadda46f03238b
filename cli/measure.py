"""`teelog measure`: the registers of a TEE, recomputed from what it will run."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from teelog import strict
from teelog.cli import (
    files,
    measure_cca,
    measure_dm_verity,
    measure_event_log,
    measure_file,
    measure_nitro,
    measure_sgx,
    measure_tdx,
    measure_uki,
    measured,
    output,
)
from teelog.errors import MalformedError, TeelogError, UnavailableError
from teelog.measure import kernel_hashes, launch_inputs, ovmf, sev_snp, vmsa
from teelog.measure.kernel_hashes import KernelHashes
from teelog.measure.ovmf import Firmware
from teelog.measure.registers import MAX_VARIANTS, SCHEMA, Registers, Variant
from teelog.measure.sev_snp import Vcpus
from teelog.measure.vmsa import Vmm

PLATFORM = "sev-snp"
DEFAULT_FEATURES = 0x1

_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,19}")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

Parsed = TypeVar("Parsed")


@click.group()
def group() -> None:
    """Compute the registers of a TEE from what it will run.

    If you have a copy of the program you can calculate its hash: no TEE and no network is needed. The result goes into
    `teelog release new --registers`, or is compared with a release that somebody published (--expect).
    """


def _option(read: Callable[[str], Parsed]) -> Callable[[click.Context, click.Parameter, str | None], Parsed | None]:
    """A click callback; what ``read`` refuses is a usage error."""

    def callback(_context: click.Context, _option: click.Parameter, value: str | None) -> Parsed | None:
        try:
            return None if value is None else read(value)
        except TeelogError as error:
            raise click.BadParameter(str(error)) from error

    return callback


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise MalformedError("not a number", expected="decimal, or hex with 0x", actual=text)
    return int(text, 0)


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(_number(part) for part in text.split(","))
    wrong = [count for count in counts if not 1 <= count <= sev_snp.MAX_VCPUS]
    if wrong or len(set(counts)) != len(counts):
        raise MalformedError("not a list of vcpu counts", expected=f"distinct, 1..{sev_snp.MAX_VCPUS}", actual=text)
    return counts


def _seed(text: str) -> bytes:
    return strict.unhex(text, "hash", sev_snp.DIGEST_SIZE)


def _cpu_types(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(name for value in values for name in value.split(","))
    try:
        for name in names:
            vmsa.cpu_signature(name)
    except MalformedError as error:
        raise click.BadParameter(str(error)) from error
    if len(set(names)) != len(names):
        raise click.BadParameter("a CPU type is named twice")
    return names


@dataclass(frozen=True, slots=True)
class _Options:
    """The command line, as click hands it over."""

    ovmf: Path | None
    kernel: Path | None
    initrd: Path | None
    append: str | None
    vcpus: tuple[int, ...] | None
    cpu_type: tuple[str, ...]
    vcpu_sig: int | None
    vmm: str | None
    guest_features: int | None
    ovmf_hash: bytes | None
    svsm: Path | None
    ovmf_vars_size: int | None
    launch: Path | None

    def check(self) -> None:
        """Raises click.UsageError for options that make no launch together."""
        if self.launch is not None:
            self._alone()
            return
        _require(self.ovmf is not None, "missing --ovmf FILE (or --launch FILE)")
        _require(self.vcpus is not None, "missing --vcpus N[,N...]")
        _require(self.kernel is not None or self.initrd is None, "--initrd needs --kernel")
        _require(self.kernel is not None or self.append is None, "--append needs --kernel")
        _require(not self.cpu_type or self.vcpu_sig is None, "--cpu-type and --vcpu-sig exclude each other")
        named = bool(self.cpu_type) or self.vcpu_sig is not None
        _require(named or self.vmm in ("ec2", "gce"), "missing --cpu-type NAME (or --vcpu-sig VALUE)")
        _require(self.vcpu_sig is None or self.vcpu_sig < 1 << 32, "--vcpu-sig is a 32-bit number")
        _require(self.guest_features is None or self.guest_features <= vmsa.MAX_FEATURES, "--guest-features: 64 bits")
        self._check_svsm()

    def _check_svsm(self) -> None:
        if self.svsm is None:
            _require(self.ovmf_vars_size is None, "--ovmf-vars-size needs --svsm")
            return
        _require(self.ovmf_vars_size is not None, "--svsm needs --ovmf-vars-size BYTES")
        _require(self.kernel is None, "--svsm and --kernel exclude each other: an SVSM measures no kernel")
        _require(self.ovmf_hash is None, "--svsm and --ovmf-hash exclude each other")
        _require(self.vmm in (None, "qemu"), "--svsm is implemented for --vmm qemu only")
        _require(self.guest_features in (None, vmsa.SVSM_FEATURES), "--svsm fixes the guest features at 0x1")

    def _alone(self) -> None:
        given = (name for name in self.__slots__ if name != "launch" and getattr(self, name) not in (None, ()))
        for name in given:
            raise click.UsageError(f"--launch takes everything from its file: leave --{name.replace('_', '-')} out")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise click.UsageError(otherwise)


@group.command("sev-snp", short_help="MEASUREMENT of an AMD SEV-SNP attestation report.")
@click.option("--ovmf", type=_FILE, help="Firmware image, as given to the VMM.")
@click.option("--kernel", type=_FILE, help="Kernel file, as given to QEMU's -kernel.")
@click.option("--initrd", type=_FILE, help="Initial ramdisk, as given to -initrd.")
@click.option("--append", metavar="TEXT", help="Kernel command line, as given to -append.")
@click.option("--vcpus", metavar="N[,N...]", callback=_option(_counts), help="Numbers of vcpus: a variant for each.")
@click.option(
    "--cpu-type",
    metavar="NAME",
    multiple=True,
    callback=_cpu_types,
    help="QEMU's CPU model, such as EPYC-v4; repeatable.",
)
@click.option("--vcpu-sig", metavar="VALUE", callback=_option(_number), help="CPUID signature in place of --cpu-type.")
@click.option(
    "--vmm",
    type=click.Choice([vmm.value for vmm in Vmm], case_sensitive=False),
    help="Who launches the guest.  [default: qemu]",
)
@click.option(
    "--guest-features",
    metavar="VALUE",
    callback=_option(_number),
    help="SEV_FEATURES; 0x21 for hosts around Linux 6.6.  [default: 0x1]",
)
@click.option(
    "--ovmf-hash",
    metavar="HEX",
    callback=_option(_seed),
    help="Digest of the firmware's pages, in place of computing it.",
)
@click.option("--svsm", type=_FILE, help="Coconut-SVSM image that runs below the firmware.")
@click.option(
    "--ovmf-vars-size", metavar="BYTES", callback=_option(_number), help="Size of the variable store, for --svsm."
)
@click.option("--launch", type=_FILE, help="Published launch inputs (JSON, digests in place of files).")
@click.option("--expect", type=_FILE, help="Release statement that must state the same registers.")
@output.json_option
def sev_snp_command(expect: Path | None, **given: object) -> None:
    """The launch digest of an AMD SEV-SNP guest: MEASUREMENT of its attestation report.

    It depends on the number of vcpus and on the CPU model, so one variant is printed for each combination. Exit 1 if
    --expect FILE states other values, 3 if it states none for such a launch. --expect compares and verifies no
    signature: that is `teelog proof verify`.

    Example: teelog measure sev-snp --ovmf OVMF.fd --kernel vmlinuz --initrd initrd.img --append console=ttyS0
    --vcpus 1,2,4 --cpu-type EPYC-v4 --json > regs.json
    """
    options = _Options(**given)  # type: ignore[arg-type]
    options.check()
    variants = (_from_launch(options.launch),) if options.launch is not None else tuple(_from_files(options))
    if expect is not None:
        measured.compare(variants, expect)
    output.result(_table(variants), msgspec.to_builtins(Registers(SCHEMA, variants)))


def _from_launch(path: Path) -> Variant:
    inputs = launch_inputs.decode(files.read(path, launch_inputs.MAX_BYTES, "launch inputs"))
    digest = launch_inputs.launch_digest(inputs)
    return _variant(digest, inputs.vcpus, launch_inputs.cpu_label(inputs), inputs.vmm, inputs.guest_features)


def _from_files(options: _Options) -> Iterator[Variant]:
    assert options.ovmf is not None
    assert options.vcpus is not None
    cpus = _cpus(options)
    if len(cpus) * len(options.vcpus) > MAX_VARIANTS:
        raise click.UsageError(f"more than {MAX_VARIANTS} variants, which is more than a release takes")
    firmware = _firmware(options.ovmf, "firmware")
    svsm = None if options.svsm is None else _firmware(options.svsm, "SVSM")
    seed = options.ovmf_hash or sev_snp.firmware_digest(firmware)
    hashes = _hashes(options)
    vmm = Vmm(options.vmm or Vmm.QEMU)
    features = DEFAULT_FEATURES if options.guest_features is None else options.guest_features
    for count in options.vcpus:
        for label, signature in cpus:
            vcpus = Vcpus(count, signature, features, vmm)
            if svsm is None:
                digest = sev_snp.launch_digest(seed, firmware.layout, hashes, vcpus)
            else:
                digest = sev_snp.svsm_launch_digest(firmware, svsm, options.ovmf_vars_size or 0, vcpus)
            yield _variant(digest, count, label, vmm, features, svsm is not None)


def _cpus(options: _Options) -> list[tuple[str | None, int]]:
    """Label and CPUID signature of each processor type; under EC2 and GCE none is needed, as it is not measured."""
    if options.vcpu_sig is not None:
        return [(f"{options.vcpu_sig:#010x}", options.vcpu_sig)]
    return [(name, vmsa.cpu_signature(name)) for name in options.cpu_type] or [(None, 0)]


def _firmware(path: Path, what: str) -> Firmware:
    return ovmf.parse(files.read(path, ovmf.MAX_IMAGE, what))


def _hashes(options: _Options) -> KernelHashes | None:
    if options.kernel is None:
        return None
    # An argument keeps the bytes that the shell gave, valid UTF-8 or not.
    cmdline = os.fsencode(options.append or "")
    initrd = kernel_hashes.NOTHING if options.initrd is None else _sha256(options.initrd)
    return KernelHashes(_sha256(options.kernel), initrd, kernel_hashes.cmdline_digest(cmdline))


def _sha256(path: Path) -> bytes:
    """Reads in pieces: an initrd may be larger than memory."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise UnavailableError(f"cannot read {path}", actual=error.strerror or str(error)) from error


def _variant(digest: bytes, vcpus: int, cpu: str | None, vmm: Vmm, features: int, svsm: bool = False) -> Variant:
    when: dict[str, str | int] = {"vcpus": vcpus}
    if cpu is not None:
        when["cpu"] = cpu
    when["vmm"] = vmm.value
    if features != DEFAULT_FEATURES:
        when["guest_features"] = f"{features:#x}"
    if svsm:
        when["svsm"] = "coconut"
    return Variant(PLATFORM, when, {"measurement": digest.hex()}, "recomputed")


def _table(variants: tuple[Variant, ...]) -> list[str]:
    labels = list(dict.fromkeys(name for variant in variants for name in variant.when))
    rows = [[*labels, "measurement"]]
    rows += [[str(v.when.get(name, "-")) for name in labels] + [v.registers["measurement"]] for v in variants]
    return output.columns(rows)


group.add_command(measure_nitro.command)
group.add_command(measure_cca.command)
group.add_command(measure_sgx.command)
group.add_command(measure_uki.command)
group.add_command(measure_event_log.command)
group.add_command(measure_dm_verity.command)
group.add_command(measure_file.command)
group.add_command(measure_tdx.command)
