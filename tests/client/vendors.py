"""AMD's and Intel's services as this project's fakes would fill them, over real HTTP on loopback."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from urllib.parse import quote

from teelog.testing import intel, sev_snp
from teelog.testing.intel import Platform
from teelog.testing.sev_snp import Machine
from tests.client.peers import Peer, Reply, peer

NOW = int(time.time())
WEEK = 7 * 86_400
IN_FORCE = {"issued": NOW - WEEK, "next_update": NOW + WEEK}


def tcb_query(machine: Machine) -> str:
    """As AMD publication 57230 writes it, spelled out here once more so that it is not the code's own."""
    tcb = machine.certified_tcb
    common = f"blSPL={tcb.bl:02d}&teeSPL={tcb.tee:02d}&snpSPL={tcb.snp:02d}&ucodeSPL={tcb.ucode:02d}"
    return common if tcb.fmc is None else f"fmcSPL={tcb.fmc:02d}&{common}"


def vcek_path(machine: Machine) -> str:
    chip = machine.chip_id[: 8 if machine.is_turin else 64].hex()
    return f"/vcek/v1/{machine.product}/{chip}?{tcb_query(machine)}"


def amd(server: Peer, machine: Machine) -> None:
    """Fills in everything for one machine."""
    kind, product = ("vlek" if machine.vlek else "vcek"), machine.product
    intermediate = sev_snp.authority("asvk" if machine.vlek else "ask", product)
    chain = sev_snp.pem(intermediate) + sev_snp.pem(sev_snp.authority("ark", product))
    server.answers[f"/{kind}/v1/{product}/cert_chain"] = chain
    server.answers[f"/{kind}/v1/{product}/crl"] = sev_snp.revoked(product, NOW - WEEK, NOW + WEEK)
    if not machine.vlek:
        server.answers[vcek_path(machine)] = machine.endorsement()


def pccs(server: Peer, platform: Platform, collateral: bytes, kind: str = "tdx", *, as_hex: bool = True) -> None:
    """Fills in a fake platform's collateral."""
    cache(server, platform.fmspc.hex(), collateral, kind, as_hex=as_hex)


def cache(
    server: Peer, fmspc: str, collateral: bytes, kind: str, authority: str = "platform", *, as_hex: bool = True
) -> None:
    """Fills in one collateral, cut into the answers that a PCCS gives. authority: ``platform`` or ``processor``."""
    made = json.loads(collateral)
    shared = "/sgx/certification/v4"
    info = f'{{"tcbInfo":{made["tcb_info"]},"signature":"{made["tcb_info_signature"]}"}}'
    identity = f'{{"enclaveIdentity":{made["qe_identity"]},"signature":"{made["qe_identity_signature"]}"}}'
    revoked = bytes.fromhex(made["pck_crl"])

    def issuers(name: str, member: str) -> dict[str, str]:
        return {name: quote(made[member])}

    server.answers |= {
        f"/{kind}/certification/v4/tcb?fmspc={fmspc.upper()}": Reply(
            info.encode(), headers=issuers("TCB-Info-Issuer-Chain", "tcb_info_issuer_chain")
        ),
        f"/{kind}/certification/v4/qe/identity": Reply(
            identity.encode(), headers=issuers("SGX-Enclave-Identity-Issuer-Chain", "qe_identity_issuer_chain")
        ),
        f"{shared}/pckcrl?ca={authority}&encoding=der": Reply(
            revoked.hex().encode() if as_hex else revoked,
            headers=issuers("SGX-PCK-CRL-Issuer-Chain", "pck_crl_issuer_chain"),
        ),
        f"{shared}/rootcacrl": made["root_ca_crl"].encode() + b"\n" if as_hex else bytes.fromhex(made["root_ca_crl"]),
    }


@contextlib.contextmanager
def served(machine: Machine) -> Iterator[Peer]:
    with peer() as found:
        amd(found, machine)
        yield found


__all__ = ["IN_FORCE", "NOW", "WEEK", "amd", "intel", "pccs", "served", "tcb_query", "vcek_path"]
