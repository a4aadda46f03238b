"""Effects against a second, naive reading of protocol section 4, over drawn histories of one vendor's log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import MalformedError
from teelog.statement import admit, log_policy, namespace
from teelog.statement.namespace import Role
from teelog.statement.status import Closed
from tests.statement import make
from tests.statement.replay import Replay

POOL = tuple(make.key(f"pool {n}") for n in range(4))
STREAMS = ("acme.example/inference/stable", "acme.example/inference/beta")
VERSIONS = ("1", "2")
RELEASES = {
    admit.classify(make.release_file(version=version, stream=stream)).statement_id: stream
    for stream in STREAMS
    for version in VERSIONS
}
"""Statement ids of all releases that a history may hold."""

Signers = Iterable[int]
Keys = dict[int, tuple[set[Role], int | None]]
"""Of a version: place in POOL -> roles, until."""


class Model:
    """What has taken effect, told from how each entry was made and nothing else."""

    def __init__(self) -> None:
        self.index = 0
        self.versions: list[tuple[str, Keys, dict[Role, int]]] = []
        self.policies: list[str] = []
        self.frozen = False
        self.statuses: dict[str, list[str]] = {stream: [] for stream in STREAMS}
        self.closed: set[str] = set()
        self.releases: set[str] = set()

    def found(self, replay: Replay) -> None:
        """The log's first two entries: a policy, and a namespace in which every key holds every role."""
        policy = make.log_policy_file(POOL[0], operators=(make.held(POOL[0], Role.OWNER).key,))
        roles = {Role.OWNER, Role.RELEASE, Role.STATUS}
        keys = tuple(make.held(key, *sorted(roles)) for key in POOL)
        first = make.namespace_file(*POOL, keys=keys, thresholds=dict.fromkeys(sorted(roles), 2))
        took(replay, policy, True)
        took(replay, first, True)
        self.policies.append(admit.classify(policy).statement_id)
        held: Keys = {n: (roles, None) for n, _ in enumerate(POOL)}
        self.versions.append((admit.classify(first).statement_id, held, dict.fromkeys(roles, 2)))
        self.index = 2

    def who(self, role: Role, draw: st.DrawFn) -> set[int]:
        """Signers of an entry: mostly those who may."""
        if not self.versions or not draw(MOSTLY):
            return draw(SIGNERS)
        return {n for n, (roles, _) in self.versions[-1][1].items() if role in roles} or {0}

    def signed(self, role: Role, signers: Signers, also: Signers = ()) -> bool:
        """Whether every signer is listed, and enough hold the role now. also: those that the entry itself lists."""
        keys, thresholds = self.versions[-1][1:]
        if not set(signers) <= {*keys, *also} or role not in thresholds:
            return False
        holders = [n for n in signers if n in keys and role in keys[n][0]]
        return len([n for n in holders if (keys[n][1] or 10**9) > self.index]) >= thresholds[role]


Log = tuple[Model, Replay]
INDEX = st.none() | st.integers(1, 16)
SIGNERS = st.sets(st.integers(0, 3), min_size=1)
MOSTLY = st.sampled_from([True, True, True, True, False])


def keys_of(signers: Signers) -> list[Any]:
    return [POOL[n] for n in signers]


@st.composite
def key_sets(draw: st.DrawFn) -> tuple[Keys, dict[Role, int]]:
    roles = st.sets(st.sampled_from([Role.OWNER, Role.RELEASE, Role.STATUS]), min_size=1)
    keys: Keys = {n: (draw(roles), draw(INDEX)) for n in sorted(draw(SIGNERS))}
    keys[draw(st.integers(0, 3))] = ({Role.OWNER} | draw(roles), None)
    held = {role for given_, _ in keys.values() for role in given_}
    return keys, {role: draw(st.sampled_from([1, 1, 2])) for role in Role if role in held}


def add_namespace(log: Log, draw: st.DrawFn) -> bool | None:
    model, replay = log
    keys, thresholds = draw(key_sets())
    right = draw(MOSTLY)
    version = len(model.versions) if right else draw(st.integers(0, 3))
    prev = model.versions[-1][0] if model.versions else "ab" * 32
    signers = model.who(Role.OWNER, draw)
    listed = tuple(make.held(POOL[n], *sorted(roles), until=until) for n, (roles, until) in keys.items())
    members: dict[str, Any] = {"keys": listed, "thresholds": thresholds, "version": version}
    try:
        file = make.namespace_file(*keys_of(signers), prev=prev if version else None, **members)
    except MalformedError:
        return None
    good = not model.frozen and version == len(model.versions)
    if good and version == 0:
        owners = {n for n in signers if n in keys and Role.OWNER in keys[n][0]}
        in_force = [n for n in owners if (keys[n][1] or 10**9) > model.index]
        good = signers <= set(keys) and len(in_force) >= thresholds[Role.OWNER]
    elif good:
        good = model.signed(Role.OWNER, signers, keys)
    if good:
        model.versions.append((admit.classify(file).statement_id, keys, thresholds))
    return took(replay, file, good)


