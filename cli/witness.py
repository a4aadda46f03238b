"""`teelog witness`: run a witness (c2sp.org/tlog-witness)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teelog.cli import keyref, output
from teelog.cli.proof import utc
from teelog.tlog import fork as forks_format
from teelog.tlog import note, vkey
from teelog.tlog.checkpoint import parse_body
from teelog.trust import INDEX_SUFFIX

if TYPE_CHECKING:
    from teelog.witness.admin import Done

WITNESS = click.argument("witness", metavar="WITNESS", type=click.Path(path_type=Path))


@click.group()
def group() -> None:
    """Run a witness. WITNESS is its folder."""


@group.command()
@WITNESS
@click.option("--name", required=True, help="The witness's key name, a URL without scheme: witness.example/w1.")
@output.json_option
def init(witness: Path, name: str) -> None:
    """Make a witness: its keys (Ed25519 and ML-DSA-44, of one name), an empty state, WITNESS/witness.vkeys.

    Example: teelog witness init W1 --name witness.example/w1
    """
    from teelog.witness import directory

    vkeys = [str(key) for key in directory.init(witness, name)]
    output.note(f"hand out {witness / directory.VKEYS}; keep the rest of {witness} to yourself")
    output.result(vkeys, {"schema": "teelog-witness/v1", "name": name, "vkeys": vkeys, "directory": witness})


@group.command("add-log")
@WITNESS
@click.argument("vkeys", metavar="VKEY")
@click.option("--main", metavar="VKEY", help="VKEY is an index log's (.../index/v1); these keys are its log's.")
@click.option("--url", metavar="URL", help="Where the log is read; with --main, its index is read at URL/index.")
@click.option("--contact", metavar="TEXT", help="Whom to tell when it misbehaves.")
@click.option("--per-day", type=int, metavar="N", help="Checkpoints cosigned in a day, at most.  [default: no limit]")
@click.option("--add-key", is_flag=True, help="Trust these keys beside the ones that the log has (rotation).")
@click.option("--replace-keys", is_flag=True, help="Trust these keys and no longer the ones that the log has.")
@output.json_option
def add_log(
    witness: Path,
    vkeys: str,
    main: str | None,
    url: str | None,
    contact: str | None,
    per_day: int | None,
    add_key: bool,
    replace_keys: bool,
) -> None:
    """Let a log be cosigned from now on, also by a witness that is running.

    VKEY is a literal, or a file with the log's keys (LOG/log.vkey). Adding a known log again changes what is given and
    enables it. With --main the witness is a semantic one, which cosigns index logs only.

    Example: teelog witness add-log W1 LOG/log.vkey --url https://log.example/tee --per-day 288
    """
    from teelog.witness import admin

    texts = tuple(str(key) for key in keyref.load_vkeys(vkeys))
    indexed = () if main is None else tuple(str(key) for key in keyref.load_vkeys(main))
    done = admin.run(witness, admin.AddLog(texts, url, contact, per_day, add_key, replace_keys, indexed))
    if main is None and not done.known and done.origin.endswith(INDEX_SUFFIX):
        output.warn("this is a log's index: without --main only that it is append-only is vouched for, for ever")
    _report("changed" if done.known else "added", done)


@group.command("disable-log")
@WITNESS
@click.argument("origin")
@output.json_option
def disable_log(witness: Path, origin: str) -> None:
    """Cosign nothing more for a log. Its state stays for ever: a log cannot be removed, only disabled.

    Example: teelog witness disable-log W1 log.example/tee
    """
    from teelog.witness import admin

    _report("disabled", admin.run(witness, admin.DisableLog(origin)))


def _report(what: str, done: Done) -> None:
    output.result(
        [f"{what} {done.origin}", *(_named(key) for key in done.vkeys)],
        {
            "schema": "teelog-witness-log/v1",
            "change": what,
            "log": done.origin,
            "vkeys": list(done.vkeys),
            "disabled": done.disabled,
        },
    )


def _named(text: str) -> str:
    """A key by its name and ID: the whole of an ML-DSA key would flood a terminal, and --json has it."""
    key = vkey.parse(text)
    return f"key {key.name}+{key.key_id.hex()}  {key.public.algorithm}"


@group.command("pull-logs")
@WITNESS
@click.argument("source", metavar="[URL|FILE]", required=False)
@click.option("--dry-run", is_flag=True, help="Say what would be added, and add nothing.")
@click.option("--max-logs", type=int, default=50_000, show_default=True, metavar="N", help="Known logs, afterwards.")
@click.option("--max-per-day", type=int, default=86_400, show_default=True, metavar="N", help="A log's quota, at most.")
@click.option("--local", is_flag=True, help="A URL on this machine (loopback), over plain http if need be.")
@output.json_option
def pull_logs(
    witness: Path, source: str | None, dry_run: bool, max_logs: int, max_per_day: int, local: bool
) -> None:
    """Add the logs of a published list (logs/v0 of witness-network.org), also to a witness that is running.

    Without a source, the lists of WITNESS/witness.toml are read, with their own bounds. A list only adds: no known log
    is changed, enabled or removed, and a list with another key for a known log is not applied at all. The quota is the
    list's.

    Example: teelog witness pull-logs W1 https://lists.example/log-list.1 --dry-run
    """
    from teelog.cli import witness_lists

    witness_lists.pull(witness, source, dry_run=dry_run, max_logs=max_logs, max_per_day=max_per_day, local=local)


@group.command("list-logs")
@WITNESS
@output.json_option
def list_logs(witness: Path) -> None:
    """List the known logs and what was cosigned last for each.

    Example: teelog witness list-logs W1
    """
    from teelog.witness import directory

    with directory.read_state(witness) as store:
        rows = [(entry, store.head(entry.origin)) for entry in store.logs()]
    header = ("origin", "size", "cosigned", "state", "per day", "url", "contact")
    lines = [
        (
            entry.origin,
            "-" if head is None else head.size,
            "never" if head is None else utc(head.timestamp),
            "disabled" if entry.disabled else "enabled",
            entry.per_day or "-",
            entry.url or "-",
            entry.contact or "-",
        )
        for entry, head in rows
    ]
    output.result(
        output.columns([header, *lines]),
        {
            "schema": "teelog-witness-logs/v1",
            "logs": [
                {
                    "log": entry.origin,
                    "vkeys": list(entry.vkeys),
                    "main": list(entry.main),
                    "url": entry.url,
                    "contact": entry.contact,
                    "per_day": entry.per_day,
                    "disabled": entry.disabled,
                    "cosigned": None
                    if head is None
                    else {"size": head.size, "root": head.root, "timestamp": head.timestamp},
                }
                for entry, head in rows
            ],
        },
    )


@group.command()
@WITNESS
@click.option("--listen", default="127.0.0.1:6971", show_default=True, metavar="HOST:PORT", help="Port 0: any.")
@click.option("--admin", "admin_listen", metavar="HOST:PORT", help="Where /metrics and /healthz are; keep it private.")
@click.option("--semantic", is_flag=True, help="Rebuild the indexes of logs from their entries; cosign these only.")
@click.option("--mirror", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Mirror the logs, too.")
@click.option("--mirror-name", metavar="NAME", help="Of a new mirror.  [default: the witness's name and -mirror]")
def serve(
    witness: Path,
    listen: str,
    admin_listen: str | None,
    semantic: bool,
    mirror: Path | None,
    mirror_name: str | None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    With --semantic, the checkpoints of index logs (add-log --main) are cosigned, once every map root in them was
    rebuilt from the log's entries. A witness is semantic for ever, or never.

    With --mirror, what the known logs push (c2sp.org/tlog-mirror) is kept in DIR, which is made with keys of its own at
    the first start: hand out DIR/mirror.vkeys. A mirrored log is read at URL/mirror/SHA-256-OF-ITS-ORIGIN.

    Example: teelog witness serve W1 --listen 127.0.0.1:6971 --mirror W1-mirror
    """
    from teelog.listen import Address, parse_address
    from teelog.witness import serve as service

    def ready(public: Address, admin: Address | None) -> None:
        if admin is not None:
            output.note(f"metrics on http://{admin}/metrics")
        output.note(f"listening on http://{public}")

    public, private = parse_address(listen), None if admin_listen is None else parse_address(admin_listen)
    if mirror is None and mirror_name is not None:
        raise click.UsageError("--mirror-name is of a new --mirror DIR")
    if mirror is not None:
        if semantic:
            raise click.UsageError("a semantic witness mirrors nothing")
        _make_mirror(witness, mirror, mirror_name)
    service.serve(
        witness,
        public,
        private,
        ready,
        semantic=semantic,
        mirror=mirror,
    )


