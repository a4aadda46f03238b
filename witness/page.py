"""The witness's page at ``/``: who it is, which logs it follows. Every text from outside is escaped (R-26, A-70)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from teelog.witness.published import origin_hash
from teelog.witness.state import LogEntry

MAX_LISTED = 500  # logs; a witness may know tens of thousands
PLAIN = (
    "It cosigns a checkpoint of a log it knows only after it has verified that the log extends what it showed before."
)
SEMANTIC = (
    "It cosigns a checkpoint of an index log only after it has rebuilt the index from the entries of the log and found"
    " every map root to be right. It cosigns nothing else."
)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


def render(name: str, vkeys: Sequence[str], logs: Sequence[LogEntry], total: int, *, semantic: bool = False) -> bytes:
    """The page as UTF-8 HTML. logs: the first of ``total``, by origin. semantic: what the witness vouches for."""
    promise = SEMANTIC if semantic else PLAIN
    keys = "\n".join(escape(key) for key in vkeys)
    rows = "".join(_row(log) for log in logs)
    more = f"<p>and {total - len(logs)} more.</p>" if total > len(logs) else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Witness {escape(name)}</title></head>
<body>
<h1>Witness {escape(name)}</h1>
<p>This is a <a href="https://c2sp.org/tlog-witness" rel="noopener noreferrer nofollow">transparency log witness</a>.
{promise}</p>
<h2>Keys</h2>
<pre>{keys}</pre>
<h2>Logs</h2>
<p>{total} known. A link leads to the checkpoint that was cosigned last.</p>
<ul>{rows}</ul>{more}
</body>
</html>
""".encode()


def _row(log: LogEntry) -> str:
    state = " (disabled)" if log.disabled else ""
    return f'<li><a href="/{origin_hash(log.origin)}/checkpoint">{escape(log.origin)}</a>{state}</li>'
