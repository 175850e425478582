"""UDP between a client and a server that know nothing of it, each direction with an impairment of its own.

`UdpPath` may be made and asked from any thread; its own thread moves the packets. Each address that a client sends from gets a
socket of its own towards the server, as a NAT would give it, so a server with a single port still tells connections apart.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from bench.network.impairment import Direction, Settings, Timetable

MAX_DATAGRAM = 2048
BURST = 64
"""Packets taken from one socket before the others get their turn."""
IDLE_S = 0.2
BUFFER = 4 << 20


@dataclass(eq=False, slots=True)
class _Flow:
    """One client address on one of the server's addresses."""

    front: socket.socket
    client: tuple[str, int]
    back: socket.socket


@dataclass(slots=True)
class Lateness:
    """By how much packets left later than they should have: the path's own share of the delay."""

    worst_ms: float = 0.0
    samples: list[float] = field(default_factory=list)
    _at: int = 0

    def note(self, late_ms: float) -> None:
        self.worst_ms = max(self.worst_ms, late_ms)
        if len(self.samples) < 20_000:
            self.samples.append(late_ms)
        else:
            self.samples[self._at] = late_ms
            self._at = (self._at + 1) % len(self.samples)

    def quantile(self, share: float) -> float:
        ordered = sorted(self.samples)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class UdpPath:
    """`address(host, port)` gives the address that stands for the server's; `begin` starts the timetables; `close`."""

    def __init__(self, down: Timetable | None = None, up: Timetable | None = None, *, seed: int = 1, delay_ms: float = 0.0) -> None:
        """`down`: towards the client. `delay_ms`: each way, from the first packet on, also before `begin`; a timetable says its own."""
        before = Settings(delay_ms=delay_ms)
        self.down = Direction(down or ((0.0, before),), seed=seed, before=before)
        self.up = Direction(up or ((0.0, before),), seed=seed + 1, before=before)
        self.lateness = Lateness()
        self.failed = 0
        """Datagrams that the system did not take."""
        self._lock = threading.Lock()
        self._fronts: dict[tuple[str, int], socket.socket] = {}
        self._targets: dict[socket.socket, tuple[str, int]] = {}
        self._flows: dict[tuple[socket.socket, tuple[str, int]], _Flow] = {}
        self._backs: dict[socket.socket, _Flow] = {}
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="udp path", daemon=True)
        self._thread.start()

    def address(self, host: str, port: int) -> tuple[str, int]:
        """Where the client must send what is for `host`:`port`; the same each time."""
        with self._lock:
            front = self._fronts.get((host, port))
            if front is None:
                front = self._socket(("127.0.0.1", 0))
                self._fronts[host, port] = front
                self._targets[front] = (host, port)
        self._wake.send(b"x")
        name: tuple[str, int] = front.getsockname()
        return name

    def begin(self) -> float:
        """Start both timetables; when that was, `time.monotonic`."""
        with self._lock:
            now = time.monotonic()
            self.down.begin(now)
            self.up.begin(now)
        self._wake.send(b"x")
        return now

    def report(self) -> dict[str, Any]:
        """What it did since `begin`, by direction and SSRC."""
        with self._lock:
            return {
                **{name: _told(direction) for name, direction in (("down", self.down), ("up", self.up))},
                "flows": len(self._flows),
                "own_delay_ms": {"p50": round(self.lateness.quantile(0.5), 3), "p99": round(self.lateness.quantile(0.99), 3)},
                "failed": self.failed,
            }

    def gone_up(self) -> dict[int, dict[str, int]]:
        """What has come for the server since `begin`, by SSRC: cheap enough to be asked ten times a second."""
        with self._lock:
            return {stream["ssrc"]: stream for stream in _told(self.up)["streams"]}

    def cpu_s(self) -> float:
        """What its thread has spent."""
        if self._thread.ident is None:
            return 0.0
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._wake.send(b"x")
        self._thread.join(2)
        for each in (*self._fronts.values(), *self._backs, self._wake, self._woken):
            each.close()

    def _socket(self, address: tuple[str, int] | None) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            made.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        if address is not None:
            made.bind(address)
        return made

    # ---- its thread
    def _run(self) -> None:
        while not self._closing:
            with self._lock:
                readers = [self._woken, *self._targets, *self._backs]
                wait = self._wait_s(time.monotonic())
            ready, _, _ = select.select(readers, (), (), wait)
            with self._lock:
                for each in ready:
                    self._take(each)
                self._deliver()

    def _wait_s(self, now: float) -> float:
        times = [at for at in (self.down.next_at(), self.up.next_at()) if at is not None]
        return max(0.0, min(IDLE_S, min(times, default=now + IDLE_S) - now))

    def _take(self, each: socket.socket) -> None:
        if each is self._woken:
            with contextlib.suppress(BlockingIOError):
                each.recv(4096)
            return
        flow = self._backs.get(each)
        for _ in range(BURST):
            try:
                data, sender = each.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:         # the far end has closed its port: ICMP says so here
                self.failed += 1
                return
            now = time.monotonic()
            if flow is not None:
                self.down.push(data, flow, now)
            else:
                self.up.push(data, self._flow(each, sender), now)

    def _flow(self, front: socket.socket, client: tuple[str, int]) -> _Flow:
        flow = self._flows.get((front, client))
        if flow is None:
            back = self._socket(None)
            back.connect(self._targets[front])
            flow = self._flows[front, client] = self._backs[back] = _Flow(front, client, back)
        return flow

    def _deliver(self) -> None:
        now = time.monotonic()
        for direction in (self.down, self.up):
            for data, flow, at in direction.pop(now):
                assert isinstance(flow, _Flow)
                try:
                    if direction is self.down:
                        flow.front.sendto(data, flow.client)
                    else:
                        flow.back.send(data)
                except OSError:
                    self.failed += 1
                self.lateness.note((time.monotonic() - at) * 1000)


def _told(direction: Direction) -> dict[str, Any]:
    streams = [
        {
            "ssrc": s.ssrc, "payload_type": s.payload_type, "packets": s.packets, "octets": s.octets, "padding": s.padding,
            "lost": len(s.lost), "repaired": len(s.repaired), "repeated": s.repeated, "overflowed": s.overflowed,
        }
        for s in direction.streams.values()
    ]  # fmt: skip
    return {
        "passed": direction.passed, "lost": direction.lost, "overflowed": direction.overflowed, "others": direction.others,
        "others_lost": direction.others_lost, "streams": streams,
    }