def add_release(log: Log, draw: st.DrawFn) -> bool | None:
    model, replay = log
    signers = model.who(Role.RELEASE, draw)
    stream = draw(st.sampled_from(STREAMS))
    file = make.release_file(*keys_of(signers), version=draw(st.sampled_from(VERSIONS)), stream=stream)
    name = admit.classify(file).statement_id
    good = not model.frozen and bool(model.versions) and name not in model.releases
    good = good and model.signed(Role.RELEASE, signers)
    if good:
        model.releases.add(name)
    return took(replay, file, good)


def add_status(log: Log, draw: st.DrawFn) -> bool | None:
    model, replay = log
    signers = model.who(Role.STATUS, draw)
    stream = draw(st.sampled_from(STREAMS))
    chain = model.statuses[stream]
    seq, prev = len(chain), chain[-1] if chain else None
    if not draw(MOSTLY):
        seq = draw(st.integers(0, 3))
        prev = (
            draw(st.sampled_from([*model.statuses[STREAMS[0]], *model.statuses[STREAMS[1]], "ab" * 32]))
            if seq
            else None
        )
    own = [name for name, of in RELEASES.items() if of == stream and name in model.releases]
    allowed = own if draw(MOSTLY) else sorted(draw(st.sets(st.sampled_from(sorted(RELEASES)))))
    ended = not draw(MOSTLY) and not draw(MOSTLY)
    members: dict[str, Any] = {"seq": seq, "prev": prev, "stream": stream, "allowed": make.allowed(*allowed)}
    members |= {"allowed": msgspec.UNSET, "closed": Closed(None)} if ended else {}
    file = make.status_file(*keys_of(signers), **members)
    good = not model.frozen and stream not in model.closed and bool(model.versions)
    good = good and (seq, prev) == (len(chain), chain[-1] if chain else None)
    good = good and (ended or all(name in model.releases and RELEASES[name] == stream for name in allowed))
    good = good and model.signed(Role.STATUS, signers)
    if good:
        chain.append(admit.classify(file).statement_id)
        if ended:
            model.closed.add(stream)
    return took(replay, file, good)


def add_policy(log: Log, draw: st.DrawFn) -> bool | None:
    model, replay = log
    signers = {0} if draw(MOSTLY) else draw(SIGNERS)
    version = len(model.policies) if draw(MOSTLY) else draw(st.integers(0, 2))
    prev = (model.policies[-1] if model.policies else "ab" * 32) if version else None
    ends = not draw(MOSTLY)
    file = make.log_policy_file(
        *keys_of(signers),
        operators=(make.held(POOL[0], Role.OWNER).key,),
        version=version,
        prev=prev,
        frozen=log_policy.Frozen(None) if ends else None,
    )
    good = not model.frozen and version == len(model.policies) and signers == {0}
    good = good and (version > 0 or model.index == 0)
    if good:
        model.policies.append(admit.classify(file).statement_id)
        model.frozen = ends
    return took(replay, file, good)


def took(replay: Replay, file: bytes, expected: bool) -> bool:
    mapped = replay.add(file)
    assert (mapped.effect is not None) == expected, mapped.why_inert
    return expected


STEPS = [add_policy, add_namespace, *[add_release] * 3, *[add_status] * 4]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_effects_are_those_of_the_naive_reading(data: st.DataObject) -> None:
    log = Model(), Replay()
    draw: Any = data.draw
    if draw(MOSTLY):
        log[0].found(log[1])
    for step in data.draw(st.lists(st.sampled_from(STEPS), min_size=4, max_size=16)):
        if step(log, draw) is not None:
            log[0].index += 1
    model, replay = log
    assert [replay.state.release(name) is not None for name in RELEASES] == [
        name in model.releases for name in RELEASES
    ]
    current = replay.state.namespace("acme.example")
    assert (None if current is None else current.statement_id) == (model.versions[-1][0] if model.versions else None)
    assert isinstance(current, namespace.Namespace | None)
    for stream, chain in model.statuses.items():
        head = replay.state.status(stream)
        assert (None if head is None else head.statement_id) == (chain[-1] if chain else None)
