"""`teelog fork verify` of an index fault (.teelog-index-fault): something false that an index log signed."""

from __future__ import annotations

from collections.abc import Sequence

from teelog.cli import output
from teelog.errors import NotEstablished
from teelog.index import fault
from teelog.index.leaf import origin_of
from teelog.tlog.vkey import VerifierKey

FIRST_BYTES = b'{"schema":"teelog-index-fault/'


def verify(data: bytes, trusted: Sequence[VerifierKey] | None, source: str) -> None:
    """Shows what the file proves. trusted: keys of the log, of its index, or of both; None: those that it names.

    Raises VerificationError where it proves nothing; NotEstablished where only a replay of the log can tell.
    """
    parsed = fault.parse(data)
    found = fault.verify(parsed, *_sorted(trusted, parsed))
    index = origin_of(found.origin)
    rows = [
        f"index   {index}",
        f"leaf    {found.number} of size {found.checkpoint.size}",
        *([] if found.input is None else [f"input   {found.input.size} entries, root {found.input.root.hex()}"]),
        *([] if found.map_root is None else [f"signed  map root {found.map_root.hex()}"]),
        *([] if parsed.rebuilt is None else [f"claimed map root {parsed.rebuilt}"]),
        *([] if found.omitted is None else [f"skips   entry {found.omitted[0]} under {output.safe(found.omitted[1])}"]),
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


def _sorted(
    trusted: Sequence[VerifierKey] | None, parsed: fault.IndexFault
) -> tuple[list[VerifierKey] | None, list[VerifierKey] | None]:
    """The keys of the index log, and of the log; None for that of which the caller gave none."""
    if trusted is None:
        return None, None
    names = {fault.main_origin(parsed)}
    index = [key for key in trusted if key.name not in names]
    main = [key for key in trusted if key.name in names]
    return index or None, main or None
