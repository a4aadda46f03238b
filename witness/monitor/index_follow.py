"""The log's index, followed beside it: each new leaf's map root rebuilt from the log's entries."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

from teelog.client.source import TileSource
from teelog.errors import MalformedError, RefusedError, TeelogError, UnavailableError, VerificationError
from teelog.index.fault import Cause, IndexFault
from teelog.statement.index_map import Mapped
from teelog.tlog.fork import ForkProof
from teelog.tlog.policy import NONE, Policy, quorum_since, read_checkpoint
from teelog.witness import index_look, omission
from teelog.witness.audit import Audit, Names, Unreadable, WrongIndex, fork_between
from teelog.witness.audit import View as Shown
from teelog.witness.index_look import Crime, ShownIndex
from teelog.witness.monitor import standing, views
from teelog.witness.monitor.finding import Finding, Kind, cut
from teelog.witness.monitor.folder import Folder
from teelog.witness.monitor.settings import Settings
from teelog.witness.monitor.standing import Waiting
from teelog.witness.monitor.state import Followed
from teelog.witness.monitor.views import READ_ERRORS, Place, View
from teelog.witness.rebuilt import Rebuilt

LATE = 60  # seconds of the log's checkpoint after which its entries should be in the index


class IndexFollower:
    """url: the log's, where its index server may be asked what a wrong leaf leaves out; None: nobody is asked.

    witnesses: where those of the index publish what they have seen. known: whether a finding of this id is known
    already, with its proof.
    """

    def __init__(
        self,
        folder: Folder,
        settings: Settings,
        url: str | None,
        now: int,
        witnesses: Sequence[Place] = (),
        known: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._url = url
        self._now = now
        self._witnesses = witnesses
        self._known = known
        self._waiting = Waiting()

    async def look(
        self, followed: Followed, view: View, main: TileSource, index: TileSource, waiting: Waiting
    ) -> list[Finding]:
        """What is wrong, or late, with the index of a log that was followed to ``followed``. Raises OSError."""
        self._waiting = waiting
        policy = self._settings.index()
        if policy is None:
            return []
        names = index_look.names(followed.origin, self._settings.main(), policy)
        try:
            note = await index.checkpoint()
            seen = read_checkpoint(note, policy, origin=names.origin)
        except (UnavailableError, RefusedError) as error:
            return [_standing(Kind.UNREACHABLE, names.origin, str(error))]
        except (MalformedError, VerificationError) as error:
            return [_standing(Kind.UNREADABLE, names.origin, str(error))]
        found = await self._ask_witnesses(names, policy, index, (seen.checkpoint, note))
        if policy.quorum != NONE:
            since = quorum_since(seen, policy)
            if since is None:
                found.append(_standing(Kind.NOT_WITNESSED, names.origin, "no quorum has cosigned the index"))
            elif self._now - since > self._settings.max_age:
                found.append(_standing(Kind.STALLED, names.origin, f"no quorum has cosigned the index since {since}"))
        keys = omission.Recent()

        def observe(number: int, _entry: bytes, mapped: Mapped) -> None:
            keys.observe(number, mapped)

        rebuilt = Rebuilt.open(self._folder.rebuilt, followed.origin, observe)
        shown = ShownIndex(seen, note, index, main)
        try:
            crimes = await self._follow(Audit(names, rebuilt, index, main), names, shown, followed, rebuilt, keys)
            late = self._late(view, rebuilt, followed)
        except Unreadable as error:
            return [*found, _standing(Kind.UNREADABLE, names.origin, str(error))]
        except (TeelogError, sqlite3.Error) as error:
            return [*found, _standing(Kind.BROKEN, names.origin, f"the index cannot be rebuilt: {error}")]
        finally:
            rebuilt.close()
        found += [_standing(Kind.NOT_INDEXED, names.origin, late)] if late else []
        return [*found, *(self._convict(names.origin, crime) for crime in crimes)]

    async def _follow(
        self,
        audit: Audit,
        names: Names,
        shown: ShownIndex,
        followed: Followed,
        rebuilt: Rebuilt,
        keys: omission.Recent,
    ) -> list[Crime]:
        try:
            crimes = await index_look.follow(audit, names, shown, followed.view)
            if any(crime.cause is Cause.MAP_ROOT for crime in crimes) and self._url is not None:
                policy = replace(self._settings.main(), quorum=NONE)
                crimes += await index_look.explain(audit, names, shown, rebuilt, keys, self._url, policy)
        except WrongIndex as wrong:
            return [Crime(str(wrong), wrong.fork, wrong.cause)]
        return crimes

    async def _ask_witnesses(self, names: Names, policy: Policy, index: TileSource, shown: Shown) -> list[Finding]:
        """Whether the index's witnesses have seen the index log that is shown here."""
        same, found = [], []
        for view in await views.look(self._witnesses, policy, names.origin):
            fork = None
            if view.seen is not None:
                # One that is ahead of what is shown here is told below, until there are tiles to compare it by.
                with contextlib.suppress(*READ_ERRORS):
                    fork = await fork_between(index, shown, (view.checkpoint, view.note), names.index)
            if fork is None:
                same.append(view)
            else:
                text = f"the log showed {view.place} another index of size {view.checkpoint.size}"
                found.append(self._proven(Finding(Kind.FORK, names.origin, str(view.place), cut(text)), fork))
        head = Followed(names.origin, signed=shown[0].size)
        return [*found, *standing.conditions(same, None, head, self._settings, policy, self._now, self._waiting)]

    def _late(self, view: View, rebuilt: Rebuilt, followed: Followed) -> str | None:
        covered = rebuilt.confirmed.input_size
        if covered < followed.signed and view.cosigned and self._now - view.cosigned > LATE:
            return f"the index covers {covered} of {followed.signed} entries"
        return None

    def _convict(self, origin: str, crime: Crime) -> Finding:
        about = origin if crime.cause is None else f"{origin} {crime.cause}"
        return self._proven(Finding(Kind.INDEX_FAULT, origin, about, cut(crime.text)), crime.proof)

    def _proven(self, finding: Finding, proof: ForkProof | IndexFault | None) -> Finding:
        """With its proof kept; of what is found at each look, the first one is enough."""
        if proof is None or self._known(finding.id):
            return finding
        return replace(finding, evidence=self._folder.keep(proof))


def _standing(kind: Kind, origin: str, text: str) -> Finding:
    return Finding(kind, origin, "index", cut(text), standing=True)
