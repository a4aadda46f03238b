"""How much of what anyone can make up is told one by one, so that junk hides nothing and uses up nobody else's part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from teelog.witness.monitor.finding import MAX_ABOUT, Finding, Kind, cut

MAX_TOLD = 1_000  # findings of one kind that one name pays for; the rest is counted
MAX_NAMES = 1_024  # strangers' names with a count of their own; the others share one for each kind


class Budget:
    """counts: so far, by kind and name. own: names of the monitor's owner, who has a part whatever strangers do."""

    def __init__(self, counts: Mapping[str, int], own: Set[str]) -> None:
        self.counts = dict(counts)
        self._own = own

    def spend(self, kind: Kind, name: str) -> bool:
        """Whether one more of the kind is told. name: of whoever could make up any number of them."""
        subject = f"{kind} {cut(name, MAX_ABOUT - len(kind) - 1)}"
        if name not in self._own and subject not in self.counts and len(self.counts) >= MAX_NAMES:
            subject = f"{kind} *"
        self.counts[subject] = self.counts.get(subject, 0) + 1
        return self.counts[subject] <= MAX_TOLD

    def rest(self, log: str) -> Iterator[Finding]:
        """That there are more, one finding for each kind and name."""
        for subject, count in sorted(self.counts.items()):
            if count > MAX_TOLD:
                kind, _, name = subject.partition(" ")
                whose = {"": "", "*": " of many other names"}.get(name, f" of {name}")
                text = f"{count - MAX_TOLD} more of the kind {kind}{whose} than are told one by one"
                yield Finding(Kind.OVERFLOW, log, subject, cut(text), standing=True)
