"""The way of sound and picture, measured without being in a meeting: plain STUN to the media port and to TURN servers.

Twenty small questions in two seconds, each answered by whoever hears it: round trip and loss as a meeting would have them, and
five as large as packets of video, which small ones may pass and they not. Loop's thread; sends nothing but STUN binding requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiortc.rtcicetransport import parse_stun_turn_uri

from vidconf.cli.findings import Finding
from vidconf.network.options import DEFAULTS, NetworkOptions
from vidconf.network.sockets import open_datagram
from vidconf.webrtc.ice_tcp import framed
from vidconf.webrtc.tunnel import dial

MAGIC = b"\x21\x12\xa4\x42"
BINDING_REQUEST, BINDING_ANSWER = b"\x00\x01", b"\x01\x01"
SOFTWARE, XOR_MAPPED = 0x8022, 0x0020
SMALL_BYTES, LARGE_BYTES = 64, 1200
"""The relay answers nothing smaller than its answer; a packet of video has about 1,200 bytes."""
COUNT, LARGE_COUNT, EVERY_S, LAST_S = 20, 5, 0.1, 1.0
ADDRESSES, TURN_URLS = 4, 6
TURN_S, TCP_S = 2.5, 2.5
LOSS_PERCENT, SLOW_MS, UNEVEN_MS = 5.0, 300.0, 100.0
"""From here on a meeting is heard to suffer."""


def question(size: int) -> tuple[bytes, bytes]:
    """(transaction, a binding request of `size` bytes). The padding is in an attribute that nobody has to understand."""
    transaction = secrets.token_bytes(12)
    text = b"vidconf".ljust(size - 24)
    head = BINDING_REQUEST + (size - 20).to_bytes(2, "big") + MAGIC + transaction
    return transaction, head + SOFTWARE.to_bytes(2, "big") + len(text).to_bytes(2, "big") + text


def read_answer(data: bytes) -> tuple[bytes, str] | None:
    """(transaction, the address it came from as the other end saw it or ""); None for what is no binding answer."""
    size = len(data)
    if size < 20 or data[:2] != BINDING_ANSWER or data[4:8] != MAGIC or size != 20 + (data[2] << 8 | data[3]):
        return None
    at, seen = 20, ""
    while at + 4 <= size:
        kind, length = data[at] << 8 | data[at + 1], data[at + 2] << 8 | data[at + 3]
        value = data[at + 4 : at + 4 + length]
        if kind == XOR_MAPPED and length in (8, 20) and len(value) == length:
            plain = bytes(a ^ b for a, b in zip(value[4:], MAGIC + data[8:20], strict=False))
            seen = str(ipaddress.ip_address(plain))
        at += 4 + (length + 3 & ~3)
    return data[8:20], seen


@dataclass(slots=True)
class Way:
    """What came of asking one address."""

    host: str
    port: int
    sent: int = 0
    rtts_ms: list[float] = field(default_factory=list)
    large_sent: int = 0
    large_answered: int = 0
    late_ms: list[float] = field(default_factory=list)
    """By how much this program itself was late: what a busy PC does is not the network's doing."""
    refused: bool = False
    """Some router or the machine itself said that nobody is there."""
    own_address: str = ""

    @property
    def answered(self) -> int:
        return len(self.rtts_ms)

    @property
    def loss_percent(self) -> float:
        return round(100 * (1 - self.answered / self.sent), 1) if self.sent else 100.0

    def percentile_ms(self, percent: float) -> float:
        """Nearest rank; 0 without answers."""
        return _percentile(self.rtts_ms, percent)

    def as_detail(self) -> dict[str, Any]:
        return {
            "host": self.host, "port": self.port, "sent": self.sent, "answered": self.answered, "loss_percent": self.loss_percent,
            "p50_ms": self.percentile_ms(50), "p95_ms": self.percentile_ms(95), "large_sent": self.large_sent,
            "large_answered": self.large_answered, "late_ms": _percentile(self.late_ms, 95), "own_address": self.own_address,
        }  # fmt: skip


def _percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))], 1) if ordered else 0.0


class _Asker(asyncio.DatagramProtocol):
    """Notes when each answer came. An answer to nothing that was asked is nobody's."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.asked: dict[bytes, tuple[float, bool]] = {}
        self.heard = asyncio.Event()
        """Something has come."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        now = time.perf_counter()
        answer = read_answer(data)
        asked = self.asked.pop(answer[0], None) if answer is not None else None
        if answer is None or asked is None:
            return
        if asked[1]:
            self.way.large_answered += 1
        else:
            self.way.rtts_ms.append(1000 * (now - asked[0]))
        self.way.own_address = answer[1] or self.way.own_address
        self.heard.set()

    def error_received(self, exc: Exception) -> None:
        self.way.refused = True


async def measure(host: str, port: int, *, count: int = COUNT, large: int = LARGE_COUNT, network: NetworkOptions = DEFAULTS) -> Way:
    """Ask `count` times, `large` of them once more with a large packet; what is not answered `LAST_S` after the last is lost."""
    way = Way(host, port)
    try:
        transport, asker = await open_datagram(lambda: _Asker(way), network, remote=(host, port))
    except OSError:
        way.refused = True  # no way to there at all: IPv6 without a network for it
        return way
    try:
        for number in range(count):
            wanted = number * large // count < (number + 1) * large // count
            for size in (SMALL_BYTES, LARGE_BYTES)[: 1 + wanted]:
                transaction, data = question(size)
                asker.asked[transaction] = (time.perf_counter(), size == LARGE_BYTES)
                transport.sendto(data)
                way.sent += size == SMALL_BYTES
                way.large_sent += size == LARGE_BYTES
            before = time.perf_counter()
            await asyncio.sleep(EVERY_S)
            way.late_ms.append(1000 * (time.perf_counter() - before - EVERY_S))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                while asker.asked:
                    asker.heard.clear()
                    await asker.heard.wait()
    finally:
        transport.close()
    return way


