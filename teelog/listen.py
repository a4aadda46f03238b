"""Addresses and listening sockets of the services."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from teelog.errors import ConfigError, UnavailableError

BACKLOG = 4_096  # connections; the kernel cuts it to net.core.somaxconn


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. port: 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """``HOST:PORT``, ``[IPV6]:PORT``. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError("not an address to listen on", expected="HOST:PORT, as in 127.0.0.1:6960", actual=text[:80])
    return Address(host, int(port))


def bind(where: Address, count: int = 1) -> tuple[list[socket.socket], Address]:
    """``count`` listening sockets on one address, between which the kernel shares out connections.

    Raises UnavailableError.
    """
    try:
        (family, _, _, _, target), *_ = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
        # Alone first: with SO_REUSEPORT a second server of this user would silently take half of the connections.
        alone = _socket(family, shared=False)
        alone.bind(target)
        if count == 1:
            alone.listen(BACKLOG)
            return [alone], _bound(alone)
        chosen = alone.getsockname()
        alone.close()
        sockets = [_socket(family, shared=True) for _ in range(count)]
        for each in sockets:
            each.bind(chosen)
            each.listen(BACKLOG)
    except OSError as error:
        raise UnavailableError(f"cannot listen on {where}", actual=error.strerror or str(error)) from error
    return sockets, _bound(sockets[0])


def _socket(family: int, *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.setblocking(False)
    return made


def _bound(made: socket.socket) -> Address:
    host, port = made.getsockname()[:2]
    return Address(host, port)


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name for ``path`` that fits into a socket address, however deep its directory lies."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def bind_unix(path: Path) -> socket.socket:
    """A listening Unix socket that only its owner may use. The caller holds the lock of its directory.

    Raises UnavailableError.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.setblocking(False)
    path.unlink(missing_ok=True)  # of a process that was killed
    try:
        with short_path(path) as name:
            made.bind(name)
        # Nobody can connect before listen(); a umask would be that of every thread, the sequencer's too.
        path.chmod(0o600)
        made.listen(64)
    except OSError as error:
        made.close()
        raise UnavailableError(f"cannot listen on {path}", actual=error.strerror or str(error)) from error
    return made
