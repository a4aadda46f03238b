"""The witness service (c2sp.org/tlog-witness): it cosigns checkpoints of logs that never fork in front of it.

decide      what to answer, from bytes and state alone: pure
subtree     the same for sign-subtree: pure
state       which head of each log was cosigned last: the durable truth
published   what monitors read, and the witness against its own rolled-back state
evidence    fork proofs and other traces of logs that misbehave
engine      the one thread that writes: check, commit, sign, publish, answer
registry    the known logs, as the front sees them
limits      token buckets for origins and addresses
directory   a witness's folder: configuration, keys, lock
service     HTTP
admin       changes to a running witness
"""
