"""Lists of logs add to a witness's own, and do nothing else to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import ConfigError, MalformedError, RefusedError, TeelogError, UnavailableError
from teelog.tlog.vkey import SignatureType
from teelog.witness import admin, directory, list_plan
from teelog.witness.directory import ListSource
from teelog.witness.list_plan import Bounds
from teelog.witness.list_puller import Puller
from teelog.witness.state import LogEntry
from tests.commands import teelog
from tests.witness.harness import ORIGIN, WITNESS, Desk, Log, signer

OpenDesk = Callable[..., Desk]


def vkey(name: str, seed: str = "log") -> str:
    return str(signer(seed, name).verifier)


def row(name: str, seed: str = "log", qpd: int = 288, **more: str) -> str:
    lines = [f"vkey {vkey(name, seed)}", f"qpd {qpd}", *(f"{word} {value}" for word, value in more.items())]
    return "\n".join(lines) + "\n"


def listing(*rows: str) -> bytes:
    return ("# of the testing network\nlogs/v0\n\n" + "\n".join(rows)).encode()


def plan(data: bytes, *known: LogEntry, bounds: Bounds = Bounds()) -> list_plan.Plan:  # noqa: B008  it is frozen
    have = {entry.origin: entry for entry in known}
    return list_plan.plan(list_plan.parse(data), have.get, len(have), WITNESS, bounds)


# -- the format -------------------------------------------------------------------------------------------------------


def test_a_list_is_read_as_it_is_published() -> None:
    data = listing(
        f"vkey {vkey('a.example/log')} \r\norigin none\nqpd 86400\nbastion https://b.example/\ncontact ops (at) a",
        f"  vkey {vkey('b.example/log')}\n# between\nqpd 24\ncontact https://b.example/contact",
    )
    first, second = plan(data).add
    assert (first.origin, first.vkeys, first.per_day) == ("a.example/log", (vkey("a.example/log"),), 86_400)
    assert (first.contact, second.contact) == ("ops (at) a", "https://b.example/contact")
    assert (second.origin, second.per_day, second.disabled) == ("b.example/log", 24, False)


def test_an_empty_list_adds_nothing() -> None:
    assert plan(b"logs/v0\n") == list_plan.Plan((), 0, 0, ())


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "not a log list"),
        (b"# only this\n", "not a log list"),
        (b"logs/v1\n", "not a log list"),
        (b"logs/v0\nqpd 3\n", "line 2 of the log list is not a vkey"),
        (b"logs/v0\nvkey\n", "line 2 of the log list is not usable"),
        (b"logs/v0\nvkey a\nqpd 3\nqpd 4\n", "line 4 of the log list is not usable"),
        (b"logs/v0\nvkey a\ncontact b\n", "the log at line 2 of the log list has no quota"),
        (b"logs/v0\nvkey a\nqpd 0\n", "no quota"),
        (b"logs/v0\nvkey a\nqpd -1\n", "qpd of the log at line 2"),
        (b"logs/v0\nvkey a\nqpd 1e9\n", "qpd"),
        (b"logs/v0\nvkey a\nqpd 99999999999999999999999\n", "qpd"),
        (b"logs/v0\n\xff\n", "not UTF-8"),
        (b"logs/v0\nvkey " + b"a" * 8192, "line 2 of the log list is too long"),
        (b"logs/v0\n" + b"#" * list_plan.MAX_LIST, "too long"),
    ],
)
def test_what_is_no_list_is_refused_whole(data: bytes, cause: str) -> None:
    with pytest.raises(MalformedError, match=cause):
        list_plan.parse(data)


def test_a_list_has_a_bounded_number_of_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_plan, "MAX_LISTED", 2)
    rows = [row(f"{number}.example/log") for number in range(3)]
    assert len(list_plan.parse(listing(*rows[:2]))) == 2
    with pytest.raises(MalformedError, match="too many logs"):
        list_plan.parse(listing(*rows))


@given(st.binary(max_size=400) | st.text("\n #voriginqpd 0123abc", max_size=400).map(str.encode))
def test_any_bytes_are_a_list_or_malformed(data: bytes) -> None:
    for body in (data, b"logs/v0\n" + data):
        try:
            found = list_plan.parse(body)
        except MalformedError:
            continue
        assert all(one.per_day >= 1 and one.vkey for one in found)


# -- what it may do ---------------------------------------------------------------------------------------------------


def test_A_65_a_known_log_stays_as_it_is_whatever_the_list_says_of_it() -> None:
    known = LogEntry("a.example/log", (vkey("a.example/log"),), contact="me", per_day=7, disabled=True)
    found = plan(listing(row("a.example/log", qpd=9, contact="them"), row("b.example/log")), known)
    assert [entry.origin for entry in found.add] == ["b.example/log"]
    assert (found.known, found.other_quota) == (1, 1)


def test_W_48_another_key_for_a_known_log_refuses_the_whole_list() -> None:
    known = LogEntry("a.example/log", (vkey("a.example/log", "old"),))
    data = listing(row("new.example/log"), row("a.example/log", "new"))
    with pytest.raises(ConfigError, match=r"another key for a\.example/log"):
        plan(data, known)
    # One of the two keys that the operator trusts is no change.
    both = LogEntry("a.example/log", (vkey("a.example/log", "old"), vkey("a.example/log", "new")))
    assert len(plan(data, both).add) == 1


def test_W_48_two_keys_for_one_new_log_refuse_the_whole_list() -> None:
    with pytest.raises(ConfigError, match="another key"):
        plan(listing(row("a.example/log", "one"), row("a.example/log", "two")))
    assert len(plan(listing(row("a.example/log"), row("a.example/log"))).add) == 1


def test_A_65_a_list_cannot_make_more_logs_known_than_the_operator_allows() -> None:
    known = LogEntry("a.example/log", (vkey("a.example/log"),))
    rows = [row(f"{name}.example/log") for name in "abc"]
    assert len(plan(listing(*rows), known, bounds=Bounds(logs=3)).add) == 2
    with pytest.raises(ConfigError, match="too many logs known"):
        plan(listing(*rows), known, bounds=Bounds(logs=2))
    # Above the bound already, and nothing new: no reason to complain.
    assert plan(listing(rows[0]), known, bounds=Bounds(logs=1)).known == 1


def test_the_quota_is_the_lists_and_no_larger_than_the_operator_allows() -> None:
    found = plan(listing(row("a.example/log", qpd=10), row("b.example/log", qpd=10**12)), bounds=Bounds(per_day=500))
    assert [entry.per_day for entry in found.add] == [10, 500]


def test_a_log_that_cannot_be_cosigned_here_is_skipped_with_its_line() -> None:
    cosignature = signer("w", "w.example/1", SignatureType.COSIGNATURE_ED25519).verifier
    data = listing(
        f"vkey {cosignature}\nqpd 3",  # line 4
        "vkey nonsense\nqpd 3",
        row(WITNESS),
        row("other.example/log", origin="another name"),
        row("good.example/log"),
        row("long.example/log", contact="x" * 301),
    )
    found = plan(data)
    assert [entry.origin for entry in found.add] == ["good.example/log"]
    assert [(one.line, one.name.partition("/")[0]) for one in found.skipped][:2] == [(4, "w.example"), (6, "nonsense")]
    assert len(found.skipped) == 5


@pytest.mark.parametrize("bad", [{"logs": 0}, {"logs": 10**9}, {"per_day": 0}])
def test_bounds_have_ranges(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        Bounds(**bad)


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "W1"
    directory.init(path, WITNESS)
    return path


def entries(folder: Path) -> dict[str, LogEntry]:
    with directory.read_state(folder) as store:
        return {entry.origin: entry for entry in store.logs()}


def test_pull_logs_shows_what_it_would_add_then_adds_it_once(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "list"
    source.write_bytes(listing(row("a.example/log"), row("b.example/log"), "vkey odd\x1b[31m\nqpd 3"))
    dry = teelog("witness", "pull-logs", str(folder), str(source), "--dry-run")
    assert (dry.code, "2 would be added" in dry.text, "\x1b" in dry.text) == (0, True, False)
    assert entries(folder) == {}
    done = teelog("witness", "pull-logs", str(folder), str(source), "--json")
    (found,) = done.json["lists"]
    assert [one["log"] for one in found["added"]] == ["a.example/log", "b.example/log"]
    assert (found["known"], found["skipped"][0]["line"]) == (0, 10)
    assert {name: entry.per_day for name, entry in entries(folder).items()} == {
        "a.example/log": 288,
        "b.example/log": 288,
    }
    again = teelog("witness", "pull-logs", str(folder), str(source))
    assert "0 added, 2 known already, 1 skipped" in again.text


def test_W_48_pull_logs_refuses_a_list_and_changes_nothing(folder: Path, tmp_path: Path) -> None:
    admin.run(folder, admin.AddLog((vkey(ORIGIN, "old"),)))
    source = tmp_path / "list"
    source.write_bytes(listing(row("a.example/log"), row(ORIGIN, "new")))
    done = teelog("witness", "pull-logs", str(folder), str(source))
    assert (done.code, "nothing of it is applied" in done.stderr) == (6, True)
    assert list(entries(folder)) == [ORIGIN]


def test_all_logs_of_a_list_are_added_or_none(folder: Path) -> None:
    found = plan(listing(*(row(f"{name}.example/log") for name in "abcd")))
    admin.run(folder, admin.AddLog((vkey("c.example/log"),)))
    store = directory.open_state(directory.load(folder))
    with pytest.raises(ConfigError, match="was added meanwhile"):
        admin.apply_plan(store, found)
    assert [entry.origin for entry in store.logs()] == ["c.example/log"]
    store.close()


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ((), "names no list", 6),
        (("no-such-file",), "cannot read no-such-file", 4),
        (("http://lists.example/l",), "https is needed", 6),
        (("ftp://lists.example/l",), "https", 6),
        (("https://127.0.0.1/l",), "not an address of the open internet", 6),
        (("https://user:pass@lists.example/l",), "without credentials", 6),
    ],
)
def test_A_16_pull_logs_tells_what_it_cannot_read(
    folder: Path, arguments: tuple[str, ...], said: str, code: int
) -> None:
    done = teelog("witness", "pull-logs", str(folder), *arguments)
    assert (done.code, said in done.stderr) == (code, True), done.stderr


def test_a_semantic_witness_takes_no_list(folder: Path, tmp_path: Path) -> None:
    store = directory.open_state(directory.load(folder))
    store.make_semantic()
    store.close()
    source = tmp_path / "list"
    source.write_bytes(listing(row("a.example/log")))
    done = teelog("witness", "pull-logs", str(folder), str(source))
    assert (done.code, "semantic" in done.stderr) == (6, True)


# -- a running witness ------------------------------------------------------------------------------------------------


def pull(desk: Desk, data: bytes, **more: object) -> list_plan.Plan:
    assert desk.engine is not None
    command = admin.PullLogs(data.decode(), **more)  # type: ignore[arg-type]
    return asyncio.run(admin.pull_running(desk.engine, WITNESS, command))


def test_a_running_witness_cosigns_what_a_list_added_and_goes_on_with_what_it_had(
    open_desk: OpenDesk, log: Log
) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 3)
    other = Log("b.example/log")
    data = listing(f"vkey {other.vkeys[0]}\nqpd 5", f"vkey {log.vkeys[0]}\nqpd 5")
    assert desk.post(other.request(0, 2)).status == 404
    assert len(pull(desk, data, dry_run=True).add) == 1
    assert desk.post(other.request(0, 2)).status == 404
    assert len(pull(desk, data).add) == 1
    desk.cosign(other, 0, 2)
    desk.cosign(log, 3, 4)
    assert pull(desk, data).add == ()


def test_A_65_a_disabled_log_stays_disabled_when_a_list_has_it(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(log)
    assert desk.engine is not None
    desk.engine.call(lambda store: admin.apply(store, WITNESS, admin.DisableLog(log.origin))).result(60)
    pull(desk, listing(f"vkey {log.vkeys[0]}\nqpd 5"))
    assert desk.post(log.request(0, 2)).status == 403


def test_a_log_that_is_added_while_a_list_is_planned_is_not_overwritten(open_desk: OpenDesk) -> None:
    desk = open_desk()
    assert desk.engine is not None
    found = plan(listing(row(ORIGIN, "listed")))
    desk.engine.call(lambda store: admin.apply(store, WITNESS, admin.AddLog((vkey(ORIGIN, "typed"),)))).result(60)
    with pytest.raises(ConfigError, match="was added meanwhile"):
        desk.engine.call(lambda store: admin.apply_plan(store, found)).result(60)
    entry = desk.engine.registry.entry(ORIGIN)
    assert entry is not None
    assert entry.vkeys == (vkey(ORIGIN, "typed"),)


# -- at intervals -----------------------------------------------------------------------------------------------------


def puller(desk: Desk, answers: list[bytes | TeelogError], time: list[float]) -> Puller:
    assert desk.engine is not None
    config = directory.Config(WITNESS, lists=(ListSource("https://lists.example/1"),))
    witness = directory.Witness(desk.path, config, desk.witness.signers)

    async def fetch(_: ListSource) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, TeelogError):
            raise answer
        return answer

    async def sleep(seconds: float) -> None:
        time[0] += seconds
        if not answers:
            raise asyncio.CancelledError

    return Puller(witness, desk.engine, desk.metrics, monotonic=lambda: time[0], fetch=fetch, sleep=sleep)


def test_a_list_is_looked_at_again_and_again_whatever_it_does(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(log)
    good = listing(row("a.example/log"))
    answers: list[bytes | TeelogError] = [
        UnavailableError("no answer"),
        RefusedError("gone"),
        b"\xff",
        b"not a list",
        listing(row("z.example/log"), row(ORIGIN, "another")),
        good,
        good,
        listing(row("a.example/log"), row("b.example/log")),
    ]
    time = [100.0]
    one = puller(desk, answers, time)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(one.run())
    counted = {
        result: desk.metrics.registry.get_sample_value("witness_list_pulls_total", {"result": result})
        for result in ("unreachable", "refused", "applied", "unchanged")
    }
    assert counted == {"unreachable": 1, "refused": 4, "applied": 2, "unchanged": 1}
    assert list(entries(desk.path)) == ["a.example/log", "b.example/log", ORIGIN]
    assert one.age() == 3_600.0
    assert desk.metrics.registry.get_sample_value("witness_list_age_seconds") == 3_600.0
    desk.cosign(log, 0, 1)


def test_a_fault_with_one_list_ends_neither_its_turns_nor_the_witness(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(log)
    time = [0.0]
    one = puller(desk, [listing(row("a.example/log"))], time)
    fetch, calls = one._fetch, [0]

    async def twice(source: ListSource) -> bytes:
        calls[0] += 1
        if calls[0] == 1:
            raise RuntimeError("on purpose")
        return await fetch(source)

    one._fetch = twice
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(one.run())
    assert "a.example/log" in entries(desk.path)
    assert desk.metrics.registry.get_sample_value("witness_list_pulls_total", {"result": "failed"}) == 1


@pytest.mark.parametrize(
    "text",
    [
        'url = "http://lists.example/1"',
        'url = "https://10.0.0.1/1"',
        'url = "https://lists.example/1"\nevery_seconds = 1',
        'url = "https://lists.example/1"\nmax_logs = 0',
        'url = "https://lists.example/1"\nevery = 600',
    ],
)
def test_A_16_a_list_in_the_configuration_that_is_not_usable_is_told_at_once(folder: Path, text: str) -> None:
    with (folder / directory.CONFIG).open("a") as config:
        config.write(f"\n[[list]]\n{text}\n")
    with pytest.raises(ConfigError, match="not usable"):
        directory.load_config(folder)


def test_a_witness_has_a_bounded_number_of_lists(folder: Path) -> None:
    with (folder / directory.CONFIG).open("a") as config:
        config.write('\n[[list]]\nurl = "https://lists.example/1"\n' * (directory.MAX_LISTS + 1))
    with pytest.raises(ConfigError, match="more than 16 lists"):
        directory.load_config(folder)


def test_the_lists_of_the_configuration_are_read_over_http(folder: Path) -> None:
    async def serve_list(_: web.BaseRequest) -> web.Response:
        return web.Response(body=listing(row("a.example/log")))

    async def run() -> None:
        runner = web.ServerRunner(web.Server(serve_list))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        with (folder / directory.CONFIG).open("a") as config:
            config.write(f'\n[[list]]\nurl = "http://127.0.0.1:{port}/list"\nlocal = true\nmax_per_day = 24\n')
        done = await asyncio.to_thread(teelog, "witness", "pull-logs", str(folder))
        await runner.cleanup()
        assert done.code == 0, done.stderr
        assert f"http://127.0.0.1:{port}/list: 1 added" in done.text

    asyncio.run(run())
    assert entries(folder)["a.example/log"].per_day == 24
