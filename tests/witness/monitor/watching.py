"""A monitor's folder beside a log that a test serves, looked at as often as the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from teelog.testing.ledger import INDEX_POLICY, MAIN_POLICY, cosigned
from teelog.tlog import fork as forks
from teelog.witness.monitor import folder as folders
from teelog.witness.monitor import run, settings
from teelog.witness.monitor.finding import Alert
from teelog.witness.monitor.folder import Folder
from teelog.witness.monitor.looked import Look
from teelog.witness.monitor.settings import Settings
from teelog.witness.monitor.state import Followed
from tests.client.peers import Reply
from tests.witness.harness import NOW
from tests.witness.indexed_log import IndexedLog


@dataclass
class Watching:
    """path: of the folder. now: POSIX seconds of the next look."""

    path: Path
    now: int = NOW
    step: Callable[[str], object] = field(default=lambda _: None)

    @classmethod
    def of(
        cls, path: Path, log: IndexedLog, *watched: tuple[str, str], index: bool = False, **more: object
    ) -> Watching:
        policies = log.policies()
        chosen = Settings(
            place=log.url,
            policy=policies[MAIN_POLICY].decode(),
            index_policy=policies[INDEX_POLICY].decode() if index else None,
            watched=watched,
            **more,  # type: ignore[arg-type]
        )
        folders.init(path, chosen)
        return cls(path)

    @property
    def folder(self) -> Folder:
        return Folder(self.path)

    def change(self, **more: object) -> None:
        settings.write(self.path, msgspec.structs.replace(settings.read(self.path), **more))

    def look(self, enough: Callable[[], bool] = lambda: False) -> Look:
        with self.folder.locked() as state:
            chosen = settings.read(self.path)
            return asyncio.run(run.look(self.folder, state, chosen, self.now, step=self.step, enough=enough))

    def alerts(self, *, only_open: bool = False) -> list[Alert]:
        with self.folder.locked() as state:
            return list(state.ledger.alerts(only_open=only_open, limit=100_000))

    def kinds(self, *, only_open: bool = True) -> list[tuple[str, str, int | None]]:
        """(kind, about, index) of each alert."""
        return [
            (alert.finding.kind.value, alert.finding.about, alert.finding.index)
            for alert in self.alerts(only_open=only_open)
        ]

    def followed(self) -> Followed:
        with self.folder.locked() as state:
            return state.followed()

    def forks(self, log: IndexedLog) -> int:
        """How many fork proofs are kept; each is verified."""
        files = sorted(self.folder.evidence.glob("*.teelog-fork"))
        for file in files:
            forks.verify_fork(forks.parse_fork(file.read_bytes()), [signer.verifier for signer in log.log])
        return len(files)


def show(log: IndexedLog, now: int = NOW, *, semantic: bool = True) -> None:
    """The log publishes what it has, cosigned by all at ``now``."""
    by = log.semantic if semantic else ()
    log.lies["checkpoint"] = Reply(cosigned(log.checkpoint(), log.log, log.witnesses, now))
    log.lies["index/checkpoint"] = Reply(cosigned(log.index_checkpoint(), log.index_log, by, now))
