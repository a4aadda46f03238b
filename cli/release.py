"""`teelog release`: make, sign and show releases. `publish` and what follows it have their own files."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec

from teelog.cli import allow, files, output, publish, release_list, statements
from teelog.cli.duration import moment
from teelog.errors import MalformedError, UnavailableError
from teelog.measure import registers as measured_registers
from teelog.measure.values import Measured
from teelog.statement import draft, registers, release, strict_json
from teelog.statement.admit import Kind
from teelog.statement.draft import Draft
from teelog.statement.intoto import Subject
from teelog.statement.release import Coverage, Material, ReleaseClaim, ReleasePredicate, Validity, Variant
from teelog.statement.require import Block

DEFAULT_VALIDITY = timedelta(days=365)

_SUBJECT = re.compile(r"(.+)=([A-Za-z0-9_-]+):([0-9a-f]+)", re.DOTALL)
_MATERIAL = re.compile(r"(.+)@([A-Za-z0-9_-]+):([0-9a-f]+)", re.DOTALL)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def group() -> None:
    """Make, sign, publish and show releases: the registers that one version of a program may have."""


group.add_command(publish.command)
group.add_command(allow.allow)
group.add_command(allow.withdraw)
group.add_command(allow.renew)
group.add_command(release_list.command)


def _subjects(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> list[Subject]:
    found = []
    for value in values:
        match = _SUBJECT.fullmatch(value)
        if match is None:
            raise click.BadParameter("expected NAME=ALG:HEX, such as disk.img=sha256:HEX or root.img=dm-verity:HEX")
        found.append(Subject(match[1], {match[2]: match[3]}))
    return found


def _materials(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[Material, ...]:
    pairs = [(value, _MATERIAL.fullmatch(value)) for value in values]
    return tuple(Material("", m[1], {m[2]: m[3]}) if m else Material("", value) for value, m in pairs)


@group.command()
@click.option("--stream", metavar="S", required=True, help="NAMESPACE/PRODUCT/CHANNEL.")
@click.option("--version", metavar="V", required=True, help="As the vendor counts, such as 1.4.2.")
@click.option("--svn", type=click.IntRange(0, strict_json.MAX_SAFE_INT), required=True, help="Security version number.")
@click.option(
    "--registers", "register_files", type=_FILE, multiple=True, required=True, help="From teelog measure; repeatable."
)
@click.option(
    "--require", "require_file", type=_FILE, help="Configuration to ask for: a JSON object, or one a platform."
)
@click.option("--artifact", "artifacts", type=_FILE, multiple=True, help="What is released; repeatable.")
@click.option(
    "--subject",
    "subjects",
    metavar="NAME=ALG:HEX",
    multiple=True,
    callback=_subjects,
    help="Its digest, such as disk.img=sha256:HEX or root.img=dm-verity:HEX; repeatable.",
)
@click.option("--not-before", metavar="TIME", callback=moment, help="2026-01-31, or with T12:00:00Z.  [default: now]")
@click.option(
    "--not-after", metavar="TIME", callback=moment, help="Last second of validity.  [default: 365 days later]"
)
@click.option("--material", "materials", metavar="URI[@ALG:HEX]", multiple=True, callback=_materials, help="Made from.")
@click.option("--measured", metavar="TEXT", multiple=True, help="What the registers cover; repeatable.")
@click.option("--unmeasured", metavar="TEXT", multiple=True, help="What they leave out; repeatable.")
@click.option("--out", metavar="FILE", required=True, type=click.Path(dir_okay=False, allow_dash=True))
@output.json_option
def new(
    stream: str,
    version: str,
    svn: int,
    register_files: tuple[Path, ...],
    require_file: Path | None,
    artifacts: tuple[Path, ...],
    subjects: list[Subject],
    not_before: datetime | None,
    not_after: datetime | None,
    materials: tuple[Material, ...],
    measured: tuple[str, ...],
    unmeasured: tuple[str, ...],
    out: str,
) -> None:
    """Make a release statement, not signed yet: sign it with `teelog release sign`.

    Its subjects are the artifacts; without any, the files with the registers. Given both times, the same input gives
    the same bytes.

    Example: teelog release new --stream acme.example/inference/stable --version 1.4.2 --svn 3 --registers regs.json
    --artifact disk.img --out release.json
    """
    start = not_before or datetime.now(UTC).replace(microsecond=0)
    end = not_after or start + DEFAULT_VALIDITY
    if not_after is None:
        output.note(f"valid until {release.format_time(end)} (--not-after)")
    predicate = ReleasePredicate(
        stream,
        version,
        svn,
        Validity(release.format_time(start), release.format_time(end)),
        _variants(register_files, require_file),
        Coverage(measured, unmeasured),
        materials,
    )
    if not artifacts and not subjects:
        output.note("no --artifact and no --subject: the files with the registers are the subjects")
        artifacts = register_files
    subject = tuple([_artifact(path) for path in artifacts] + subjects)
    made = draft.read(release.payload(predicate, subject))
    statements.write_new(out, made)
    if out != output.STDOUT:
        output.note(f"next: teelog release sign {out} --key KEYREF")
        output.result(_lines(made), {"schema": "teelog-release/v1", "file": out, **_json(made)})


def _artifact(path: Path) -> Subject:
    """Reads in pieces: a disk image may be larger than memory."""
    try:
        with path.open("rb") as file:
            return Subject(path.name, {"sha256": hashlib.file_digest(file, "sha256").hexdigest()})
    except OSError as error:
        raise UnavailableError(f"cannot read {path}", actual=error.strerror or str(error)) from error


def _variants(register_files: tuple[Path, ...], require_file: Path | None) -> tuple[Variant, ...]:
    asked = _requirements(require_file)
    found = []
    for path in register_files:
        data = files.read(path, measured_registers.MAX_BYTES, "registers")
        try:
            document = measured_registers.decode(data)
        except MalformedError as error:
            _check_complete(path, data)
            raise MalformedError(
                f"{path}: {error.message}",
                expected=error.expected,
                actual=error.actual,
                hint=error.hint or "teelog measure PLATFORM ... --json > regs.json",
            ) from error
        for v in document.variants:
            block = asked.get(v.platform, {})
            found.append(Variant(platform=v.platform, when={**v.when}, registers=v.registers, require=block))
    return tuple(found)


def _check_complete(path: Path, data: bytes) -> None:
    """Raises MalformedError where ``teelog measure`` wrote the file, and it is no full set of registers."""
    try:
        kind = msgspec.json.decode(data, type=Measured).kind
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    names = registers.PLATFORMS.get(kind)
    if names is None:
        raise MalformedError(
            f"{path} holds values of {output.safe(kind, 20)}, which are no registers of a platform",
            hint="state them as a subject: --subject NAME=ALG:HEX, or --artifact FILE",
        )
    raise MalformedError(
        f"{path} lacks registers that every release of {kind} states",
        expected=", or ".join(" + ".join(each) for each in names.required),
        hint=f"measure with all that they depend on: teelog measure {kind} --help",
    )


def _requirements(path: Path | None) -> dict[str, Block]:
    """The require block of each platform: the file holds one for all, or an object with one for each that it names."""
    if path is None:
        return {}
    tree = strict_json.load(files.read(path, what="requirements"))
    try:
        if isinstance(tree, dict) and tree.keys() <= registers.PLATFORMS.keys():
            return msgspec.convert(tree, dict[str, Block])
        return dict.fromkeys(registers.PLATFORMS, msgspec.convert(tree, Block))
    except msgspec.ValidationError as error:
        strict_json.raise_located(error)


@group.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--key", "keys", metavar="KEYREF", multiple=True, required=True, help="Who signs; repeatable.")
@output.json_option
def sign(file: str, keys: tuple[str, ...]) -> None:
    """Sign the release in FILE, in place: the statement becomes a DSSE envelope around itself.

    Where the namespace asks for several signatures, each holder of a key runs this once, in any order. A key that has
    signed already adds nothing. KEYREF is a private key file, ssh-agent:FINGERPRINT or exec:COMMAND.

    Example: teelog release sign release.json --key acme.key
    """
    statements.sign(file, keys, Kind.RELEASE)


@group.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@output.json_option
def show(file: str) -> None:
    """Show the release in FILE, signed or not. Opens no socket and verifies nothing: `teelog proof verify` does.

    Example: teelog release show release.json
    """
    made = statements.read(file)
    if made.statement.kind is not Kind.RELEASE:
        raise statements.wrong_kind(file, Kind.RELEASE, made.statement.kind)
    output.result(_lines(made), {"schema": "teelog-release/v1", "file": file, **_json(made)})


def _claim(made: Draft) -> ReleaseClaim:
    assert isinstance(made.statement.claim, ReleaseClaim)
    return made.statement.claim


def _lines(made: Draft) -> list[str]:
    claim = _claim(made)
    predicate = claim.predicate
    lines = [
        f"stream        {claim.stream}",
        f"version       {predicate.version}, svn {predicate.svn}",
        f"valid         {predicate.validity.not_before} to {predicate.validity.not_after}",
        f"statement id  {made.statement_id}",
    ]
    lines += [f"signed by     {keyid} (not verified here)" for keyid in made.signers] or ["signed by     nobody yet"]
    for subject in claim.statement.subject:
        lines += [f"subject       {output.safe(subject.name, 80)} {a}:{value}" for a, value in subject.digest.items()]
    for variant in predicate.variants:
        when = " ".join(f"{name}={value}" for name, value in variant.when.items())
        lines.append(f"variant       {variant.platform} {output.safe(when, 200)}".rstrip())
        lines += [f"  {name:<12}{value}" for name, value in variant.registers.items()]
        lines += [f"  require     {output.safe(f'{name}={_json_text(v)}', 200)}" for name, v in variant.require.items()]
    lines += [f"measured      {output.safe(text, 200)}" for text in predicate.coverage.measured]
    lines += [f"unmeasured    {output.safe(text, 200)}" for text in predicate.coverage.unmeasured]
    for material in predicate.materials:
        digests = " ".join(f"{algorithm}:{value}" for algorithm, value in material.digest.items())
        lines.append(f"material      {output.safe(f'{material.name} {material.uri} {digests}'.strip(), 300)}")
    return lines


def _json_text(value: object) -> str:
    return strict_json.encode(value).decode()


def _json(made: Draft) -> dict[str, object]:
    statement = msgspec.to_builtins(_claim(made).statement)
    return {**statements.signatures(made), "subject": statement["subject"], **statement["predicate"]}
