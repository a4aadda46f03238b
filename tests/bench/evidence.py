"""Verifying an SEV-SNP report: what it costs beside its bare signature checks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from teelog.evidence import platform
from teelog.evidence.sev_snp import chain, endorsement, report
from teelog.testing import sev_snp
from teelog.verdict import Outcome
from tests.bench.ratio import Row, Settings, interleave, quotients


def _per_call(call: Callable[[], object], times: int) -> float:
    """CPU seconds of this process for one call."""
    start = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - start) / times


def _bare(raw: bytes, leaf: bytes) -> Callable[[], None]:
    """The three signature checks, with all they need at hand: intermediate by root, leaf by intermediate, report."""
    parsed = report.parse(raw)
    found = chain.verify(parsed, [leaf], sev_snp.NOW, sev_snp.roots())
    own, issuer = found.endorsement.certificate, found.intermediate
    keys = found.root.public_key, issuer.public_key
    key = own.public_key
    assert isinstance(key, ec.EllipticCurvePublicKey)
    pss, signature = padding.PSS(padding.MGF1(hashes.SHA384()), 48), encode_dss_signature(*parsed.signature)

    def check() -> None:
        for signer, signed in zip(keys, (issuer, own), strict=True):
            assert isinstance(signer, rsa.RSAPublicKey)
            signer.verify(signed.signature, signed.tbs, pss, hashes.SHA384())
        key.verify(signature, parsed.signed, ec.ECDSA(hashes.SHA384()))

    return check


def sev_snp_report(folder: Path, settings: Settings) -> list[Row]:
    """From the bytes of report and leaf to the finding; roots and intermediates were read before."""
    del folder
    machine = sev_snp.Machine()
    raw, leaf, roots = machine.report(), machine.endorsement(), sev_snp.roots()
    times = settings.count(300, 20)

    def verify() -> None:
        endorsement.forget()
        finding = platform.parse(raw).hardware([leaf], sev_snp.NOW, roots)
        assert finding.outcome is Outcome.VERIFIED

    bare = _bare(raw, leaf)
    _, base, ours = interleave(lambda _: _per_call(bare, times), lambda _: _per_call(verify, times), settings)
    return [
        Row(
            name="evidence",
            what="verify an SEV-SNP report, library, warm",
            against="the sum of its bare signature checks",
            samples=quotients(ours, base),
            bound=1.5,
            at_most=True,
            unit="s",
            base=base,
            ours=ours,
        )
    ]
