"""`teelog log mirror URL MIRROR`: what a log shows, pushed to a mirror by hand (c2sp.org/tlog-mirror)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from teelog.cli import keyref, online, output
from teelog.errors import ConfigError
from teelog.tlog.policy import Policy, WitnessedCheckpoint, verify_checkpoint
from teelog.tlog.vkey import WITNESS_TYPES, VerifierKey

if TYPE_CHECKING:
    from teelog.client.mirror_push import Pushed


def push(
    place: str, to: str, vkeys: Sequence[str], policy: Policy, mirrors: Sequence[str], timeout: float, origin: str
) -> None:
    """The command's work. to: the mirror's submission prefix. vkeys: literals or files, of the mirror's cosigner."""
    keys = [key for each in vkeys for key in keyref.load_vkeys(each)]
    if not keys or any(key.type not in WITNESS_TYPES for key in keys):
        raise ConfigError("which key the mirror cosigns with is not known", expected="--vkey VKEY, a cosigner's")
    shown, done = online.run(_push(place, to, tuple(keys), policy, mirrors, timeout, origin))
    output.ok(f"{to} holds {origin} up to {done.size} entries  COSIGNED")
    output.result(
        [
            f"sent          {done.sent} entries",
            f"root          {shown.checkpoint.root.hex()}",
            f"cosigned by   {', '.join(dict.fromkeys(line.name for line in done.lines))}",
        ],
        {
            "schema": "teelog-mirror-pushed/v1",
            "log": origin,
            "mirror": to,
            "size": done.size,
            "root": shown.checkpoint.root,
            "sent": done.sent,
            "cosignatures": [line.line().decode() for line in done.lines],
        },
    )


async def _push(
    place: str,
    to: str,
    keys: tuple[VerifierKey, ...],
    policy: Policy,
    mirrors: Sequence[str],
    timeout: float,
    origin: str,
) -> tuple[WitnessedCheckpoint, Pushed]:
    from teelog.client.http import HttpClient
    from teelog.client.log import LogReader
    from teelog.client.mirror_push import Mirror, push

    async with online.open_source(place, policy, mirrors) as source, HttpClient() as http:
        shown = verify_checkpoint(await source.checkpoint(), policy, origin=origin)
        head = shown.checkpoint
        done = await push(
            http.session, Mirror(to, keys), shown, lambda: LogReader(source, head.size, head.root), timeout=timeout
        )
        return shown, done
