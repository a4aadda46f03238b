"""Every parser of the core: what it takes it writes back to the byte; what it refuses it refuses in its own words."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import ConfigError, MalformedError, TeelogError
from teelog.tlog import fork, note, policy, proof, rfc6962, tiles, vkey, witness
from teelog.tlog.checkpoint import Checkpoint, open_checkpoint, parse_body
from teelog.tlog.fork import ForkProof
from teelog.tlog.note import Signature
from teelog.tlog.policy import Group, Policy, parse_policy
from teelog.tlog.proof import TlogProof
from teelog.tlog.tiles import Bundle, Tile
from teelog.tlog.witness import AddCheckpoint
from tests.tlog import make
from tests.tlog.make_golden import ENTRY, INDEX, SIZE
from tests.tlog.test_golden import FILES

QUICK = settings(deadline=None, max_examples=150)
MANY = settings(deadline=None, max_examples=300)

# name -> (read, write, a file that is accepted). Bytes in, bytes out.
FORMATS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes], bytes]] = {
    "note": (
        note.parse,
        lambda found: note.encode(found.claimed_text(), found.signatures),
        make.sign(b"text\n\nmore\n", make.LOG, make.signer("zürich.example")),
    ),
    "checkpoint": (parse_body, Checkpoint.body, make.head(21, extensions=["one", "two"]).body()),
    "proof": (proof.parse_proof, TlogProof.encode, FILES["extra.tlog-proof"]),
    "fork": (fork.parse_fork, ForkProof.encode, FILES["two-sizes.teelog-fork"]),
    "fork with keys": (
        fork.parse_fork,
        ForkProof.encode,
        ForkProof(*(make.sign(make.head(n), make.LOG) for n in (4, 5)), keys=(make.LOG.verifier,)).encode(),
    ),
    "request": (
        witness.parse_add_checkpoint,
        AddCheckpoint.encode,
        AddCheckpoint(6, tuple(make.leaves(4)), make.sign(make.head(21), make.LOG)).encode(),
    ),
    "answer": (witness.parse_answer, witness.encode_answer, make.signer("w.example").sign(b"x\n", 0).line() * 2),
    "conflict": (witness.parse_conflict, witness.encode_conflict, b"1234567\n"),
    "line": (note.parse_line, lambda found: found.line()[:-1], make.LOG.sign(b"x\n", 0).line()[:-1]),
    "bundle": (lambda data: tiles.parse_bundle(data, 21), tiles.encode_bundle, FILES["entries.bundle"]),
    "tile": (lambda data: tiles.parse_tile(data, 21), b"".join, FILES["level-0.tile"]),
}


def vkey_of(data: bytes) -> vkey.VerifierKey:
    return vkey.parse(data.decode("utf-8", "surrogateescape"))


def path_of(data: bytes) -> Tile | Bundle:
    return tiles.parse_path(data.decode("utf-8", "surrogateescape"))


FORMATS["vkey"] = (vkey_of, lambda key: str(key).encode(), str(make.LOG.verifier).encode())
FORMATS["ml-dsa vkey"] = (vkey_of, lambda key: str(key).encode(), str(make.LOG_PQ.verifier).encode())
FORMATS["path"] = (path_of, lambda tile: tile.path.encode(), b"tile/12/x001/x234/067.p/89")
FORMATS["entries path"] = (path_of, lambda tile: tile.path.encode(), b"tile/entries/x001/067")


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """One change: a bit, a byte, a cut, an insertion, a repetition, or two lines in each other's place."""
    kind = draw(st.sampled_from(["bit", "byte", "cut", "drop", "insert", "repeat", "lines", "digit"]))
    at = draw(st.integers(0, len(data) - 1))
    end = draw(st.integers(at, min(len(data), at + 100)))
    if kind == "bit":
        return data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
    if kind == "byte":
        return data[:at] + draw(st.binary(min_size=1, max_size=1)) + data[at + 1 :]
    if kind == "cut":
        return data[:at]
    if kind == "drop":
        return data[:at] + data[end:]
    if kind == "insert":
        common = st.sampled_from(
            [b"\n", b"\n\n", b" ", b"\t", b"\r", b"\x00", b"0", b"=", b"A", b"+", b"\xc2\xa0", b"\xff"]
        )
        return data[:at] + draw(st.one_of(common, st.binary(max_size=8))) + data[at:]
    if kind == "repeat":
        return data[:end] + data[at:end] + data[end:]
    if kind == "digit":
        digits = [place for place, byte in enumerate(data) if 0x30 <= byte <= 0x39]
        place = draw(st.sampled_from(digits)) if digits else at
        return (
            data[:place]
            + draw(st.sampled_from([b"0", b"00", b"-1", b"1_0", b"", b"9" * 19, b"\xd9\xa1"]))
            + data[place + 1 :]
        )
    lines = data.split(b"\n")
    one, two = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    lines[one], lines[two] = lines[two], lines[one]
    return b"\n".join(lines)


