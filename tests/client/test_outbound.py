"""A-16: requests to addresses that somebody typed end at the open internet, however spelled or resolved."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from teelog.client import outbound
from teelog.errors import ConfigError, MalformedError, RefusedError, TeelogError, UnavailableError
from tests.client.peers import Peer, Reply, peer


class Names(AbstractResolver):
    """Answers every name with these addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        self.asked.append(host)
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family or 2, proto=0, flags=0)
            for each in self.addresses
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    monkeypatch.setattr(outbound, "SECONDS", 60.0)  # the machine may be busy
    with peer() as made:
        yield made


@pytest.mark.parametrize(
    "network",
    [
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/29",
        "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32",
        "2002::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    ],
)  # fmt: skip
@given(part=st.floats(0, 1))
def test_no_address_of_a_special_network_is_public_a16(network: str, part: float) -> None:
    block = ipaddress.ip_network(network)
    address = block[min(block.num_addresses - 1, int(part * (block.num_addresses - 1)))]
    assert not outbound.is_public(address), address


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::1"])
def test_addresses_of_the_open_internet_are_public_a16(address: str) -> None:
    assert outbound.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_a_literal_that_got_past_the_url_check_is_not_connected_to_a16(
    server: Peer, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp asks no resolver for a literal: the look at the socket's address is what holds."""
    monkeypatch.setattr(outbound, "check_url", lambda url, **_: url)
    port = server.url.rpartition(":")[2]
    async with outbound.session() as http:
        with pytest.raises(UnavailableError):
            await outbound.get(http, f"http://{host}:{port}/", 10)
    assert server.asked == []


async def test_a_name_of_loopback_is_not_connected_to_a16(server: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "check_url", lambda url, **_: url)
    port = server.url.rpartition(":")[2]
    async with outbound.session(inner=Names("127.0.0.1")) as http:
        with pytest.raises(UnavailableError, match="cannot reach"):
            await outbound.get(http, f"http://alerts.example:{port}/", 10)
    # Loopback that was asked for is that of localhost, not of any name.
    async with outbound.session(local=True, inner=Names("127.0.0.1")) as http:
        with pytest.raises(UnavailableError, match="cannot reach"):
            await outbound.get(http, f"http://alerts.example:{port}/", 10, local=True)
    assert server.asked == []


async def test_a_name_is_resolved_once_for_a_request_a16() -> None:
    names = Names("10.0.0.1")
    async with outbound.session(inner=names) as http:
        with pytest.raises(UnavailableError):
            await outbound.post(http, "https://alerts.example/in", b"", {})
    assert names.asked == ["alerts.example"]


@given(st.text(max_size=40), st.sampled_from(["", "https://", "http://", "https://a.example/", "https://a.example:"]))
def test_no_text_makes_the_check_fail_otherwise_a16(text: str, before: str) -> None:
    try:
        outbound.check_url(before + text)
    except ConfigError:
        return
    assert (before + text).startswith("https://")


async def get(server: Peer, path: str = "/list", limit: int = 100) -> bytes:
    async with outbound.session(local=True) as http:
        return await outbound.get(http, server.url + path, limit, local=True)


async def test_what_is_there_is_read_up_to_a_limit_a05(server: Peer) -> None:
    server.answers["/list"] = b"x" * 100
    assert await get(server) == b"x" * 100
    for reply in (Reply(b"x" * 101), Reply(endless=b"x" * 4096), Reply(b"x", 200, {"Content-Encoding": "gzip"})):
        server.answers["/list"] = reply
        with pytest.raises(MalformedError):
            await get(server)


async def test_no_redirect_is_followed_a16(server: Peer) -> None:
    server.answers["/list"] = Reply(b"", 302, {"Location": server.url + "/other"})
    with pytest.raises(UnavailableError):
        await get(server)
    assert server.paths() == ["/list"]


async def test_an_answer_that_drips_ends_in_time_a05(server: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "SECONDS", 0.5)
    server.answers["/list"] = Reply(endless=b"x", pause=0.05)
    with pytest.raises(UnavailableError, match="no answer within"):
        await get(server, limit=1_000_000)


@pytest.mark.parametrize(
    ("status", "kind"), [(404, RefusedError), (429, UnavailableError), (503, UnavailableError), (304, UnavailableError)]
)
async def test_what_an_answer_means(server: Peer, status: int, kind: type[TeelogError]) -> None:
    server.answers["/list"] = Reply(b"", status)
    with pytest.raises(kind):
        await get(server)


async def test_an_error_does_not_say_a_webhooks_path(server: Peer) -> None:
    for status in (404, 503):
        server.fallback = Reply(b"", status)
        with pytest.raises(TeelogError) as caught:
            await get(server, "/secret")
        assert "secret" not in str(caught.value)


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    """Also on this machine: who asked for https gets it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path / "both.pem"))
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(65_536))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server, outbound.session(local=True) as http:
        with pytest.raises(UnavailableError, match="cannot reach"):
            await outbound.post(http, f"https://localhost:{port}/in", b"secret", {}, local=True)
    assert asked == []


def self_signed(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path
