"""A peer that answers whatever a test wants, over real HTTP on loopback."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reply:
    """raw: bytes sent in place of everything else, after which the connection is closed.

    endless: sent again and again after the body, without a length, for as long as the client listens; pause: seconds
    before each.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    hang: bool = False
    endless: bytes = b""
    pause: float = 0.0


Answer = bytes | Reply | Callable[["Asked"], "bytes | Reply"]


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """answers: by path; what is not in it is for ``fallback``, else 404. ``asked``: every request so far."""

    def __init__(self, url: str, closing: threading.Event) -> None:
        self.url = url
        self.answers: dict[str, Answer] = {}
        self.asked: list[Asked] = []
        self.fallback: Answer = Reply(b"not here", 404, {"Content-Type": "text/plain"})
        self.closing = closing

    def serve(self, files: dict[str, bytes]) -> None:
        """A log's files at their paths."""
        self.answers.update({f"/{path}": data for path, data in files.items()})

    def reply(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        answer = self.answers.get(asked.path, self.fallback)
        if callable(answer):
            answer = answer(asked)
        return answer if isinstance(answer, Reply) else Reply(answer)

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]


@contextlib.contextmanager
def peer() -> Iterator[Peer]:
    """Runs in a thread, so that commands in this process can be its clients."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def handle_one_request(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle_one_request()

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            reply = found.reply(Asked(self.command, self.path, {**self.headers}, body))
            if reply.hang:
                found.closing.wait(30)
                self.close_connection = True
                return
            if reply.raw is not None:
                self.wfile.write(reply.raw)
                self.close_connection = True
                return
            self.send_response(reply.status)
            length_header = {"Connection": "close"} if reply.endless else {"Content-Length": str(len(reply.body))}
            for name, value in {**length_header, **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)
            while reply.endless and not found.closing.wait(reply.pause):
                self.wfile.write(reply.endless)

        do_GET = do_POST = answer

    closing = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Peer(f"http://127.0.0.1:{server.server_port}", closing)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
