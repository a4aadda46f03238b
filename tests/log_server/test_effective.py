"""Whatever the log admits, in whatever order, takes effect in every reader's index; what it refuses would not have."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from teelog.keys import PrivateKey
from teelog.log_server.admission import Admission, Namespaces
from teelog.log_server.directory import ALGORITHMS, OPERATOR
from teelog.log_server.judging import Judges, Verdict
from teelog.log_server.problems import Problem
from teelog.log_server.seams import Logged
from teelog.statement import chain, dsse, log_policy, namespace, release, status
from teelog.statement.index_map import LogPolicyEffect, NamespaceEffect, ReleaseEffect, StatusEffect, map_entry
from teelog.statement.intoto import Subject
from teelog.statement.namespace import Key, NamespacePredicate, Role
from teelog.statement.status import Closed
from tests.log_server import rig as rigs
from tests.log_server.rig import Rig
from tests.statement import make
from tests.statement.replay import Replay

NAMES = ("acme.example", "more.example")
STREAMS = tuple(f"{name}/{rest}" for name in NAMES for rest in ("inference/stable", "inference/beta"))
KEYS = [make.key(f"key {number}") for number in range(4)]
BY_ID = {key.public.fingerprint: key for key in KEYS}


class Front:
    """A front of its own, which hears of namespaces only now and then."""

    def __init__(self, made: Rig) -> None:
        self._made = made
        self._size = 0
        self.admission = Admission(Namespaces(make.LOG), lambda: self._size)
        self.admission.policy = lambda: made.sequencer.memory.log_policy()
        self._judges = Judges(self.admission)

    def hear(self) -> None:
        self.admission.namespaces.learn(self._made.intake.namespaces(self.admission.namespaces.upto))
        self._size = self._made.sequencer.memory.published_size

    def judge(self, entries: list[bytes]) -> list[Verdict]:
        return self._judges._in_order(entries, [self._judges.for_operator(entry) for entry in entries])


class World:
    """Makes statements, most of which follow what is logged, and some do not."""

    def __init__(self, made: Rig, seed: int) -> None:
        self.random = random.Random(seed)
        self.made = made
        self.replay = Replay()
        self.releases: list[tuple[str, str]] = []
        self.sent: list[bytes] = []
        self._count = 0

    def catch_up(self) -> None:
        entries = rigs._entries(self.made.directory, self.made.sequencer.memory.published_size)
        for entry in entries[len(self.replay.entries) :]:
            index = len(self.replay.entries)
            mapped = self.replay.add(entry)
            assert mapped.effect is not None, (index, mapped.why_inert)
            if isinstance(mapped.effect, ReleaseEffect):
                self.releases.append((mapped.effect.stream, mapped.effect.statement_id))

    def signer(self, name: str, role: Role, index: int) -> PrivateKey:
        current = self.replay.state.namespace(name)
        holders = [] if current is None else sorted(current.keys_for(role, index))
        return self.random.choice([BY_ID[keyid] for keyid in holders] if holders and self.likely() else KEYS)

    def likely(self) -> bool:
        return self.random.random() < 0.85

    def one(self) -> bytes:
        kind = self.random.choices(["namespace", "release", "status", "again"], [3, 5, 6, 1])[0]
        if kind == "again" and self.sent:
            return self.random.choice(self.sent)
        stream = self.random.choice(STREAMS)
        index = len(self.replay.entries)
        if kind == "namespace":
            return self.namespace(self.random.choice(NAMES), index)
        return self.release(stream, index) if kind != "status" else self.status(stream, index)

    def many(self, count: int) -> list[bytes]:
        """Often the second follows what the first would bring about."""
        entries = [self.one() for _ in range(count)]
        if count > 1 and self.likely():
            entries[1] = self.after(entries[0])
        self.sent += entries
        return entries

    def after(self, entry: bytes) -> bytes:
        """As if ``entry`` were logged."""
        index = len(self.replay.entries)
        effect = map_entry(entry, index, self.replay.state).effect
        if effect is None:
            return self.one()
        before = dict(self.replay.state.rows)
        self.replay.state.apply(effect)
        try:
            if isinstance(effect, NamespaceEffect):
                return self.status(f"{effect.name}/inference/stable", index + 1)
            if isinstance(effect, ReleaseEffect):
                return self.status(effect.stream, index + 1, (effect.statement_id,))
            if isinstance(effect, StatusEffect):
                return self.status(effect.stream, index + 1)
            return self.one()
        finally:
            self.replay.state.rows.clear()
            self.replay.state.rows.update(before)

    def release(self, stream: str, index: int) -> bytes:
        self._count += 1
        predicate = make.release_predicate(stream=stream, version=f"1.{self._count}")
        payload = release.payload(predicate, (Subject("image", {"sha256": "ab" * 32}),))
        return make.sign(payload, self.signer(stream.split("/")[0], Role.RELEASE, index)).file

    def status(self, stream: str, index: int, wanted: tuple[str, ...] = ()) -> bytes:
        head = self.replay.state.status(stream)
        seq, prev = (0, None) if head is None else (head.seq + 1, head.statement_id)
        if not self.likely():
            seq = self.random.choice([0, 1, seq + 1])
            prev = None if seq == 0 else self.random.choice([prev or "ab" * 32, "cd" * 32])
        self._count += 1
        own = [one for where, one in self.releases if where == stream]
        foreign = [one for _, one in self.releases] + ["ef" * 32]
        chosen = dict.fromkeys((*wanted, *self.random.sample(own, min(len(own), self.random.randrange(3)))))
        if not self.likely():
            chosen[self.random.choice(foreign)] = None
        predicate = make.status_predicate(
            stream=stream, seq=seq, prev=prev, reason=f"number {self._count}", allowed=make.allowed(*chosen)
        )
        if self.random.random() < 0.04:
            predicate = msgspec.structs.replace(predicate, allowed=msgspec.UNSET, closed=Closed("log2.example/tee"))
        if self.random.random() < 0.05:
            predicate = msgspec.structs.replace(predicate, log="log2.example/tee")
        return make.sign(status.payload(predicate), self.signer(stream.split("/")[0], Role.STATUS, index)).file

    def namespace(self, name: str, index: int) -> bytes:
        current = self.replay.state.namespace(name)
        version, prev = (0, None) if current is None else (current.version + 1, current.statement_id)
        if current is not None and not self.likely():
            version, prev = self.random.choice([(0, None), (version + 1, prev), (version, "ab" * 32)])
        owner = self.random.choice(KEYS)
        keys = [make.held(owner, Role.OWNER)]
        for key in self.random.sample([key for key in KEYS if key is not owner], 2):
            until = index + self.random.randrange(8) if self.random.random() < 0.4 else None
            keys.append(make.held(key, Role.RELEASE, Role.STATUS, until=until))
        predicate = NamespacePredicate(name, make.LOG, version, prev, tuple(_sorted(keys)), dict.fromkeys(_ROLES, 1))
        signer = owner if current is None else self.signer(name, Role.OWNER, index)
        return make.sign(namespace.payload(predicate), signer).file

    def freeze(self) -> bytes:
        last = self.made.sequencer.memory.log_policy()
        assert last is not None
        operator = self.made.directory.key(OPERATOR, make.LOG, ALGORITHMS[OPERATOR])
        payload = log_policy.payload(chain.freeze(last, "log2.example/tee"))
        return dsse.sign(dsse.PAYLOAD_TYPE, payload, [operator]).file


_ROLES = (Role.OWNER, Role.RELEASE, Role.STATUS)


def _sorted(keys: list[Key]) -> Iterator[Key]:
    yield from sorted(keys, key=lambda key: key.key)


@pytest.fixture(scope="module")
def seen() -> dict[str, int]:
    """How often each outcome came up, over all seeds."""
    return {}


STEPS = ["state.commit", "sign", "store.create", "state.publish", "store.replace_checkpoint"]


@pytest.mark.parametrize("faults", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_admitted_takes_effect_and_what_is_refused_would_not(
    tmp_path: Path, seed: int, faults: bool, seen: dict[str, int]
) -> None:
    """faults: now and then a step fails, before or after it has an effect; the writer goes on from what is durable."""
    with rigs.rig(tmp_path / "log") as made:
        world = World(made, seed)
        fronts = [Front(made), Front(made)]
        for step in range(60):
            world.catch_up()
            front = world.random.choice(fronts)
            if fresh := world.random.random() < 0.6:
                front.hear()
            count = 1 if world.random.random() < 0.5 else world.random.randrange(2, 5)
            entries = world.many(count) if step != 55 else [world.freeze()]
            verdicts = front.judge(entries)
            admitted = [verdict[0] for verdict in verdicts if not isinstance(verdict, Problem)]
            if faults and world.random.random() < 0.2:
                made.faults.plan(world.random.choice(STEPS), world.random.choice(["before", "after"]))
            outcomes = made.submit(admitted) if admitted else []
            if not isinstance(outcomes, list):
                assert faults
                seen["failed"] = seen.get("failed", 0) + 1
                made.clock.pass_ms(2_000)
                made.work(3)
                continue
            for outcome in (*(v for v in verdicts if isinstance(v, Problem)), *outcomes):
                kind = "logged" if isinstance(outcome, Logged) else outcome.kind
                seen[kind] = seen.get(kind, 0) + 1
            if fresh and count == 1 and not any(isinstance(outcome, Logged) for outcome in outcomes):
                mapped = map_entry(entries[0], len(world.replay.entries), world.replay.state)
                assert mapped.effect is None, (verdicts, outcomes)
        world.catch_up()
        assert isinstance(map_entry(world.replay.entries[0], 0, Replay().state).effect, LogPolicyEffect)
        made.check()


def test_every_way_of_being_refused_came_up(seen: dict[str, int]) -> None:
    if not seen:
        pytest.skip("counts what the test before it met")
    assert {
        "logged",
        "conflict",
        "stale",
        "unknown-release",
        "wrong-key",
        "unknown-namespace",
        "frozen",
        "failed",
    } <= set(seen)
    assert seen["logged"] > 100
