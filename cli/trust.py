"""`teelog trust`: make, pin and check the verifier's trust file; and how other commands take one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from teelog import trust
from teelog.cli import files, output
from teelog.errors import ConfigError, MalformedError, VerificationError
from teelog.statement import names
from teelog.tlog.policy import MAX_LENGTH as MAX_POLICY
from teelog.tlog.policy import NONE, Policy
from teelog.trust import Trust

Command = TypeVar("Command", bound=Callable[..., Any])

LONG_AGE = 7 * 86_400  # seconds; above it `check` warns


# -- for the other commands -------------------------------------------------------------------------------------------


def trust_option(command: Command) -> Command:
    """Gives a command ``--trust`` (or TEELOG_TRUST); its parameter is ``trust_file``."""
    return click.option(
        "--trust",
        "trust_file",
        metavar="FILE",
        required=True,
        envvar="TEELOG_TRUST",
        show_envvar=True,
        help="What you trust: log, witnesses, pins (docs/formats/trust-file.md).",
    )(command)


def load(path: str) -> Trust:
    """The trust file at ``path``; the policies that it names lie beside it. Raises ConfigError, UnavailableError."""
    return load_texts(path)[0]


def load_texts(path: str) -> tuple[Trust, list[bytes]]:
    """As ``load``, and the texts of the policies: the main log's, then that of its index if there is one."""
    texts: list[bytes] = []
    return _parse(files.read(path, trust.MAX_LENGTH, "trust file"), path, texts), texts


def _parse(data: bytes, path: str, texts: list[bytes] | None = None) -> Trust:
    folder = Path(path).parent if path != output.STDOUT else Path()

    def read(name: str) -> bytes:
        text = files.read(folder / name, MAX_POLICY, "policy")
        if texts is not None:
            texts.append(text)
        return text

    try:
        return trust.parse(data, read)
    except ConfigError as error:
        hint = error.hint or "docs/formats/trust-file.md"
        named = "" if path == output.STDOUT else f"{path}: "
        raise ConfigError(f"{named}{error.message}", expected=error.expected, actual=error.actual, hint=hint) from error


# -- the commands -----------------------------------------------------------------------------------------------------


@click.group()
def group() -> None:
    """Make, pin and check the trust file: everything that a verifier chooses to believe."""


def _streams(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(names.stream(value)) for value in values)
    except MalformedError as error:
        raise click.BadParameter(str(error)) from error


@group.command()
@click.option("--policy", "policy_file", metavar="FILE", required=True, help="Of the main log: witnesses, quorum.")
@click.option("--index-policy", metavar="FILE", help="Of the log's index: semantic witnesses, quorum.")
@click.option("--namespace", "namespaces", metavar="NAME", multiple=True, help="Whose releases; repeatable.")
@click.option(
    "--stream", "streams", metavar="S", multiple=True, callback=_streams, help="NAMESPACE/PRODUCT/CHANNEL; repeatable."
)
@click.option("--max-age", metavar="AGE", default="24h", show_default=True, help="Of cosignatures that count as fresh.")
@click.option("--min-svn", type=click.IntRange(min=0), help="Least security version of the streams' releases.")
@click.option("--out", metavar="FILE", default=output.STDOUT, help="Where to write it.  [default: stdout]")
@output.json_option
def new(
    policy_file: str,
    index_policy: str | None,
    namespaces: tuple[str, ...],
    streams: tuple[str, ...],
    max_age: str,
    min_svn: int | None,
    out: str,
) -> None:
    """Make a trust file that requires every check. Nothing is pinned yet: that takes `teelog trust pin`.

    The namespace of each --stream is listed without being asked for.

    Example: teelog trust new --policy policy.txt --namespace acme.example --stream acme.example/inference/stable >
    trust.toml
    """
    listed = dict.fromkeys([*namespaces, *(stream.partition("/")[0] for stream in streams)])
    text = [f"main = {_quoted(_relative(policy_file, out))}"]
    text += [f"index = {_quoted(_relative(index_policy, out))}"] if index_policy else []
    text += [f"max_age = {_quoted(max_age)}", ""]
    for name in listed:
        text += ["[[namespace]]", f"name = {_quoted(name)}", "# pin: teelog trust pin FILE NAMESPACE-FILE", ""]
    for stream in streams:
        text += ["[[stream]]", f"name = {_quoted(stream)}"]
        text += [f"min_svn = {min_svn}", ""] if min_svn is not None else ["min_svn = 0", ""]
    text += ["# [platform.sev-snp]", "# min_tcb = { bl = 4, tee = 0, snp = 23, ucode = 213 }", ""]
    text += ["[checks]", "# Every check is required. One that is switched off is named here and printed:"]
    text += ['# binding = "off"', ""]
    data = "\n".join(text).encode()
    _parse(data, out)
    output.write_file(out, data)
    if out != output.STDOUT:
        output.result(
            [f"trust file    {out}", *(f"not pinned    {name}" for name in listed)],
            {"schema": "teelog-trust/v1", "file": out, "not_pinned": list(listed)},
        )
    for name in listed:
        output.note(f"next: teelog trust pin {out if out != output.STDOUT else 'TRUST-FILE'} FILE  ({name})")


