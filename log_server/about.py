"""What a log says about itself: ``/log.json`` for programs and a plain page for people.

Informational, never trust: keys and witnesses come from a verifier's own policy file.
"""

from __future__ import annotations

import base64
import hashlib
import html
from dataclasses import asdict, dataclass, field

import msgspec
from aiohttp import web

from teelog.errors import TeelogError
from teelog.log_server.index.front import IndexFront
from teelog.log_server.limits import Limits, Retention
from teelog.log_server.problems import NO_STORE, Problem
from teelog.log_server.read import Reader, published_size
from teelog.statement import admit
from teelog.statement.log_policy import Frozen, LogPolicyPredicate

SCHEMA = "teelog-log/v1"

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}code{word-break:break-all}"
)
# nothing but this one style sheet.
CSP = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


_INDEX = """<li><a href="/index/checkpoint">/index/checkpoint</a>: the signed head of the log's index</li>
"""


@dataclass(frozen=True, slots=True)
class LogInfo:
    """A log as its configuration describes it.

    vkeys: of the log. witnesses: (name, vkey, url or None). intervals: name -> seconds. index: the index log, if it is
    served.
    """

    origin: str
    vkeys: tuple[str, ...]
    witnesses: tuple[tuple[str, str, str | None], ...] = ()
    raw: bool = False
    private_results: bool = False
    intervals: dict[str, float] = field(default_factory=dict)
    index: LogInfo | None = None


class About:
    """Answers ``/`` and ``/log.json``."""

    def __init__(
        self, info: LogInfo, limits: Limits, retention: Retention, reader: Reader, index: IndexFront | None = None
    ) -> None:
        self._info = info
        self._reader = reader
        self._index = index
        shown = asdict(limits)
        for private in ("unlimited", "trusted_proxies", "cache_bytes"):
            del shown[private]
        self._json = {
            "schema": SCHEMA,
            **_identity(info),
            "raw": info.raw,
            "private_results": info.private_results,
            "intervals_s": info.intervals,
            "limits": {"entry_bytes": 65_535, **shown},
            # numbers of 64 bits are strings.
            "min_index": str(retention.min_index),
            "retention": retention.policy or None,
            "index": None,
        }

    async def get_json(self, _request: web.BaseRequest) -> web.Response:
        headers = {"Content-Type": "application/json", "Cache-Control": NO_STORE, "X-Content-Type-Options": "nosniff"}
        ended = self._ended()
        # who comes later learns that it is over, where it goes on, and which checkpoint was the last.
        frozen = None if ended is None else {"successor": ended.successor, "checkpoint": self._checkpoint()}
        members = self._json | {"frozen": frozen}
        if self._info.index is not None and self._index is not None:
            members = members | {"index": _identity(self._info.index) | await self._index.state()}
        return web.Response(body=msgspec.json.encode(members) + b"\n", headers=headers)

    def _ended(self) -> Frozen | None:
        """How the log has ended, as its newest entry says: nothing is admitted after such a policy."""
        if self._info.raw:
            return None  # there anyone may have written it
        try:
            entry = self._reader.last_entry()
            claim = None if entry is None else admit.classify(entry).statement.claim
        except (TeelogError, Problem):
            return None
        return claim.frozen if isinstance(claim, LogPolicyPredicate) else None

    def _checkpoint(self) -> str:
        return self._reader.checkpoint().decode()

    async def get_page(self, _request: web.BaseRequest) -> web.Response:
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Cache-Control": NO_STORE,
            "Content-Security-Policy": CSP,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return web.Response(body=self._page().encode(), headers=headers)

    def _page(self) -> str:
        info = self._info
        origin = html.escape(info.origin)
        keys = "".join(f"<li><code>{html.escape(vkey)}</code></li>" for vkey in info.vkeys)
        names = dict.fromkeys(name for name, _, _ in info.witnesses)
        witnesses = "".join(f"<li>{html.escape(name)}</li>" for name in names) or "<li>none</li>"
        raw = "<p><strong>Raw mode: this log takes any bytes from anyone.</strong></p>" if info.raw else ""
        return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{origin}</title><style>{_STYLE}</style></head><body>
<h1>{origin}</h1>
<p>A transparency log for what runs inside trusted execution environments.
It holds {html.escape(self._size())}.</p>{raw}{self._end()}
<ul><li><a href="/checkpoint">/checkpoint</a>: the signed head of the log</li>
<li>/tile/&lt;L&gt;/&lt;N&gt;, /tile/entries/&lt;N&gt;: its tree and entries (c2sp.org/tlog-tiles)</li>
<li>/entries/&lt;leaf hash&gt;: the proof of an entry (c2sp.org/tlog-proof)</li>
{_INDEX if info.index else ""}<li><a href="/log.json">/log.json</a>: limits and intervals</li></ul>
<h2>Keys</h2><p>For comparison only: a verifier takes keys from its own policy file.</p><ul>{keys}</ul>
<h2>Witnesses</h2><ul>{witnesses}</ul>
</body></html>
"""

    def _end(self) -> str:
        ended = self._ended()
        if ended is None:
            return ""
        onward = f" It goes on at <code>{html.escape(ended.successor)}</code>." if ended.successor else ""
        return f"<p><strong>This log has ended: it takes nothing any more.</strong>{onward}</p>"

    def _size(self) -> str:
        try:
            return f"{published_size(self._reader.checkpoint())} entries"
        except TeelogError:
            return "no published checkpoint"


def _identity(info: LogInfo) -> dict[str, object]:
    witnesses = [{"name": name, "vkey": vkey, "url": url} for name, vkey, url in info.witnesses]
    return {"origin": info.origin, "vkeys": info.vkeys, "witnesses": witnesses}
