"""`teelog monitor`: a folder is made, told what to watch and whom to tell, run, and asked; also while it runs."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from teelog.client import outbound
from teelog.statement import dsse
from teelog.testing.ledger import INDEX_POLICY, MAIN_POLICY, trust_text
from teelog.witness.monitor.notify import webhook
from tests.cli.growing import Growing, growing
from tests.client.peers import Asked, Peer, Reply, peer
from tests.statement import make

STREAM = "acme.example/inference/stable"
NAMESPACE = make.namespace_file()
RELEASE = make.release_file()
ENTRIES = [make.log_policy_file(), NAMESPACE, RELEASE]
HOSTILE = b"\x1b]0;owned\x07 \xe2\x80\xae"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Growing]:
    monkeypatch.chdir(tmp_path)
    with growing(tmp_path, ENTRIES) as found:
        yield found


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    monkeypatch.setattr(outbound, "SECONDS", 60.0)  # the machine may be busy
    with peer() as server:
        server.fallback = Reply(status=204)
        yield server


def init(log: Growing, *more: object) -> None:
    log.run("monitor", "init", "M", "--policy", "policy.txt", "--url", log.peer.url, *more)


def look(log: Growing, code: int = 0) -> Any:
    return log.run("monitor", "run", "M", "--polls", "1", "--json", code=code).json


def numbers(server: Peer) -> list[int]:
    return [json.loads(asked.body)["number"] for asked in server.asked]


# -- init -------------------------------------------------------------------------------------------------------------


def test_a_monitor_is_a_folder_of_its_own_made_once(log: Growing):
    init(log)
    found = log.run("monitor", "watch", "M", "--json").json
    assert (found["place"], found["watched"], found["index"], found["outlets"]) == (log.peer.url, [], False, [])
    assert stat.S_IMODE((log.folder / "M").stat().st_mode) == 0o700
    again = log.run("monitor", "init", "M", "--policy", "policy.txt", code=6)
    assert "exists already" in again.stderr


def test_it_says_that_it_looks_at_what_it_was_told_of_and_at_nothing_else(log: Growing):
    bare = ("monitor", "init", "A", "--policy", "policy.txt", "--url", log.peer.url)
    assert b"watched     the tree; no statements\n" in log.run(*bare).stdout
    whole = ("monitor", "init", "B", "--policy", MAIN_POLICY, "--index-policy", INDEX_POLICY, "--url", log.peer.url)
    (log.folder / "copy").mkdir()
    told = log.run(*whole, "--mirror", "copy").stdout
    assert f"mirror      {log.folder / 'copy'}\n".encode() in told
    assert b"its mirrors, its index; no statements\n" in told


def test_a_trust_file_gives_index_max_age_and_namespaces(log: Growing):
    pin = dsse.parse(NAMESPACE).statement_id
    log.write("trust.toml", trust_text(STREAM, pin, max_age="6h").encode())
    log.run("monitor", "init", "M", "--policy", MAIN_POLICY, "--trust", "trust.toml", "--url", log.peer.url)
    found = log.run("monitor", "watch", "M", "--json").json
    assert found["watched"] == [{"subject": "namespace", "value": "acme.example"}]
    assert (found["max_age_s"], found["index"]) == (6 * 3_600, True)


def test_the_policies_are_that_of_a_log_and_of_its_index(log: Growing):
    place = ("--url", log.peer.url)
    ran = log.run("monitor", "init", "M", "--policy", INDEX_POLICY, *place, code=6)
    assert "that of a log's index" in ran.stderr
    log.run("monitor", "init", "M", "--policy", MAIN_POLICY, "--index-policy", MAIN_POLICY, *place, code=6)
    assert not (log.folder / "M").exists()


def test_places_are_urls_that_can_be_asked_or_folders_wherever_it_runs(log: Growing):
    (log.folder / "MIRROR").mkdir()
    init(log, "--mirror", "MIRROR", "--mirror", "https://mirror.example/log/")
    mirrors = log.run("monitor", "watch", "M", "--json").json["mirrors"]
    assert mirrors == [str(log.folder / "MIRROR"), "https://mirror.example/log"]
    wrong = ["typo", "http://log.example", "https://mirror.example/?x", "ftp://x"]
    for words in ((option, place) for option in ("--url", "--mirror") for place in wrong):
        log.run("monitor", "init", "N", "--policy", "policy.txt", *words, code=6)
    assert not (log.folder / "N").exists()


@pytest.mark.parametrize(
    "command", [("run",), ("alerts",), ("watch",), ("watch", "all"), ("notify",), ("notify", "atom")]
)
def test_what_is_no_monitors_folder_is_never_made_one(log: Growing, command: tuple[str, ...]):
    name, *rest = command
    ran = log.run("monitor", name, "M", *rest, code=6)
    assert "teelog monitor init M --policy POLICY" in ran.stderr
    assert not (log.folder / "M").exists()


# -- watch ------------------------------------------------------------------------------------------------------------


def test_what_is_watched_is_listed_and_watched_no_longer(log: Growing):
    init(log)
    log.key("acme.key", make.ACME)
    register = f"sev-snp:measurement={make.MEASUREMENT}"
    for subject, value in (("namespace", "acme.example"), ("stream", STREAM), ("register", register)):
        log.run("monitor", "watch", "M", subject, value)
    log.run("monitor", "watch", "M", "signer", "acme.key.pub")
    log.run("monitor", "watch", "M", "all")
    log.run("monitor", "watch", "M", "all")
    wanted = [
        ("namespace", "acme.example"), ("stream", STREAM), ("register", register),
        ("signer", make.ACME.public.fingerprint), ("all", ""),
    ]  # fmt: skip
    found = log.run("monitor", "watch", "M", "--json").json
    assert [(each["subject"], each["value"]) for each in found["watched"]] == wanted
    log.run("monitor", "watch", "M", "--remove", "stream", STREAM)
    assert "stream" not in log.run("monitor", "watch", "M").text
    log.run("monitor", "watch", "M", "--remove", "stream", STREAM, code=6)


@pytest.mark.parametrize(
    ("subject", "value"),
    [
        ("namespace", "acme.example/x"), ("namespace", ""), ("stream", "acme.example"), ("register", "measurement"),
        ("register", "sev-snp:measurement=zz"), ("signer", "ab"), ("all", "x"), ("everything", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_watched_is_a_usage_error(log: Growing, subject: str, value: str):
    init(log)
    assert "None" not in log.run("monitor", "watch", "M", subject, value, code=2).stderr
    assert log.run("monitor", "watch", "M", "--json").json["watched"] == []


def test_a_list_of_what_is_known_must_be_one(log: Growing):
    init(log)
    log.write("known.txt", b"not an id\n")
    log.run("monitor", "watch", "M", "namespace", "acme.example", "--known", "known.txt", code=6)
    assert log.run("monitor", "watch", "M", "--json").json["known"] is None


# -- run and alerts ---------------------------------------------------------------------------------------------------


def test_a_look_tells_how_far_it_was_and_what_was_found(log: Growing):
    init(log)
    found = look(log)
    assert found["schema"] == "teelog-monitor-run/v1"
    assert (found["looked"]["size"], found["looked"]["judged"], found["alerts"]) == (3, 3, [])
    log.run("monitor", "watch", "M", "namespace", "acme.example", "--known", "known.txt", code=6)
    log.write("known.txt", f"{dsse.parse(NAMESPACE).statement_id} the namespace\n".encode())
    log.run("monitor", "watch", "M", "namespace", "acme.example", "--known", "known.txt")
    found = look(log, code=1)
    assert ("unexpected", 2) in [(alert["kind"], alert["index"]) for alert in found["alerts"]]
    shown = log.run("monitor", "alerts", "M")
    assert re.search(r"^looked {6}at 3 entries of log\.example/tee, last read [0-9-]{10}T[0-9:]{8}Z$", shown.text, re.M)
    assert f"alert unexpected {STREAM} entry 2" in shown.text


def test_alerts_after_a_number_and_open_ones(log: Growing):
    init(log)
    log.run("monitor", "watch", "M", "all")
    look(log)
    ask = ("monitor", "alerts", "M", "--json")
    every = log.run(*ask).json["alerts"]
    assert [alert["number"] for alert in every] == [1, 2, 3]
    assert [alert["number"] for alert in log.run(*ask, "--after", 2).json["alerts"]] == [3]
    first = log.run(*ask, "--limit", 1).json
    assert ([alert["number"] for alert in first["alerts"]], first["more"]) == ([1], True)
    assert log.run(*ask, "--limit", 3).json["more"] is False
    assert log.run(*ask, "--after", 2**63 - 1).json["alerts"] == []
    log.run(*ask, "--after", 2**63, code=2)
    assert "more        teelog monitor alerts M --after 2\n" in log.run("monitor", "alerts", "M", "--limit", 2).text
    log.peer.fallback, log.peer.answers = Reply(status=503), {}
    found = look(log, code=4)
    assert [alert["kind"] for alert in found["alerts"] if alert["severity"] == "alert"] == ["unreachable"]
    assert found["looked"]["at"] >= found["looked"]["read_at"] > 0
    assert log.run(*ask, "--open").json["looked"]["size"] == 3


def test_an_event_stays_open_until_its_owner_settles_it(log: Growing):
    init(log)
    log.run("monitor", "watch", "M", "signer", make.ACME.public.fingerprint)
    look(log, code=1)
    numbers = [alert["number"] for alert in log.run("monitor", "alerts", "M", "--open", "--json").json["alerts"]]
    assert len(numbers) > 1
    log.run("monitor", "alerts", "M", "--settle", max(numbers) + 1, code=6)
    log.run("monitor", "alerts", "M", "--settle", numbers[0])
    assert [alert["number"] for alert in look(log, code=1)["alerts"]] == numbers[1:]
    log.run("monitor", "alerts", "M", "--settle", numbers[-1])
    assert look(log)["alerts"] == []
    # The log is judged anew: what was dealt with is not told again.
    log.run("monitor", "watch", "M", "namespace", "acme.example")
    assert [alert["kind"] for alert in look(log)["alerts"]] == ["settings"]
    assert len(log.run("monitor", "alerts", "M", "--json").json["alerts"]) == len(numbers) + 1


def test_before_the_first_look_nothing_is_well(log: Growing):
    init(log)
    assert log.run("monitor", "alerts", "M").text == "looked      never yet at log.example/tee\n"
    assert log.run("monitor", "alerts", "M", "--json").json["looked"]["read_at"] == 0


def test_strangers_words_reach_no_terminal_raw_a18(log: Growing):
    log.entries += [HOSTILE, make.release_file(make.STRANGER)]
    log.serve()
    init(log)
    log.run("monitor", "watch", "M", "all")
    ran = log.run("monitor", "run", "M", "--polls", "1")
    for text in (ran.text, ran.stderr, log.run("monitor", "alerts", "M").text):
        assert not set("\x1b\x07\u202e") & set(text)


# -- notify -----------------------------------------------------------------------------------------------------------


def test_a_webhooks_key_is_shown_once_and_kept_for_its_owner(log: Growing, hook: Peer):
    init(log)
    ran = log.run("monitor", "notify", "M", "webhook", f"{hook.url}/in", "--local", "--json")
    key = bytes.fromhex(ran.json["key"])
    assert len(key) == 32
    (file,) = (log.folder / "M" / "keys").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = log.run("monitor", "notify", "M", "webhook", f"{hook.url}/in", "--local", "--json")
    assert again.json["key"] is None
    assert key.hex() not in log.run("monitor", "notify", "M").text
    log.run("monitor", "watch", "M", "all")
    look(log)
    assert numbers(hook) == [1, 2, 3]
    for asked in hook.asked:
        webhook.verify(key, asked.headers, asked.body, int(time.time()))
    log.run("monitor", "notify", "M", "webhook", f"{hook.url}/in", "--remove")
    assert not file.exists()
    assert log.run("monitor", "notify", "M", "--json").json["outlets"] == []


@pytest.mark.parametrize(
    "words",
    [
        ("webhook", "http://alerts.acme.example/in"),
        ("webhook", "https://192.168.0.1/in"),
        ("webhook", "https://user:word@alerts.acme.example/in"),
        ("webhook", "http://alerts.acme.example/in", "--local"),
    ],
)
def test_a_webhook_elsewhere_than_in_the_open_internet_is_refused_a16(log: Growing, words: tuple[str, ...]):
    init(log)
    assert "next: --local for a receiver on this machine" in log.run("monitor", "notify", "M", *words, code=6).stderr
    assert log.run("monitor", "notify", "M", "--json").json["outlets"] == []


def test_an_outlet_can_be_tried_before_anything_happens(log: Growing, hook: Peer, tmp_path: Path):
    init(log)
    log.run("monitor", "notify", "M", "--test", code=6)
    ran = log.run("monitor", "notify", "M", "webhook", f"{hook.url}/in", "--local", "--test", "--json")
    webhook.verify(bytes.fromhex(ran.json["key"]), hook.asked[0].headers, hook.asked[0].body, int(time.time()))
    assert json.loads(hook.asked[0].body)["kind"] == "test"
    log.run("monitor", "notify", "M", "jsonl", "alerts.jsonl")
    log.run("monitor", "notify", "M", "--test")
    assert numbers(hook) == [0, 0]
    assert [json.loads(line)["kind"] for line in (tmp_path / "alerts.jsonl").read_text().splitlines()] == ["test"]
    assert log.run("monitor", "alerts", "M", "--json").json["alerts"] == []
    hook.fallback = Reply(status=404)
    assert "refused" in log.run("monitor", "notify", "M", "--test", code=1).stderr


def test_an_outlet_that_cannot_be_told_shows_until_it_can(log: Growing, hook: Peer):
    init(log)
    log.run("monitor", "watch", "M", "all")
    log.run("monitor", "notify", "M", "webhook", f"{hook.url}/in", "--local")
    hook.fallback = Reply(status=503)
    look(log)
    (trouble,) = log.run("monitor", "alerts", "M", "--json").json["untold"]
    assert trouble["outlet"] == f"webhook {hook.url}/in"
    hook.fallback = Reply(status=204)
    look(log)
    assert log.run("monitor", "alerts", "M", "--json").json["untold"] == []
    assert numbers(hook) == [1, 1, 2, 3]


@pytest.mark.parametrize(
    "words",
    [
        ("atom", "x"), ("jsonl",), ("jsonl", "."), ("webhook",), ("mail", "a@b.example"), ("--remove",),
        ("--from-now",), ("atom", "--remove", "--test"),
    ],
)  # fmt: skip
def test_what_names_no_outlet_is_a_usage_error(log: Growing, words: tuple[str, ...]):
    init(log)
    log.run("monitor", "notify", "M", *words, code=2)


# -- a running monitor ------------------------------------------------------------------------------------------------


class Running:
    """A monitor as a process of its own. What it says is read from ``said``."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.said = folder / "said.txt"
        words = ["monitor", "run", "M", "--interval", "100ms", "--listen", "127.0.0.1:0", *more]
        with self.said.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "teelog.cli.main", *words], cwd=folder, stderr=file, stdout=file
            )
        self.until(lambda: "listening on" in self.said.read_text())
        found = re.search(r"listening on (\S+)", self.said.read_text())
        assert found is not None
        self.address = found[1]

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not true():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                pytest.fail(self.said.read_text())
            time.sleep(0.02)

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=120) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def stop(self, by: signal.Signals) -> int:
        self.process.send_signal(by)
        return self.process.wait(120)


