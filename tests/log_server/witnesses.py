"""Witnesses that listen: an honest one by default, and every way of being slow, busy, lying or hostile."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from teelog.errors import ProofError
from teelog.keys import Algorithm, private_key_from_seed
from teelog.tlog import note, rfc6962
from teelog.tlog.checkpoint import parse_body
from teelog.tlog.vkey import NoteSigner, SignatureType
from teelog.tlog.witness import SIZE_TYPE, encode_answer, encode_conflict, parse_add_checkpoint

TIME = 1_800_000_000
Answering = Callable[["Scripted", bytes], "web.Response | None"]


def signers(name: str) -> tuple[NoteSigner, NoteSigner]:
    def one(kind: SignatureType, algorithm: Algorithm) -> NoteSigner:
        seed = hashlib.sha256(f"{name} {algorithm}".encode()).digest()
        return NoteSigner.of(name, kind, private_key_from_seed(algorithm, seed))

    return (
        one(SignatureType.COSIGNATURE_ED25519, Algorithm.ED25519),
        one(SignatureType.COSIGNATURE_ML_DSA_44, Algorithm.ML_DSA_44),
    )


@dataclass
class Scripted:
    """size, root: what it cosigned last. script: answers instead of it where it returns one; honest where None.

    held: requests wait until it is set.
    """

    name: str
    size: int = 0
    root: bytes = rfc6962.EMPTY_ROOT
    script: Answering = lambda _self, _body: None
    held: asyncio.Event = field(default_factory=asyncio.Event)
    requests: list[tuple[int, int]] = field(default_factory=list)
    """(old, size) of each request."""
    port: int = 0
    time: int = TIME

    def __post_init__(self) -> None:
        self.signers = signers(self.name)
        self.held.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def policy_lines(self, number: int) -> str:
        ed, ml = (str(signer.verifier) for signer in self.signers)
        return (
            f"witness w{number} {ed} {self.url}\nwitness w{number}m {ml} {self.url}\n"
            f"group g{number} any w{number} w{number}m\n"
        )

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        message = parse_add_checkpoint(body)
        head = parse_body(note.parse(message.checkpoint).claimed_text())
        self.requests.append((message.old, head.size))
        await self.held.wait()
        scripted = self.script(self, body)
        return scripted if scripted is not None else self.honest(body)

    def honest(self, body: bytes) -> web.Response:
        message = parse_add_checkpoint(body)
        text = note.parse(message.checkpoint).claimed_text()
        head = parse_body(text)
        if message.old != self.size:
            return conflict(self.size)
        try:
            if self.size:
                rfc6962.verify_consistency(self.size, self.root, head.size, head.root, message.proof)
        except ProofError as error:
            return web.Response(status=422, body=str(error).encode())
        self.size, self.root = head.size, head.root
        return web.Response(body=encode_answer(signer.sign(text, self.time) for signer in self.signers))


def conflict(size: int) -> web.Response:
    return web.Response(status=409, body=encode_conflict(size), headers={"Content-Type": SIZE_TYPE})


def policy_text(witnesses: list[Scripted], quorum: int) -> bytes:
    lines = "".join(witness.policy_lines(number) for number, witness in enumerate(witnesses))
    members = " ".join(f"g{number}" for number in range(len(witnesses)))
    return f"{lines}group all-of-them {quorum} {members}\nquorum all-of-them\n".encode()


@asynccontextmanager
async def listening(count: int) -> AsyncIterator[list[Scripted]]:
    made = [Scripted(f"witness.example/w{number}") for number in range(count)]
    runners = []
    try:
        for witness in made:
            app = web.Application()
            app.router.add_post("/add-checkpoint", witness.handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            witness.port = runner.addresses[0][1]
            runners.append(runner)
        yield made
    finally:
        for witness in made:
            witness.held.set()
        for runner in runners:
            await runner.cleanup()
