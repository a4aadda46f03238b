"""Every limit of the public listener, with its unit and its default (table ``[limits]`` of log.toml)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields

from teelog.errors import ConfigError
from teelog.tlog.tiles import MAX_ENTRY

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a stranger may use up.

    batch_entries: entries of one batch submission. batch_bytes: bytes of its body.
    bodies_bytes: bytes of all bodies under way in one process, from their arrival to their answer; batches may use
    three quarters of it.
    header_seconds: from the first byte of a request to the end of its header. idle_seconds: between two requests.
    body_seconds: for a request's body. answer_seconds: that a submission waits for its publication.
    write_seconds: that a response may take to leave, however slowly the client reads.
    connections: open at once, in one process. connections_per_address: of them, from one address; behind a trusted
    proxy, submissions in flight from one address.
    unlimited: networks that connections_per_address does not count. trusted_proxies: networks whose X-Forwarded-For
    is believed; from everybody else it is ignored (A-09).
    namespace_per_day: new entries of one namespace in a UTC day, in one process, its statuses and its own versions each
        counted apart; 0 = no quota.
    cache_bytes: of tiles and bundles kept in memory.
    """

    batch_entries: int = 1_024
    batch_bytes: int = 8_388_608
    bodies_bytes: int = 67_108_864
    header_seconds: float = 10.0
    idle_seconds: float = 75.0
    body_seconds: float = 30.0
    answer_seconds: float = 60.0
    write_seconds: float = 60.0
    connections: int = 8_192
    connections_per_address: int = 256
    unlimited: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    trusted_proxies: tuple[str, ...] = ()
    namespace_per_day: int = 0
    cache_bytes: int = 33_554_432

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, tuple):
                networks(value, item.name)
            elif value < 0 or (value == 0 and item.name not in ("namespace_per_day", "cache_bytes")):
                raise ConfigError(f"limits.{item.name} is out of range", expected="above 0", actual=value)
        if self.batch_bytes < MAX_ENTRY + 2:
            raise ConfigError(
                "limits.batch_bytes has no room for one entry",
                expected=f"at least {MAX_ENTRY + 2}",
                actual=self.batch_bytes,
            )
        if self.bodies_bytes * 3 // 4 < self.batch_bytes:
            raise ConfigError(
                "limits.bodies_bytes has no room for one batch",
                expected=f"at least {-(-self.batch_bytes * 4 // 3)}",
                actual=self.bodies_bytes,
            )


def networks(texts: tuple[str, ...], what: str) -> tuple[Network, ...]:
    """Address ranges in CIDR notation. Raises ConfigError."""
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigError(f"limits.{what} holds something that is no network", expected="as in 10.0.0.0/8") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What the log still serves (tlog-tiles, "Pruning"; table ``[retention]``).

    min_index: full tiles and bundles that end at or below it are refused, not deleted (TT-29). policy: the text that
    says when an entry stops mattering (TT-30).
    """

    min_index: int = 0
    policy: str = ""

    def __post_init__(self) -> None:
        if self.min_index < 0:
            raise ConfigError("retention.min_index is negative", actual=self.min_index)
        # TT-27: nothing is pruned by a log that has not said when its entries stop to matter.
        if self.min_index and not self.policy.strip():
            raise ConfigError(
                "retention.min_index needs a retention policy",
                expected="retention.policy: when an entry stops mattering",
            )
