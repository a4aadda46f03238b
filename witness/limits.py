"""Token buckets: how often an origin or an address may ask (W-41)."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

DAY = 86_400.0  # seconds


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class TokenBuckets:
    """One bucket a key. At most ``capacity`` are remembered: the longest unused is forgotten, and is full again."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def wait(self, key: Hashable, rate: float, burst: float, now: float) -> int:
        """Seconds until ``key`` may ask again, 0 if it may now. rate: tokens a second. now: monotonic seconds."""
        bucket = self._refill(key, rate, burst, now)
        return 0 if bucket.tokens >= 1 else max(1, math.ceil((1 - bucket.tokens) / rate))

    def take(self, key: Hashable, rate: float, burst: float, now: float) -> int:
        """As ``wait``, and where that is 0 one token is gone."""
        seconds = self.wait(key, rate, burst, now)
        if seconds == 0:
            self._buckets[key].tokens -= 1
        return seconds

    def _refill(self, key: Hashable, rate: float, burst: float, now: float) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(burst, now)
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        else:
            bucket.tokens = min(burst, bucket.tokens + (now - bucket.at) * rate)
            bucket.at = now
            self._buckets.move_to_end(key)
        return bucket


def network(address: str | None) -> str:
    """What is counted as one client: an IPv4 address, an IPv6 /64. Anything else counts as one."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
