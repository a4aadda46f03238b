"""Cosignatures asked of a log's witnesses by anyone: the log itself may be gone (protocol section 5)."""

from __future__ import annotations

import asyncio

from teelog.client import witness
from teelog.client.http import HttpClient
from teelog.errors import SignatureError, TeelogError
from teelog.tlog import note
from teelog.tlog.note import Signature
from teelog.tlog.policy import Policy, read_checkpoint
from teelog.tlog.vkey import VerifierKey
from teelog.tlog.witness import AddCheckpoint

WITNESS_TIMEOUT = 10.0  # seconds


async def cosign_anew(http: HttpClient, policy: Policy, checkpoint: bytes) -> bytes:
    """The same checkpoint with the newest cosignatures that the policy's witnesses give for it.

    A witness that has cosigned a larger size by now, or is not reached, leaves its line as it was, or none. Raises what
    ``policy.read_checkpoint`` raises.
    """
    opened = read_checkpoint(checkpoint, policy)
    text = opened.note.text
    bare = note.encode(text, [line.signature for line in opened.log_signatures])
    # Old size == size: the witness signs again what it has signed last.
    request = AddCheckpoint(opened.checkpoint.size, (), bare)
    known = {(each.key.name, each.key.key_id): each.key for each in policy.witnesses.values()}
    urls = dict.fromkeys(each.url for each in policy.witnesses.values() if each.url is not None)
    answers = await asyncio.gather(*(_ask(http, url, request) for url in urls))
    lines = {(line.signature.name, line.signature.key_id): line.signature for line in opened.note.signatures}
    for line in (line for given in answers for line in given):
        key = known.get((line.name, line.key_id))
        # A line that fails would spoil the note for every reader.
        if key is not None and _holds(key, text, line):
            lines[line.name, line.key_id] = line
    return note.encode(text, lines.values())


def _holds(key: VerifierKey, text: bytes, line: Signature) -> bool:
    try:
        return bool(key.verify(text, line.blob))
    except SignatureError:
        return False


async def _ask(http: HttpClient, url: str, request: AddCheckpoint) -> tuple[Signature, ...]:
    try:
        return await witness.add_checkpoint(http.session, url, request, WITNESS_TIMEOUT)
    except TeelogError:
        return ()