@pytest.mark.parametrize("name", FORMATS)
def test_SN_28_the_accepted_file_is_written_back(name: str):
    read, write, good = FORMATS[name]
    assert write(read(good)) == good


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@MANY
def test_a_changed_file_is_refused_or_written_back_to_the_byte(name: str, data: st.DataObject):
    read, write, good = FORMATS[name]
    changed = data.draw(mutations(good))
    if data.draw(st.booleans()) and changed:
        changed = data.draw(mutations(changed))
    try:
        found = read(changed)
    except (MalformedError, ConfigError):
        return
    assert write(found) == changed


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.binary(max_size=300))
@QUICK
def test_any_bytes_are_refused_in_our_own_words(name: str, data: bytes):
    read, write, _ = FORMATS[name]
    try:
        found = read(data)
    except (MalformedError, ConfigError):
        return
    assert write(found) == data


@pytest.mark.parametrize("name", FORMATS)
def test_every_shorter_file_is_refused_or_written_back(name: str):
    read, write, good = FORMATS[name]
    for end in range(len(good)):
        for part in (good[:end], good[end + 1 :]):
            try:
                found = read(part)
            except (MalformedError, ConfigError):
                continue
            assert write(found) == part


# -- values of every shape --------------------------------------------------------------------------------------------

hashes = st.binary(min_size=32, max_size=32)
sizes = st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1))
line_text = st.text(
    st.characters(codec="utf-8", exclude_characters=[chr(c) for c in range(32)]), min_size=1, max_size=40
)
names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Zs", "Zl", "Zp", "Cc"], exclude_characters="+"),
    min_size=1,
    max_size=30,
)
signatures = st.builds(Signature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=100))
checkpoints = st.builds(Checkpoint, line_text, sizes, hashes, st.lists(line_text, max_size=3).map(tuple))
notes = st.builds(
    lambda head, lines: note.encode(head.body(), lines), checkpoints, st.lists(signatures, min_size=1, max_size=4)
)


@given(line_text.map(lambda text: text.encode() + b"\n"), st.lists(signatures, min_size=1, max_size=5))
@QUICK
def test_SN_28_every_note_round_trips(text: bytes, lines: list[Signature]):
    found = note.parse(note.encode(text, lines))
    assert (found.claimed_text(), found.signatures) == (text, tuple(lines))


@given(checkpoints)
@QUICK
def test_every_checkpoint_round_trips(head: Checkpoint):
    assert parse_body(head.body()) == head


@given(
    sizes, st.lists(hashes, max_size=63).map(tuple), notes, st.one_of(st.none(), st.binary(min_size=1, max_size=100))
)
@QUICK
def test_every_proof_round_trips(index: int, path: tuple[bytes, ...], checkpoint: bytes, extra: bytes | None):
    given_proof = TlogProof(index, path, checkpoint, extra)
    assert proof.parse_proof(given_proof.encode()) == given_proof
    request = AddCheckpoint(index, path, checkpoint)
    assert witness.parse_add_checkpoint(request.encode()) == request


@given(notes, notes, st.one_of(st.none(), hashes), st.lists(hashes, max_size=63).map(tuple))
@QUICK
def test_every_fork_proof_round_trips(first: bytes, second: bytes, root: bytes | None, path: tuple[bytes, ...]):
    given_fork = ForkProof(first, second, root, path)
    assert fork.parse_fork(given_fork.encode()) == given_fork