def _make_mirror(witness: Path, folder: Path, name: str | None) -> None:
    """Makes the mirror's folder if it is new, and the witness that it is made for can be served."""
    from teelog.witness import directory
    from teelog.witness.mirror import directory as mirrors

    if (folder / mirrors.CONFIG).exists():
        return
    own = directory.load_config(witness).name
    chosen = name or f"{own}-mirror"
    mirrors.check_name(chosen, own)
    with directory.locked(witness) as mine:
        if not mine:
            return  # which `serve` refuses
        mirrors.init(folder, chosen)
    output.note(f"{folder} is a new mirror: hand out {folder / mirrors.VKEYS}")


@group.command()
@WITNESS
@click.option("--out", "--export", "out", type=click.Path(path_type=Path, file_okay=False), help="Copy them here.")
@output.json_option
def forks(witness: Path, out: Path | None) -> None:
    """List the proofs that a log forked, or its index lied, and copy them to where anyone can verify them.

    Example: teelog witness forks W1 --out proofs
    """
    from teelog.witness import directory
    from teelog.witness.evidence import EvidenceStore, fault_files

    directory.load_config(witness)
    store = EvidenceStore(witness)
    found = [(path, path.read_bytes()) for path in store.fork_files()]
    listed = [_fork(path, data) for path, data in found]
    wrong = [(path, path.read_bytes()) for path in fault_files(store)]
    faults = [_fault(path, data) for path, data in wrong]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for path, data in (*found, *wrong):
            output.write_file(out / path.name, data)
    lines = [
        f"{one['log']}  sizes {one['first']} and {one['second']}  {path if out is None else out / path.name}"
        for one, (path, _) in zip(listed, found, strict=True)
    ]
    lines += [
        f"{one['log']}  leaf {one['leaf']}  {one['cause']}  {path if out is None else out / path.name}"
        for one, (path, _) in zip(faults, wrong, strict=True)
    ]
    output.result(
        lines or ["no log has forked in front of this witness"],
        {"schema": "teelog-witness-forks/v1", "forks": listed, "faults": faults, "exported_to": out},
    )


def _fork(path: Path, data: bytes) -> dict[str, Any]:
    proof = forks_format.parse_fork(data)
    first, second = (parse_body(note.parse(each).claimed_text()) for each in (proof.first, proof.second))
    return {"log": first.origin, "first": first.size, "second": second.size, "file": path}


def _fault(path: Path, data: bytes) -> dict[str, Any]:
    from teelog.index import fault
    from teelog.index.leaf import origin_of

    found = fault.parse(data)
    return {
        "log": origin_of(fault.main_origin(found)),
        "cause": found.cause.value,
        "leaf": found.leaf.index,
        "file": path,
    }
