"""The log's index, followed beside it: each new leaf's map root rebuilt from the log's entries."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from teelog.client.source import TileSource
from teelog.errors import TeelogError
from teelog.index.fault import Cause
from teelog.statement.index_map import Mapped
from teelog.tlog.policy import NONE, quorum_since, read_checkpoint
from teelog.witness import index_look, omission
from teelog.witness.audit import Audit, Names, Unreadable, WrongIndex
from teelog.witness.index_look import Crime, ShownIndex
from teelog.witness.monitor.finding import Finding, Kind, cut
from teelog.witness.monitor.folder import Folder
from teelog.witness.monitor.settings import Settings
from teelog.witness.monitor.state import Followed
from teelog.witness.monitor.views import READ_ERRORS, View
from teelog.witness.rebuilt import Rebuilt

LATE = 60  # seconds of the log's checkpoint after which its entries should be in the index


class IndexFollower:
    """url: the log's, where its index server may be asked what a wrong leaf leaves out; None: nobody is asked."""

    def __init__(self, folder: Folder, settings: Settings, url: str | None, now: int) -> None:
        self._folder = folder
        self._settings = settings
        self._url = url
        self._now = now

    async def look(self, followed: Followed, view: View, main: TileSource, index: TileSource) -> list[Finding]:
        """What is wrong, or late, with the index of a log that was followed to ``followed``. Raises OSError."""
        policy = self._settings.index()
        if policy is None:
            return []
        names = index_look.names(followed.origin, self._settings.main(), policy)
        try:
            note = await index.checkpoint()
            seen = read_checkpoint(note, policy, origin=names.origin)
        except READ_ERRORS as error:
            return [_standing(Kind.UNREACHABLE, names.origin, str(error))]
        found = []
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

    def _late(self, view: View, rebuilt: Rebuilt, followed: Followed) -> str | None:
        covered = rebuilt.confirmed.input_size
        if covered < followed.signed and view.cosigned and self._now - view.cosigned > LATE:
            return f"the index covers {covered} of {followed.signed} entries"
        return None

    def _convict(self, origin: str, crime: Crime) -> Finding:
        kept = None if crime.proof is None else self._folder.keep(crime.proof)
        about = origin if crime.cause is None else f"{origin} {crime.cause}"
        return Finding(Kind.INDEX_FAULT, origin, about, cut(crime.text), evidence=kept)


def _standing(kind: Kind, origin: str, text: str) -> Finding:
    return Finding(kind, origin, "index", cut(text), standing=True)
