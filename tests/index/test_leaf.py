"""The index log's leaf."""

from __future__ import annotations

import pytest

from teelog.errors import MalformedError, SignatureError, UntrustedKey, VerificationError
from teelog.index import leaf
from teelog.index.leaf import IndexLeaf
from teelog.keys import Algorithm, private_key_from_seed
from teelog.tlog import note
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.rfc6962 import leaf_hash
from teelog.tlog.vkey import NoteSigner, SignatureType

ORIGIN = "log.example/tee"
ROOT, MAP = leaf_hash(b"entries"), leaf_hash(b"map")


def _signer(seed: int, name: str = ORIGIN, kind: SignatureType = SignatureType.ED25519) -> NoteSigner:
    return NoteSigner.of(name, kind, private_key_from_seed(Algorithm.ED25519, bytes([seed]) * 32))


LOG = _signer(1)
WITNESS = _signer(2, "witness.example/w", SignatureType.COSIGNATURE_ED25519)


def _note(*signers: NoteSigner, checkpoint: Checkpoint | None = None) -> bytes:
    text = (checkpoint or Checkpoint(ORIGIN, 7, ROOT)).body()
    return note.encode(text, [signer.sign(text, 1_700_000_000) for signer in signers])


def test_leaf_is_the_map_root_and_the_input_note():
    made = IndexLeaf(MAP, _note(LOG))
    assert made.encode() == MAP.hex().encode() + b"\n" + _note(LOG)
    assert IndexLeaf.parse(made.encode()) == made
    assert made.claimed() == Checkpoint(ORIGIN, 7, ROOT)
    assert made.open([LOG.verifier], ORIGIN) == Checkpoint(ORIGIN, 7, ROOT)


def test_of_a_cosigned_checkpoint_only_the_logs_line_is_kept():
    opened = note.open_note(_note(LOG, WITNESS), [LOG.verifier, WITNESS.verifier])
    line = opened.signatures[0].signature
    assert IndexLeaf.make(MAP, opened, line) == IndexLeaf(MAP, _note(LOG))
    assert IndexLeaf.make(MAP, note.parse(_note(LOG, WITNESS)), line) == IndexLeaf(MAP, _note(LOG))


GOOD = MAP.hex().encode() + b"\n" + _note(LOG)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[1:],
        b"\n" + GOOD,
        MAP.hex().upper().encode() + GOOD[64:],
        GOOD[:64] + b"\r\n" + GOOD[65:],
        GOOD[:64] + GOOD[65:],
        MAP.hex().encode() + b"00\n" + _note(LOG),
        MAP.hex().encode() + b"\n" + _note(LOG, WITNESS),
        MAP.hex().encode() + b"\n" + Checkpoint(ORIGIN, 7, ROOT).body() + b"\n",
        MAP.hex().encode() + b"\n",
        GOOD + b"\n",
        GOOD[:-1],
        GOOD + b"x" * leaf.MAX_LEAF,
        GOOD.replace(b"\n7\n", b"\n07\n"),
        GOOD.replace(b"\n7\n", b"\n"),
    ],
)
def test_any_other_spelling_is_refused(data: bytes):
    with pytest.raises(MalformedError):
        IndexLeaf.parse(data)


def test_the_input_note_counts_by_the_main_logs_key_only():
    with pytest.raises(UntrustedKey):
        IndexLeaf(MAP, _note(_signer(9))).open([LOG.verifier], ORIGIN)
    with pytest.raises(UntrustedKey):
        IndexLeaf(MAP, _note(WITNESS)).open([LOG.verifier], ORIGIN)
    forged = _note(LOG).replace(b"\n7\n", b"\n8\n")
    with pytest.raises(SignatureError):
        IndexLeaf(MAP, forged).open([LOG.verifier], ORIGIN)


def test_an_input_of_another_log_or_with_extension_lines_is_refused():
    with pytest.raises(VerificationError, match="another log"):
        IndexLeaf(MAP, _note(LOG, checkpoint=Checkpoint("other.example", 7, ROOT))).open([LOG.verifier], ORIGIN)
    with pytest.raises(VerificationError, match="extension"):
        IndexLeaf(MAP, _note(LOG, checkpoint=Checkpoint(ORIGIN, 7, ROOT, ("more",)))).open([LOG.verifier], ORIGIN)


def test_a_line_of_the_logs_other_key_does_not_count():
    other = NoteSigner.of(
        ORIGIN, SignatureType.COSIGNATURE_ML_DSA_44, private_key_from_seed(Algorithm.ML_DSA_44, bytes(32))
    )
    with pytest.raises(UntrustedKey):
        IndexLeaf(MAP, _note(other)).open([LOG.verifier, other.verifier], ORIGIN)


def test_origins():
    assert leaf.origin_of(ORIGIN) == ORIGIN + "/index/v1"
    assert leaf.main_of(leaf.origin_of(ORIGIN)) == ORIGIN
    for origin in (ORIGIN, "/index/v1", ORIGIN + "/index/v2", ORIGIN + "/index/v1/"):
        with pytest.raises(MalformedError):
            leaf.main_of(origin)
    with pytest.raises(MalformedError):
        leaf.origin_of("a" * 250)
