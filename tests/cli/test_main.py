"""The command tree, and errors becoming exit codes."""

from __future__ import annotations

import errno
import subprocess
import sys

import click
import pytest

from teelog import errors
from teelog.cli import main as tree
from tests.commands import teelog, teelog_process


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Lets `teelog version` raise what the test gives."""

    def install(error: BaseException) -> None:
        def body() -> None:
            raise error

        monkeypatch.setattr(tree.version, "callback", body)

    return install


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.MalformedError("m"), 1),
        (errors.SignatureError("m"), 1),
        (errors.RefusedError("m", status=403), 1),
        (errors.NotEstablished("m"), 3),
        (errors.UnavailableError("m"), 4),
        (OSError(errno.EIO, "Input/output error", "some/file"), 4),
        (TimeoutError(), 4),
        (errors.MisbehaviourError("m"), 5),
        (errors.ConfigError("m"), 6),
        (KeyError("surprise"), 70),
        (RecursionError(), 70),
        (KeyboardInterrupt(), 130),
        (ExceptionGroup("tasks", [OSError("x"), errors.UnavailableError("m"), errors.MisbehaviourError("m")]), 5),
        (ExceptionGroup("tasks", [ExceptionGroup("inner", [errors.ConfigError("m")]), errors.NotWitnessed("m")]), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_each_error_has_its_exit_code_and_no_traceback(failing, error: BaseException, code: int):
    failing(error)
    ran = teelog("version")
    assert ran.code == code
    assert ran.stdout == b""
    assert "Traceback" not in ran.stderr


def test_a_failure_prints_one_cause_expected_actual_and_the_next_command(failing):
    failing(errors.ConfigError("key file is open to others", expected="0600", actual="0644", hint="chmod 600 acme.key"))
    assert teelog("version").stderr == (
        "error: key file is open to others\nexpected: 0600\nactual: 0644\nnext: chmod 600 acme.key\n"
    )


def test_a_failure_with_json_is_one_object_on_stdout(failing):
    failing(errors.NotWitnessed("quorum not met", expected=3, actual=b"\x1b2"))
    ran = teelog("version", "--json")
    assert ran.code == 1
    assert ran.json == {
        "schema": "teelog-error/v1",
        "error": "quorum not met",
        "expected": "3",
        "actual": "\x1b2",
        "next": None,
        "exit": 1,
    }
    assert b"\x1b" not in ran.stdout
    assert ran.stderr.startswith("error: quorum not met\n")


def test_A_74_hostile_text_in_an_error_is_escaped(failing):
    failing(errors.MalformedError("bad name", actual="\x1b]52;c;AAAA\x07\r\u202eok\nerror: none"))
    shown = teelog("version").stderr
    assert shown == "error: bad name\nactual: \\u{1b}]52;c;AAAA\\u{7}\\u{d}\\u{202e}ok\\u{a}error: none\n"


def test_a_fault_of_the_program_shows_its_place_on_demand_only(failing):
    failing(KeyError("surprise"))
    assert "Traceback" not in teelog("version").stderr
    assert "Traceback" in teelog("version", env={"TEELOG_DEBUG": "1"}).stderr


@pytest.mark.parametrize("arguments", [["nonsense"], ["version", "--no"], ["completion", "tcsh"], ["version", "x"]])
def test_wrong_usage_is_2_with_the_help_to_ask_for(arguments: list[str]):
    ran = teelog(*arguments)
    assert ran.code == 2
    assert ran.stderr.startswith("error: ")
    assert ran.stderr.endswith("--help\n")


def test_no_arguments_show_the_help_on_stderr_and_are_wrong_usage():
    ran = teelog()
    assert (ran.code, ran.stdout) == (2, b"")
    assert "Commands:" in ran.stderr


def test_an_exit_code_that_a_command_chose_is_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tree.version, "callback", lambda: click.get_current_context().exit(3))
    assert teelog("version").code == 3
    monkeypatch.setattr(tree.version, "callback", lambda: sys.exit(1))
    assert teelog("version").code == 1


def test_the_version_is_an_option_too():
    assert teelog("version").text.startswith(teelog("--version").text.strip())


def test_version_names_itself():
    assert teelog("version").text.startswith("teelog ")
    assert teelog("version", "--json").json["schema"] == "teelog-version/v1"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str):
    ran = teelog("completion", shell)
    assert ran.code == 0
    assert "_TEELOG_COMPLETE" in ran.text


def test_completion_proposes_commands():
    env = {"_TEELOG_COMPLETE": "bash_complete", "COMP_WORDS": "teelog ver", "COMP_CWORD": "1"}
    assert "plain,version" in teelog(env=env).text


def test_help_lists_every_command_without_loading_it():
    check = (
        "import sys; from teelog.cli.main import main, COMMANDS; main(['--help']);"
        "loaded = [e.target for e in COMMANDS.values() if e.target.split(':')[0] in sys.modules];"
        "assert all(t.startswith('teelog.cli.main:') for t in loaded), loaded;"
        "heavy = {'aiohttp', 'sqlite3', 'rich', 'sqlite_utils'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in tree.root.list_commands(click.Context(tree.root)):
        assert f"\n  {name} " in done.stdout


def test_every_command_can_be_loaded_and_explains_itself():
    context = click.Context(tree.root)
    for name in tree.root.list_commands(context):
        command = tree.root.get_command(context, name)
        assert command is not None
        assert command.help, name
        ran = teelog(name, "--help")
        assert ran.code == 0


def test_a_result_that_could_not_be_written_is_no_success():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "teelog.cli.main", "version"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 4
    assert done.stderr == b"error: No space left on device\n"


def test_a_reader_that_left_is_no_success_and_no_traceback():
    process = subprocess.Popen(
        [sys.executable, "-m", "teelog.cli.main", "completion", "bash"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 4
    assert told == b""


def test_a_broken_pipe_to_a_peer_is_unavailable_not_failed(failing):
    failing(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    ran = teelog("version")
    assert (ran.code, ran.stderr) == (4, "error: Broken pipe\n")


def test_the_process_gives_the_same_answer():
    ran = teelog_process("nonsense", "--json")
    assert ran.code == 2
    assert ran.json["exit"] == 2
