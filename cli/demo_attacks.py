"""What the demo's villains do. No public command does these things: a client and a witness must refuse them."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from teelog.tlog import note, rfc6962, witness
from teelog.tlog.checkpoint import parse_body
from teelog.tlog.proof import parse_proof


def tamper(source: Path, target: Path) -> None:
    """A copy of a signed release in which the security version is another; the signature stays."""
    file = source.read_bytes()
    payload = file.split(b'"', 4)[3]
    changed = base64.b64decode(payload).replace(b'"svn":3', b'"svn":9')
    target.write_bytes(file.replace(payload, base64.b64encode(changed), 1))


def strip(source: Path, target: Path, keep: int) -> None:
    """A copy of a proof with the log's lines and those of the first ``keep`` witnesses only."""
    proof = parse_proof(source.read_bytes())
    unverified = note.parse(proof.checkpoint)
    origin = parse_body(unverified.claimed_text()).origin
    names = list(dict.fromkeys(line.name for line in unverified.signatures if line.name != origin))[:keep]
    lines = [line for line in unverified.signatures if line.name in (origin, *names)]
    target.write_bytes(replace(proof, checkpoint=note.encode(unverified.claimed_text(), lines)).encode())


def fork(
    log: Path, origin: str, target: Path, witnesses: Mapping[str, int], dead: Sequence[str] = ()
) -> dict[str, str]:
    """Signs, with the log's own keys, a tree of the same size with another last entry, and asks the witnesses.

    Writes the signed view to ``target``. Returns what each witness answered, by its name.
    """
    from teelog.client.log import LogReader
    from teelog.client.source import DirectorySource
    from teelog.log_server.directory import LogDirectory

    directory = LogDirectory(log)
    source = DirectorySource(directory.public)

    async def leaves() -> list[bytes]:
        text = note.parse(await source.checkpoint()).claimed_text()
        head = parse_body(text)
        return await LogReader(source, head.size, head.root).leaf_hashes(0, head.size)

    hashes = asyncio.run(leaves())
    hashes[-1] = rfc6962.leaf_hash(b"nothing was ever released")
    body, lines = directory.signer(origin).sign(len(hashes), rfc6962.root_of_leaves(hashes), int(time.time()))
    signed = note.encode(body, lines)
    target.write_bytes(signed)
    request = witness.AddCheckpoint(len(hashes), (), signed).encode()
    return asyncio.run(ask(request, {name: port for name, port in witnesses.items() if name not in dead}))


async def ask(request: bytes, witnesses: Mapping[str, int]) -> dict[str, str]:
    """What each witness answers to an add-checkpoint request, by its name."""
    from teelog.client.http import HttpClient
    from teelog.errors import TeelogError

    answers = {}
    async with HttpClient() as http:
        for name, port in witnesses.items():
            try:
                url = f"http://127.0.0.1:{port}/add-checkpoint"
                await http.post(url, request, "text/plain; charset=utf-8", witness.MAX_ANSWER)
                answers[name] = "with its signature"
            except TeelogError as error:
                answers[name] = error.message.partition(" refused: ")[2] or error.message
    return answers
