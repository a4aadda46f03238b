"""`teelog monitor init` and `watch`: what a monitor looks at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from teelog.cli import files, output, standing
from teelog.cli import policy as policies
from teelog.cli.duration import DURATION
from teelog.errors import ConfigError, MalformedError

if TYPE_CHECKING:
    from teelog.witness.monitor.settings import Settings
    from teelog.witness.monitor.watches import Watch

MONITOR = click.argument("monitor", metavar="MONITOR", type=click.Path(path_type=Path))


@click.command()
@MONITOR
@policies.policy_option
@click.option(
    "--index-policy",
    "index_file",
    metavar="FILE",
    envvar="TEELOG_INDEX_POLICY",
    show_envvar=True,
    help="Of the log's index, which is rebuilt.",
)
@click.option("--trust", "trust_file", metavar="FILE", help="Its index policy, max age and namespaces.")
@click.option(
    "--url",
    "place",
    metavar="URL|DIR",
    envvar="TEELOG_LOG",
    show_envvar=True,
    help="Where the log is read.  [default: the policy's URL]",
)
@click.option("--mirror", "mirrors", multiple=True, metavar="URL|DIR", help="A copy to compare with. Repeatable.")
@click.option(
    "--ahead", type=DURATION, default="24h", show_default=True, help="Alert so long before a status goes stale."
)
@click.option("--max-age", type=DURATION, metavar="DURATION", help="Alert if no quorum is newer.  [default: 24h]")
@click.option(
    "--behind", type=DURATION, default="1h", show_default=True, help="Alert if a witness or mirror lags so long."
)
@output.json_option
def init(
    monitor: Path,
    policy_file: str,
    index_file: str | None,
    trust_file: str | None,
    place: str | None,
    mirrors: tuple[str, ...],
    ahead: float,
    max_age: float | None,
    behind: float,
) -> None:
    """Make a monitor: a folder that holds what it has seen of one log.

    It copies the policies: a file that is changed later changes nothing here.

    Example: teelog monitor init M --policy policy.txt --index-policy index.txt
    """
    from teelog.witness.monitor import folder
    from teelog.witness.monitor.settings import Settings

    policy = policies.load(policy_file)
    policies.warn_if_unwitnessed(policy)
    watched: tuple[tuple[str, str], ...] = ()
    index_text = None
    if trust_file is not None:
        from teelog.cli import trust

        found, texts = trust.load_texts(trust_file)
        if found.main != policy:
            raise ConfigError(f"{trust_file} is about another policy", expected=policy_file)
        watched = tuple(("namespace", name) for name in found.namespaces)
        max_age = max_age or float(found.max_age)
        index_text = None if found.index is None else texts[1].decode()
    if index_file is not None:
        standing.must_belong(policy, policies.load(index_file))
        index_text = files.read(index_file, what="policy").decode()
    else:
        standing.must_belong(policy, None)
    settings = Settings(
        place=_place(policies.url_of(policy, place)),
        policy=files.read(policy_file, what="policy").decode(),
        index_policy=index_text,
        mirrors=tuple(map(_place, mirrors)),
        watched=watched,
        ahead=ahead,
        max_age=max_age or 86_400.0,
        behind=behind,
    )
    folder.init(monitor, settings)
    output.ok(f"{monitor} follows {policy.origins()[0]} at {settings.place}")
    output.note(f"next: teelog monitor watch {monitor} namespace NAME, teelog monitor run {monitor}")
    output.result(
        [
            f"log         {policy.origins()[0]}",
            f"read at     {settings.place}",
            *(f"mirror      {mirror}" for mirror in settings.mirrors),
            *_lines(settings),
        ],
        _json(settings),
    )


def _place(where: str) -> str:
    """A URL that can be asked, or a folder that is there, wherever the monitor is run from. Raises ConfigError."""
    from teelog.client.http import check_url
    from teelog.client.source import is_url

    if is_url(where):
        return check_url(where)
    if not Path(where).is_dir():
        raise ConfigError(f"there is no folder {where}", expected="a URL or a log's folder")
    return str(Path(where).absolute())


@click.command()
@MONITOR
@click.argument("subject", required=False, metavar="[SUBJECT]")
@click.argument("value", default="", required=False, metavar="[VALUE]")
@click.option("--known", "known_file", metavar="FILE", help="Statement ids to expect, one a line; read at each look.")
@click.option("--remove", is_flag=True, help="Watch it no longer.")
@output.json_option
def watch(monitor: Path, subject: str | None, value: str, known_file: str | None, remove: bool) -> None:
    """Watch for what is said in a log; without SUBJECT, list what is watched.

    \b
    SUBJECT    VALUE
    namespace  acme.example                  all that is said in its name, or that others say about it
    stream     acme.example/inference/stable the same of one stream
    register   sev-snp:measurement=HEX       releases with this value
    signer     HEX or a public key file      all that this key has signed
    all                                      every entry

    With --known, whatever the vendor's keys have signed and is not in FILE is an alert: so a stolen key shows.
    A running monitor takes the change over with its next look, and judges the whole log by it.

    Example: teelog monitor watch M namespace acme.example --known signed.txt
    """
    from teelog.witness.monitor import known, settings, watches

    chosen = None
    if subject is not None:
        try:
            chosen = watches.parse(subject, _value(subject, value))
        except MalformedError as error:
            raise click.UsageError(
                f"{error.message}, expected {error.expected}; teelog monitor watch --help"
            ) from error
    elif remove:
        raise click.UsageError("--remove takes the SUBJECT and VALUE that are watched no longer")
    with settings.changing(monitor) as before:
        after = before if chosen is None else _changed(before, chosen, remove)
        if known_file is not None:
            known.parse(Path(known_file))
            after = msgspec.structs.replace(after, known=str(Path(known_file).absolute()))
        if after != before:
            settings.write(monitor, after)
    output.result(_lines(after), _json(after))


def _value(subject: str, value: str) -> str:
    if subject == "signer" and os.path.lexists(value):
        from teelog.cli import keyref

        return keyref.load_public(value).fingerprint
    return value


def _changed(settings: Settings, chosen: Watch, remove: bool) -> Settings:
    pair = (chosen.subject.value, chosen.value)
    if remove and pair not in settings.watched:
        raise ConfigError(f"{chosen} is not watched", hint="teelog monitor watch MONITOR")
    kept = tuple(each for each in settings.watched if each != pair)
    return msgspec.structs.replace(settings, watched=kept if remove else (*kept, pair))


def _lines(settings: Settings) -> list[str]:
    watched = [f"watched     {subject} {value}".rstrip() for subject, value in settings.watched]
    lines = watched or [f"watched     {_always(settings)}; no statements"]
    return [*lines, f"known       {settings.known}"] if settings.known else lines


def _always(settings: Settings) -> str:
    """What is looked at, whatever is watched besides."""
    seen = {
        "its witnesses": any(witness.url for witness in settings.main().witnesses.values()),
        "its mirrors": bool(settings.mirrors),
        "its index": settings.index_policy is not None,
    }
    return ", ".join(["the tree", *(what for what, there in seen.items() if there)])


def _json(settings: Settings) -> dict[str, object]:
    return {
        "schema": "teelog-monitor-settings/v1",
        "place": settings.place,
        "mirrors": list(settings.mirrors),
        "watched": [{"subject": subject, "value": value} for subject, value in settings.watched],
        "known": settings.known,
        "ahead_s": settings.ahead,
        "max_age_s": settings.max_age,
        "behind_s": settings.behind,
        "index": settings.index_policy is not None,
        "outlets": [{"name": sink.name, "kind": sink.kind, "target": sink.target} for sink in settings.sinks],
    }
