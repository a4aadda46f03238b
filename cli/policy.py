"""`teelog policy`: make, check and show policies; and how every other command takes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from teelog.cli import files, output
from teelog.errors import ConfigError, MalformedError
from teelog.tlog import policy as tlog_policy
from teelog.tlog.policy import NONE, Log, Policy, WitnessedCheckpoint
from teelog.tlog.vkey import LOG_TYPES, WITNESS_TYPES, VerifierKey

if TYPE_CHECKING:
    from teelog.tlog.policy_lint import Operator

Command = TypeVar("Command", bound=Callable[..., Any])

_ORDER = "teelog.cli.policy.order"


# -- for the other commands -------------------------------------------------------------------------------------------


def policy_option(command: Command) -> Command:
    """Gives a command ``--policy`` (or TEELOG_POLICY); its parameter is ``policy_file``."""
    return click.option(
        "--policy",
        "policy_file",
        metavar="FILE",
        required=True,
        envvar="TEELOG_POLICY",
        show_envvar=True,
        help="Log, witnesses, quorum (c2sp.org/tlog-policy).",
    )(command)


def load(path: str) -> Policy:
    """The policy in a file. Raises ConfigError, UnavailableError."""
    try:
        return tlog_policy.parse_policy(files.read(path, tlog_policy.MAX_LENGTH, "policy"))
    except MalformedError as error:
        raise ConfigError(f"{path}: {error.message}", expected=error.expected, actual=error.actual) from error
    except ConfigError as error:
        hint = error.hint or f"teelog policy check {path}"
        raise ConfigError(
            f"{path}: {error.message}", expected=error.expected, actual=error.actual, hint=hint
        ) from error


def warn_if_unwitnessed(policy: Policy) -> None:
    """PL-21: says loudly that a policy asks for no witness."""
    if policy.quorum == NONE:
        output.warn("QUORUM NONE: no witness is required; the log alone is trusted not to show others another tree")


def the_log(policy: Policy, origin: str | None = None) -> Log:
    """The one log to talk to: with a URL if any of its lines has one. Raises ConfigError."""
    origins = policy.origins()
    if origin is None and len(origins) != 1:
        raise ConfigError(
            "the policy does not list exactly one log", expected="one log, or --url URL", actual=", ".join(origins)
        )
    logs = [log for log in policy.logs if origin in (None, log.key.name)]
    if not logs:
        raise ConfigError("the policy does not list this log", expected=", ".join(origins), actual=origin)
    return next((log for log in logs if log.url), logs[0])


def url_of(policy: Policy, given: str | None, origin: str | None = None) -> str:
    """The log's URL: the one given (``--url``, TEELOG_LOG), else the policy's. Raises ConfigError."""
    found = given or the_log(policy, origin).url
    if not found:
        raise ConfigError(
            "the log's URL is not known", expected="a URL in the policy's log line", hint="add --url, or set TEELOG_LOG"
        )
    return found


def place_of(policy: Policy, given: str | None, mirrors: Sequence[str]) -> str | None:
    """As ``url_of``; None where only mirrors are known to hold the log. Raises ConfigError."""
    known = given or not mirrors or the_log(policy).url
    return url_of(policy, given) if known else None


def describe_quorum(policy: Policy) -> str:
    """The quorum in words: ``3 of 4 in witnesses``."""
    group = policy.groups.get(policy.quorum)
    return policy.quorum if group is None else f"{group.threshold} of {len(group.members)} in {group.name}"


def witnessed_by(witnessed: WitnessedCheckpoint, policy: Policy) -> str:
    """Who cosigned, and what was asked for; the several keys of one witness are named once."""
    return f"{', '.join(cosigners(witnessed, policy)) or 'nobody'} (quorum: {describe_quorum(policy)})"


def cosigners(witnessed: WitnessedCheckpoint, policy: Policy) -> list[str]:
    """The names of the witnesses that cosigned, each once however many keys it has."""
    return policy.key_names(witnessed.cosignatures)


# -- the commands -----------------------------------------------------------------------------------------------------


@click.group()
def group() -> None:
    """Make, check and show policies: which log, which witnesses, how many of them must have cosigned."""


class _InOrder(click.Command):
    """Remembers in which order options were typed: a --url belongs to the --log or --witness before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[_ORDER] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


@group.command(cls=_InOrder)
@click.option("--log", "logs", metavar="VKEY", multiple=True, required=True, help="A log's vkeys: literal or file.")
@click.option("--witness", "witnesses", metavar="VKEY", multiple=True, help="One witness's vkeys: literal or file.")
@click.option("--url", "urls", metavar="URL", multiple=True, help="Of the --log or --witness before it.")
@click.option("--quorum", metavar="K", required=True, help="How many witnesses must have cosigned; or none.")
@click.option("--out", metavar="FILE", default=output.STDOUT, help="Where to write it.  [default: stdout]")
@click.pass_context
def new(
    context: click.Context,
    logs: tuple[str, ...],
    witnesses: tuple[str, ...],
    urls: tuple[str, ...],
    quorum: str,
    out: str,
) -> None:
    """Make a policy. Each --witness is one operator, who counts once however many keys it has.

    Example: teelog policy new --log LOG/log.vkey --url https://log.example/tee --witness W1/witness.vkeys --url
    https://w1.example --witness W2/witness.vkeys --quorum 2 > policy.txt
    """
    from teelog.tlog import policy_lint
    from teelog.tlog.policy_lint import Operator

    paired = _pair(context.meta[_ORDER], {"logs": logs, "witnesses": witnesses, "urls": urls})
    log_lines = [(key, url) for kind, ref, url in paired if kind == "logs" for key in _vkeys(ref, "log")]
    operators = [Operator(tuple(_vkeys(ref, "witness")), url) for kind, ref, url in paired if kind == "witnesses"]
    made = _write(log_lines, operators, quorum)
    output.write_file(out, made)
    parsed = tlog_policy.parse_policy(made)
    found = policy_lint.lint(parsed)
    warn_if_unwitnessed(parsed)
    if parsed.quorum != NONE:
        for problem in found.problems:
            output.warn(problem)
        output.note(f"tolerates {max(found.tolerated, 0)} colluding of {len(operators)} witnesses")


