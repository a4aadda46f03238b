"""`teelog measure dm-verity`: the root hash of a data image."""

from __future__ import annotations

from pathlib import Path

import click

from teelog.cli import measured, output
from teelog.measure.values import Value

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("dm-verity", short_help="Root hash of a dm-verity image.")
@click.argument("image", metavar="FILE", type=_FILE)
@click.option("--hash-device", type=_FILE, help="Take the parameters from its superblock.")
@click.option("--salt", metavar="HEX", help="Or - for none.")
@click.option("--hash", "algorithm", type=click.Choice(["sha1", "sha256", "sha384", "sha512"]), help="[sha256]")
@click.option("--format", "form", type=click.Choice(["0", "1"]), help="[1]")
@click.option("--data-block-size", type=int, metavar="BYTES", help="[4096]")
@click.option("--hash-block-size", type=int, metavar="BYTES", help="[4096]")
@click.option("--data-blocks", type=int, metavar="N", help="[the whole file]")
@click.option("--expect", type=_FILE, help="Release statement, a subject of which must have this digest (dm-verity).")
@output.json_option
def command(
    image: Path,
    hash_device: Path | None,
    salt: str | None,
    algorithm: str | None,
    form: str | None,
    data_block_size: int | None,
    hash_block_size: int | None,
    data_blocks: int | None,
    expect: Path | None,
) -> None:
    """The root hash that veritysetup gives for FILE.

    It reaches a TEE's registers through the command line of a kernel, which is measured as such.

    Example: teelog measure dm-verity root.img --salt 00112233 --json
    """
    from teelog.measure import dm_verity

    given = {
        "algorithm": algorithm,
        "format": None if form is None else int(form),
        "data_block": data_block_size,
        "hash_block": hash_block_size,
        "blocks": data_blocks,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if hash_device is not None:
        if chosen or salt is not None:
            raise click.UsageError("--hash-device has all parameters in its superblock: leave the others out")
        with measured.opened(hash_device) as read:
            how = dm_verity.superblock(read(dm_verity.SUPERBLOCK))
    elif salt is None:
        raise click.UsageError("missing --salt HEX (- for none), or --hash-device FILE")
    else:
        how = dm_verity.Parameters(salt=dm_verity.salt(salt), **chosen)  # type: ignore[arg-type]
    with measured.opened(image) as read:
        root = dm_verity.root_hash(read, how).hex()
    when: dict[str, str | int] = {
        "hash": how.algorithm,
        "format": how.format,
        "salt": how.salt.hex()[:256] or "-",
        "data_block": how.data_block,
        "hash_block": how.hash_block,
    }
    value = Value(when, {"root_hash": root}, "recomputed")
    measured.tell_artifact("dm-verity", value, {"dm-verity": root}, expect)
