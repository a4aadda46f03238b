"""Requests to addresses that somebody typed, such as a webhook's: never into this machine's own networks (A-16).

A name is resolved once, every address that it has must be one of the open internet, and the connection goes to those
very addresses: a name that resolves otherwise a moment later (rebinding) is not asked again. https only, no redirects,
no credentials in a URL, no proxies of the environment; five seconds, and a bounded answer.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from teelog.errors import ConfigError, RefusedError, UnavailableError

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
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")


class PublicResolver(AbstractResolver):
    """Resolves a name, and refuses it if any of its addresses is not public. local: names of loopback pass."""

    def __init__(self, *, local: bool = False, inner: AbstractResolver | None = None) -> None:
        self._local = local
        self._inner = inner or aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for each in found:
            address = ipaddress.ip_address(each["host"].partition("%")[0])
            if not (is_public(address) or (self._local and host == "localhost" and address.is_loopback)):
                raise OSError(f"{host} is at {address}, which is not an address of the open internet")
        return found

    async def close(self) -> None:
        await self._inner.close()


def session(*, local: bool = False, inner: AbstractResolver | None = None) -> aiohttp.ClientSession:
    """A session that connects to public addresses only."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=PublicResolver(local=local, inner=inner), use_dns_cache=False, force_close=True, limit=16
        ),
        timeout=aiohttp.ClientTimeout(total=SECONDS),
        auto_decompress=False,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "teelog"},
    )


async def post(
    http: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str], *, local: bool = False
) -> None:
    """Posts ``body``; any answer 2xx will do. Raises ConfigError, UnavailableError (try again), RefusedError (4xx)."""
    check_url(url, local=local)
    try:
        async with http.post(url, data=body, headers=headers, allow_redirects=False) as response:
            await response.content.read(MAX_ANSWER)
            status = response.status
    except TimeoutError as error:
        raise UnavailableError(f"no answer within {SECONDS:.0f} s from {_where(url)}") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise UnavailableError(f"cannot reach {_where(url)}", actual=str(error)[:200]) from error
    if 200 <= status < 300:
        return
    if 400 <= status < 500 and status not in (408, 425, 429):
        raise RefusedError(f"{_where(url)} refused", status=status, actual=status)
    raise UnavailableError(f"{_where(url)} cannot take it now", expected="2xx", actual=status)


def _where(url: str) -> str:
    """The host alone: a webhook's path is often its secret."""
    return str(urlsplit(url).hostname)
