"""`teelog key`: make and show signing keys."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from teelog import keys
from teelog.cli import keyref, output
from teelog.errors import ConfigError
from teelog.keys import Algorithm, PublicKey

# What a key is for: a namespace (acme.example), a stream or an origin (log.example/tee). A label, checked loosely.
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/[a-z0-9][a-z0-9._-]{0,62})*")
MAX_NAME = 255
SEED_LENGTH = {Algorithm.ECDSA_P384: 56}


@click.group()
def group() -> None:
    """Make and show signing keys."""


@group.command()
@click.option("--name", required=True, help="Whom the key is for, e.g. acme.example; not stored in the files.")
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="Private key file; beside it FILE.pub.")
@click.option(
    "--algorithm",
    type=click.Choice([algorithm.value for algorithm in Algorithm]),
    default=Algorithm.ED25519.value,
    show_default=True,
)
@output.json_option
def generate(name: str, out: str, algorithm: str) -> None:
    """Make a key pair: FILE (PKCS#8 PEM, mode 0600) and FILE.pub (SPKI PEM). Neither is ever overwritten.

    Example: teelog key generate --name acme.example --out acme.key
    """
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise ConfigError("not a usable name", expected="a DNS name in lower case, with a path or without", actual=name)
    for path in (out, f"{out}.pub"):
        if os.path.lexists(path):
            raise ConfigError(f"{path} exists already", expected="a new file", hint="choose another name with --out")
    kind = Algorithm(algorithm)
    private = keys.private_key_from_seed(kind, os.urandom(SEED_LENGTH.get(kind, 32)))
    output.write_file(out, private.to_pem(), 0o600, exclusive=True)
    try:
        output.write_file(f"{out}.pub", private.public.to_pem(), exclusive=True)
    except BaseException:
        Path(out).unlink()  # half a pair is no output
        raise
    output.note(f"keep {out} secret; hand out {out}.pub")
    output.result(
        [f"name         {name}", *_lines(private.public), f"private key  {out}", f"public key   {out}.pub"],
        {
            "schema": "teelog-key/v1",
            "name": name,
            "algorithm": kind.value,
            "fingerprint": private.public.fingerprint,
            "private_key": out,
            "public_key": f"{out}.pub",
        },
    )


@group.command()
@click.argument("key")
@output.json_option
def show(key: str) -> None:
    """Show KEY: a key file (private or public), another KEYREF, or a vkey (literal or file).

    Example: teelog key show acme.key.pub
    """
    if _looks_like_vkey(key):
        _show_vkeys(key)
        return
    public = keyref.load_public(key)
    output.result(
        [*_lines(public), *output.quoted(public.to_pem())],
        {
            "schema": "teelog-key/v1",
            "algorithm": public.algorithm.value,
            "fingerprint": public.fingerprint,
            "spki_pem": public.to_pem().decode(),
        },
    )


def _lines(public: PublicKey) -> list[str]:
    return [f"algorithm    {public.algorithm}", f"fingerprint  {public.fingerprint}"]


def _looks_like_vkey(key: str) -> bool:
    if key.startswith((keyref.AGENT, keyref.EXEC)):
        return False
    path = Path(key)
    if not path.exists():
        return "+" in key
    with path.open("rb") as file:
        return not file.read(11).startswith(b"-----BEGIN ")


def _show_vkeys(ref: str) -> None:
    found = keyref.load_vkeys(ref)
    lines = []
    for each in found:
        lines += [f"name         {each.name}", f"key ID       {each.key_id.hex()}", f"type         {each.type:#04x}"]
        lines += [*_lines(each.public), f"vkey         {each}"]
    output.result(
        lines,
        {
            "schema": "teelog-vkeys/v1",
            "vkeys": [
                {
                    "name": each.name,
                    "key_id": each.key_id,
                    "type": int(each.type),
                    "algorithm": each.public.algorithm.value,
                    "fingerprint": each.public.fingerprint,
                    "vkey": str(each),
                }
                for each in found
            ],
        },
    )
