"""Who is asked to slow down: failures by address, commands by connection. `now` is monotonic seconds; the loop's thread."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque

WINDOW_S = 60.0
ADDRESSES = 20_000
LENIENT = {"login": 10, "code": 3, "hello": 20, "refresh": 20, "bearer": 50}
"""So many times the configured number for what cannot be guessed anyway, or fails innocently (a token that expired): many
people may share one address."""

BURST_S = 30.0
"""So many seconds' worth of changes may come at once."""
MODERATORS_TIMES = 10


def network_of(address: str) -> str:
    """What counts as one visitor: an IPv4 address, an IPv6 /64. Some fronts write a port behind it."""
    if address.startswith("["):
        address = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        address = address.partition(":")[0]
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


class FailureLimiter:
    """Counts failures only: a ministry behind one address may join as one, a guesser may not guess on."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._failures: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def _most(self, kind: str) -> int:
        return self._per_minute * LENIENT.get(kind, 1)

    def wait_s(self, kind: str, address: str, now: float) -> float:
        """0 when the visitor may try, else seconds until it may."""
        failures = self._failures.get((kind, network_of(address)))
        if failures is None:
            return 0.0
        while failures and now - failures[0] > WINDOW_S:
            failures.popleft()
        if len(failures) < self._most(kind):
            return 0.0
        return max(0.1, WINDOW_S - (now - failures[0]))

    def failed(self, kind: str, address: str, now: float) -> None:
        key = (kind, network_of(address))
        failures = self._failures.get(key)
        if failures is None:
            failures = self._failures[key] = deque(maxlen=self._most(kind))
            while len(self._failures) > ADDRESSES:
                self._failures.popitem(last=False)
        failures.append(now)
        self._failures.move_to_end(key)

    def forgive(self, kind: str, address: str) -> None:
        """Takes the last failure back: a guess is counted when it begins, or many at once would be one."""
        failures = self._failures.get((kind, network_of(address)))
        if failures:
            failures.pop()


class Bucket:
    """`rate` a second with bursts of `burst`."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, now

    def take(self, now: float) -> bool:
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def wait_s(self, now: float) -> float:
        """Seconds until `take` would say yes; 0 when it would now."""
        left = min(self._burst, self._left + (now - self._at) * self._rate)
        return max(0.0, (1 - left) / self._rate)


class Buckets:
    """A `Bucket` for each name. Of too many names the longest unused are forgotten: whoever has to be slowed down is not among them."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: OrderedDict[object, Bucket] = OrderedDict()

    def take(self, name: object, now: float) -> bool:
        return self.take_or_wait(name, now) == 0

    def take_or_wait(self, name: object, now: float) -> float:
        """0 when one was taken, else seconds until there is one."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self._rate, self._burst, now)
            if len(self._buckets) > ADDRESSES:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
        return 0.0 if bucket.take(now) else max(0.001, bucket.wait_s(now))


class Pace:
    """How often each participant of one meeting may add to its record, which is kept for ever and sent to everybody.

    `per_s` is a delegate's; whoever moderates works through a whole hall, and may do ten times as much.
    """

    def __init__(self, per_s: float) -> None:
        self._own = Buckets(per_s, BURST_S * per_s)
        self._moderators = Buckets(MODERATORS_TIMES * per_s, BURST_S * MODERATORS_TIMES * per_s)

    def take_or_wait(self, participant: str, moderates: bool, now: float) -> float:
        """0 when one more was counted, else seconds until it may be."""
        return (self._moderators if moderates else self._own).take_or_wait(participant, now)
