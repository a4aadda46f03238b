"""A client of ssh-agent: which keys it holds, and signatures by them (draft-ietf-sshm-ssh-agent, RFC 4253, RFC 5656).

Ed25519 and ECDSA on P-256 and P-384. Keys on FIDO tokens (``sk-``) sign something else than the message: left out.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
from dataclasses import dataclass

from teelog import keys
from teelog.errors import MalformedError, UnavailableError
from teelog.keys import Algorithm, PublicKey

REQUEST_IDENTITIES, IDENTITIES_ANSWER = 11, 12
SIGN_REQUEST, SIGN_RESPONSE = 13, 14
MAX_MESSAGE = 256 * 1024  # bytes, as OpenSSH limits itself
TIMEOUT = 120.0  # seconds; the agent may ask its user

_ALGORITHMS = {b"ssh-ed25519": Algorithm.ED25519, b"ecdsa-sha2-nistp256": Algorithm.ECDSA_P256}
_ALGORITHMS[b"ecdsa-sha2-nistp384"] = Algorithm.ECDSA_P384


@dataclass(frozen=True, slots=True)
class Identity:
    """A key of the agent. blob: the SSH public key blob that names it."""

    public: PublicKey
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """``SHA256:`` and unpadded base64, as ``ssh-add -l`` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        if len(self.data) < count:
            raise UnavailableError("the ssh-agent's answer is cut short")
        head, self.data = self.data[:count], self.data[count:]
        return head

    def number(self) -> int:
        return int(struct.unpack(">I", self.take(4))[0])

    def string(self) -> bytes:
        return self.take(self.number())


def identities() -> list[Identity]:
    """The agent's keys of the algorithms in use. Raises UnavailableError."""
    answer = _Reader(_ask(bytes([REQUEST_IDENTITIES]), IDENTITIES_ANSWER))
    found = []
    for _ in range(answer.number()):
        blob, _comment = answer.string(), answer.string()
        public = _public(blob)
        if public is not None:
            found.append(Identity(public, blob))
    return found


def sign(identity: Identity, message: bytes) -> bytes:
    """The agent's signature over ``message``; ECDSA as DER. Raises UnavailableError."""
    request = bytes([SIGN_REQUEST]) + _string(identity.blob) + _string(message) + struct.pack(">I", 0)
    answer = _Reader(_Reader(_ask(request, SIGN_RESPONSE)).string())
    if _ALGORITHMS.get(answer.string()) is not identity.public.algorithm:
        raise UnavailableError("the ssh-agent signed with another algorithm", expected=identity.public.algorithm)
    signature = answer.string()
    if identity.public.algorithm is Algorithm.ED25519:
        return signature
    from cryptography.hazmat.primitives.asymmetric import utils

    pair = _Reader(signature)
    r, s = int.from_bytes(pair.string()), int.from_bytes(pair.string())
    return utils.encode_dss_signature(r, s)


def _public(blob: bytes) -> PublicKey | None:
    """The key of an SSH blob, None where it is of no use here."""
    reader = _Reader(blob)
    algorithm = _ALGORITHMS.get(reader.string())
    if algorithm is None:
        return None
    try:
        if algorithm is Algorithm.ED25519:
            return keys.public_key(algorithm, reader.string())
        return _ecdsa(algorithm, reader)
    except (MalformedError, ValueError):
        return None


def _ecdsa(algorithm: Algorithm, reader: _Reader) -> PublicKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    curve = ec.SECP256R1() if algorithm is Algorithm.ECDSA_P256 else ec.SECP384R1()
    _curve_name, point = reader.string(), reader.string()
    key = ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    return keys.public_key_from_spki(
        key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _ask(request: bytes, expected: int) -> bytes:
    """One exchange with the agent: the body of an answer of type ``expected``."""
    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        raise UnavailableError("no ssh-agent", expected="SSH_AUTH_SOCK in the environment", hint="eval $(ssh-agent)")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(path)
            connection.sendall(_string(request))
            length = struct.unpack(">I", _receive(connection, 4))[0]
            if not 0 < length <= MAX_MESSAGE:
                raise UnavailableError("the ssh-agent's answer has a wrong length", actual=length)
            answer = _receive(connection, length)
    except OSError as error:
        raise UnavailableError("cannot talk to the ssh-agent", actual=error.strerror or str(error)) from error
    if answer[0] != expected:
        raise UnavailableError("the ssh-agent refused", expected=f"message {expected}", actual=f"message {answer[0]}")
    return answer[1:]


def _receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise UnavailableError("the ssh-agent hung up")
        data += piece
    return data
