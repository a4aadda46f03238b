"""How large bundles are: ``python -m tests.appraisal.sizes`` prints the table of docs/formats/bundle.md.

A log of a million entries and ten thousand namespaces, each with a stream; an index log of ten thousand leaves.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from teelog.bundle import Bundle, Included, Lookup
from teelog.index import keys
from teelog.index.lists import Value
from teelog.keys import Algorithm, PrivateKey
from teelog.statement.namespace import Role
from teelog.testing.ledger import Cosigner
from tests.appraisal.story import Story, current
from tests.statement import make

ENTRIES, OTHERS, LEAVES = 1_000_000, 10_000, 10_000
ED25519, ML_DSA = (Algorithm.ED25519,), (Algorithm.ML_DSA_44,)


@dataclass(frozen=True)
class Case:
    """witnesses, semantic: how many. of_witnesses, of_logs: their keys' algorithms. vendor: one key for all roles."""

    name: str
    witnesses: int = 4
    semantic: int = 3
    of_witnesses: Sequence[Algorithm] = ED25519
    of_logs: Sequence[Algorithm] = ED25519
    vendor: PrivateKey = make.ACME
    release: dict[str, Any] = field(default_factory=dict)
    rotations: int = 0


def register(name: str, length: int) -> str:
    return hashlib.shake_256(name.encode()).hexdigest(length)


def snp(count: int) -> tuple[Any, ...]:
    """One variant for each number of vCPUs."""
    return tuple(
        make.variant(when={"vcpus": n + 1, "cpu": "EPYC-v4"}, registers={"measurement": register(f"snp {n}", 48)})
        for n in range(count)
    )


def tdx(count: int) -> tuple[Any, ...]:
    names = ("mrtd", "rtmr0", "rtmr1", "rtmr2")
    return tuple(
        make.variant(
            platform="tdx",
            when={"vcpus": n + 1},
            registers={name: register(f"{name} {n}", 48) for name in names},
            require={},
        )
        for n in range(count)
    )


def domain(number: int) -> str:
    """Names that look alike nowhere: the map's paths are as long as their number makes them."""
    digest = hashlib.sha256(b"%d" % number).digest()
    return "".join(chr(ord("a") + byte % 26) for byte in digest[:12]) + ".example"


ML_DSA_VENDOR = make.key("vendor", Algorithm.ML_DSA_44)
CASES = (
    Case("one SNP variant"),
    Case("one SNP variant, 3 witnesses, 2 semantic", witnesses=3, semantic=2),
    Case("eight SNP variants", release={"variants": snp(8)}),
    Case("one SNP and one TDX variant", release={"variants": (*snp(1), *tdx(1))}),
    Case("eight SNP and eight TDX variants", release={"variants": (*snp(8), *tdx(8))}),
    Case("one SNP variant, namespace rotated three times", rotations=3),
    Case("one SNP variant, witnesses ML-DSA-44", of_witnesses=ML_DSA),
    Case("the same, 3 witnesses, 2 semantic", witnesses=3, semantic=2, of_witnesses=ML_DSA),
    Case("one SNP variant, witnesses and logs with both keys", of_witnesses=ED25519 + ML_DSA, of_logs=ED25519 + ML_DSA),
    Case("one SNP variant, everything ML-DSA-44 beside the logs' Ed25519 line",
         of_witnesses=ML_DSA, of_logs=ED25519 + ML_DSA, vendor=ML_DSA_VENDOR),
)  # fmt: skip


def bundle(case: Case, entries: int = ENTRIES, others: int = OTHERS, leaves: int = LEAVES) -> Bundle:
    held = make.held(case.vendor, Role.OWNER, Role.RELEASE, Role.STATUS)
    story = Story(
        make.namespace_file(case.vendor, keys=(held,)),
        witnesses=[Cosigner.of(f"witness.example/w{n}", case.of_witnesses) for n in range(case.witnesses)],
        semantic=[Cosigner.of(f"semantic.example/s{n}", case.of_witnesses) for n in range(case.semantic)],
        log_algorithms=case.of_logs,
    )
    for version in range(1, case.rotations + 1):
        file = make.namespace_file(case.vendor, keys=(held,), version=version, prev=story.namespaces[-1])
        story.namespaces.append(story.append(file))
    led = story.ledger
    led.fill(entries // 2)
    release = story.release("1.4.2", case.vendor, **case.release)
    story.status(current(release), case.vendor)
    led.fill(entries - len(led.entries))
    for name in map(domain, range(others)):
        for key in (keys.namespace_key(name), keys.status_key(f"{name}/inference/stable")):
            led.shown.trie.set(key, Value(1, bytes(32)).encode())
    for _ in range(leaves - 1):
        led.index_tree.append(bytes(32))
        led.index_leaves.append(b"")
    return story.bundle(release)


def parts(found: Bundle) -> dict[str, int]:
    """Bytes of the parts, without what frames them."""

    def included(items: Sequence[Included]) -> int:
        return sum(len(item.entry) + 32 * len(item.path) for item in items)

    def lookup(item: Lookup) -> int:
        return 8 + 32 + 32 * len(item.list_path) + len(item.trie_proof)

    return {
        "checkpoints": len(found.main_checkpoint) + len(found.index_checkpoint),
        "index leaf": len(found.index_leaf) + 32 * len(found.index_path),
        "namespaces": included(found.namespaces),
        "status": included([found.status]),
        "release": included([found.release]),
        "lookups": lookup(found.namespace_lookup) + lookup(found.status_lookup),
    }


def table() -> str:
    rows = []
    for case in CASES:
        found = bundle(case)
        sizes = parts(found)
        if not rows:
            rows = [f"| bundle | bytes | {' | '.join(sizes)} |", "|---" * (len(sizes) + 2) + "|"]
        rows.append(f"| {case.name} | {len(found.encode()):,} | {' | '.join(f'{n:,}' for n in sizes.values())} |")
        print(rows[-1], file=sys.stderr, flush=True)
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