@pytest.fixture
def running(log: Growing) -> Iterator[Running]:
    init(log)
    made = Running(log.folder)
    yield made
    if made.process.poll() is None:
        made.stop(signal.SIGKILL)


def happened(alerts: Iterable[dict[str, Any]]) -> list[tuple[str, int | None]]:
    """The events among alerts: what a look met while the log's files were being replaced is over with the next."""
    return [(each["kind"], each["index"]) for each in alerts if each["kind"] in ("settings", "entry")]


def test_settings_are_changed_while_it_runs(log: Growing, running: Running, hook: Peer):
    late = log.folder / "late.jsonl"

    def posted() -> list[tuple[str, int | None]]:
        # Where no answer came in time, the same one is posted again.
        return happened({asked.headers["Teelog-Alert"]: json.loads(asked.body) for asked in list(hook.asked)}.values())

    running.until(lambda: running.get("/readyz")[0] == 200)
    log.run("monitor", "notify", "M", "webhook", f"{hook.url}/in", "--local")
    log.run("monitor", "watch", "M", "all")
    running.until(lambda: len(posted()) == 4)
    assert posted() == [("settings", None), ("entry", 0), ("entry", 1), ("entry", 2)]
    assert happened(json.loads(running.get("/alerts.json")[1])["alerts"]) == posted()[::-1]
    assert b'monitor_alerts{kind="entry"} 3.0' in running.get("/metrics")[1]
    # One process writes a folder; commands read it.
    assert "in use" in log.run("monitor", "run", "M", "--polls", "1", code=4).stderr
    assert happened(log.run("monitor", "alerts", "M", "--json").json["alerts"]) == posted()
    log.run("monitor", "notify", "M", "jsonl", "late.jsonl", "--from-now")
    log.entries.append(b"four")
    log.serve()
    running.until(lambda: late.exists() and b'"index":3' in late.read_bytes() and len(posted()) == 5)
    assert running.stop(signal.SIGTERM) == 0
    said = running.said.read_text()
    assert "settings: + watched all\n" in said
    assert re.search(r"^settings: \+ sinks webhook-[0-9a-f]{12}$", said, re.MULTILINE)
    assert hook.url not in said
    assert happened(map(json.loads, late.read_text().splitlines())) == [("entry", 3)]


def test_nothing_is_lost_by_a_kill(log: Growing, running: Running, hook: Peer):
    """Killed with one alert on its way: it comes again, and the rest after it."""
    delivered: list[int] = []

    def slow(asked: Asked) -> Reply:
        number = json.loads(asked.body)["number"]
        delivered.append(number)
        if delivered.count(3) == 1 and number == 3:
            os.kill(running.process.pid, signal.SIGKILL)
        return Reply(status=204)

    hook.fallback = slow
    log.run("monitor", "notify", "M", "webhook", f"{hook.url}/in", "--local")
    log.run("monitor", "watch", "M", "all")
    assert running.process.wait(120) == -signal.SIGKILL
    look(log)
    # Where no answer came in time, the same one is posted again.
    first = delivered.index(3)
    assert sorted(set(delivered[:first])) == [1, 2]
    assert delivered[first:] == [3, 3, 4]


def test_a_page_elsewhere_cannot_ask_it_by_another_name_a16(running: Running):
    request = urllib.request.Request(f"http://{running.address}/alerts.json", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=120)
    assert caught.value.code == 421
    caught.value.close()
