"""Writes tests/statement/golden/map-function.json: what the entries of some logs map to, for other implementations.

    python -m tests.statement.make_map_vectors

The format is in docs/formats/map-function.md. Keys are derived from names (tests/statement/make.py). ECDSA and ML-DSA
signatures never come out alike twice, so entries that have one are taken from the file as it is, if it has them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from teelog import cbor
from teelog.errors import TeelogError
from teelog.keys import Algorithm
from teelog.statement import admit, ear, jws, log_policy, release, token
from teelog.statement.intoto import Subject
from teelog.statement.namespace import Role
from teelog.statement.status import Closed, Revoked
from teelog.testing import cose
from tests.statement import make
from tests.statement.make_golden import GOLDEN
from tests.statement.replay import STREAM, Replay

FILE = GOLDEN / "map-function.json"

OPERATOR, OWNER, RELEASER = make.key("operator"), make.key("owner"), make.key("releaser")
KEEPERS = tuple(make.key(f"keeper {n}") for n in range(3))
CHECKER = make.key("checker")
QUANTUM = make.key("keeper of the future", Algorithm.ML_DSA_44)
BETA = "acme.example/inference/beta"
ELSEWHERE = "log.example/tee2"

THRESHOLDS = {Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 2, Role.RESULT: 1}
KEYS = (
    make.held(OWNER, Role.OWNER),
    make.held(RELEASER, Role.RELEASE),
    *(make.held(keeper, Role.STATUS) for keeper in KEEPERS),
    make.held(CHECKER, Role.RESULT),
)


def pem(key: Any) -> str:
    return str(key.public.to_pem().decode())


def identity(file: bytes) -> str:
    return admit.classify(file).statement_id


def policy(*signers: Any, **changes: Any) -> bytes:
    return make.log_policy_file(*(signers or (OPERATOR,)), **{"operators": (pem(OPERATOR),)} | changes)


def space(*signers: Any, after: bytes | None = None, version: int = 0, **changes: Any) -> bytes:
    members: dict[str, Any] = {"keys": KEYS, "thresholds": THRESHOLDS, "version": version}
    members["prev"] = None if after is None else identity(after)
    return make.namespace_file(*(signers or (OWNER,)), **members | changes)


def publish(version: str, *signers: Any, **changes: Any) -> bytes:
    return make.release_file(*(signers or (RELEASER,)), version=version, **changes)


def state(
    *signers: Any, seq: int = 0, after: bytes | None = None, allow: Sequence[bytes] = (), **changes: Any
) -> bytes:
    members: dict[str, Any] = {"allowed": make.allowed(*map(identity, allow)), "seq": seq}
    members["prev"] = None if after is None else identity(after)
    return make.status_file(*(signers or KEEPERS[:2]), **members | changes)


def result(*names: str, **judged: Any) -> bytes:
    claim = {"verdict": "verified", "stream": STREAM, "release": names[0], "namespaces": names[1:], "checkpoint": None}
    claims = {
        "eat_profile": ear.PROFILE,
        "iss": "acme.example",
        "iat": 1_790_000_000,
        "ear_verifier_id": {"developer": "urn:example", "build": "1"},
        "submods": {"sev-snp": {"ear_status": "affirming"}},
        ear.CLAIM: {**claim, "checks": {}, "as_of": None, **judged},
    }
    return jws.sign(msgspec.json.encode(claims), CHECKER, "eat+jwt").file


def wide(version: str, count: int, *signers: Any) -> bytes:
    """A release with ``count`` subject digests; with its stream, its register and its signers that many keys more."""
    first, rest = min(count, 250), max(count - 250, 0)
    subjects = [Subject("x", {f"x{n}": "00" for n in range(first)})]
    subjects += [Subject("y", {f"y{n}": "00" for n in range(rest)})] if rest else []
    return make.sign(release.payload(make.release_predicate(version=version), tuple(subjects)), RELEASER, *signers).file


Log = list[tuple[str, bytes]]
"""(what to look at, entry)."""


def _stream() -> Iterator[tuple[str, bytes]]:
    first = space()
    one, two = publish("1.4.2"), publish("1.4.3", svn=4)
    yield "entry 0 is the log's policy", policy()
    yield "version 0, signed by its own owner", first
    yield "a release", one
    allow_one = state(allow=[one])
    yield "seq 0, signed by two of three", allow_one
    yield "a release more changes no set", two
    both = state(seq=1, after=allow_one, allow=[two, one])
    yield "seq 1", both
    tdx = {"mrtd": "d1" * 48, "rtmr0": "any", "rtmr1": "d3" * 48, "rtmr2": "d1" * 48}
    variants = (make.variant(), make.variant(when={}), make.variant(platform="tdx", registers=tdx, require={}))
    yield "equal values are one key; a register left open is none", publish("1.4.4", variants=variants)
    withdrawn = state(seq=2, after=both, allow=[two], revoked=(Revoked(identity(one), "CVE-2026-1234"),))
    yield "a withdrawal stands under what it withdraws", withdrawn
    yield "a result", result(identity(two), identity(first), evidence={"sha256": "0e" * 32})
    closed = state(seq=3, after=withdrawn, allowed=msgspec.UNSET, closed=Closed(ELSEWHERE))
    yield "the stream is closed", closed
    yield "inert: nothing follows a closed status", state(seq=4, after=closed, allow=[two])
    yield "a release is listed all the same", publish("1.4.5")


def _junk() -> Iterator[tuple[str, bytes]]:
    first, one, beta = space(), publish("1.4.2"), publish("1.4.2", stream=BETA)
    stranger = make.STRANGER
    yield "policy", policy()
    yield "inert: no namespace yet", one
    yield "namespace", first
    yield "the same bytes now take effect", one
    yield "inert: a statement is listed once", one
    yield "another stream's release", beta
    yield "no bytes", b""
    yield "bytes", b"\x00\xff"
    yield "JSON that is no envelope", b"{}"
    yield "one byte less", one[:-1]
    yield "a line break more", one + b"\n"
    yield "a base64url letter where a JWS might start", b"e30.e30."
    yield "of an unknown type", make.sign(b'{"predicateType":"urn:teelog:status:v2"}', *KEEPERS[:2]).file
    yield "by a stranger: its registers and subjects stand, no signer", publish("2", stranger)
    yield "by a key of another role", publish("3", KEEPERS[0])
    yield "a good signature beside a stranger's", publish("4", RELEASER, stranger)
    yield "of a namespace that is not there", publish("5", stream="other.example/inference/stable")
    yield "status by one of the two that it takes", state(KEEPERS[0], allow=[one])
    yield "status by one, and a key without the role", state(KEEPERS[0], OWNER, allow=[one])
    yield "status that allows another stream's release", state(allow=[one, beta])
    yield "status that allows what is not logged", state(allow=[publish("99")])
    yield "status that allows an inert release", state(allow=[publish("3", KEEPERS[0])])
    yield "status with a seq too high", state(seq=1, after=one, allow=[one])
    yield "status of another log", state(log=ELSEWHERE, allow=[one])
    good = state(allow=[one])
    yield "effective", good
    yield "the same bytes again", good
    yield "another status of the same seq", state(allow=[one], reason="the second")
    yield "prev is not the head", state(seq=1, after=one, allow=[one])
    yield "seq skips one", state(seq=2, after=good, allow=[one])
    yield "namespace by a stranger", space(stranger, after=first, version=1)
    yield "namespace by a key that owns nothing", space(RELEASER, after=first, version=1)
    yield "namespace whose prev is not the head", space(after=one, version=1)
    thief: dict[str, Any] = {"keys": (make.held(stranger, Role.OWNER),), "thresholds": {Role.OWNER: 1}}
    yield "a second version 0", space(stranger, **thief)
    yield "a second version 0 that replaces the first", space(stranger, replaces=identity(first), **thief)
    yield "namespace of another log", space(after=first, version=1, log=ELSEWHERE)
    yield "a second policy", policy(stranger, operators=(pem(stranger),), frozen=log_policy.Frozen(None))
    frozen: dict[str, Any] = {"version": 1, "prev": identity(policy()), "frozen": log_policy.Frozen(None)}
    yield "policy by a stranger", policy(stranger, **frozen)
    yield "policy of another log", policy(log=ELSEWHERE, **frozen)
    yield "seq 1 takes effect after all of this", state(seq=1, after=good, allow=[one])


def _keys() -> Iterator[tuple[str, bytes]]:
    yield "policy", policy()
    first = space()
    yield "namespace", first
    until = (KEYS[0], make.held(RELEASER, Role.RELEASE, until=5), *KEYS[2:-1])
    without_result = {Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 2}
    second = space(after=first, version=1, keys=until, thresholds=without_result)
    yield "the release key counts before index 5", second
    yield "result by a key that was removed: no signer", result("ab" * 32)
    yield "index 4", publish("1")
    yield "index 5: inert, and still signed by a key of the namespace", publish("2")
    many = (
        *KEYS[:1],
        make.held(make.BUILD, Role.RELEASE),
        make.held(KEEPERS[0], Role.STATUS),
        make.held(QUANTUM, Role.STATUS),
    )
    third = space(OWNER, QUANTUM, after=second, version=2, keys=many, thresholds=without_result)
    yield "signed by a new key too, which counts for nothing", third
    one = publish("3", make.BUILD)
    yield "ECDSA P-256", one
    yield "ML-DSA-44 beside Ed25519", state(KEEPERS[0], QUANTUM, allow=[one])
    yield "a removed key", publish("4")


def _bounds() -> Iterator[tuple[str, bytes]]:
    yield "policy", policy()
    yield "namespace", space()
    yield "256 keys", wide("1", 253)
    yield "257 keys: none at all, no effect", wide("2", 254)
    yield "a stranger's signature is no key and counts all the same", wide("3", 253, make.STRANGER)
    yield "200 versions of namespaces", result(*(f"{n:064x}" for n in range(201)))
    yield "201: malformed", result(*(f"{n:064x}" for n in range(202)))


def _numbers() -> Iterator[tuple[str, bytes]]:
    """In ``when``, which nobody checks, and in a member that is ignored."""
    least = -(2**53) + 1

    def written(version: str, number: str) -> bytes:
        made = make.release_payload(version=version, variants=(make.variant(when={"n": -5}),))
        return make.sign(made.replace(b"-5", number.encode()), RELEASER).file

    def ignored(version: str, number: str) -> bytes:
        made = make.release_payload(version=version)
        return make.sign(made.replace(b'"svn":', f'"delta":{number},"svn":'.encode()), RELEASER).file

    yield "policy", policy()
    yield "namespace", space()
    yield "a negative integer is one", written("1", "-5")
    yield "the least integer", written("2", str(least))
    yield "one less: malformed", written("3", str(least - 1))
    yield "-0: malformed", written("4", "-0")
    yield "a leading zero: malformed", written("5", "-05")
    yield "+5: malformed", written("6", "+5")
    yield "a negative integer in a member that is ignored", ignored("7", "-5")
    yield "one that is too small there: malformed", ignored("8", str(least - 1))
    yield "-0 there: malformed", ignored("9", "-0")
    yield "a negative svn: malformed", _negative_svn("10")


def _negative_svn(version: str) -> bytes:
    made = make.release_payload(version=version, svn=3)
    return make.sign(made.replace(b'"svn":3', b'"svn":-3'), RELEASER).file


def _frozen() -> Iterator[tuple[str, bytes]]:
    first, one = space(), publish("1")
    yield "policy", policy()
    yield "namespace", first
    yield "release", one
    last = policy(version=1, prev=identity(policy()), frozen=log_policy.Frozen(ELSEWHERE))
    yield "frozen", last
    yield "inert: status", state(allow=[one])
    yield "inert: release", publish("2")
    yield "inert: namespace", space(after=first, version=1)
    yield "inert: policy", policy(version=2, prev=identity(last))


def cose_sign1(payload: bytes, header: dict[Any, Any], signer: Any = CHECKER, unprotected: Any = None) -> list[Any]:
    """The four parts, whatever the header says."""
    protected = cose.encode(header)
    signed = cose.encode(["Signature1", protected, b"", payload])
    return [protected, unprotected or {}, payload, token.sign(signed, signer)]


def _tokens() -> Iterator[tuple[str, bytes]]:
    """Results as CWT. Claims by number, in the draft's dialect; then what others write, and what is malformed."""
    checkers = (make.held(CHECKER, Role.RESULT), make.held(make.BUILD, Role.RELEASE, Role.RESULT))
    first, one = space(keys=(*KEYS[:-1], *checkers)), publish("1")
    judged = {"verdict": "verified", "stream": STREAM, "release": identity(one), "namespaces": [identity(first)]}
    judged |= {"checkpoint": None, "checks": {}, "as_of": None, "evidence": {"sha256": "0e" * 32}}
    claims: dict[Any, Any] = {
        1: "acme.example",
        6: 1_790_000_000,
        265: ear.PROFILE,
        266: {"sev-snp": {1000: 2, 1001: {4: 2}}},
        1004: {0: "urn:example", 1: "1"},
        ear.CLAIM: judged,
    }

    def file(changed: Any = None, header: dict[Any, Any] | None = None, **more: Any) -> bytes:
        payload = cose.encode(claims if changed is None else changed)
        return cose.encode(cbor.Tag(18, cose_sign1(payload, {1: -8} if header is None else header, **more)))

    good = cose_sign1(cose.encode(claims), {1: -8})
    yield "policy", policy()
    yield "namespace", first
    yield "release", one
    yield "a CWT", file()
    yield "the same claims as JWT", result(identity(one), identity(first), evidence=judged["evidence"])
    yield "-19, RFC 9864's number for Ed25519", file(header={1: -19})
    yield "kid names the key", file(header={1: -8, 4: bytes.fromhex(CHECKER.public.fingerprint)})
    yield "kid names another key: the one that fits is found", file(header={1: -8, 4: b"key 1"})
    yield "kid names a key of another algorithm: no signer", file(
        header={1: -8, 4: bytes.fromhex(make.BUILD.public.fingerprint)}
    )
    yield "ES256", file(header={1: -7}, signer=make.BUILD)
    yield "by a stranger: no signer", file(claims | {6: 1_790_000_001}, signer=make.STRANGER)
    yield "unsorted, maps of indefinite length", file(cose.Indefinite(dict(reversed(claims.items()))))
    deployed = {265: "tag:github.com,2023:veraison/ear", 266: {"CPU": {1000: 2, 1003: "policy://1"}}}
    yield "the deployed dialect", file(claims | deployed)
    yield "claims without a meaning", file(claims | {-70001: {"x": [b"y", None]}, 3: "anybody", "later": True})
    yield "no tag: malformed", cose.encode(good)
    yield "tag 61 around it: malformed", cose.encode(cbor.Tag(61, cbor.Tag(18, good)))
    yield "something in the unprotected header: malformed", file(unprotected={4: b"key 1"})
    yield "an array of indefinite length: malformed", b"\xd2\x9f" + cose.encode(good)[1:] + b"\xff"
    yield "a head that is longer than it need be: malformed", b"\xd8\x12" + cose.encode(good)
    yield "bytes left over: malformed", file() + b"\x00"
    yield "crit: malformed", file(header={1: -8, 2: [7]})
    yield "HS256: malformed", file(header={1: 5})
    yield "a claim by number and by name: malformed", file(claims | {"iss": "acme.example"})
    yield "a floating-point number: malformed", file(claims | {70: cose.Raw(b"\xf9\x3c\x00")})
    yield "a tag among the claims: malformed", file(claims | {70: cbor.Tag(1, 0)})
    yield "an integer beyond 2^53-1: malformed", file(claims | {70: 1 << 53})
    yield "text of indefinite length: malformed", file(claims | {70: cose.Raw(b"\x7f\x61x\xff")})
    yield "the time as text: malformed", file(claims | {6: "1790000000"})


