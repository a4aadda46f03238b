"""What a front decides on its own about an entry: bounded, well-formed, signed by keys that may sign it.

Two things a front cannot decide, and leaves to the sequencer: whether the entry is logged already, and whether a
namespace statement still follows the last one. Nor is admission what makes an entry count: a reader of the log judges
by the log's entries alone (protocol section 4).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from teelog.errors import TeelogError
from teelog.log_server import problems
from teelog.log_server.bodies import too_large
from teelog.log_server.problems import Kind as P
from teelog.log_server.problems import Problem
from teelog.log_server.seams import LATER_VERSION, Admitted
from teelog.statement import admit
from teelog.statement.admit import Kind, ParsedEntry
from teelog.statement.namespace import Namespace
from teelog.tlog import rfc6962
from teelog.tlog.tiles import MAX_ENTRY

log = logging.getLogger("teelog.log_server")


class Namespaces:
    """The namespaces in force on this log, as far as this front has heard: name -> current version.

    upto: the index from which on nothing has been heard yet.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.upto = 0
        self._current: dict[str, Namespace] = {}

    def __len__(self) -> int:
        return len(self._current)

    def current(self, name: str) -> Namespace | None:
        return self._current.get(name)

    def learn(self, logged: Iterable[tuple[int, bytes]]) -> None:
        """Takes logged namespace statements in the order of their index; one that follows nothing is inert."""
        for index, entry in logged:
            if index < self.upto:
                continue
            self.upto = index + 1
            try:
                self._take(admit.classify(entry), index)
            except TeelogError as error:
                log.warning("entry %d is no namespace in force: %s", index, problems.printable(error))

    def _take(self, parsed: ParsedEntry, index: int) -> None:
        if parsed.kind is not Kind.NAMESPACE or parsed.namespace is None:
            return
        current = self._current.get(parsed.namespace)
        following = current is not None and getattr(parsed.predicate, "version", 0) > 0
        if following and current is not None:
            self._current[parsed.namespace] = admit.check_namespace_next(parsed, current, index)
        elif current is None or getattr(parsed.predicate, "replaces", None) == current.statement_id:
            self._current[parsed.namespace] = admit.check_namespace_v0(parsed, self.origin, index)


class Admission:
    """Judges entries.

    size: of the newest published checkpoint, None if there is none; from any thread. private_results: whether results
    that hold evidence, nonces or identities are taken.
    """

    def __init__(
        self,
        namespaces: Namespaces,
        size: Callable[[], int | None] = lambda: None,
        *,
        private_results: bool = False,
    ) -> None:
        self.namespaces = namespaces
        self._size = size
        self._private_results = private_results

    def judge(self, entry: bytes, *, operator: bool = False) -> tuple[Admitted, str | None]:
        """The entry as the pool takes it, and the namespace whose quota it uses up. Raises Problem.

        operator: whether it comes from the log's own operator (the admin socket).
        """
        if len(entry) > MAX_ENTRY:
            raise too_large(MAX_ENTRY)
        try:
            parsed = admit.classify(entry)
            if parsed.kind is Kind.RELEASE:
                namespace = self._namespace(parsed)
                admit.check_release(parsed, namespace, self._index(namespace))
            elif parsed.kind is Kind.RESULT:
                namespace = self._namespace(parsed)
                result = admit.check_result(parsed, namespace, self._index(namespace))
                if not self._private_results:
                    admit.check_private(result)
            elif parsed.kind is Kind.NAMESPACE:
                self._check_namespace(parsed, operator)
            else:
                raise Problem(
                    P.NOT_ALLOWED,
                    "a log's policy is written by its operator",
                    hint="teelog log init",
                )
        except TeelogError as error:
            raise problems.of(error) from error
        return _admitted(entry, parsed), parsed.namespace

    def _check_namespace(self, parsed: ParsedEntry, operator: bool) -> None:
        if getattr(parsed.predicate, "version", 0) > 0:
            namespace = self._namespace(parsed)
            admit.check_namespace_next(parsed, namespace, self._index(namespace))
            raise Problem(LATER_VERSION.kind, LATER_VERSION.detail, status=LATER_VERSION.status)
        # Protocol section 3: version 0 comes in through the operator, on behalf of a vendor who hands it over.
        if not operator:
            raise Problem(
                P.NOT_ALLOWED,
                "the first version of a namespace is logged by the log's operator",
                hint="hand the file to the operator, who runs: teelog log allow LOG FILE",
            )
        admit.check_namespace_v0(parsed, self.namespaces.origin, self._size())

    def _index(self, namespace: Namespace) -> int | None:
        """The least index that the entry can get. Keys on their way out count before theirs; few namespaces have any.

        It may come to lie behind it: then it is logged, and counts for nobody (protocol section 4).
        """
        return self._size() if any(key.until is not None for key in namespace.keys.values()) else None

    def _namespace(self, parsed: ParsedEntry) -> Namespace:
        assert parsed.namespace is not None
        found = self.namespaces.current(parsed.namespace)
        if found is None:
            raise Problem(
                P.UNKNOWN_NAMESPACE,
                "the namespace is not known to this log",
                actual=parsed.namespace,
                hint="teelog namespace new; the log's operator logs it with: teelog log allow LOG FILE",
            )
        return found


def raw(entry: bytes) -> Admitted:
    """Bytes of any kind, for a log in raw mode. Raises Problem."""
    if len(entry) > MAX_ENTRY:
        raise too_large(MAX_ENTRY)
    return Admitted(entry, rfc6962.leaf_hash(entry), None)


def _admitted(entry: bytes, parsed: ParsedEntry) -> Admitted:
    statement = bytes.fromhex(parsed.statement_id)
    leaf = rfc6962.leaf_hash(entry)
    if parsed.kind is not Kind.NAMESPACE:
        return Admitted(entry, leaf, statement)
    return Admitted(entry, leaf, statement, parsed.namespace, getattr(parsed.predicate, "version", 0))