def _pair(order: Sequence[str | None], values: dict[str, tuple[str, ...]]) -> list[tuple[str, str, str | None]]:
    """(kind, value, URL) in the order typed."""
    left = {name: iter(given) for name, given in values.items()}
    found: list[tuple[str, str, str | None]] = []
    for name in order:
        if name not in left:
            continue
        value = next(left[name])
        if name != "urls":
            found.append((name, value, None))
        elif not found or found[-1][2] is not None:
            raise click.UsageError(f"--url {value} does not follow a --log or --witness of its own")
        else:
            found[-1] = (found[-1][0], found[-1][1], _url(value))
    return found


def _url(value: str) -> str:
    if not value.startswith(("https://", "http://")) or any(char <= " " or char == "\x7f" for char in value):
        raise ConfigError("not a URL", expected="https://HOST/PATH", actual=value)
    return value


def _vkeys(ref: str, slot: str) -> list[VerifierKey]:
    from teelog.cli import keyref

    allowed = LOG_TYPES if slot == "log" else WITNESS_TYPES
    found = keyref.load_vkeys(ref)
    for key in found:
        if key.type not in allowed:  # PL-16
            raise ConfigError(
                f"{ref} is no key of a {slot}",
                expected=" or ".join(f"{kind:#04x}" for kind in sorted(allowed)),
                actual=f"{key.name}+{key.key_id.hex()} of type {key.type:#04x}",
            )
    return found


def _write(logs: list[tuple[VerifierKey, str | None]], operators: list[Operator], quorum: str) -> bytes:
    if quorum != NONE:
        if not (quorum.isascii() and quorum.isdigit() and len(quorum) <= 4):
            raise click.UsageError(f"--quorum is a number of witnesses, or none: {quorum}")
        from teelog.tlog import policy_lint

        return policy_lint.write_policy(logs, operators, int(quorum))
    if operators:
        raise ConfigError("quorum none leaves no use for witnesses", expected=f"--quorum 1 to {len(operators)}")
    lines = [" ".join(["log", str(key), *([url] if url else [])]) for key, url in logs]
    return "\n".join([*lines, "quorum none", ""]).encode()


@group.command()
@click.argument("file", metavar="FILE")
@output.json_option
def check(file: str) -> None:
    """Judge a policy: how many witnesses could collude and still not deceive, and whether any operator counts twice.

    Exit code 1 if two disjoint sets of witnesses satisfy the quorum, none is asked for, or an operator counts twice.

    Example: teelog policy check policy.txt
    """
    from teelog.tlog import policy_lint

    policy = load(file)
    found = policy_lint.lint(policy)
    bad = found.tolerated < 0 or bool(found.counted_twice)
    warn_if_unwitnessed(policy)
    lines = [
        f"log          {', '.join(policy.origins()) or 'none'}",
        f"quorum       {describe_quorum(policy)}",
        f"operators    {len(found.operators)}: {', '.join(found.operators) or 'none'}",
        f"tolerates    {max(found.tolerated, 0)} colluding (f = {found.tolerated})",
        *(f"problem      {problem}" for problem in found.problems),
    ]
    output.result(
        lines,
        {
            "schema": "teelog-policy-check/v1",
            "ok": not bad,
            "tolerated": found.tolerated,
            "operators": list(found.operators),
            "counted_twice": list(found.counted_twice),
            "problems": list(found.problems),
        },
    )
    if bad:
        output.fail("this policy does not rule out a split view" if found.tolerated < 0 else "an operator counts twice")
        raise click.exceptions.Exit(1)
    output.ok("a split view needs more colluders than that")


@group.command()
@click.argument("file", metavar="FILE")
@output.json_option
def show(file: str) -> None:
    """Show a policy as a table.

    Example: teelog policy show policy.txt
    """
    policy = load(file)
    warn_if_unwitnessed(policy)
    rows = [("log", log.key.name, log.key.public.algorithm, log.key.key_id.hex(), log.url or "") for log in policy.logs]
    rows += [
        ("witness", each.name, each.key.public.algorithm, each.key.key_id.hex(), each.url or "")
        for each in policy.witnesses.values()
    ]
    groups = [
        ("group  ", g.name, f"{g.threshold} of {len(g.members)}", ", ".join(g.members)) for g in policy.groups.values()
    ]
    output.result(
        [*output.columns(rows), *output.columns(groups), f"quorum   {policy.quorum}"],
        {
            "schema": "teelog-policy/v1",
            "logs": [{"origin": log.key.name, "vkey": str(log.key), "url": log.url} for log in policy.logs],
            "witnesses": [
                {"name": each.name, "vkey": str(each.key), "url": each.url} for each in policy.witnesses.values()
            ],
            "groups": [
                {"name": g.name, "threshold": g.threshold, "members": list(g.members)} for g in policy.groups.values()
            ],
            "quorum": policy.quorum,
        },
    )