@given(st.lists(st.binary(max_size=300), max_size=256))
@QUICK
def test_every_bundle_round_trips(entries: list[bytes]):
    assert tiles.parse_bundle(tiles.encode_bundle(entries), len(entries)) == entries


# -- policies have many spellings: their meaning round-trips ----------------------------------------------------------


def write_out(found: Policy) -> bytes:
    lines = [f"log {log.key}" + (f" {log.url}" if log.url else "") for log in found.logs]
    lines += [f"witness {w.name} {w.key}" + (f" {w.url}" if w.url else "") for w in found.witnesses.values()]
    lines += [f"group {g.name} {g.threshold} " + " ".join(g.members) for g in found.groups.values()]
    return "".join(line + "\n" for line in [*lines, f"quorum {found.quorum}"]).encode("utf-8", "surrogateescape")


SMALL_POLICY = make.text(
    make.log_line(), "# comment", *make.witness_lines(), "group x 2 w1 w2 w3", "group g all x w4", "quorum g"
)


@given(mutations(SMALL_POLICY))
@settings(deadline=None, max_examples=600)
def test_a_changed_policy_is_refused_or_means_what_it_says(changed: bytes):
    try:
        found = parse_policy(changed)
    except ConfigError:
        return
    assert parse_policy(write_out(found)) == found
    for group in found.groups.values():
        assert isinstance(group, Group)
        assert 1 <= group.threshold <= len(group.members)
    assert found.quorum == "none" or found.quorum in {**found.witnesses, **found.groups}


@given(
    st.one_of(
        st.binary(max_size=200),
        st.from_regex(rb"((log|witness|group|quorum|#)( [a-z0-9+=]{0,9}){0,5}\n){0,6}", fullmatch=True),
    )
)
@MANY
def test_any_bytes_are_a_policy_or_a_config_error(data: bytes):
    try:
        found = policy.parse_policy(data)
    except ConfigError:
        return
    assert found.quorum


# -- whole verifications ----------------------------------------------------------------------------------------------

POLICY = make.usual_policy()
LEAF = rfc6962.leaf_hash(ENTRY)


@given(mutations(FILES["extra.tlog-proof"]))
@settings(deadline=None, max_examples=600)
def test_PR_13_a_changed_proof_fails_or_proves_the_same(changed: bytes):
    """What can change are unknown lines and the extra line, which nothing vouches for."""
    try:
        found = proof.verify_proof(proof.parse_proof(changed), LEAF, POLICY)
    except TeelogError:
        return
    assert (found.index, found.witnessed.checkpoint) == (INDEX, make.head(SIZE))
    assert len(found.witnessed.cosignatures) >= 3


@given(mutations(FILES["two-sizes.teelog-fork"]))
@settings(deadline=None, max_examples=300)
def test_a_changed_fork_proof_fails_or_accuses_the_same(changed: bytes):
    try:
        found = fork.verify_fork(fork.parse_fork(changed), [make.LOG.verifier])
    except TeelogError:
        return
    assert (found.first.checkpoint.size, found.second.checkpoint.size) == (6, 13)


@given(mutations(make.sign(make.head(SIZE, extensions=["ext"]), make.LOG, make.LOG_PQ, make.WITNESSES[0])))
@settings(deadline=None, max_examples=300)
def test_SN_15_a_changed_checkpoint_fails_or_says_the_same(changed: bytes):
    try:
        found = open_checkpoint(changed, make.vkeys([make.LOG, make.LOG_PQ, make.WITNESSES[0]]))
    except TeelogError:
        return
    assert (found.checkpoint.origin, found.checkpoint.size) == (make.ORIGIN, SIZE)
    assert found.checkpoint.root == make.head(SIZE).root
    assert found.checkpoint.extensions in ((), ("ext",))


@given(st.binary(max_size=200))
@QUICK
def test_a_cosignature_blob_of_any_bytes_fails(blob: bytes):
    head = make.head(5).body()
    for signer in (make.LOG, make.LOG_PQ, make.WITNESSES[0]):
        line = f"— {signer.verifier.name} {base64.b64encode(signer.verifier.key_id + blob).decode()}\n".encode()
        with pytest.raises(TeelogError):
            open_checkpoint(head + b"\n" + line, [signer.verifier])
