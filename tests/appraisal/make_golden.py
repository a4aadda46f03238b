"""Writes tests/appraisal/golden: bundles, good and bad, and what appraising each must yield.

    python -m tests.appraisal.make_golden

    NAME.teelog       a bundle
    trust-N/          a trust file and the two policies that it names
    expected.json     for each bundle the trust file, the time, what was appraised before it, outcomes, the one cause

All keys are derived from their names; Ed25519 alone signs the same bytes the same way, so files with ML-DSA-44
signatures are kept as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import teelog
from teelog import Expect, Outcome, Trust
from teelog.appraisal.api import appraise
from teelog.appraisal.inputs import Seen
from teelog.bundle import Bundle
from teelog.errors import MisbehaviourError
from teelog.keys import Algorithm
from teelog.testing.ledger import Cosigner
from teelog.verdict import OF_EVIDENCE
from tests.appraisal import attacks, malformed
from tests.appraisal.story import LATER, NOW, STREAM, TRUST_FILE, Story, current, files_of, grace, told
from tests.statement import make

GOLDEN = Path(__file__).parent / "golden"
KEPT = frozenset({"good-ml-dsa", "two-keys-of-one-operator"})
"""With signatures that are made anew each time."""
TOO_LONG = frozenset(
    {
        "too long",
        "nested too deeply",
        "an entry that no log takes",
        "a trie proof that is too long",
        "too many namespaces",
    }
)


@dataclass(frozen=True)
class Vector:
    """before: the vector that was appraised before, whose ``seen`` is passed on."""

    name: str
    data: bytes
    trust: Trust
    now: int = NOW + LATER
    before: str | None = None


def good() -> Iterator[Vector]:
    story, first = told()
    trust = story.trust()
    old = story.bundle(first)
    yield Vector("good", old.encode(), trust)
    second = story.release("1.4.3")
    story.status((*current(second), grace(first, "2026-09-21T14:30:00Z")))
    yield Vector("good-second-release", story.bundle(second).encode(), trust)
    yield Vector("good-grace", story.bundle(first).encode(), trust)
    yield Vector("grace-over", story.bundle(first).encode(), trust, NOW + 2 * 3_600)
    story.status(current(second), revoked=(make.status.Revoked(first, "CVE-2026-1234"),))
    yield Vector("withdrawn", story.bundle(first).encode(), trust)
    yield Vector("good-once-more", story.bundle(second, NOW + 30).encode(), trust)
    yield Vector("stale", old.encode(), trust, NOW + 86_401)
    yield Vector("older-seq-than-seen", old.encode(), trust, before="good-once-more")
    story.namespaces.append(story.append(make.namespace_file(version=1, prev=story.namespaces[0])))
    story.status(current(second))
    yield Vector("good-rotated", story.bundle(second).encode(), trust)
    yield Vector("good-rotated-later-pin", story.bundle(second).encode(), story.trust(story.namespaces[1]))
    yield Vector("next-update-overdue", story.bundle(second, NOW + 30 * 86_400).encode(), trust, NOW + 30 * 86_400)


def good_ml_dsa() -> Bundle:
    both = (Algorithm.ED25519, Algorithm.ML_DSA_44)
    story = ml_dsa_story(both)
    release = story.release("1.4.2")
    story.status(current(release))
    return story.bundle(release)


def ml_dsa_story(algorithms: tuple[Algorithm, ...]) -> Story:
    return Story(
        witnesses=[Cosigner.of(f"witness.example/w{n}", algorithms) for n in range(1, 5)],
        semantic=[Cosigner.of(f"semantic.example/s{n}", algorithms) for n in range(1, 4)],
        log_algorithms=algorithms,
    )


def misbehaviour() -> Iterator[Vector]:
    story, release = told()
    trust = story.trust()
    yield Vector("good-before-the-lies", story.bundle(release).encode(), trust)
    story.ledger.add_leaf(bytes(32), story.ledger.checkpoint())
    lie = story.bundle(release, collude=True).encode()
    yield Vector("two-map-roots-for-one-tree", lie, trust, before="good-before-the-lies")


def vectors() -> list[Vector]:
    found = [*good(), *misbehaviour()]
    found.append(
        Vector("good-ml-dsa", good_ml_dsa().encode(), ml_dsa_story((Algorithm.ED25519, Algorithm.ML_DSA_44)).trust())
    )
    for attack, *_ in attacks.ATTACKS:
        bundle, trust = attack()
        found.append(Vector(attack.__name__.replace("_", "-"), bundle.encode(), trust))
    trust = told()[0].trust()
    for name, data in malformed.BUNDLES.items():
        if name not in TOO_LONG:
            found.append(Vector(f"malformed-{name.replace(' ', '-')}", data, trust))
    return found


def judged(data: bytes, trust: Trust, now: int, seen: Seen | None) -> tuple[dict[str, Any], Seen | None]:
    """The outcomes of the checks that a bundle is about, or that the log is convicted; and what was seen."""
    try:
        verdict = appraise(
            evidence=None, bundle=data, trust=trust, expect=Expect(STREAM), now=now, seen=seen, without=OF_EVIDENCE
        )
    except MisbehaviourError as error:
        return {"verdict": "misbehaviour", "checks": {}, "cause": error.message}, None
    checks = {finding.check: finding for finding in verdict.findings if finding.check not in OF_EVIDENCE}
    worst = sorted(checks.values(), key=lambda found: found.outcome is not Outcome.FAILED)
    causes = [f"{found.check}: {found.cause}" for found in worst if found.cause is not None]
    outcomes = {str(check): str(found.outcome) for check, found in checks.items()}
    return {"verdict": str(verdict.overall), "checks": outcomes, "cause": causes[0] if causes else None}, verdict.seen


def read(folder: Path) -> Callable[[str], Trust]:
    """Reads trust files by the names of their folders."""

    def trust(name: str) -> Trust:
        return teelog.trust.parse(
            (folder / name / TRUST_FILE).read_bytes(), lambda it: (folder / name / it).read_bytes()
        )

    return trust


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    folders: list[dict[str, bytes]] = []
    seen: dict[str, Seen | None] = {}
    rows = []
    for vector in vectors():
        path = GOLDEN / f"{vector.name}.teelog"
        if not (vector.name in KEPT and path.exists()):
            path.write_bytes(vector.data)
        files = files_of(vector.trust)
        if files not in folders:
            folders.append(files)
            folder = GOLDEN / f"trust-{len(folders)}"
            folder.mkdir(exist_ok=True)
            for name, text in files.items():
                (folder / name).write_bytes(text)
        place = f"trust-{folders.index(files) + 1}"
        before = seen[vector.before] if vector.before else None
        result, seen[vector.name] = judged(path.read_bytes(), vector.trust, vector.now, before)
        row = {"bundle": path.name, "trust": place, "now": vector.now}
        row |= {"before": f"{vector.before}.teelog"} if vector.before else {}
        rows.append(row | result)
    document = {"schema": "teelog-bundle-vectors/v1", "stream": STREAM, "vectors": rows}
    (GOLDEN / "expected.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