def _relative(policy: str, out: str) -> str:
    """The policy's path as it is reached from the trust file's folder."""
    if Path(policy).is_absolute() or out == output.STDOUT:
        return policy
    return os.path.relpath(policy, Path(out).parent)


def _quoted(text: str) -> str:
    """A TOML basic string."""
    import json

    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        raise ConfigError("a trust file holds UTF-8 only", actual=text)
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@group.command()
@click.argument("trust_file", metavar="TRUST")
@click.argument("file", metavar="NAMESPACE")
@click.option("--replace", is_flag=True, help="Also where another statement is pinned already.")
@output.json_option
def pin(trust_file: str, file: str, replace: bool) -> None:
    """Pin the namespace statement in the file NAMESPACE: from now on its keys, and those that follow it, are believed.

    Compare the statement id with what the vendor publishes before you rely on it.

    Example: teelog trust pin trust.toml ns.json
    """
    from teelog.cli import statements
    from teelog.statement import namespace
    from teelog.statement.admit import Kind

    try:
        known = load(trust_file)
    except ConfigError as error:
        if Path(file).suffix != ".toml":
            raise
        order = "the trust file comes first: teelog trust pin TRUST NAMESPACE"
        raise ConfigError(error.message, expected=error.expected, actual=error.actual, hint=order) from error
    statement = statements.read(file)
    claim = statement.statement.claim
    if not isinstance(claim, namespace.NamespacePredicate):
        raise statements.wrong_kind(file, Kind.NAMESPACE, statement.statement.kind)
    if statement.envelope is None:
        raise VerificationError(f"{file} is not signed", hint=f"teelog sign {file} --key KEYREF")
    chosen = namespace.verify_pinned(statement.envelope, statement.statement_id)
    if chosen.log != known.origin:
        raise ConfigError(
            "the namespace speaks on another log than the trust file's", expected=known.origin, actual=chosen.log
        )
    before = known.namespaces.get(chosen.name)
    if before not in (None, chosen.statement_id) and not replace:
        raise ConfigError(
            f"another statement of {chosen.name} is pinned",
            expected=before,
            actual=chosen.statement_id,
            hint=f"if you mean to believe the new one: teelog trust pin {trust_file} {file} --replace",
        )
    _show_pin(chosen)
    if before != chosen.statement_id:
        _write_pin(trust_file, chosen.name, chosen.statement_id, known)
    output.result(
        [f"pinned        {chosen.name} {chosen.statement_id}", f"trust file    {trust_file}"],
        {
            "schema": "teelog-trust-pin/v1",
            "file": trust_file,
            "namespace": chosen.name,
            "version": chosen.version,
            "pin": chosen.statement_id,
            "before": before,
        },
    )


def _show_pin(chosen: Any) -> None:
    output.note(f"namespace     {chosen.name} version {chosen.version}, on {chosen.log}")
    output.note(f"statement id  {chosen.statement_id}")
    for keyid, key in chosen.keys.items():
        output.note(f"key           {keyid} {key.public.algorithm} {','.join(key.roles)}")
    if chosen.version:
        output.note("this version's signatures are its predecessor's business: the pin alone vouches for it")


def _write_pin(path: str, name: str, pin: str, known: Trust) -> None:
    """Changes the one line of the file and nothing else; refuses where that cannot be done by lines."""
    from dataclasses import replace

    text = files.read(path, trust.MAX_LENGTH, "trust file").decode()
    changed = _with_pin(text, name, pin).encode()
    wanted = replace(known, namespaces={**known.namespaces, name: pin})
    try:
        same = _parse(changed, path) == wanted
    except ConfigError:
        same = False
    if not same:
        raise ConfigError(
            f"{path} cannot be changed by this command", expected=f'pin = "{pin}" in its table {name}', hint="edit it"
        )
    output.write_file(path, changed, Path(path).stat().st_mode & 0o777)


