"""``log init``: the one way in which a log comes into being (design section 5, rule 8)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from teelog import durable, keys
from teelog.errors import ConfigError, MalformedError
from teelog.index.leaf import origin_of
from teelog.log_server import batch as batching
from teelog.log_server import config, places, recovery
from teelog.log_server.directory import ALGORITHMS, CHECKPOINT_KEYS, OPERATOR, LogDirectory, key_mark
from teelog.log_server.intake import Submission
from teelog.log_server.seams import Clock
from teelog.log_server.signing import LogSigner
from teelog.log_server.state import SqliteState
from teelog.log_server.store import DirectoryStore
from teelog.statement import admit, dsse, log_policy, names
from teelog.tlog import note
from teelog.tlog.rfc6962 import EMPTY_ROOT
from teelog.tlog.vkey import VerifierKey

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Created:
    """vkeys: Ed25519 first. operator: fingerprint of the key for log policies. policy_id: statement id of entry 0.

    index_vkeys: of the index log.
    """

    vkeys: list[VerifierKey]
    operator: str
    policy_id: str
    index_vkeys: list[VerifierKey]


def create(
    path: Path,
    origin: str,
    clock: Clock,
    *,
    raw: bool = False,
    private_results: bool = False,
    random: Random = os.urandom,
) -> Created:
    """Makes a log in ``path``, which must not exist or be empty: it appears whole or not at all.

    Entry 0, the log's policy, is committed and not yet signed for: the first ``serve`` does that. What is published is
    the checkpoint of size 0, without cosignatures, the one exception to fail-closed (protocol section 8).
    raw: the log takes any bytes on ``POST /add``. private_results: it takes results that hold evidence, nonces or chip
    ids. Raises ConfigError.
    """
    try:
        names.origin(origin)
        note.check_name(origin)
        origin_of(origin)
    except MalformedError as error:
        raise ConfigError(error.message, expected=error.expected, actual=origin) from error
    if "://" in origin or origin.startswith("/") or origin.endswith("/"):  # TT-03
        raise ConfigError(
            "a log's origin is its URL without scheme and trailing slash",
            expected="such as log.example/tee",
            actual=origin,
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path} exists already", expected="a new directory", hint=f"teelog log status {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.parent / f".{path.name}.init-{os.getpid()}"
    building.mkdir(0o755)
    try:
        created = _fill(
            LogDirectory(building), origin, clock, config.Admission(raw=raw, private_results=private_results), random
        )
        durable.fsync_directory(building)
        building.rename(path)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    durable.fsync_directory(path.parent)
    return created


def _fill(directory: LogDirectory, origin: str, clock: Clock, admission: config.Admission, random: Random) -> Created:
    durable.write_new(directory.path / config.NAME, config.template(origin, admission), 0o644)
    signer, state, store = _empty(directory, origin, ALGORITHMS, clock, random)
    try:
        operator = directory.key(OPERATOR, origin, ALGORITHMS[OPERATOR])
        envelope = _first_entry(origin, operator, admission)
        memory = recovery.load(state, store, signer, clock)
        entry = places.admitted(envelope.file, admit.classify(envelope.file))
        _, plan = batching.decide([Submission(_Nobody(), 0, [entry])], memory)
        assert plan is not None
        batching.commit(plan, memory, state)
    finally:
        state.close()
    index = directory.index
    indexing, index_state, _ = _empty(index, origin_of(origin), CHECKPOINT_KEYS, clock, random)
    index_state.close()
    index.inputs.mkdir()
    for made in (index.path, index.public, directory.public):
        durable.fsync_directory(made)
    return Created(signer.vkeys, operator.public.fingerprint, envelope.statement_id, indexing.vkeys)


def _empty(
    directory: LogDirectory, origin: str, wanted: dict[str, keys.Algorithm], clock: Clock, random: Random
) -> tuple[LogSigner, SqliteState, DirectoryStore]:
    """Keys, an open state, and the checkpoint of size 0."""
    for made in (directory.path, directory.public, directory.scratch):
        made.mkdir(exist_ok=True)
    for name, algorithm in wanted.items():
        private = keys.private_key_from_seed(algorithm, random(32))
        durable.write_new(directory.path / name, key_mark(origin) + b"\n" + private.to_pem(), 0o600)
    signer = directory.signer(origin)
    vkeys = "".join(f"{key}\n" for key in signer.vkeys).encode()
    durable.write_new(directory.vkeys, vkeys, 0o644)
    state = SqliteState.create(directory.state, origin, signer.key_hash)
    try:
        store = DirectoryStore(directory.public, directory.scratch)
        store.probe()
        head = state.open(origin, signer.key_hash)
        body, lines = signer.sign(0, EMPTY_ROOT, clock.now_ms() // 1000)
        empty = note.encode(body, lines)
        state.publish(head.epoch, empty, 0)
        store.replace_checkpoint(empty)
    except BaseException:
        state.close()
        raise
    return signer, state, store


def _first_entry(origin: str, operator: keys.PrivateKey, admission: config.Admission) -> dsse.Envelope:
    predicate = log_policy.LogPolicyPredicate(
        log=origin,
        version=0,
        prev=None,
        operators=(operator.public.to_pem().decode(),),
        threshold=1,
        admission=log_policy.Admission(admission.raw, admission.private_results),
    )
    envelope = dsse.sign(dsse.PAYLOAD_TYPE, log_policy.payload(predicate), [operator])
    log_policy.verify_first(envelope)
    return envelope


class _Nobody:
    """Where the answer to the first entry goes."""

    def deliver(self, delivery: object) -> None:
        """Nobody waits."""
