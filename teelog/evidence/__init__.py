"""Attestation evidence: pure, one module or folder per TEE, each in three cuts: bytes to fields; signatures and chain
to a pinned vendor root; fields against a policy. Knows nothing of logs.
"""
