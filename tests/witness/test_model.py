"""A log that grows, forks, repeats itself and lies, a witness that crashes and restarts, against a model of few lines.

What must hold whatever happens: all checkpoints that were ever cosigned are pairwise consistent; times never go back.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from teelog.tlog import rfc6962
from teelog.witness.decide import Answer
from tests.witness.harness import NOW, ORIGIN, Desk, Log, copy_folder, verified_cosignatures

SIZES = st.integers(0, 20)
FORKS = st.sampled_from([0, 1, 2, 3, 5, 8, 13])


class WitnessModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="teelog-model-"))
        self.desk = Desk(self.folder / "W", Log())
        self.views = {"A": Log()}
        self.size: int | None = None  # the model: what was cosigned last, None = nothing
        self.root = rfc6962.EMPTY_ROOT
        self.cosigned: list[tuple[int, bytes, Log]] = []
        self.last_time = 0

    def teardown(self) -> None:
        self.desk.stop()
        shutil.rmtree(self.folder)

    @initialize(at=FORKS)
    def fork(self, at: int) -> None:
        self.views["B"] = Log(view="B", forked_at=at)

    def expected(self, view: Log, old: int, new: int, honest_proof: bool) -> int:
        """The answer by the rules of the specification, from whole trees instead of proofs."""
        stored = self.size or 0
        if old > new:
            return 400
        if old != stored:
            return 409
        if not honest_proof:
            return 422
        if stored and view.root(stored) != self.root:
            return 422
        if self.desk.clock.seconds < self.last_time:
            return 503
        return 200

    @rule(view=st.sampled_from("AB"), old=SIZES, new=SIZES, stored=st.booleans(), spoil=st.integers(0, 5))
    def ask(self, view: str, old: int, new: int, stored: bool, spoil: int) -> None:
        log = self.views[view]
        if stored:  # as an honest client would
            old = self.size or 0
        proof = log.proof(old, new) if old <= new else []
        good = list(proof)
        if spoil == 0:
            proof = [*proof, bytes(32)]
        elif spoil == 1 and proof:
            proof = proof[1:]
        elif spoil == 2 and proof:
            proof[-1] = bytes(32)
        status = self.expected(log, old, new, proof == good)
        answer = self.desk.post(log.request(old, new, proof=proof))
        assert answer.status == status, (view, old, new, self.size, answer)
        if status == 200:
            self.cosign(log, new, answer)
        elif status == 409:
            assert answer.body == b"%d\n" % (self.size or 0)

    def cosign(self, log: Log, size: int, answer: Answer) -> None:
        lines = verified_cosignatures(answer, log.note(size), self.desk.witness)
        times = {line.timestamp for line in lines}
        assert times == {self.desk.clock.seconds}
        assert self.desk.clock.seconds >= self.last_time
        assert self.desk.published() == log.note(size) + answer.body
        self.size, self.root, self.last_time = size, log.root(size), self.desk.clock.seconds
        self.cosigned.append((size, self.root, log))

    @rule(seconds=st.integers(-3, 10))
    def clock_moves(self, seconds: int) -> None:
        self.desk.clock.seconds = max(NOW, self.desk.clock.seconds + seconds)

    @rule()
    def restart(self) -> None:
        clock = self.desk.clock
        self.desk.stop()
        self.desk.start()
        self.desk.clock = clock
        assert self.desk.engine is not None
        self.desk.engine._now = clock

    @rule()
    def power_cut(self) -> None:
        """The folder as it lies on the disk right now, without the witness having had a chance to close anything."""
        clock = self.desk.clock
        copy = self.folder / "copy"
        copy_folder(self.desk.path, copy)
        self.desk.stop()
        shutil.rmtree(self.desk.path)
        copy.rename(self.desk.path)
        self.desk = Desk(self.folder / "W")
        self.desk.clock = clock
        assert self.desk.engine is not None
        self.desk.engine._now = clock

    @invariant()
    def all_that_was_cosigned_is_one_history(self) -> None:
        for (small, root, _), (large, _, log) in zip(self.cosigned, self.cosigned[1:], strict=False):
            assert small <= large
            assert log.root(small) == root

    @invariant()
    def the_stored_size_is_the_last_cosigned(self) -> None:
        assert self.desk.size(ORIGIN) == self.size


WitnessModel.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestWitnessModel = WitnessModel.TestCase
