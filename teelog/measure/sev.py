"""Launch digests of AMD SEV and SEV-ES guests under QEMU: one SHA-256 over everything that is loaded.

Source: AMD publication 55766 (SEV API), LAUNCH_UPDATE_DATA and LAUNCH_UPDATE_VMSA. Neither has an attestation report:
the digest is what the platform owner's LAUNCH_MEASURE answers, so no release statement carries it.
"""

from __future__ import annotations

import hashlib

from teelog.measure import kernel_hashes, vmsa
from teelog.measure.kernel_hashes import KernelHashes
from teelog.measure.ovmf import Firmware
from teelog.measure.sev_snp import Vcpus


def sev_digest(firmware: Firmware, hashes: KernelHashes | None) -> bytes:
    """The SEV launch digest, 32 bytes; raises MalformedError if the firmware can't take the hashes."""
    return hashlib.sha256(firmware.image + _table(firmware, hashes)).digest()


def sev_es_digest(firmware: Firmware, hashes: KernelHashes | None, vcpus: Vcpus) -> bytes:
    """The SEV-ES launch digest, 32 bytes; raises MalformedError. SEV_FEATURES are always 0 here, not vcpus.features."""
    digest = hashlib.sha256(firmware.image + _table(firmware, hashes))
    digest.update(vmsa.reset_page(vmsa.BSP_EIP, vcpus.signature, 0, vcpus.vmm))
    other = vmsa.reset_page(firmware.layout.ap_eip(), vcpus.signature, 0, vcpus.vmm)
    for _ in range(vcpus.count - 1):
        digest.update(other)
    return digest.digest()


def _table(firmware: Firmware, hashes: KernelHashes | None) -> bytes:
    if hashes is None:
        return b""
    kernel_hashes.table_gpa(firmware.layout)
    return hashes.table()
