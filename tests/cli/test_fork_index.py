"""`teelog fork verify` of index faults: nobody is accused by keys that the accuser chose."""

from __future__ import annotations

from pathlib import Path

import pytest

from teelog.index import fault
from teelog.index.fault import Cause, IndexFault
from teelog.index.placed import placed
from teelog.testing.ledger import INDEX_POLICY, MAIN_POLICY, Ledger
from teelog.tlog import note, rfc6962
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.vkey import NoteSigner, SignatureType
from tests.commands import Ran, teelog
from tests.statement import make

NOW = 1_790_000_000


class Case:
    """An honest log, its policies and vkeys as files, and what an accuser writes about it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = led = Ledger()
        led.append(make.log_policy_file())
        led.publish(NOW)
        for name, data in led.policies().items():
            (folder / name).write_bytes(data)
        self.main, self.index = str(led.log[0].verifier), str(led.index_log[0].verifier)

    def signed(self, head: Checkpoint, by: NoteSigner) -> str:
        text = head.body()
        return note.encode(text, [by.sign(text, 0)]).decode()

    def accuse_by_another_main_key(self, cause: Cause = Cause.INPUT_KEY) -> Path:
        """The honest index's own leaf and signature; the file names a key of the log that the log never had."""
        led = self.ledger
        other = NoteSigner.of(led.origin, SignatureType.ED25519, make.STRANGER).verifier
        path, checkpoint = led.index_tree.path(0, 1), self.signed(led.index_checkpoint(), led.index_log[0])
        return self.write(
            IndexFault(
                fault.SCHEMA, cause, (self.index,), (str(other),), checkpoint, placed(0, led.index_leaves[0], path)
            )
        )

    def accuse_by_another_index_key(self) -> Path:
        """A leaf that the accuser made and signed, with a key that the file says is the index log's."""
        leaf = b"nonsense"
        forger = NoteSigner.of(self.ledger.index_origin, SignatureType.ED25519, make.STRANGER)
        checkpoint = self.signed(Checkpoint(self.ledger.index_origin, 1, rfc6962.leaf_hash(leaf)), forger)
        return self.write(
            IndexFault(
                fault.SCHEMA,
                Cause.LEAF,
                (self.index, str(forger.verifier)),
                (self.main,),
                checkpoint,
                placed(0, leaf, ()),
            )
        )

    def write(self, found: IndexFault) -> Path:
        path = self.folder / "made.teelog-index-fault"
        path.write_bytes(found.encode())
        return path


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def verify(path: Path, *keys: str | Path) -> Ran:
    return teelog("fork", "verify", path, *keys, "--json")


def test_whose_key_the_log_has_is_not_read_from_the_accusers_file(case: Case) -> None:
    path = case.accuse_by_another_main_key()
    assert verify(path).code == 3
    assert verify(path, "--policy", case.folder / INDEX_POLICY).code == 3
    assert verify(path, "--log", case.index).code == 3
    assert verify(path, "--log", case.index, "--log", case.main).code == 1


def test_keys_of_the_log_alone_do_not_bring_the_files_index_key_in(case: Case) -> None:
    path = case.accuse_by_another_index_key()
    assert verify(path, "--policy", case.folder / MAIN_POLICY).code == 3
    assert verify(path, "--log", case.main).code == 3
    assert verify(path, "--policy", case.folder / INDEX_POLICY).code == 1


def test_the_key_that_the_file_names_and_that_signed_is_shown(case: Case) -> None:
    ran = teelog("fork", "verify", case.accuse_by_another_index_key())
    assert ran.code == 0
    forger = NoteSigner.of(case.ledger.index_origin, SignatureType.ED25519, make.STRANGER).verifier
    assert f"signed by {forger.name}+{forger.key_id.hex()} (a key that the file itself names)" in ran.text
