"""Good and bad quotes of TPMs, each with the check that decides and what it must find.

A user's own verifier can be run over `cases()`: the good ones must pass, every other must not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from teelog.evidence import report_data
from teelog.testing import tpm
from teelog.testing.tpm import Tpm

NONCE = b"fake challenge"
TPM = Tpm()


@dataclass(frozen=True, slots=True)
class Case:
    """One file for judgement with the key of ``TPM`` pinned, the nonce NONCE and a trust file's table floor.

    pinned: whose key is pinned. check: ``parse`` (refused as malformed or not known), ``hardware``, ``configuration``
    or ``freshness``: the first that does not find ``verified``; None where all do. outcome: what that check finds.
    cause: words of its cause.
    """

    name: str
    evidence: bytes
    check: str | None = None
    cause: str = ""
    outcome: str = "failed"
    floor: Mapping[str, object] = field(default_factory=dict)
    pinned: Tpm = TPM


def cases() -> tuple[Case, ...]:
    """All of them, in a fixed order with unique names, the same bytes every time."""
    made = (*_good(), *_malformed(), *_wrong(), *_misconfigured(), *_unfresh())
    assert len({case.name for case in made}) == len(made)
    return made


def _good() -> Iterator[Case]:
    yield Case("good", TPM.evidence(NONCE))
    ecdsa = Tpm("ecdsa")
    yield Case("good-ecdsa", ecdsa.evidence(NONCE), pinned=ecdsa)
    yield Case("good-some-registers", TPM.evidence(NONCE, selected=(0, 4, 7, 11)))
    values = tpm.pcrs()
    floor = {"pcrs": {"pcr4": values[4].hex(), "pcr7": [values[7].hex()]}, "safe": True}
    version = [f"{tpm.FIRMWARE:016x}"]
    yield Case("good-and-as-demanded", TPM.evidence(NONCE), floor={**floor, "firmware_version": version})


def _malformed() -> Iterator[Case]:
    def parse(name: str, cause: str, evidence: bytes) -> Case:
        return Case(name, evidence, "parse", cause)

    message = tpm.attest(tpm.pcrs(), NONCE)
    signature = TPM.sign(message)
    yield parse("truncated", "not JSON", TPM.evidence(NONCE)[:-1])
    yield parse("repeated-member", "not JSON", TPM.evidence(NONCE)[:-1] + b', "ak_public": ""}')
    yield parse("unknown-member", "not known here", TPM.evidence(NONCE, members={"note": "1"}))
    yield parse("no-key", "cannot be read", TPM.evidence(NONCE, members={"ak_public": ""}))
    yield parse("short-quote", "ends too early", TPM.evidence(quote=message[:-1]))
    yield parse("long-quote", "left over", TPM.evidence(quote=message + b"\0"))
    yield parse("long-signature", "left over", TPM.evidence(NONCE, signature=signature + b"\0"))
    yield parse("other-scheme", "not known here", TPM.evidence(NONCE, signature=b"\0\x16" + signature[2:]))
    yield parse("sha1-signature", "not known here", TPM.evidence(NONCE, signature=b"\0\x14\0\x04" + signature[4:]))
    yield parse("not-from-a-tpm", "not made by a TPM", TPM.evidence(NONCE, magic=b"\xffTCH"))
    yield parse("certifies-a-key", "not a quote", TPM.evidence(NONCE, kind=0x8017))
    yield parse("other-bank", "another bank", TPM.evidence(NONCE, bank=tpm.SHA384_BANK))
    yield parse("two-banks", "banks", TPM.evidence(NONCE, banks=2))
    yield parse("no-register", "no register", TPM.evidence(NONCE, selected=()))
    yield parse("safe-two", "neither yes nor no", TPM.evidence(NONCE, safe=2))
    yield parse("23-registers", "is something else", TPM.evidence(NONCE, shown=tpm.pcrs()[:-1]))
    yield parse("short-register", "another size", TPM.evidence(NONCE, shown=tpm.pcrs({3: b"\1" * 20})))


def _wrong() -> Iterator[Case]:
    def hardware(name: str, cause: str, evidence: bytes, pinned: Tpm = TPM) -> Case:
        return Case(name, evidence, "hardware", cause, pinned=pinned)

    yield hardware("other-key", "not a pinned one", TPM.other(key="rogue").evidence(NONCE))
    yield hardware("not-signed-by-it", "not signed by", TPM.other(wrong=True).evidence(NONCE))
    ecdsa = Tpm("ecdsa")
    yield hardware("ecdsa-not-signed-by-it", "not signed by", ecdsa.other(wrong=True).evidence(NONCE), ecdsa)
    foreign = ecdsa.sign(tpm.attest(tpm.pcrs(), NONCE))
    yield hardware("signature-of-another-kind", "another kind", TPM.evidence(NONCE, signature=foreign))
    other = tpm.pcrs({4: hashlib.sha256(b"another program").digest()})
    yield hardware("other-registers", "not the ones that were quoted", TPM.evidence(NONCE, shown=other))
    yield hardware("other-digest", "not the ones that were quoted", TPM.evidence(NONCE, digest=bytes(32)))


def _misconfigured() -> Iterator[Case]:
    def configuration(name: str, cause: str, evidence: bytes, **floor: object) -> Case:
        return Case(name, evidence, "configuration", cause, floor=floor)

    yield configuration("wrong-pcr", "pcr4 is another", TPM.evidence(NONCE), pcrs={"pcr4": "00" * 32})
    few = TPM.evidence(NONCE, selected=(0, 1))
    value = tpm.pcrs()[4].hex()
    yield configuration("pcr-not-quoted", "pcr4 is another", few, pcrs={"pcr4": value})
    yield configuration("other-firmware", "firmware", TPM.evidence(NONCE), firmware_version=["00" * 8])
    yield configuration("clock-not-safe", "gone back", TPM.evidence(NONCE, safe=0), safe=True)


def _unfresh() -> Iterator[Case]:
    yield Case("replayed", TPM.evidence(b"an older challenge"), "freshness", "another request")
    yield Case("no-extra-data", TPM.evidence(), "freshness", "another request")
    yield Case("padded-nonce", TPM.evidence(NONCE + b"\0"), "freshness", "another request")
    other = TPM.evidence(report_data.commitment(NONCE, b"a key"))
    yield Case("commits-to-more", other, "freshness", "another request")
