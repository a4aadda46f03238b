"""`teelog fork verify` of an index fault (.teelog-index-fault): something false that an index log signed."""

from __future__ import annotations

from collections.abc import Sequence

from teelog.cli import output
from teelog.errors import MalformedError, NotEstablished, TeelogError, VerificationError
from teelog.index import fault
from teelog.index.leaf import origin_of
from teelog.tlog.vkey import VerifierKey

FIRST_BYTES = b'{"schema":"teelog-index-fault/'


def verify(data: bytes, trusted: Sequence[VerifierKey] | None, source: str) -> None:
    """Shows what the file proves. trusted: keys of the log, of its index, or of both; None: those that it names.

    Raises VerificationError where it proves nothing; NotEstablished where only a replay of the log can tell.
    """
    parsed = fault.parse(data)
    index_keys, main_keys = _sorted(trusted, parsed)
    # Who writes the file chooses the keys that it names: that a note is by none of those accuses nobody.
    if main_keys is None and parsed.cause in fault.BY_MAIN_KEYS:
        raise NotEstablished(
            f"{parsed.cause}: which keys the log has must be known, not read from the file",
            expected=f"a vkey of {fault.main_origin(parsed)}",
            hint="teelog fork verify FILE --log LOG.vkey --log INDEX.vkey",
        )
    found, key = _verified(parsed, index_keys, main_keys)
    index = origin_of(found.origin)
    rows = [
        f"index   {index}",
        f"leaf    {found.number} of size {found.checkpoint.size}",
        *([] if found.input is None else [f"input   {found.input.size} entries, root {found.input.root.hex()}"]),
        *([] if found.map_root is None else [f"signed  map root {found.map_root.hex()}"]),
        *([] if parsed.rebuilt is None else [f"claimed map root {parsed.rebuilt}"]),
        *([] if found.omitted is None else [f"skips   entry {found.omitted[0]} under {output.safe(found.omitted[1])}"]),
        *([] if key is None else [f"signed by {key.name}+{key.key_id.hex()} (a key that the file itself names)"]),
    ]
    if found.proven:
        output.ok(f"INDEX FAULT PROVEN: {found.cause}")
    if source == "file":
        output.note("the keys are those that the file names: compare them with the log's, or give --log or --policy")
    output.result(
        rows,
        {
            "schema": "teelog-index-fault-verdict/v1",
            "verdict": "index fault proven" if found.proven else "replay decides",
            "cause": found.cause.value,
            "log": found.origin,
            "index": index,
            "leaf": str(found.number),
            "size": str(found.checkpoint.size),
            "input_size": None if found.input is None else str(found.input.size),
            "map_root": found.map_root,
            "claimed_map_root": parsed.rebuilt,
            "omitted": None
            if found.omitted is None
            else {"entry": str(found.omitted[0]), "key": found.omitted[1].decode("ascii", "replace")},
            "keys_from": source,
        },
    )
    if not found.proven:
        assert found.input is not None
        raise NotEstablished(
            f"that the index log signed this map root for {found.input.size} entries is proven; that it is wrong shows"
            " who replays them",
            hint="teelog monitor once URL --policy MAIN --index-policy INDEX",
        )


def _verified(
    parsed: fault.IndexFault, index_keys: list[VerifierKey] | None, main_keys: list[VerifierKey] | None
) -> tuple[fault.VerifiedFault, VerifierKey | None]:
    """What the file shows, and by which of the keys that it names itself, each alone; None for keys of the caller's."""
    if index_keys is not None:
        return fault.verify(parsed, index_keys, main_keys), None
    reason: TeelogError = VerificationError("the file names no key of the index log")
    for key in fault.own_keys(parsed):
        try:
            return fault.verify(parsed, [key], main_keys), key
        except (VerificationError, MalformedError) as error:
            reason = error
    raise reason


def _sorted(
    trusted: Sequence[VerifierKey] | None, parsed: fault.IndexFault
) -> tuple[list[VerifierKey] | None, list[VerifierKey] | None]:
    """The keys of the index log, and of the log; None for those of which the file's own have to do.

    Raises NotEstablished where the caller gave some, and none that could be the index log's.
    """
    if trusted is None:
        return None, None
    origin = fault.main_origin(parsed)
    index = [key for key in trusted if key.name != origin]
    if not index:
        raise NotEstablished(
            "the keys given are the log's, and what is to be proven is that its index log signed something",
            expected=f"a vkey of {origin_of(origin)}",
            hint="teelog fork verify FILE --log LOG.vkey --log INDEX.vkey",
        )
    return index, [key for key in trusted if key.name == origin] or None
