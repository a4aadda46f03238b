"""What Intel TDX and Intel SGX share (data center attestation primitives, DCAP): quotes signed by a quoting enclave,
whose key a platform's PCK certificate vouches for, and the collateral that says what that platform's state is worth.

quote.py, td_report.py, enclave_report.py: bytes to fields. collateral.py: the endorsement file. verify.py: signatures
to the pinned root and the TCB status, through dcap-qvl, or for quotes that it refuses through chain.py and tcb.py.
policy.py: the TCB status against a policy.
"""
