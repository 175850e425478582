"""ICE over TCP where UDP does not get through: frames of RFC 4571, and the connecting side of RFC 6544.

Loop's thread. What travels is the same as on UDP, one datagram a frame: a length of two bytes, then the datagram. The far end
listens (`tcptype passive`), we connect (`active`). A stream that falls behind is no place for pictures to wait in: over
`MAX_WAITING` bytes unsent, packets of media are lost as on any network, and what the rate control makes of that is right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

MAX_FRAME = 4096
"""Longer ones are no datagram of a meeting's; a length like that ends the connection."""
MAX_WAITING = 192 * 1024
"""Bytes in our own buffer, about half a second of a good picture."""
MOST_WAITING = 2 * MAX_WAITING
"""More than that of anything is not kept for who does not read: checks cost him nothing, and each has its answer."""


class FrameError(ValueError):
    """The stream is no RFC 4571."""


def framed(data: bytes | memoryview) -> bytes:
    """RFC 4571 §2: LENGTH in two bytes, then the packet. Raises FrameError for more than a length can say."""
    if len(data) > 0xFFFF:
        raise FrameError("a datagram of more than 65,535 bytes")
    return len(data).to_bytes(2, "big") + data


class Unframer:
    """Bytes in, datagrams out."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The datagrams that are whole by now, empty ones left out. Raises FrameError; the stream is of no use afterwards."""
        held = self._held
        held += data
        found, at = [], 0
        while len(held) - at >= 2:
            size = held[at] << 8 | held[at + 1]
            if size > self._limit:
                raise FrameError(f"a frame of {size} bytes")
            if len(held) - at - 2 < size:
                break
            if size:
                found.append(bytes(held[at + 2 : at + 2 + size]))
            at += 2 + size
        del held[:at]
        return found


class FramedStream(asyncio.Protocol):
    """One TCP connection as if it were a datagram socket with one peer. `received(data)` for each datagram, `lost()` once."""

    def __init__(self, received: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._received, self._lost = received, lost
        self._frames = Unframer()
        self._transport: asyncio.Transport | None = None
        self.dropped = 0
        """Datagrams that a slow stream did not take."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            datagrams = self._frames.feed(data)
        except FrameError:
            self.abort()
            return
        for datagram in datagrams:
            self._received(datagram)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost()

    def eof_received(self) -> bool:
        return False

    # ---- as a datagram transport
    def sendto(self, data: bytes | memoryview, address: Any = None) -> None:
        """Send one datagram; lost when the connection is gone, or far behind and this is media (its first byte says so)."""
        transport = self._transport
        if transport is None or transport.is_closing() or not data:
            return
        if transport.get_write_buffer_size() > (MAX_WAITING if 128 <= data[0] < 192 else MOST_WAITING):
            self.dropped += 1
            return
        transport.write(framed(data))

    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default if self._transport is None else self._transport.get_extra_info(name, default)
