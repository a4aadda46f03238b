"""What a front decides on its own about an entry: bounded, well-formed, signed by keys that may sign it.

Some things a front cannot decide, and leaves to the sequencer: whether the entry is logged already, whether a statement
still follows the last one of its chain, and whether the namespace version that it was judged by is still the current
one. Nor is admission what makes an entry count: a reader of the log judges by the log's entries alone (protocol
section 4); admission refuses what would count for nobody.
"""

from __future__ import annotations

import copy
import logging
from collections import ChainMap
from collections.abc import Callable, Iterable, MutableMapping

from teelog.errors import TeelogError
from teelog.log_server import places, problems
from teelog.log_server.bodies import too_large
from teelog.log_server.problems import Kind as P
from teelog.log_server.problems import Problem
from teelog.log_server.seams import Admitted
from teelog.statement import admit
from teelog.statement.admit import Kind, ParsedEntry
from teelog.statement.log_policy import LogPolicy, LogPolicyPredicate
from teelog.statement.namespace import Namespace, NamespacePredicate, Role
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
        self._current: MutableMapping[str, Namespace] = {}

    def __len__(self) -> int:
        return len(self._current)

    def current(self, name: str) -> Namespace | None:
        return self._current.get(name)

    def overlaid(self) -> Namespaces:
        """The same for now; what one of them learns from here on, the other does not."""
        overlay = Namespaces(self.origin)
        overlay._current = ChainMap({}, self._current)
        return overlay

    def learn(self, logged: Iterable[tuple[int, bytes]]) -> None:
        """Takes logged namespace statements in the order of their index; one that follows nothing is inert."""
        for index, entry in logged:
            if index < self.upto:
                continue
            self.upto = index + 1
            self.take(entry, index)

    def take(self, entry: bytes, index: int) -> None:
        """Entry ``index``, if it is the next version of a namespace."""
        try:
            self._take(admit.classify(entry), index)
        except TeelogError as error:
            log.warning("entry %d is no namespace in force: %s", index, problems.printable(error))

    def _take(self, parsed: ParsedEntry, index: int) -> None:
        if parsed.kind is not Kind.NAMESPACE or parsed.namespace is None:
            return
        current = self._current.get(parsed.namespace)
        # As the map function has it: beside a chain, another version 0 is inert.
        if current is None:
            self._current[parsed.namespace] = admit.check_namespace_v0(parsed, self.origin, index)
        else:
            self._current[parsed.namespace] = admit.check_namespace_next(parsed, current, index)