def _raw() -> Iterator[tuple[str, bytes]]:
    yield "no policy", b"raw bytes"
    yield "inert: a first policy is entry 0", policy()
    yield "a chain that replaces another log's", space(replaces="ab" * 32)
    yield "release", publish("1")


def logs() -> dict[str, Log]:
    """Name -> entries."""
    parts = {
        "a stream from its first release to its end": _stream,
        "junk wedges nothing": _junk,
        "keys, their end and their algorithms": _keys,
        "bounds": _bounds,
        "numbers": _numbers,
        "a frozen log": _frozen,
        "a log without a policy": _raw,
        "results as CWT": _tokens,
    }
    return {name: list(part()) for name, part in parts.items()}


Named = tuple[str, tuple[str, ...]]


def named(entry: bytes) -> Named | None:
    """Statement id and keyids: what stays the same of an entry whose signatures differ each time."""
    try:
        parsed = admit.classify(entry)
    except TeelogError:
        return None
    return parsed.statement_id, parsed.envelope.keyids


def write(committed: Mapping[Named, bytes]) -> bytes:
    found = []
    for name, log in logs().items():
        replay = Replay()
        entries = []
        for note, made in log:
            of = named(made)
            entry = committed.get(of, made) if of is not None else made
            mapped = replay.add(entry)
            entries.append(
                {
                    "note": note,
                    "entry": base64.b64encode(entry).decode(),
                    "keys": [key.decode() for key in mapped.keys],
                    "effective": None if mapped.effect is None else mapped.effect.key.decode(),
                    "map_root": replay.trie.root().hex(),
                }
            )
        found.append({"name": name, "origin": make.LOG, "entries": entries})
    return json.dumps(found, indent=1).encode() + b"\n"


def read() -> dict[Named, bytes]:
    """The entries of the file as it is, by what stays the same of them."""
    if not FILE.exists():
        return {}
    entries = [base64.b64decode(item["entry"]) for log in json.loads(FILE.read_bytes()) for item in log["entries"]]
    return {of: entry for entry in entries if (of := named(entry)) is not None}


if __name__ == "__main__":
    FILE.write_bytes(write(read()))
