"""The load generator: one process of raw sockets under epoll, so that it takes little of the cores it shares.

    python -m tests.bench.load closed|open|batch --port P --entries FILE --first I ... -> one JSON object on stdout

closed: each connection sends its next request when it has its answer. open: requests leave at a fixed rate whatever
the server does; latency counts from when a request was due. batch: many entries a request, few connections.
"""

from __future__ import annotations

import argparse
import gc
import json
import select
import socket
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.entries import Entries

ANSWER_SECONDS = 30.0


@dataclass(slots=True)
class Outcome:
    """done: answers of the wanted status. failed: all others. seconds: first request to last answer.

    latencies: seconds. sample: (number of the entry, answer) of the last one.
    """

    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    first: int = 0
    next: int = 0
    latencies: list[float] = field(default_factory=list)
    sample: tuple[int, bytes] | None = None
    refusal: bytes = b""


def request(path: str, kind: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def complete(answer: bytes) -> bool:
    """Whether an HTTP/1.1 answer with a Content-Length is all there."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    at = answer.find(b"\r\nContent-Length: ", 0, end)
    if at < 0:
        return True
    stop = answer.find(b"\r\n", at + 18)
    return len(answer) >= end + 4 + int(answer[at + 18 : stop])


class Client:
    """Non-blocking keep-alive connections that send single entries."""

    def __init__(self, port: int, connections: int, path: str) -> None:
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._parts: dict[int, bytes] = {}
        self._path = path
        for _ in range(connections):
            made = socket.create_connection(("127.0.0.1", port))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setblocking(False)
            self._sockets[made.fileno()] = made
            self._epoll.register(made.fileno(), select.EPOLLIN)

    @property
    def handles(self) -> list[int]:
        return list(self._sockets)

    def requests(self, entries: Entries, low: int, high: int) -> list[bytes]:
        return [request(self._path, "application/json", entries[number]) for number in range(low, high)]

    def send(self, handle: int, data: bytes) -> None:
        if self._sockets[handle].send(data) != len(data):
            raise OSError("a request did not fit the socket's buffer")

    def answers(self, timeout: float) -> list[tuple[int, bytes]]:
        """(handle, answer) of every connection that has one."""
        found = []
        for handle, _ in self._epoll.poll(timeout):
            data = self._sockets[handle].recv(65_536)
            if not data:
                raise OSError("the server closed a connection")
            if handle in self._parts:
                data = self._parts.pop(handle) + data
            if complete(data):
                found.append((handle, data))
            else:
                self._parts[handle] = data
        return found

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()
        self._epoll.close()


def count(outcome: Outcome, number: int, answer: bytes) -> None:
    if answer.startswith((b"HTTP/1.1 201", b"HTTP/1.1 200")):
        outcome.done += 1
        outcome.sample = (number, answer)
    else:
        outcome.failed += 1
        outcome.refusal = answer


def closed(client: Client, requests: list[bytes], first: int, seconds: float) -> Outcome:
    """Every connection busy for ``seconds``, or as long as there are requests, then the answers that are due."""
    outcome = Outcome(first=first)
    numbers: dict[int, int] = {}
    supply = enumerate(requests)
    begin = time.perf_counter()
    stop = begin + seconds
    for handle in client.handles:
        numbers[handle], data = next(supply)
        client.send(handle, data)
    while numbers:
        answers = client.answers(ANSWER_SECONDS)
        if not answers:
            raise OSError("no answer in time")
        going = time.perf_counter() < stop
        for handle, answer in answers:
            count(outcome, first + numbers.pop(handle), answer)
            item = next(supply, None) if going else None
            if item is not None:
                numbers[handle], data = item
                client.send(handle, data)
    outcome.seconds = time.perf_counter() - begin
    outcome.next = first + next(supply, (len(requests), b""))[0]
    return outcome


def opened(client: Client, requests: list[bytes], first: int, rate: float) -> Outcome:
    """All requests, ``rate`` a second."""
    outcome = Outcome(first=first, next=first + len(requests))
    idle = deque(client.handles)
    busy: dict[int, tuple[int, float]] = {}
    begin = time.perf_counter()
    number = 0
    while number < len(requests) or busy:
        now = time.perf_counter()
        while number < len(requests) and idle and begin + number / rate <= now:
            handle = idle.popleft()
            client.send(handle, requests[number])
            busy[handle] = (number, begin + number / rate)
            number += 1
        due = begin + number / rate if number < len(requests) and idle else now + ANSWER_SECONDS
        answers = client.answers(max(0.0, due - time.perf_counter()))
        now = time.perf_counter()
        for handle, answer in answers:
            sent, when = busy.pop(handle)
            outcome.latencies.append(now - when)
            count(outcome, first + sent, answer)
            idle.append(handle)
        if not answers and now >= due and not idle:
            raise OSError("no answer in time")
    outcome.seconds = time.perf_counter() - begin
    return outcome


def read_answer(connection: socket.socket) -> bytes:
    data = bytearray()
    while True:
        part = connection.recv(1 << 20)
        if not part:
            raise OSError("the server closed a connection")
        data += part
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            break
    at = data.find(b"\r\nContent-Length: ", 0, end)
    total = end + 4 + int(data[at + 18 : data.find(b"\r\n", at + 18)])
    while len(data) < total:
        part = connection.recv(1 << 20)
        if not part:
            raise OSError("the server closed a connection")
        data += part
    return bytes(data)


def batches(port: int, entries: Entries, first: int, total: int, size: int, connections: int) -> Outcome:
    """``total`` entries, ``size`` a request, over a few blocking connections."""
    outcome = Outcome(first=first, next=first + total)
    bodies = [
        (
            low,
            request("/entries/batch", "application/octet-stream", entries.framed(low, min(low + size, first + total))),
        )
        for low in range(first, first + total, size)
    ]
    work = iter(bodies)
    lock = threading.Lock()
    opened_sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    problems: list[Exception] = []

    def run(connection: socket.socket) -> None:
        try:
            while True:
                with lock:
                    item = next(work, None)
                if item is None:
                    return
                low, data = item
                connection.sendall(data)
                answer = read_answer(connection)
                good = answer.count(b'"status":201')
                with lock:
                    outcome.done += good
                    outcome.failed += min(size, first + total - low) - good
                    outcome.sample = (low, answer)
                    if good < min(size, first + total - low):
                        outcome.refusal = answer[:2_000]
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=run, args=(each,)) for each in opened_sockets]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome.seconds = time.perf_counter() - begin
    for each in opened_sockets:
        each.close()
    if problems:
        raise problems[0]
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["closed", "open", "batch"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--entries", type=Path, required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--count", type=int, required=True, help="entries at hand; closed may use fewer")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--size", type=int, default=1_000)
    parser.add_argument("--path", default="/entries")
    given = parser.parse_args()
    entries = Entries(given.entries)
    given.count = min(given.count, len(entries) - given.first)
    if given.mode == "batch":
        gc.disable()
        outcome = batches(given.port, entries, given.first, given.count, given.size, given.connections)
    else:
        client = Client(given.port, given.connections, given.path)
        requests = client.requests(entries, given.first, given.first + given.count)
        gc.disable()
        if given.mode == "closed":
            outcome = closed(client, requests, given.first, given.seconds)
        else:
            outcome = opened(client, requests, given.first, given.rate)
        client.close()
    outcome.latencies.sort()
    json.dump(
        {
            "done": outcome.done,
            "failed": outcome.failed,
            "seconds": outcome.seconds,
            "next": outcome.next,
            "latencies": outcome.latencies,
            "cpu": time.process_time(),
            "sample": None if outcome.sample is None else [outcome.sample[0], outcome.sample[1].decode("latin-1")],
            "refusal": outcome.refusal.decode("latin-1"),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
