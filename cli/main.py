"""The command tree and the one place where errors become exit codes.

Sub-commands are loaded when they are used: `teelog --help` and the offline commands never pay for a server's imports.

Exit codes (design section 8): 0 verified, done; 1 verification failed or refused; 2 usage; 3 not established;
4 unavailable (I/O, network, quorum not reached); 5 log misbehaviour proven; 6 bad configuration, policy or key.
Beside these: 70 an error in this program (TEELOG_DEBUG=1 shows where), 130 interrupted.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem, get_completion_class

import teelog
from teelog.cli import output
from teelog.errors import TeelogError

UNAVAILABLE = 4
INTERNAL = 70
INTERRUPTED = 130


class Entry(NamedTuple):
    target: str  # module:attribute
    help: str


# The order is that of `teelog --help`.
COMMANDS = {
    "demo": Entry("teelog.cli.demo:command", "The whole story on this machine; ends with a fork being caught."),
    "key": Entry("teelog.cli.key:group", "Make and show signing keys."),
    "policy": Entry("teelog.cli.policy:group", "Make, check and show policies: log, witnesses, quorum."),
    "trust": Entry("teelog.cli.trust:group", "Make, pin and check the trust file: what a verifier believes."),
    "measure": Entry("teelog.cli.measure:group", "Compute the registers of a TEE from what it will run."),
    "release": Entry("teelog.cli.release:group", "Make, sign, publish, allow, withdraw, list and show releases."),
    "namespace": Entry("teelog.cli.namespace:group", "Make, rotate and show a vendor's namespace."),
    "sign": Entry("teelog.cli.sign:command", "Add a signature to a statement."),
    "result": Entry("teelog.cli.result:group", "Publish and show attestation results."),
    "verify": Entry("teelog.cli.verify:command", "Verify evidence against the log and the trust file, offline."),
    "proof": Entry("teelog.cli.proof:group", "Get, show and verify proofs of inclusion."),
    "bundle": Entry("teelog.cli.bundle:group", "Get, show and refresh bundles: what is allowed now, in one file."),
    "lookup": Entry("teelog.cli.lookup:command", "Look up what a log's index holds, or that it holds nothing; proven."),
    "checkpoint": Entry("teelog.cli.checkpoint:group", "Show, verify and compare checkpoints."),
    "entry": Entry("teelog.cli.entry:command", "Fetch one entry of a log, verified."),
    "evidence": Entry("teelog.cli.evidence:group", "Decode a TEE's evidence, and verify it by itself."),
    "log": Entry("teelog.cli.log:group", "Run a log."),
    "witness": Entry("teelog.cli.witness:group", "Run a witness."),
    "monitor": Entry("teelog.cli.monitor:group", "Look at logs that others run: trees, indexes, namespaces."),
    "fork": Entry("teelog.cli.fork:group", "Verify proofs that a log showed two views."),
    "version": Entry("teelog.cli.main:version", "Show the versions in use."),
    "completion": Entry("teelog.cli.main:completion", "Print the completion script of a shell."),
}


class LazyGroup(click.Group):
    """A group whose members' names and one-line helps are known without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [CompletionItem(name, help=COMMANDS[name].help) for name in names]


@click.version_option(teelog.__version__, prog_name="teelog", message="%(prog)s %(version)s")
@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def root() -> None:
    """A transparency log for what runs inside trusted execution environments.

    Results go to stdout, talk to stderr. Exit codes: 0 verified or done, 1 verification failed or refused, 2 usage,
    3 not established, 4 unavailable, 5 log misbehaviour proven, 6 bad configuration, policy or key.
    """


@click.command()
@output.json_option
def version() -> None:
    """Show the versions of teelog, Python and the cryptography library."""
    import cryptography

    python = ".".join(map(str, sys.version_info[:3]))
    output.result(
        f"teelog {teelog.__version__} (Python {python}, cryptography {cryptography.__version__})",
        {
            "schema": "teelog-version/v1",
            "version": teelog.__version__,
            "python": python,
            "cryptography": cryptography.__version__,
        },
    )


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    Example: teelog completion bash > ~/.local/share/bash-completion/completions/teelog
    """
    script = get_completion_class(shell)
    assert script is not None
    output.document(script(root, {}, "teelog", "_TEELOG_COMPLETE").source().encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; ``arguments`` default to the process's."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    output.begin()
    try:
        code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has left: the result did not arrive, so this is no success.
        _drop_stdout()
        return UNAVAILABLE
    except OSError as error:  # stdout on a full disk
        _drop_stdout()
        return _tell_os_error(error, as_json=False)
    return code


def _reader_left() -> bool:
    """Whether stdout is a pipe that nobody reads any more."""
    with contextlib.suppress(OSError, ValueError):
        watch = select.poll()
        watch.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in watch.poll(0))
    return False


def _drop_stdout() -> None:
    """Lets the interpreter's own flush at exit succeed; the failure has been told."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    try:
        if "_TEELOG_COMPLETE" in os.environ:
            root.main(arguments, prog_name="teelog")  # never returns
        # Not root.main: it answers a broken pipe, a peer's included, with 1, "verification failed".
        with root.make_context("teelog", list(arguments)) as context:
            root.invoke(context)
        return 0
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except click.UsageError as error:
        return _tell_usage(error, as_json)
    except (click.Abort, KeyboardInterrupt):
        output.note("interrupted")
        return INTERRUPTED
    except BrokenPipeError as error:
        if _reader_left():
            raise
        return _tell_os_error(error, as_json)  # a peer's connection
    except BaseExceptionGroup as group:
        return _tell(_worst(group), as_json)
    except Exception as error:  # noqa: BLE001  the last handler: whatever it is, one cause and a code, never a traceback
        return _tell(error, as_json)


def _worst(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The member that decides the exit code: tasks that fail together have one cause to tell."""
    leaves: list[BaseException] = []
    for member in group.exceptions:
        leaves.append(_worst(member) if isinstance(member, BaseExceptionGroup) else member)
    ranked = {code: place for place, code in enumerate(output.EXIT_ORDER)}
    known = [leaf for leaf in leaves if isinstance(leaf, TeelogError)]
    return min(known, key=lambda leaf: ranked[leaf.exit_code]) if known else leaves[0]


def _tell(error: BaseException, as_json: bool) -> int:
    if os.environ.get("TEELOG_DEBUG"):
        import traceback

        output.trace("".join(traceback.format_exception(error)))
    if isinstance(error, TeelogError):
        output.error(
            error.message,
            expected=error.expected,
            actual=error.actual,
            hint=error.hint,
            code=error.exit_code,
            as_json=as_json,
        )
        return error.exit_code
    if isinstance(error, OSError):
        return _tell_os_error(error, as_json)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    output.error(
        f"this is a fault in teelog: {type(error).__name__}: {error}",
        hint="set TEELOG_DEBUG=1, run it again and report what it prints",
        code=INTERNAL,
        as_json=as_json,
    )
    return INTERNAL


def _tell_os_error(error: OSError, as_json: bool) -> int:
    reason: Any = error.strerror or str(error) or type(error).__name__
    cause = f"{error.filename}: {reason}" if error.filename is not None else str(reason)
    output.error(cause, code=UNAVAILABLE, as_json=as_json)
    return UNAVAILABLE


def _tell_usage(error: click.UsageError, as_json: bool) -> int:
    path = error.ctx.command_path if error.ctx is not None else "teelog"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        output.help_text(error.format_message())
        return error.exit_code
    cause = " ".join(error.format_message().split()).removesuffix(".")  # a choice is told in several lines
    output.error(cause, hint=f"{path} --help", code=error.exit_code, as_json=as_json)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
