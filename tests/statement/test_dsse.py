"""DSSE: the pre-authentication encoding, the one accepted file encoding, signatures by distinct known keys."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import MalformedError, SignatureError, UntrustedKey
from teelog.statement import dsse
from teelog.statement.dsse import PAYLOAD_TYPE, Signature
from tests.statement import make

KEYS = {k.public.fingerprint: k.public for k in (make.ACME, make.SECOND, make.BUILD)}
FILE = make.sign(b'{"a":1}', make.ACME, make.SECOND).file
DOCUMENT = json.loads(FILE)


def dump(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def test_pae_of_the_specification() -> None:
    """DSSE protocol.md, the one example of the pre-authentication encoding."""
    payload, kind = b"hello world", "http://example.com/HelloWorld"
    assert dsse.pae(payload, kind) == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_A_40_pae_counts_bytes_not_characters() -> None:
    assert dsse.pae("é".encode(), "t") == b"DSSEv1 1 t 2 \xc3\xa9"


@given(st.binary(max_size=80))
def test_pae_equals_securesystemslib(payload: bytes) -> None:
    other = pytest.importorskip("securesystemslib.dsse")
    assert dsse.pae(payload) == other.Envelope(payload, PAYLOAD_TYPE, {}).pae()


def test_statement_id_is_the_hash_of_what_was_signed() -> None:
    envelope = dsse.parse(FILE)
    assert envelope.statement_id == hashlib.sha256(dsse.pae(b'{"a":1}')).hexdigest()
    assert envelope.statement_id == dsse.statement_id(b'{"a":1}')


def test_A_41_statement_id_is_independent_of_the_signatures() -> None:
    files = {make.sign(b"{}", make.BUILD).file, make.sign(b"{}", make.ACME).file, make.sign(b"{}", make.BUILD).file}
    assert len(files) == 3
    assert len({dsse.parse(file).statement_id for file in files}) == 1


def test_verify_gives_the_signed_bytes_and_the_signers() -> None:
    verified = dsse.parse(FILE).verify(KEYS)
    assert verified.payload == b'{"a":1}'
    assert verified.signers == tuple(sorted((make.ACME.public.fingerprint, make.SECOND.public.fingerprint)))
    assert verified.file == FILE


@given(st.binary(max_size=200), st.sets(st.sampled_from([make.ACME, make.SECOND, make.BUILD]), min_size=1))
def test_round_trip(payload: bytes, signers: set[Any]) -> None:
    envelope = make.sign(payload, *signers)
    parsed = dsse.parse(envelope.file)
    assert parsed == envelope
    assert parsed.verify(KEYS).payload == payload


def test_payload_is_reachable_only_by_verifying_or_by_claiming() -> None:
    public = {name for name in dir(dsse.parse(FILE)) if not name.startswith("_")}
    assert public == {"checked", "claimed", "file", "holding", "keyids", "signatures", "statement_id", "verify"}


def test_holding_names_the_keys_whose_signatures_hold_and_no_other() -> None:
    good, other = make.sign(b"{}", make.ACME, make.SECOND), make.sign(b"[]", make.SECOND)
    stranger = make.sign(b"{}", make.STRANGER)
    mixed = [s for s in good.signatures if s.keyid == make.ACME.public.fingerprint]
    envelope = dsse.encode(dsse.PAYLOAD_TYPE, b"{}", [*mixed, *other.signatures, *stranger.signatures])
    assert envelope.holding(KEYS) == (make.ACME.public.fingerprint,)
    assert envelope.holding({}) == ()
    assert good.holding(KEYS) == good.keyids


def test_what_was_checked_counts_for_the_very_key_and_says_the_same() -> None:
    acme, second = make.ACME.public, make.SECOND.public
    good = make.sign(b"{}", make.ACME, make.SECOND)
    checked = good.checked({acme.fingerprint: acme})
    assert checked.verify(KEYS) == good.verify(KEYS)
    assert checked.holding(KEYS) == good.holding(KEYS)
    with pytest.raises(UntrustedKey):
        checked.verify({second.fingerprint: second})
    # Another key under that name has signed nothing, whatever was checked before.
    with pytest.raises(SignatureError):
        checked.verify({**KEYS, acme.fingerprint: second})
    broken = dsse.encode(PAYLOAD_TYPE, b"[]", good.signatures).checked(KEYS)
    assert broken.holding(KEYS) == ()
    with pytest.raises(SignatureError):
        broken.verify(KEYS)


def test_A_40_signature_by_an_unknown_key_is_refused_beside_a_good_one() -> None:
    envelope = make.sign(b"{}", make.ACME, make.STRANGER)
    with pytest.raises(UntrustedKey):
        envelope.verify(KEYS)


def test_A_40_signature_that_fails_is_refused_beside_a_good_one() -> None:
    good, other = make.sign(b"{}", make.ACME).signatures[0], make.sign(b"[]", make.SECOND).signatures[0]
    with pytest.raises(SignatureError):
        dsse.encode(PAYLOAD_TYPE, b"{}", [good, other]).verify(KEYS)


def test_A_40_no_keys_verify_nothing() -> None:
    with pytest.raises(UntrustedKey):
        dsse.parse(FILE).verify({})


def _with(**changes: Any) -> Any:
    return {**DOCUMENT, **changes}


FIRST, LAST = DOCUMENT["signatures"]
REFUSED: dict[str, tuple[bytes, str | None]] = {
    "A_40_other_payload_type": (dump(_with(payloadType="application/json")), "/payloadType"),
    "A_40_no_signature": (dump(_with(signatures=[])), "/signatures"),
    "A_40_same_key_twice": (dump(_with(signatures=[FIRST, FIRST])), "/signatures/1/keyid"),
    "A_40_unsorted": (dump(_with(signatures=[LAST, FIRST])), "/signatures/1/keyid"),
    "A_40_keyid_upper_case": (
        dump(_with(signatures=[{**FIRST, "keyid": FIRST["keyid"].upper()}])),
        "/signatures/0/keyid",
    ),
    "A_40_keyid_empty": (dump(_with(signatures=[{**FIRST, "keyid": ""}])), "/signatures/0/keyid"),
    "A_40_keyid_missing": (dump(_with(signatures=[{"sig": FIRST["sig"]}])), "/signatures/0"),
    "A_40_17_signatures": (
        dump(_with(signatures=[{"keyid": f"{n:064x}", "sig": "AA=="} for n in range(17)])),
        "/signatures",
    ),
    "A_41_white_space": (json.dumps(DOCUMENT).encode(), None),
    "A_41_final_newline": (FILE + b"\n", None),
    "A_41_member_order": (dump(dict(reversed(DOCUMENT.items()))), None),
    "A_41_order_in_signature": (dump(_with(signatures=[dict(reversed(FIRST.items()))])), None),
    "A_41_unknown_member": (dump({**DOCUMENT, "x": 1}), "/"),
    "A_41_unknown_member_in_signature": (dump(_with(signatures=[{**FIRST, "cert": ""}])), "/signatures/0"),
    "A_41_escape": (FILE.replace(b"application/vnd", b"application\\/vnd"), None),
    "A_41_unicode_escape": (FILE.replace(b'"payload"', b'"\\u0070ayload"'), None),
    "A_41_base64_url_alphabet": (
        dump(_with(payload=base64.urlsafe_b64encode(b"\xff\xff\xff").decode())),
        "/payload",
    ),
    "A_41_base64_unpadded": (dump(_with(payload=DOCUMENT["payload"].rstrip("="))), None),
    "A_41_base64_trailing_bits": (dump(_with(payload="QR==")), None),
    "A_41_base64_white_space": (dump(_with(payload="QQ==\n")), None),
    "A_46_repeated_member": (FILE[:-1] + b',"payloadType":"application/vnd.in-toto+json"}', "/"),
    "A_46_repeated_payload_first": (b'{"payload":"QQ==",' + FILE[1:], "/"),
    "A_46_byte_order_mark": (b"\xef\xbb\xbf" + FILE, None),
    "A_46_signature_is_a_number": (dump(_with(signatures=[{**FIRST, "sig": 1}])), "/signatures/0/sig"),
    "A_46_not_an_object": (b"[]", "/"),
    "A_46_empty": (b"", None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_A_40_A_41_A_46_envelope_is_refused(name: str) -> None:
    file, where = REFUSED[name]
    with pytest.raises(MalformedError) as caught:
        dsse.parse(file)
    if where is not None:
        assert caught.value.where == where


def test_A_40_16_signatures_are_accepted() -> None:
    signatures = [Signature(f"{n:064x}", b"s") for n in range(16)]
    assert len(dsse.parse(dsse.encode(PAYLOAD_TYPE, b"{}", signatures).file).signatures) == 16


def test_AP_04_65535_bytes_are_accepted_and_65536_refused() -> None:
    signature = Signature("0" * 64, b"")
    room = dsse.MAX_FILE - len(dsse.encode(PAYLOAD_TYPE, b"", [signature]).file)
    longest = dsse.encode(PAYLOAD_TYPE, b"x" * (room // 4 * 3), [signature])
    assert dsse.MAX_FILE - 3 <= len(longest.file) <= dsse.MAX_FILE
    assert dsse.parse(longest.file) == longest
    with pytest.raises(MalformedError):
        dsse.encode(PAYLOAD_TYPE, b"x" * (room // 4 * 3 + 3), [signature])
    with pytest.raises(MalformedError):
        dsse.parse(longest.file + b" " * (dsse.MAX_FILE + 1 - len(longest.file)))


def test_A_23_high_s_signature_is_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import utils

    [signature] = make.sign(b"{}", make.BUILD).signatures
    r, s = utils.decode_dss_signature(signature.sig)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    other = Signature(signature.keyid, utils.encode_dss_signature(r, order - s))
    with pytest.raises(SignatureError):
        dsse.encode(PAYLOAD_TYPE, b"{}", [other]).verify(KEYS)


def test_added_signature_keeps_the_statement_id_and_the_order() -> None:
    once = make.sign(b"{}", make.ACME)
    twice = dsse.add_signature(once, make.SECOND)
    assert twice.statement_id == once.statement_id
    assert list(twice.keyids) == sorted(twice.keyids)
    twice.verify(KEYS)


def test_key_signs_once_even_where_signatures_are_random() -> None:
    once = make.sign(b"{}", make.SECOND)
    assert dsse.add_signature(once, make.SECOND) is once


def test_add_signature_refuses_a_broken_one_of_the_same_key() -> None:
    broken = dsse.encode(PAYLOAD_TYPE, b"{}", make.sign(b"[]", make.ACME).signatures)
    with pytest.raises(SignatureError):
        dsse.add_signature(broken, make.ACME)


def test_signer_that_signs_something_else_is_caught() -> None:
    class Wrong:
        public = make.ACME.public

        def sign(self, message: bytes) -> bytes:
            return make.ACME.sign(message + b"!")

    with pytest.raises(SignatureError):
        dsse.sign(PAYLOAD_TYPE, b"{}", [Wrong()])


def test_A_40_signing_refuses_another_payload_type() -> None:
    with pytest.raises(MalformedError):
        dsse.sign("application/json", b"{}", [make.ACME])