async def udp(addresses: Sequence[tuple[str, int]], network: NetworkOptions = DEFAULTS) -> Finding:
    """The best of the addresses that clients are told."""
    ways = await asyncio.gather(*(measure(host, port, network=network) for host, port in addresses[:ADDRESSES]))
    best = max(ways, key=lambda way: (way.answered, -way.percentile_ms(50)))
    detail = {**best.as_detail(), "addresses": [f"[{w.host}]:{w.port}" if ":" in w.host else f"{w.host}:{w.port}" for w in ways]}
    if not best.answered:
        return Finding("doctor.media.udp", "failure", "nobody" if all(way.refused for way in ways) else "blocked", detail)
    if best.large_sent and not best.large_answered and best.loss_percent < 50:
        return Finding("doctor.media.udp", "warning", "large_lost", detail)
    if best.loss_percent >= LOSS_PERCENT:
        return Finding("doctor.media.udp", "warning", "loss", detail)
    if best.percentile_ms(50) >= SLOW_MS:
        return Finding("doctor.media.udp", "warning", "slow", detail)
    if best.percentile_ms(95) - best.percentile_ms(50) >= UNEVEN_MS:
        return Finding("doctor.media.udp", "warning", "busy" if detail["late_ms"] >= UNEVEN_MS / 2 else "uneven", detail)
    return Finding("doctor.media.udp", "ok", "through", detail)


async def tcp(addresses: Sequence[tuple[str, int]], network: NetworkOptions = DEFAULTS) -> bool:
    """Whether one of the media server's TCP addresses answers a question in a frame of RFC 4571, as a meeting would ask it."""

    async def one(host: str, port: int) -> bool:
        try:
            async with asyncio.timeout(TCP_S):
                reader, writer = await _stream(host, port, network)
                try:
                    transaction, data = question(SMALL_BYTES)
                    writer.write(framed(data))
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    answer = read_answer(await reader.readexactly(size))
                finally:
                    writer.transport.abort()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return False
        return answer is not None and answer[0] == transaction

    return any(await asyncio.gather(*(one(host, port) for host, port in addresses)))


@dataclass(frozen=True, slots=True)
class TurnServer:
    """A `stun:`, `turn:` or `turns:` URL as the engine reads it."""

    url: str
    host: str
    port: int
    transport: str
    """`udp`, `tcp`, `tls`."""


def read_turn_url(url: str) -> TurnServer | None:
    """None for what the engine would not use."""
    try:
        parts = parse_stun_turn_uri(url)
    except ValueError:
        return None
    transport = parts.get("transport", "udp")
    if not 0 < parts["port"] < 65536 or transport not in ("udp", "tcp") or parts["scheme"] == "stuns":
        return None
    if parts["scheme"] == "turns":
        transport = "tls" if transport == "tcp" else ""
    return TurnServer(url, parts["host"].strip("[]"), parts["port"], transport) if transport else None


async def _stream(
    host: str, port: int, network: NetworkOptions, tls: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As the engine connects: by the proxy where there is one. Raises OSError."""
    reader = asyncio.StreamReader()
    transport, protocol = await dial(host, port, lambda: asyncio.StreamReaderProtocol(reader), network, tls=tls)
    return reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())


async def turn(url: str, network: NetworkOptions = DEFAULTS) -> Finding:
    """Whether a TURN or STUN server answers; using it needs a name and password, which only participants get."""
    server = read_turn_url(url)
    if server is None:
        return Finding("doctor.media.turn", "warning", "unusable", {"url": url})
    detail: dict[str, Any] = {"url": url, "transport": server.transport}
    began = time.perf_counter()
    try:
        async with asyncio.timeout(TURN_S):
            if server.transport == "udp":
                way = await measure(server.host, server.port, count=5, large=0, network=network)
                if not way.answered:
                    return Finding("doctor.media.turn", "warning", "silent", detail)
                return Finding("doctor.media.turn", "ok", "answers", {**detail, "ms": way.percentile_ms(50)})
            answered = await _ask_over_tcp(server, network)
    except ssl.SSLCertVerificationError as error:
        return Finding("doctor.media.turn", "warning", "untrusted", {**detail, "reason": error.verify_message})
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        return Finding("doctor.media.turn", "warning", "silent", {**detail, "reason": str(error) or type(error).__name__})
    if not answered:
        return Finding("doctor.media.turn", "warning", "silent", detail)
    return Finding("doctor.media.turn", "ok", "answers", {**detail, "ms": round(1000 * (time.perf_counter() - began), 1)})


async def _ask_over_tcp(server: TurnServer, network: NetworkOptions) -> bool:
    tls = network.ssl_context() if server.transport == "tls" else None
    reader, writer = await _stream(server.host, server.port, network, tls)
    try:
        transaction, data = question(SMALL_BYTES)
        writer.write(data)
        head = await reader.readexactly(20)
        body = await reader.readexactly(int.from_bytes(head[2:4], "big")) if head[:2] == BINDING_ANSWER else b""
        answer = read_answer(head + body)
        return answer is not None and answer[0] == transaction
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(0.3):
                await writer.wait_closed()
