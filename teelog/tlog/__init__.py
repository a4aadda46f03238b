"""Transparency-log formats and proofs: pure, one specification document per file.

rfc6962      hashes, inclusion and consistency proofs (RFC 6962 section 2.1)
subtree      subtrees and their proofs (draft-ietf-plants-merkle-tree-certs section 4)
tiles        tile and entry-bundle paths and contents (c2sp.org/tlog-tiles)
note         signed notes (c2sp.org/signed-note)
vkey         verifier keys and signers of the three signature types in use
checkpoint   checkpoints (c2sp.org/tlog-checkpoint)
cosignature  cosigned messages (c2sp.org/tlog-cosignature)
witness      the add-checkpoint exchange (c2sp.org/tlog-witness)
policy       trust policies and quorums (c2sp.org/tlog-policy)
proof        offline proofs (c2sp.org/tlog-proof)
fork         proofs that a log signed two views (ours)
"""