def _with_pin(text: str, name: str, pin: str) -> str:
    lines = text.split("\n")
    starts = [n for n, line in enumerate(lines) if line.lstrip().startswith("[")] + [len(lines)]
    for start, end in itertools.pairwise(starts):
        block = lines[start:end]
        if "".join(block[0].split()).startswith("[[namespace]]") and _names(block) == name:
            kept = [line for line in block if not line.lstrip().startswith(("pin ", "pin=", "# pin:"))]
            place = next(n for n, line in enumerate(kept) if line.lstrip().startswith("name")) + 1
            return "\n".join([*lines[:start], *kept[:place], f'pin = "{pin}"', *kept[place:], *lines[end:]])
    more = f'[[namespace]]\nname = "{name}"\npin = "{pin}"\n'
    return "\n".join(lines).rstrip("\n") + "\n\n" + more


def _names(block: list[str]) -> str | None:
    import tomllib

    try:
        tables = tomllib.loads("\n".join(block))["namespace"]
        return str(tables[0]["name"])
    except (ValueError, KeyError):
        return None


@group.command()
@click.argument("file", metavar="TRUST")
@output.json_option
def check(file: str) -> None:
    """Judge a trust file: is it read, is everything pinned, what is switched off, how long may a withdrawal go unseen.

    Exit code 1 if a namespace is not pinned, a policy does not rule out a split view, or a check is off.

    Example: teelog trust check trust.toml
    """
    from teelog.cli import policy as policies

    known = load(file)
    problems = _problems(known)
    rows = [("log", known.origin), ("quorum", policies.describe_quorum(known.main))]
    rows.append(("index", "none: allowed-now cannot be established") if known.index is None else _index(known.index))
    rows.append(("max age", f"{known.max_age} s: how long a withdrawn release may still pass, at most"))
    rows += [("namespace", f"{name} {pin or 'not pinned'}") for name, pin in known.namespaces.items()]
    for name, rule in known.streams.items():
        rows.append(("stream", f"{name}, svn {rule.min_svn} or above, {len(rule.deny)} denied"))
    rows += [("platform", f"{name}: {', '.join(table) or 'no demands'}") for name, table in known.floors.items()]
    rows += [("roots", f"{name}: {', '.join(own.pins)}, your own") for name, own in known.roots.items()]
    rows += [("off", name) for name in sorted(known.off)]
    output.result(
        [*output.columns(rows), *(f"problem    {problem}" for problem in problems)],
        {
            "schema": "teelog-trust-check/v1",
            "ok": not problems,
            "log": known.origin,
            "index": known.index is not None,
            "max_age_s": known.max_age,
            "namespaces": dict(known.namespaces),
            "streams": {n: {"min_svn": r.min_svn, "deny": sorted(r.deny)} for n, r in known.streams.items()},
            "platforms": {name: dict(table) for name, table in known.floors.items()},
            "off": sorted(known.off),
            "problems": problems,
        },
    )
    if problems:
        output.fail("this trust file leaves something open")
        raise click.exceptions.Exit(1)
    output.ok("every check is required, everything is pinned")


def _index(index: Policy) -> tuple[str, str]:
    from teelog.cli import policy as policies

    return "index", policies.describe_quorum(index)


def _problems(known: Trust) -> list[str]:
    from teelog.tlog import policy_lint

    found = []
    for what, policy in (("main", known.main), ("index", known.index)):
        if policy is None:
            continue
        if policy.quorum == NONE:
            found.append(f"{what}: no witness is required")
            continue
        found += [f"{what}: {problem}" for problem in policy_lint.lint(policy).problems]
    found += [f"namespace {name} is not pinned" for name, pin in known.namespaces.items() if pin is None]
    if not known.streams:
        found.append("no stream is listed: no release can pass")
    if known.max_age > LONG_AGE:
        found.append(f"max_age is long: a withdrawn release passes for {known.max_age // 86_400} days")
    found += [f"{name} hardware is judged by roots of your own, not by the vendor's" for name in known.roots]
    found += [f"{name} is off" for name in sorted(known.off)]
    return found
