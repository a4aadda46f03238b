"""Requests to addresses that somebody typed, such as a webhook's: never into this machine's own networks (A-16).

A name is resolved once, every address that it has must be one of the open internet, and the connection goes to those
very addresses: a name that resolves otherwise a moment later (rebinding) is not asked again. What is about to be
connected to is looked at once more when its socket is made, whatever way it came there. https only, no redirects, no
credentials in a URL, no proxies of the environment; five seconds, and a bounded answer.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType

from teelog.errors import ConfigError, MalformedError, RefusedError, UnavailableError

SECONDS = 5.0
MAX_ANSWER = 65_536  # bytes
MAX_URL = 2_048  # characters


def check_url(url: str, *, local: bool = False) -> str:
    """``url`` if a request may go there, as far as the URL itself tells. local: this machine's loopback, over http too.

    Raises ConfigError.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError("not a URL", expected="https://HOST/PATH", actual=url[:200]) from error
    if (
        parts.scheme not in ("https", "http")
        or not host
        or len(url) > MAX_URL
        or not url.isascii()
        or not url.isprintable()
    ):
        raise ConfigError("not a usable URL", expected="https://HOST/PATH", actual=url[:200])
    if parts.username or parts.password or "@" in parts.netloc or parts.fragment:
        raise ConfigError("a URL without credentials and fragment is needed", actual=parts.hostname)
    literal = _literal(host)
    if local and (host == "localhost" or (literal is not None and literal.is_loopback)):
        return url
    if parts.scheme != "https":
        raise ConfigError("https is needed", expected="https://HOST/PATH", actual=f"{parts.scheme}://{host}")
    if literal is not None and not is_public(literal):
        raise ConfigError("not an address of the open internet", actual=host)
    return url


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        # What the C library takes for an address although it does not look like one: 127.1, 0x7f000001, 2130706433.
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is one of the open internet, and none that embeds another, such as IPv4-mapped or NAT64."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None or address.sixtofour is not None or address.teredo is not None:
            return False
        if address in _NAT64 or address in _COMPATIBLE or address.is_site_local:
            return False
    if any(address in each for each in _MORE):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


_MORE = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "168.63.129.16/32", "3fff::/20")))
"""Clouds' own addresses, and documentation's, that the library takes for the internet's."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")


def _check(host: str, found: str, *, local: bool) -> None:
    address = ipaddress.ip_address(found.partition("%")[0])
    if not (is_public(address) or (local and address.is_loopback)):
        raise OSError(f"{host} is at {address}, which is not an address of the open internet")


class PublicResolver(AbstractResolver):
    """Resolves a name, and refuses it if any address is not public. local: localhost may be loopback."""

    def __init__(self, *, local: bool = False, inner: AbstractResolver | None = None) -> None:
        self._local = local
        self._inner = inner or aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for each in found:
            _check(host, each["host"], local=self._local and host == "localhost")
        return found

    async def close(self) -> None:
        await self._inner.close()


def session(*, local: bool = False, inner: AbstractResolver | None = None) -> aiohttp.ClientSession:
    """A session that connects to public addresses only, and to loopback where ``local``. inner: resolves names."""

    def made(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        _check("the peer", str(address[0]), local=local)
        return socket.socket(family, kind, protocol)

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=PublicResolver(local=local, inner=inner),
            socket_factory=made,
            use_dns_cache=False,
            force_close=True,
            limit=16,
        ),
        timeout=aiohttp.ClientTimeout(total=SECONDS),
        auto_decompress=False,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "teelog", "Accept-Encoding": "identity"},
    )


async def get(http: aiohttp.ClientSession, url: str, limit: int, *, local: bool = False) -> bytes:
    """What is at ``url``, at most ``limit`` bytes, in no encoding.

    Raises ConfigError, UnavailableError (try again), RefusedError (4xx), MalformedError (too long, or encoded).
    """
    check_url(url, local=local)
    with _told(url):
        async with http.get(url, allow_redirects=False) as response:
            _check_status(url, response)
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise MalformedError(f"{_where(url)} answers in an encoding that was not asked for")
            body = bytearray()
            # The length that a header claims is a peer's word: what comes is counted.
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > limit:
                    raise MalformedError(f"the answer of {_where(url)} is too long", expected=f"at most {limit} bytes")
            return bytes(body)


async def post(
    http: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str], *, local: bool = False
) -> None:
    """Posts ``body``; any answer 2xx will do. Raises ConfigError, UnavailableError (try again), RefusedError (4xx)."""
    check_url(url, local=local)
    with _told(url):
        async with http.post(url, data=body, headers=headers, allow_redirects=False) as response:
            await response.content.read(MAX_ANSWER)
            _check_status(url, response)


@contextlib.contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise UnavailableError(f"no answer within {SECONDS:.0f} s from {_where(url)}") from error
    except aiohttp.InvalidURL as error:
        # Its text is the URL, whose path may be a secret.
        raise ConfigError(f"no usable URL at {_where(url)}") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise UnavailableError(f"cannot reach {_where(url)}", actual=str(error)[:200]) from error


def _check_status(url: str, response: aiohttp.ClientResponse) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    if 400 <= status < 500 and status not in (408, 425, 429):
        raise RefusedError(f"{_where(url)} refused", status=status, actual=status)
    said = response.headers.get("Retry-After", "")
    wait = float(said) if said.isascii() and said.isdigit() and len(said) <= 6 else None
    raise UnavailableError(f"{_where(url)} cannot take it now", expected="2xx", actual=status, retry_after=wait)


def _where(url: str) -> str:
    """The host alone: a webhook's path is often its secret."""
    return str(urlsplit(url).hostname)
