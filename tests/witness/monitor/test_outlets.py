"""Alerts leave the monitor: each one, in order, escaped, and again after a kill; a dead outlet holds up nobody."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from teelog.client import outbound
from teelog.errors import ConfigError, SignatureError, UnavailableError
from teelog.witness.monitor import outlets
from teelog.witness.monitor.finding import Alert, Finding, Kind
from teelog.witness.monitor.listener import Listener
from teelog.witness.monitor.notify import atom, webhook
from teelog.witness.monitor.notify.text import json_line, plain
from teelog.witness.monitor.outlets import Outlets
from teelog.witness.monitor.settings import SinkSettings
from teelog.witness.monitor.state import Followed, State
from tests.client.peers import Asked, Peer, Reply, peer
from tests.witness.harness import NOW
from tests.witness.indexed_log import IndexedLog, served
from tests.witness.monitor.watching import Watching, show

HOSTILE = "\x1b[31m\x7f\u202e<script>&\"'\r\n\u0000\ufffe\U000e0001" + '{"x":1}'


@pytest.fixture
def log() -> Iterator[IndexedLog]:
    with served() as made:
        made.grow(b"one", b"two", b"three")
        show(made)
        yield made


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    monkeypatch.setattr(outbound, "SECONDS", 60.0)  # the machine may be busy
    with peer() as server:
        server.fallback = Reply(b"", 204)
        yield server


@pytest.fixture
def watching(tmp_path: Path, log: IndexedLog) -> Watching:
    made = Watching.of(tmp_path / "M", log, ("all", ""))
    made.look()
    return made


def hooked(watching: Watching, *urls: str) -> bytes:
    """Gives the monitor these webhooks; the key of all."""
    sinks = tuple(SinkSettings(f"hook-{number}", "webhook", url, True) for number, url in enumerate(urls))
    for sink in sinks:
        webhook.new_key(watching.folder.keys, sink.name, lambda count: b"k" * count)
    watching.change(sinks=sinks)
    return b"k" * 32


def tell(watching: Watching, time: float = 0.0) -> None:
    from teelog.witness.monitor import settings

    async def work() -> None:
        with watching.folder.locked() as state:
            made = Outlets(watching.folder, state, lambda: NOW, lambda: time)
            made.start(settings.read(watching.path))
            await made.settle(60)

    asyncio.run(work())


def told(server: Peer) -> list[int]:
    return [json.loads(asked.body)["number"] for asked in server.asked]


# -- webhooks ---------------------------------------------------------------------------------------------------------


def test_each_alert_is_posted_once_in_order_and_signed_over_time_and_body_a17(watching: Watching, hook: Peer) -> None:
    key = hooked(watching, f"{hook.url}/in")
    tell(watching)
    tell(watching)
    assert told(hook) == [1, 2, 3]
    for asked in hook.asked:
        webhook.verify(key, asked.headers, asked.body, NOW)
    body = json.loads(hook.asked[0].body)
    assert hook.asked[0].headers["Teelog-Alert"] == f"{body['id']}-1"
    assert (body["schema"], body["kind"], body["index"]) == ("teelog-alert/v1", "entry", 0)
    assert body["looked"] == {
        "log": "log.example/tee", "size": 3, "root": watching.followed().root.hex(), "judged": 3, "at": NOW,
        "read_at": NOW,
    }  # fmt: skip


def test_a_receiver_refuses_what_is_old_changed_or_signed_by_another_key_a17(watching: Watching, hook: Peer) -> None:
    key = hooked(watching, f"{hook.url}/in")
    tell(watching)
    asked = hook.asked[0]
    for changed, body, by, now in (
        ({}, asked.body + b" ", key, NOW),
        ({}, asked.body, b"x" * 32, NOW),
        ({}, asked.body, key, NOW + 301),
        ({}, asked.body, key, NOW - 301),
        ({"Teelog-Timestamp": str(NOW + 1)}, asked.body, key, NOW),
        ({"Teelog-Signature": "v1=" + "0" * 64}, asked.body, key, NOW),
        ({"Teelog-Signature": ""}, asked.body, key, NOW),
    ):
        with pytest.raises(SignatureError):
            webhook.verify(by, {**asked.headers, **changed}, body, now)


def test_what_was_not_delivered_comes_again_and_nothing_is_skipped(watching: Watching, hook: Peer) -> None:
    hooked(watching, f"{hook.url}/in")
    seen = 0

    def second_fails(_: Asked) -> Reply:
        nonlocal seen
        seen += 1
        return Reply(b"", 503 if seen == 2 else 200)

    hook.fallback = second_fails
    tell(watching)
    assert told(hook) == [1, 2]
    with watching.folder.locked() as state:
        assert list(state.troubles()) == ["hook-0"]
    tell(watching)
    assert told(hook) == [1, 2, 2, 3]
    with watching.folder.locked() as state:
        assert state.troubles() == {}


def test_an_alert_whose_words_are_refused_is_sent_without_them(watching: Watching, hook: Peer) -> None:
    hooked(watching, f"{hook.url}/in")

    def filtered(asked: Asked) -> Reply:
        body = json.loads(asked.body)
        return Reply(b"", 403 if body["number"] == 2 and "withheld" not in body["text"] else 200)

    hook.fallback = filtered
    tell(watching)
    assert told(hook) == [1, 2, 2, 3]
    first, second = (json.loads(asked.body) for asked in hook.asked[1:3])
    assert {name for name in first if first[name] != second[name]} == {"text", "about"}
    assert (second["about"], second["id"]) == ("withheld", first["id"])


def test_a_receiver_that_refuses_everything_loses_nothing(watching: Watching, hook: Peer) -> None:
    """A wrong path or expired credentials are mended by people, and then everything comes."""
    hooked(watching, f"{hook.url}/in")
    hook.fallback = Reply(b"", 404)
    tell(watching)
    assert told(hook) == [1, 1]
    with watching.folder.locked() as state:
        assert list(state.troubles()) == ["hook-0"]
    hook.fallback = Reply(b"", 200)
    tell(watching)
    assert told(hook) == [1, 1, 1, 2, 3]


def test_what_failed_is_no_trouble_once_nobody_is_told_there(watching: Watching, hook: Peer) -> None:
    hooked(watching, f"{hook.url}/in")
    hook.fallback = Reply(b"", 503)
    tell(watching)
    watching.change(sinks=())
    tell(watching)
    with watching.folder.locked() as state:
        assert state.troubles() == {}


def test_an_outlet_may_begin_with_what_is_found_from_now_on(watching: Watching, hook: Peer) -> None:
    hooked(watching, f"{hook.url}/in")
    watching.change(sinks=(SinkSettings("hook-0", "webhook", f"{hook.url}/in", True, after=2),))
    tell(watching)
    assert told(hook) == [3]


def test_a_kill_between_delivery_and_its_record_repeats_an_alert(
    watching: Watching, hook: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    hooked(watching, f"{hook.url}/in")
    kept = State.tell
    killed = False

    def dies(state: State, sink: str, number: int) -> None:
        nonlocal killed
        if number == 2 and not killed:
            killed = True
            raise Killed
        kept(state, sink, number)

    monkeypatch.setattr(State, "tell", dies)
    with pytest.raises(Killed):
        tell(watching)
    tell(watching)
    assert told(hook) == [1, 2, 2, 3]
    assert len({asked.headers["Teelog-Alert"] for asked in hook.asked}) == 3


def test_a_failing_database_ends_the_monitor_and_not_an_outlet(
    watching: Watching, hook: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    hooked(watching, f"{hook.url}/in")
    monkeypatch.setattr(State, "tell", fails)
    with pytest.raises(UnavailableError, match="cannot be used"):
        tell(watching)


def test_a_dead_outlet_holds_up_nobody(watching: Watching, hook: Peer) -> None:
    from teelog.witness.monitor import settings

    async def work() -> None:
        with watching.folder.locked() as state:
            made = Outlets(watching.folder, state, lambda: NOW, lambda: 0.0)
            async with asyncio.timeout(60):
                while state.told("hook-1") < 3:
                    made.start(settings.read(watching.path))
                    await asyncio.sleep(0.01)
            assert state.told("hook-0") == 0
            await made.stop()

    with peer() as dead:
        dead.fallback = Reply(hang=True)
        hooked(watching, f"{dead.url}/in", f"{hook.url}/in")
        asyncio.run(work())
        assert told(dead) in ([], [1])
    assert told(hook) == [1, 2, 3]


def test_no_answer_in_time_is_trouble(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "SECONDS", 0.5)
    with peer() as dead:
        dead.fallback = Reply(hang=True)
        hooked(watching, f"{dead.url}/in")
        tell(watching)
    with watching.folder.locked() as state:
        assert "no answer within" in state.troubles()["hook-0"][1]


def test_no_redirect_is_followed_and_no_answer_is_read_to_its_end_a16(watching: Watching, hook: Peer) -> None:
    hook.answers["/in"] = Reply(b"", 302, {"Location": f"{hook.url}/elsewhere"})
    hooked(watching, f"{hook.url}/in")
    tell(watching)
    assert set(hook.paths()) == {"/in"}


@pytest.mark.parametrize(
    "url",
    [
        "http://alerts.example/in",
        "https://127.0.0.1/in",
        "https://127.1/in",
        "https://2130706433/in",
        "https://0x7f000001/in",
        "https://10.0.0.1/in",
        "https://192.168.1.1/in",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/in",
        "https://0.0.0.0/in",
        "https://224.0.0.1/in",
        "https://[::1]/in",
        "https://[::ffff:127.0.0.1]/in",
        "https://[64:ff9b::7f00:1]/in",
        "https://[fe80::1]/in",
        "https://[fd00::1]/in",
        "https://[ff02::1]/in",
        "https://[::]/in",
        "https://user:secret@alerts.example/in",
        "ftp://alerts.example/in",
        "https:///in",
        "https://alerts.example/in#part",
        "https://alerts.example/\u202e",
        "file:///etc/passwd",
    ],
)
def test_urls_into_this_machines_networks_are_refused_a16(url: str) -> None:
    with pytest.raises(ConfigError):
        outbound.check_url(url)


@pytest.mark.parametrize("url", ["https://alerts.example/in", "https://93.184.216.34/in?x=1", "https://[2606:4700::1]/"])
def test_urls_of_the_open_internet_are_taken_a16(url: str) -> None:
    assert outbound.check_url(url) == url


def test_loopback_is_taken_only_where_it_was_asked_for_a16() -> None:
    assert outbound.check_url("http://127.0.0.1:8080/in", local=True)
    for url in ("http://10.0.0.1/in", "http://alerts.example/in"):
        with pytest.raises(ConfigError):
            outbound.check_url(url, local=True)


class _Names(AbstractResolver):
    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        self.asked += 1
        found = self.answers.pop(0)
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family or 2, proto=0, flags=0) for each in found
        ]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("found", [["10.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:10.0.0.1"], ["fe80::1%eth0"]])
async def test_a_name_with_any_address_that_is_not_public_is_refused_a16(found: list[str]) -> None:
    async with outbound.session(inner=_Names(found)) as http:
        with pytest.raises(UnavailableError, match="cannot reach"):
            await outbound.post(http, "https://alerts.example/in", b"", {})


async def test_the_address_that_was_checked_is_the_one_connected_to_a16() -> None:
    """Rebinding: the second answer would be loopback, and nobody asks for it."""
    names = _Names(["203.0.113.1"], ["127.0.0.1"])
    with pytest.raises(OSError, match="not an address of the open internet"):  # TEST-NET-3 is not public either
        await outbound.PublicResolver(inner=names).resolve("alerts.example", 443)
    public = outbound.PublicResolver(inner=_Names(["93.184.216.34"]))
    assert [each["host"] for each in await public.resolve("alerts.example", 443)] == ["93.184.216.34"]


# -- other outlets ----------------------------------------------------------------------------------------------------


def test_json_lines_are_appended_and_a_torn_line_is_not_continued(watching: Watching, tmp_path: Path) -> None:
    lines = tmp_path / "alerts.jsonl"
    lines.write_bytes(b'{"torn')
    watching.change(sinks=(SinkSettings("lines", "jsonl", str(lines)),))
    tell(watching)
    tell(watching)
    first, *rest = lines.read_bytes().split(b"\n")
    assert first == b'{"torn'
    assert rest[-1] == b""
    assert [json.loads(line)["number"] for line in rest[:-1]] == [1, 2, 3]


def test_a_file_that_is_none_holds_up_nobody(watching: Watching, tmp_path: Path, hook: Peer) -> None:
    os.mkfifo(tmp_path / "pipe")
    hooked(watching, f"{hook.url}/in")
    sinks = (
        SinkSettings("pipe", "jsonl", str(tmp_path / "pipe")),
        SinkSettings("missing", "jsonl", str(tmp_path / "nowhere" / "alerts")),
        SinkSettings("hook-0", "webhook", f"{hook.url}/in", True),
    )
    watching.change(sinks=sinks)
    tell(watching)
    assert told(hook) == [1, 2, 3]
    with watching.folder.locked() as state:
        assert sorted(state.troubles()) == ["missing", "pipe"]


def test_a_file_that_was_moved_away_is_made_anew(watching: Watching, tmp_path: Path, log: IndexedLog) -> None:
    lines = tmp_path / "alerts.jsonl"
    watching.change(sinks=(SinkSettings("lines", "jsonl", str(lines)),))
    tell(watching)
    lines.rename(tmp_path / "old")
    log.grow(b"four")
    show(log)
    watching.look()
    tell(watching)
    assert [json.loads(line)["number"] for line in lines.read_text().splitlines()] == [4]


def test_the_feed_is_atom_with_an_entry_for_each_alert(watching: Watching) -> None:
    watching.change(sinks=(SinkSettings("atom", "atom", ""),))
    tell(watching)
    root = ElementTree.fromstring((watching.path / "feed.atom").read_bytes())
    atom_ns = "{http://www.w3.org/2005/Atom}"
    assert root.tag == f"{atom_ns}feed"
    assert "looked at 3 entries" in str(root.findtext(f"{atom_ns}subtitle"))
    ids = [entry.findtext(f"{atom_ns}id") for entry in root.findall(f"{atom_ns}entry")]
    assert len(ids) == len(set(ids)) == 3
    for name in ("title", "id", "updated"):
        assert all(entry.findtext(f"{atom_ns}{name}") for entry in root.findall(f"{atom_ns}entry"))


def test_the_feed_is_written_once_for_many_alerts(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    monkeypatch.setattr(outlets, "write_feed", lambda path, *_: written.append(path))
    watching.change(sinks=(SinkSettings("atom", "atom", ""),))
    tell(watching)
    assert written == [watching.path / "feed.atom"]
    with watching.folder.locked() as state:
        assert state.told("atom") == 3


# -- hostile text -----------------------------------------------------------------------------------------------------


@given(st.text())
def test_no_text_steers_a_terminal_or_breaks_a_format_a18_a76(text: str) -> None:
    shown = plain(text)
    assert all(each.isprintable() for each in shown)
    line = json_line({"text": text})
    assert re.fullmatch(rb"[\x20-\x7e]*", line)
    assert json.loads(line)["text"] == text
    alert = Alert(1, Finding(Kind.ENTRY, "log.example/tee", text, text, 3), NOW, NOW)
    root = ElementTree.fromstring(atom.feed([alert], Followed("log.example/tee")))
    assert root.findtext("{*}entry/{*}content") == shown


def test_hostile_text_is_escaped_in_every_outlet_a18_a76(watching: Watching, hook: Peer, tmp_path: Path) -> None:
    with watching.folder.locked() as state:
        before = state.followed()
        state.advance(before, before, NOW, [Finding(Kind.INERT, before.origin, HOSTILE, HOSTILE, 7)])
        metrics = Listener(state, lambda: NOW, frozenset())._metrics().body
        alerts = Listener(state, lambda: NOW, frozenset())._alerts().body
    hooked(watching, f"{hook.url}/in")
    lines = tmp_path / "alerts.jsonl"
    more = (SinkSettings("lines", "jsonl", str(lines)), SinkSettings("atom", "atom", ""))
    watching.change(sinks=(SinkSettings("hook-0", "webhook", f"{hook.url}/in", True), *more))
    tell(watching)
    for data in (hook.asked[-1].body, lines.read_bytes(), (watching.path / "feed.atom").read_bytes(), metrics, alerts):
        assert isinstance(data, bytes)
        for raw in ("\x1b", "\x7f", "\u202e", "\x00", "\r", "<script>"):
            assert raw.encode() not in data or (raw == "<script>" and b'"' in data), (raw, data)
    assert b"<script>" not in (watching.path / "feed.atom").read_bytes()


# -- the listener -----------------------------------------------------------------------------------------------------


async def _ask(
    watching: Watching, path: str, host: str | None = None, now: int = NOW, method: str = "GET"
) -> tuple[int, bytes]:
    from contextlib import AsyncExitStack

    from teelog.listen import Address
    from teelog.witness.monitor.serve import _listen

    with watching.folder.locked() as state:
        async with AsyncExitStack() as stack, aiohttp.ClientSession() as http:
            bound = await _listen(stack, Listener(state, lambda: now, frozenset()), Address("127.0.0.1", 0))
            headers = {} if host is None else {"Host": host}
            async with http.request(method, f"http://{bound}{path}", headers=headers) as response:
                return response.status, await response.read()


async def test_the_listener_serves_feed_alerts_metrics_and_health(watching: Watching) -> None:
    for path, wanted in (
        ("/feed.atom", b"<feed"),
        ("/alerts.json", b'"teelog-monitor-alerts/v1"'),
        ("/metrics", b'monitor_alerts_open{kind="entry"} 3.0'),
        ("/healthz", b"ok"),
        ("/readyz", b'"size":3'),
    ):
        status, body = await _ask(watching, path)
        assert (status, wanted in body) == (200, True), (path, body)
    assert (await _ask(watching, "/nothing"))[0] == 404


async def test_the_listener_is_not_asked_under_a_strangers_name(watching: Watching) -> None:
    assert (await _ask(watching, "/alerts.json", "evil.example"))[0] == 421
    assert (await _ask(watching, "/alerts.json", "evil.example:80"))[0] == 421


async def test_the_listener_is_for_reading_alone(watching: Watching) -> None:
    assert (await _ask(watching, "/alerts.json?x"))[0] == 404
    assert (await _ask(watching, "/healthz", method="HEAD")) == (200, b"")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert (await _ask(watching, "/alerts.json", method=method))[0] == 405


async def test_silence_is_never_all_well(tmp_path: Path, log: IndexedLog, watching: Watching) -> None:
    unread = Watching.of(tmp_path / "never", log)
    assert (await _ask(unread, "/readyz"))[0] == 503
    assert (await _ask(watching, "/readyz", now=NOW + 3_601))[0] == 503
    assert b"monitor_read_seconds 0.0" in (await _ask(unread, "/metrics"))[1]


def test_a_receiver_that_takes_one_alert_at_a_time_is_told_all(watching: Watching, hook: Peer) -> None:
    """It says when to come again, and each alert is taken at its second time."""
    hooked(watching, f"{hook.url}/in")
    seen: set[str] = set()

    def every_second(asked: Asked) -> Reply:
        alert = asked.headers["Teelog-Alert"]
        if alert in seen:
            return Reply(b"", 204)
        seen.add(alert)
        return Reply(b"", 429, {"Retry-After": "0"})

    hook.fallback = every_second
    tell(watching)
    assert told(hook) == [1, 1, 2, 2, 3, 3]
    with watching.folder.locked() as state:
        assert (state.told("hook-0"), state.troubles()) == (3, {})
