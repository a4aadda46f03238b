"""The start-up comparison of what a witness stored with what it has shown to others."""

from __future__ import annotations

from teelog.errors import ConfigError
from teelog.tlog import note
from teelog.tlog.checkpoint import Checkpoint
from teelog.witness.decide import Head
from teelog.witness.published import Published, PublishedHead
from teelog.witness.state import Store


def unpublished(store: Store, published: Published) -> list[str]:
    """The origins whose stored head is not the published one. One pass over either file.

    W-49: a published head is at most as new as the stored one. Raises ConfigError where the state was rolled back.
    """
    shown = {head.origin: head for head in published.heads()}
    missing = []
    for origin, size, root, timestamp in store.positions():
        one = shown.pop(origin, None)
        if one is None:
            missing.append(origin)
            continue
        if (one.size, one.timestamp) > (size, timestamp) or (one.size == size and one.root != root):
            raise _rolled_back(one, f"size {size}, root {root.hex()}")
        if (one.size, one.timestamp) != (size, timestamp):
            missing.append(origin)
    for one in shown.values():
        raise _rolled_back(one, "nothing")
    return missing


def cosigned_text(origin: str, head: Head) -> bytes:
    """The text that was, or is to be, cosigned for a stored head. Raises ConfigError where it is not this head's."""
    text = note.parse(head.note).claimed_text()
    if not text.startswith(Checkpoint(origin, head.size, head.root).body()):
        raise ConfigError("state.db is damaged: a head and its note differ", actual=origin)
    return text


def _rolled_back(shown: PublishedHead, stored: str) -> ConfigError:
    return ConfigError(
        f"state.db is older than what this witness has published for {shown.origin}: it was rolled back",
        expected=f"size {shown.size}, root {shown.root.hex()}",
        actual=stored,
        hint="put back the newest state.db; without it this witness must not sign again (docs/witness.md)",
    )
