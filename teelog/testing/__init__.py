"""Fakes for tests of users' clients and of this project: vendor roots, chains and structurally exact evidence.

    from teelog.testing import sev_snp

    machine = sev_snp.Machine()
    report = machine.report(report_data=nonce, measurement=digest)
    evidence.platform.parse(report).hardware([machine.endorsement()], now=sev_snp.NOW, roots=sev_snp.roots())

``ledger`` makes logs with their indexes, witnesses and bundles, in memory.

Nothing here is trusted by default: a test hands the fake roots over explicitly. The private keys are in the package,
so anybody can make such evidence.
"""
