"""A monitor that follows a whole log: hashing it again, checking its signatures, its memory.

    python -m tests.bench.monitor LOG FOLDER SIZE     looks at LOG, of SIZE entries, and prints the peak of memory
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

from teelog.errors import MalformedError
from teelog.statement.effective import MemoryState
from teelog.statement.index_map import map_entry
from teelog.testing.ledger import cosigned
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.vkey import NoteSigner, SignatureType
from teelog.witness.monitor import folder as folders
from teelog.witness.monitor import run
from teelog.witness.monitor.ahead import Ahead, Batch
from teelog.witness.monitor.settings import Settings as Chosen
from teelog.witness.monitor.state import Followed
from tests.bench import bare, entries
from tests.bench.ratio import Row, Settings, interleave, quotients
from tests.bench.replay import write_log
from tests.statement import make

LOG = NoteSigner.of(entries.ORIGIN, SignatureType.ED25519, entries.KEY)
OPERATOR = make.key("operator")


def show(log: Path, size: int, root: bytes) -> None:
    """The checkpoint of a log's directory."""
    (log / "checkpoint").write_bytes(cosigned(Checkpoint(entries.ORIGIN, size, root), [LOG], [], 1))


def follow(log: Path, folder: Path, *watched: tuple[str, str]) -> tuple[float, Followed]:
    """Looks once, as a monitor that knows nothing yet; wall seconds, and how far it came."""
    policy = f"log {LOG.verifier}\nquorum none\n"
    chosen = Chosen(place=str(log), policy=policy, watched=watched)
    made = folders.init(folder, chosen)
    with made.locked() as state:
        begin = time.perf_counter()
        asyncio.run(run.look(made, state, chosen, 1_800_000_000))
        return time.perf_counter() - begin, state.followed()


def hashing(folder: Path, settings: Settings) -> list[Row]:
    """A log that is none of ours: each entry hashed again, each tile compared, hashes kept durably."""
    logged = list(entries.unsigned(0, settings.count(100_000)))
    log = folder / "log"
    root = write_log(log, logged)
    show(log, len(logged), root)

    def base(_: int) -> float:
        begin = time.perf_counter()
        if bare.tree_root(logged) != root:
            raise AssertionError("the two sides hash different trees")
        return len(logged) / (time.perf_counter() - begin)

    def ours(_: int) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            seconds, followed = follow(log, Path(name) / "M")
        if (followed.signed, followed.mapped, followed.root) != (len(logged), len(logged), root):
            raise AssertionError(f"the monitor came to {followed}")
        return len(logged) / seconds

    _, hashed, followed = interleave(base, ours, settings)
    few, many = len(logged) // 4, len(logged)
    show(folder / "few", few, write_log(folder / "few", logged[:few]))
    peaks = _peak(folder / "few", folder / "M0", few), _peak(log, folder / "M1", many)
    return [
        Row(
            name="monitor",
            what="a monitor's first look at a log of 1 KiB entries in a directory (entries/s)",
            against="one hashlib call an entry and node, entries in memory",
            samples=quotients(followed, hashed),
            bound=0.5,
            unit="entries/s",
            base=hashed,
            ours=followed,
        ),
        Row(
            name="monitor-memory",
            what=f"peak memory of a process that looks at {many:,} entries for the first time",
            against=f"at {few:,} entries",
            samples=[peaks[1] / peaks[0]],
            bound=1.2,
            at_most=True,
            notes={"MB": round(peaks[1] / 1e6, 1), f"MB at {few:,}": round(peaks[0] / 1e6, 1)},
        ),
    ]


def _peak(log: Path, folder: Path, size: int) -> int:
    command = [sys.executable, "-m", "tests.bench.monitor", str(log), str(folder), str(size)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def signatures(folder: Path, settings: Settings) -> list[Row]:
    """One of our logs: the threads that check ahead by themselves, and a whole first look."""
    count = settings.count(20_000, 2_000)
    entries.write(folder / "entries", count)
    found = entries.Entries(folder / "entries")
    first = make.log_policy_file(
        OPERATOR, log=entries.ORIGIN, operators=(OPERATOR.public.to_pem().decode(),)
    )
    logged = [first, entries.namespace_file(), *(found[number] for number in range(count))]
    log = folder / "log"
    root = write_log(log, logged)
    show(log, len(logged), root)
    state = MemoryState(entries.ORIGIN)
    for index, entry in enumerate(logged[:2]):
        effect = map_entry(entry, index, state).effect
        assert effect is not None
        state.apply(effect)

    async def batches() -> AsyncIterator[Batch]:
        for start in range(2, len(logged), 256):
            yield start, logged[start : start + 256]

    async def check() -> None:
        with Ahead(state) as ahead:
            ahead.known.renew(entries.NAMESPACE)
            async for _, batch in ahead.over(batches()):
                if not all(not isinstance(parsed, MalformedError) and parsed.envelope._held for _, parsed in batch):
                    raise AssertionError("a signature was not checked")

    def checked(_: int) -> float:
        begin = time.perf_counter()
        asyncio.run(check())
        return count / (time.perf_counter() - begin)

    def whole(_: int) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            seconds, followed = follow(log, Path(name) / "M", ("namespace", entries.NAMESPACE))
        if (followed.mapped, followed.root) != (len(logged), root):
            raise AssertionError(f"the monitor came to {followed}")
        return count / seconds

    with ExitStack() as stack:
        primitive = stack.enter_context(bare.verifiers())

        def base(_: int) -> float:
            return primitive.rate(settings.count(8_000, 1_000))

        _, rates, ahead = interleave(base, checked, settings)
        _, again, looked = interleave(base, whole, settings)
    return [
        Row(
            name="monitor-signatures",
            what="entries of 1 KiB read, their signatures checked ahead by threads (entries/s)",
            against="bare Ed25519 verifies/s on all cores",
            samples=quotients(ahead, rates),
            bound=0.7,
            unit="entries/s",
            base=rates,
            ours=ahead,
        ),
        Row(
            name="monitor-own",
            what="a monitor's first look at one of our logs: hashed, checked, mapped, judged, kept (entries/s)",
            against="bare Ed25519 verifies/s on all cores",
            samples=quotients(looked, again),
            bound=None,
            unit="entries/s",
            base=again,
            ours=looked,
        ),
    ]


def main() -> None:
    log, folder, size = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    _, followed = follow(log, folder)
    if followed.signed != size:
        raise AssertionError(f"the monitor came to {followed}")
    # Not getrusage: its peak is the parent's where that was larger.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    print(int(peak.split()[1]) * 1_024)


if __name__ == "__main__":
    main()
