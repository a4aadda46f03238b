"""The servers that the demo, and many a test, starts find a port of their own each."""

from __future__ import annotations

import socket

import pytest

from teelog.cli import demo_processes
from teelog.errors import UnavailableError


def test_ports_are_distinct_on_every_call_and_below_those_of_outgoing_connections():
    found = [port for _ in range(50) for port in demo_processes.free_ports(7)]
    assert len(set(found)) == 350
    assert set(found) <= set(demo_processes.PORTS)


def test_a_port_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch):
    first, second = demo_processes.free_ports(2)
    monkeypatch.setattr(demo_processes, "_ports", iter([first, second]))
    with socket.socket() as held:
        held.bind(("127.0.0.1", first))
        assert demo_processes.free_ports(1) == [second]


def test_too_few_free_ports_are_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo_processes, "_ports", iter(demo_processes.free_ports(1)))
    with pytest.raises(UnavailableError, match="too few free ports"):
        demo_processes.free_ports(2)
