"""What other tools write, brought to the one accepted encoding without touching what was signed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import utils
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import MalformedError, UntrustedKey
from teelog.statement import admit, dsse, sigstore_bundle
from tests.statement import make

PAYLOAD = make.release_payload()
KEYS = [make.SECOND.public, make.BUILD.public, make.ACME.public]
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def foreign(signature: bytes, **changes: Any) -> dict[str, Any]:
    """As cosign writes it: other member order, an empty keyid."""
    document = {
        "payloadType": dsse.PAYLOAD_TYPE,
        "payload": base64.b64encode(PAYLOAD).decode(),
        "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
    }
    return document | changes


def bundle(envelope: dict[str, Any], material: dict[str, Any] | None = None, version: str = "v0.3+json") -> bytes:
    hint = {"publicKey": {"hint": "aGludA=="}, "tlogEntries": [], "timestampVerificationData": {}}
    media_type = f"application/vnd.dev.sigstore.bundle.{version}"
    document = {"mediaType": media_type, "verificationMaterial": material or hint, "dsseEnvelope": envelope}
    return json.dumps(document, indent=2).encode()


def high_s(signature: bytes) -> bytes:
    r, s = utils.decode_dss_signature(signature)
    return utils.encode_dss_signature(r, max(s, ORDER - s))


ED25519 = make.ACME.sign(dsse.pae(PAYLOAD))
ECDSA = make.BUILD.sign(dsse.pae(PAYLOAD))


@pytest.mark.parametrize("signature", [ED25519, ECDSA, high_s(ECDSA)], ids=["ed25519", "ecdsa", "ecdsa, high s"])
@pytest.mark.parametrize("wrap", [lambda e: json.dumps(e, indent=1).encode(), bundle], ids=["envelope", "bundle"])
def test_A_41_foreign_file_becomes_an_entry_with_the_same_identity(signature: bytes, wrap: Any) -> None:
    envelope = sigstore_bundle.canonical(wrap(foreign(signature)), KEYS)
    assert envelope.claimed() == PAYLOAD
    parsed = admit.classify(envelope.file)
    assert parsed.statement_id == dsse.statement_id(PAYLOAD)
    admit.check_release(parsed, make.acme())


def test_A_41_own_encoding_is_kept_byte_for_byte() -> None:
    file = make.release_file(make.ACME, make.SECOND)
    assert sigstore_bundle.canonical(file, KEYS).file == file


def test_A_23_high_s_is_brought_to_low_s() -> None:
    envelope = sigstore_bundle.canonical(json.dumps(foreign(high_s(ECDSA))).encode(), KEYS)
    assert envelope.signatures[0].sig == ECDSA


@given(st.booleans(), st.booleans())
def test_A_41_either_base64_alphabet_padded_or_not(url_safe: bool, padded: bool) -> None:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    text = [encode(part).decode() for part in (PAYLOAD, ED25519)]
    payload, signature = text if padded else [part.rstrip("=") for part in text]
    document = foreign(ED25519, payload=payload, signatures=[{"sig": signature}])
    assert sigstore_bundle.canonical(json.dumps(document).encode(), KEYS).file == make.sign(PAYLOAD).file


def test_A_40_keyid_of_the_file_is_no_evidence() -> None:
    """A signature is assigned to the key under which it verifies, whatever the file calls it."""
    document = foreign(ED25519)
    document["signatures"][0]["keyid"] = make.SECOND.public.fingerprint
    assert sigstore_bundle.canonical(json.dumps(document).encode(), KEYS).keyids == (make.ACME.public.fingerprint,)


def test_A_40_same_key_twice_counts_once() -> None:
    document = foreign(ED25519)
    document["signatures"] *= 2
    assert len(sigstore_bundle.canonical(json.dumps(document).encode(), KEYS).signatures) == 1


@pytest.mark.parametrize("keys", [[], [make.SECOND.public], [make.STRANGER.public]])
def test_signature_by_none_of_the_keys_is_refused(keys: Any) -> None:
    with pytest.raises(UntrustedKey):
        sigstore_bundle.canonical(json.dumps(foreign(ED25519)).encode(), keys)


@pytest.mark.parametrize("member", ["certificate", "x509CertificateChain"])
@pytest.mark.parametrize("version", ["v0.3+json", "+json;version=0.2"])
def test_keyless_bundle_is_refused_with_the_reason(member: str, version: str) -> None:
    file = bundle(foreign(ED25519), {member: {"rawBytes": "AA=="}, "tlogEntries": []}, version)
    with pytest.raises(UntrustedKey, match="keyless"):
        sigstore_bundle.canonical(file, KEYS)


def test_bundle_of_a_blob_signature_is_refused() -> None:
    document = json.loads(bundle({}))
    document["messageSignature"] = {"signature": "AA=="}
    del document["dsseEnvelope"]
    with pytest.raises(MalformedError) as caught:
        sigstore_bundle.canonical(json.dumps(document).encode(), KEYS)
    assert caught.value.where == "/dsseEnvelope"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"payloadType": "application/json"}, "/dsseEnvelope/payloadType"),
        ({"payload": "Q!Q="}, "/dsseEnvelope/payload"),
        ({"payload": 1}, "/dsseEnvelope/payload"),
        ({"payload": "QQQQQ"}, "/dsseEnvelope/payload"),
        ({"signatures": []}, "/dsseEnvelope/signatures"),
        ({"signatures": [{"sig": "AA=="}] * 17}, "/dsseEnvelope/signatures"),
        ({"signatures": ["x"]}, "/dsseEnvelope/signatures/0"),
        ({"signatures": [{"keyid": ""}]}, "/dsseEnvelope/signatures/0/sig"),
    ],
)
def test_AP_04_malformed_envelope_is_refused_with_its_place(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(MalformedError) as caught:
        sigstore_bundle.canonical(bundle(foreign(ED25519, **changes)), KEYS)
    assert caught.value.where == where


@pytest.mark.parametrize("file", [b"", b"[]", b"{}", b'{"payload":"QQ=="}', b'{"mediaType":"text/plain"}', b"\xff"])
def test_other_files_are_refused(file: bytes) -> None:
    with pytest.raises(MalformedError):
        sigstore_bundle.canonical(file, KEYS)


def test_A_46_repeated_member_of_a_bundle_is_refused() -> None:
    file = bundle(foreign(ED25519)).replace(b'"mediaType"', b'"mediaType": "x", "mediaType"')
    with pytest.raises(MalformedError, match="repeated"):
        sigstore_bundle.canonical(file, KEYS)
