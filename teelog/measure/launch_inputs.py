"""Published launch inputs of an SEV-SNP guest: everything the launch digest depends on, digests in place of files.

The JSON object is the one that dstack embeds in its attestations (version 3):

    {"version": 3, "cmdline": "...", "ovmf_hash": "<96 hex>", "kernel_hash": "<64 hex>", "initrd_hash": "<64 hex>",
     "hashes_table_gpa": N, "reset_eip": N, "ovmf_sections": [{"gpa": N, "size": N, "type": N}, ...],
     "vcpus": N, "vcpu_type": "EPYC-v4", "guest_features": 1}

Here ``vcpu_sig`` (a number) may stand in place of ``vcpu_type``, and ``vmm`` (qemu, ec2, gce) may be added. An object
that has the inputs in its member ``inputs`` is accepted too. The inputs are claims: that a chip measured the same is
what the comparison with a report shows.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from teelog.errors import MalformedError
from teelog.measure import kernel_hashes, ovmf, sev_snp, vmsa
from teelog.measure.kernel_hashes import KernelHashes
from teelog.measure.sev_snp import Vcpus
from teelog.measure.vmsa import Vmm
from teelog.statement import strict_json
from teelog.strict import unhex

MAX_BYTES = 1 << 20


class SectionInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """gpa, size in bytes. type: number of the SEV metadata section's type."""

    gpa: int
    size: int
    type: int


class LaunchInputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The published object; the module's docstring says what is in it."""

    ovmf_hash: str
    ovmf_sections: tuple[SectionInput, ...]
    reset_eip: int
    vcpus: int
    version: Literal[3] = 3
    vcpu_type: str | None = None
    vcpu_sig: int | None = None
    vmm: Vmm = Vmm.QEMU
    guest_features: int = 0x1
    hashes_table_gpa: int | None = None
    kernel_hash: str | None = None
    initrd_hash: str | None = None
    cmdline: str | None = None


def decode(data: bytes) -> LaunchInputs:
    """Launch inputs from JSON of at most MAX_BYTES; raises MalformedError."""
    tree = strict_json.load(data, limit=MAX_BYTES)
    if isinstance(tree, dict) and "inputs" in tree:
        tree = tree["inputs"]
    try:
        return msgspec.convert(tree, LaunchInputs)
    except msgspec.ValidationError as error:
        strict_json.raise_located(error)


def launch_digest(inputs: LaunchInputs) -> bytes:
    """The 48-byte launch digest of the inputs; raises MalformedError."""
    sections = tuple(ovmf.section(part.gpa, part.size, part.type) for part in inputs.ovmf_sections)
    layout = ovmf.Layout(
        sections=ovmf.bounded(sections),
        reset_eip=_u32(inputs.reset_eip, "reset_eip"),
        hashes_table_gpa=None if inputs.hashes_table_gpa is None else _u32(inputs.hashes_table_gpa, "hashes_table_gpa"),
    )
    seed = unhex(inputs.ovmf_hash, "ovmf_hash", sev_snp.DIGEST_SIZE)
    vcpus = Vcpus(inputs.vcpus, _signature(inputs), inputs.guest_features, inputs.vmm)
    return sev_snp.launch_digest(seed, layout, _hashes(inputs), vcpus)


def cpu_label(inputs: LaunchInputs) -> str | None:
    """How the processor type is called in a variant's ``when``; None if the inputs name none."""
    if inputs.vcpu_type is None and inputs.vcpu_sig is not None:
        return f"{inputs.vcpu_sig:#010x}"
    return inputs.vcpu_type


def _signature(inputs: LaunchInputs) -> int:
    if inputs.vcpu_type is not None and inputs.vcpu_sig is not None:
        raise MalformedError(
            "launch inputs have both vcpu_type and vcpu_sig", where="/vcpu_sig", expected="one of them"
        )
    if inputs.vcpu_sig is not None:
        return inputs.vcpu_sig
    if inputs.vcpu_type is not None:
        return vmsa.cpu_signature(inputs.vcpu_type)
    if inputs.vmm is Vmm.QEMU:
        raise MalformedError("launch inputs name no CPU type", expected="vcpu_type or vcpu_sig")
    return 0


def _hashes(inputs: LaunchInputs) -> KernelHashes | None:
    if inputs.kernel_hash is None:
        if inputs.initrd_hash is not None or inputs.cmdline is not None:
            raise MalformedError(
                "launch inputs have an initrd or a command line without a kernel", where="/kernel_hash"
            )
        return None
    initrd = kernel_hashes.NOTHING if inputs.initrd_hash is None else unhex(inputs.initrd_hash, "initrd_hash", 32)
    cmdline = kernel_hashes.cmdline_digest((inputs.cmdline or "").encode())
    return KernelHashes(unhex(inputs.kernel_hash, "kernel_hash", 32), initrd, cmdline)


def _u32(value: int, what: str) -> int:
    if not 0 <= value < 1 << 32:
        raise MalformedError(f"{what} is not a 32-bit number", actual=value)
    return value
