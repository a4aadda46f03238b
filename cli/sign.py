"""`teelog sign`: a signature more for any statement."""

from __future__ import annotations

import click

from teelog.cli import output, statements


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--key", "keys", metavar="KEYREF", multiple=True, required=True, help="Who signs; repeatable.")
@output.json_option
def command(file: str, keys: tuple[str, ...]) -> None:
    """Add a signature to FILE: a release, a namespace or a log policy, signed already or not.

    FILE is replaced by its DSSE envelope. The statement id stays the same, whoever signs and in whatever order; a key
    that has signed already adds nothing. KEYREF is a private key file, ssh-agent:FINGERPRINT or exec:COMMAND.

    Example: teelog sign ns.json --key second-owner.key
    """
    statements.sign(file, keys)