class Admission:
    """Judges entries.

    size: of the newest published checkpoint, None if there is none; from any thread. private_results: whether results
    that hold evidence, nonces or identities are taken. raw: whether the log takes any bytes, so nobody can tell from it
    what is allowed. policy: the log's newest policy, where this front judges for the operator.
    """

    def __init__(
        self,
        namespaces: Namespaces,
        size: Callable[[], int | None] = lambda: None,
        *,
        private_results: bool = False,
        raw: bool = False,
    ) -> None:
        self.namespaces = namespaces
        self.policy: Callable[[], LogPolicy | None] = lambda: None
        self._size = size
        self._private_results = private_results
        self._raw = raw

    def overlaid(self) -> Admission:
        """Judges by the same namespaces for now, and by those that it ``expect``s."""
        overlay = copy.copy(self)
        overlay.namespaces = self.namespaces.overlaid()
        return overlay

    def expect(self, entry: bytes) -> None:
        """A namespace statement that will be logged before what is judged from here on."""
        self.namespaces.take(entry, self._size() or 0)

    def judge(self, entry: bytes, *, operator: bool = False) -> tuple[Admitted, str | None]:
        """The entry as the pool takes it, and the name of the quota that it uses up. Raises Problem.

        operator: whether it comes from the log's own operator (the admin socket).
        """
        if len(entry) > MAX_ENTRY:
            raise too_large(MAX_ENTRY)
        try:
            parsed = admit.classify(entry)
            if parsed.kind is Kind.NAMESPACE:
                admitted = self._namespace_statement(entry, parsed, operator)
            elif parsed.kind is Kind.LOG_POLICY:
                admitted = self._log_policy(entry, parsed, operator)
            else:
                admitted = self._by_namespace(entry, parsed)
        except TeelogError as error:
            raise problems.of(error) from error
        return admitted, _quota(parsed)

    def _by_namespace(self, entry: bytes, parsed: ParsedEntry) -> Admitted:
        """What a namespace's keys sign, as they are now."""
        namespace = self._namespace(parsed)
        index = self._index(namespace)
        if parsed.kind is Kind.RELEASE:
            role = Role.RELEASE
            admit.check_release(parsed, namespace, index)
        elif parsed.kind is Kind.STATUS:
            role = Role.STATUS
            if self._raw:
                raise Problem(P.NOT_ALLOWED, "a log that takes any bytes takes no statuses")
            admit.check_status(parsed, namespace, index)
        else:
            return self._result(entry, parsed, namespace, index)
        before = None if index is None else _bound(namespace, role, parsed.envelope.keyids)
        return places.admitted(entry, parsed, bytes.fromhex(namespace.statement_id), before)

    def _result(self, entry: bytes, parsed: ParsedEntry, namespace: Namespace, index: int | None) -> Admitted:
        verified = admit.check_result(parsed, namespace, index)
        if not self._private_results:
            admit.check_private(verified.result)
        judged = verified.result.judged
        if judged is not None and judged.checkpoint is not None and judged.checkpoint.origin != self.namespaces.origin:
            # Nothing that it names could be looked up here; that log has the means.
            raise Problem(
                P.UNKNOWN_CHECKPOINT,
                "the result was judged by another log",
                expected=self.namespaces.origin,
                actual=judged.checkpoint.origin,
                hint="publish it on the log that it names",
            )
        before = None if index is None else _bound(namespace, Role.RESULT, (verified.signer,))
        # A log of any bytes keeps no statement ids, so there it cannot be told what it holds.
        cites = None if self._raw else places.cited(verified.result)
        return places.admitted(entry, parsed, bytes.fromhex(namespace.statement_id), before, cites)

    def _namespace_statement(self, entry: bytes, parsed: ParsedEntry, operator: bool) -> Admitted:
        predicate = parsed.predicate
        assert isinstance(predicate, NamespacePredicate)
        if predicate.version > 0:
            current = self._namespace(parsed)
            _check_follows(predicate, current.version, current.statement_id, "teelog namespace show")
            admit.check_namespace_next(parsed, current, self._index(current))
            return places.admitted(entry, parsed, None, _bound(current, Role.OWNER, parsed.envelope.keyids))
        # Protocol section 3: version 0 comes in through the operator, on behalf of a vendor who hands it over.
        if not operator:
            raise Problem(
                P.NOT_ALLOWED,
                "the first version of a namespace is logged by the log's operator",
                hint="hand the file to the operator, who runs: teelog log allow LOG FILE",
            )
        first = admit.check_namespace_v0(parsed, self.namespaces.origin, self._size())
        return places.admitted(entry, parsed, None, _bound(first, Role.OWNER, parsed.envelope.keyids))

    def _log_policy(self, entry: bytes, parsed: ParsedEntry, operator: bool) -> Admitted:
        if not operator:
            raise Problem(P.NOT_ALLOWED, "a log's policy is written by its operator", hint="teelog log freeze LOG")
        predicate, current = parsed.predicate, self.policy()
        assert isinstance(predicate, LogPolicyPredicate)
        if current is None:
            raise Problem(P.NOT_ALLOWED, "the log does not begin with a policy")
        _check_follows(predicate, current.predicate.version, current.statement_id, "teelog log status LOG")
        admit.check_log_policy_next(parsed, current)
        return places.admitted(entry, parsed)

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


def _quota(parsed: ParsedEntry) -> str | None:
    """A stolen release key must not be able to keep a withdrawal or a rotation out by what it uses up."""
    own = parsed.kind in (Kind.STATUS, Kind.NAMESPACE)
    return f"{parsed.namespace} {parsed.kind}" if own else parsed.namespace


def _bound(namespace: Namespace, role: Role, signers: Iterable[str]) -> int | None:
    """The least index at which ``signers`` are no threshold of ``role`` any more; None if they are for good."""
    held = [namespace.keys[it] for it in set(signers) if it in namespace.keys and role in namespace.keys[it].roles]
    untils = sorted((key.until for key in held if key.until is not None), reverse=True)
    for_good = len(held) - len(untils)
    missing = namespace.thresholds.get(role, 1) - for_good
    return None if missing <= 0 else untils[missing - 1]


def _check_follows(
    predicate: NamespacePredicate | LogPolicyPredicate, version: int, statement_id: str, hint: str
) -> None:
    """Raises Problem unless it is the version after this one."""
    if (predicate.version, predicate.prev) != (version + 1, statement_id):
        raise Problem(
            P.CONFLICT,
            "the version does not follow the one before",
            expected=f"version {version + 1}, prev {statement_id}",
            actual=f"version {predicate.version}, prev {predicate.prev or 'null'}",
            hint=hint,
        )
