"""A running witness takes a list while something else adds logs: as if one had come after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from teelog.errors import ConfigError
from teelog.witness import admin
from teelog.witness.list_plan import Bounds, Plan
from tests.witness.harness import WITNESS, Desk
from tests.witness.test_lists import OpenDesk, entries, listing, pull, row, vkey

Overtake = Callable[[Callable[[], object]], None]


@pytest.fixture
def overtake(monkeypatch: pytest.MonkeyPatch) -> Overtake:
    """What is given is done once, between the first plan that is made from now on and its being written."""

    def arrange(meanwhile: Callable[[], object]) -> None:
        todo = [meanwhile]

        def plan_then(*arguments: Any) -> Plan:
            found = admin_plan(*arguments)
            if todo:
                todo.pop()()
            return found

        admin_plan = admin.plan_pull
        monkeypatch.setattr(admin, "plan_pull", plan_then)

    return arrange


def add(desk: Desk, name: str, seed: str = "log") -> admin.Done:
    assert desk.engine is not None
    return desk.engine.call(lambda store: admin.apply(store, WITNESS, admin.AddLog((vkey(name, seed),)))).result(60)


def known(desk: Desk) -> list[str]:
    return [name.partition(".")[0] for name in sorted(entries(desk.path))]


def test_A_65_two_lists_together_make_no_more_logs_known_than_the_operator_allows(
    open_desk: OpenDesk, overtake: Overtake
) -> None:
    desk = open_desk()
    one, other = (listing(*(row(f"{name}.example/log") for name in names)) for names in ("ab", "cd"))
    overtake(lambda: pull(desk, other, bounds=Bounds(logs=3)))
    with pytest.raises(ConfigError, match="too many logs known") as caught:
        pull(desk, one, bounds=Bounds(logs=3))
    assert caught.value.actual == "2 known and 2 more"
    assert known(desk) == ["c", "d"]


def test_A_65_a_log_that_is_typed_meanwhile_counts(open_desk: OpenDesk, overtake: Overtake) -> None:
    desk = open_desk()
    overtake(lambda: add(desk, "c.example/log"))
    with pytest.raises(ConfigError, match="too many logs known"):
        pull(desk, listing(row("a.example/log"), row("b.example/log")), bounds=Bounds(logs=2))
    assert known(desk) == ["c"]


def test_two_lists_that_share_a_new_log_are_both_applied(open_desk: OpenDesk, overtake: Overtake) -> None:
    desk = open_desk()
    one, other = (listing(*(row(f"{name}.example/log") for name in names)) for names in ("abc", "bd"))
    overtake(lambda: pull(desk, other))
    found = pull(desk, one)
    assert [entry.origin for entry in found.add] == ["a.example/log", "c.example/log"]
    assert found.known == 1
    assert known(desk) == ["a", "b", "c", "d"]


def test_W_48_a_log_that_is_typed_meanwhile_with_another_key_refuses_the_list(
    open_desk: OpenDesk, overtake: Overtake
) -> None:
    desk = open_desk()
    overtake(lambda: add(desk, "b.example/log", "typed"))
    with pytest.raises(ConfigError, match="has another key for b"):
        pull(desk, listing(row("a.example/log"), row("b.example/log")))
    assert known(desk) == ["b"]


def test_lists_that_come_all_at_once_are_all_applied(open_desk: OpenDesk) -> None:
    desk = open_desk()
    engine = desk.engine
    assert engine is not None

    async def run() -> None:
        lists = [listing(row("shared.example/log"), row(f"{name}.example/log")) for name in "abcdef"]
        await asyncio.gather(*(admin.pull_running(engine, WITNESS, admin.PullLogs(each.decode())) for each in lists))

    asyncio.run(run())
    assert known(desk) == [*"abcdef", "shared"]
