"""What both connections of a participant do alike: being made, and reading what the client reports. The loop's thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from vidconf.relay import limits
from vidconf.relay.counters import Counters
from vidconf.relay.limits import Bucket
from vidconf.rtp.packets import PacketError
from vidconf.rtp.rtcp import RtcpPacket, parse_rtcp

log = logging.getLogger("vidconf.relay")


async def made(making: Callable[[], Coroutine[Any, Any, bool]], failed: Callable[[], None]) -> None:
    """Run to its end what makes a connection, and says whether it did; `failed` when it did not, whatever was wrong."""
    try:
        if await making():
            return
    except ConnectionError as error:
        log.debug("a connection ended while it was made: %s", error)
    except Exception:
        # Whatever a client's certificate or handshake makes OpenSSL or aiortc raise concerns only this client.
        log.exception("a connection could not be made")
    failed()


class Reports:
    """The RTCP of one connection: so many packets a second, and what cannot be read is counted and dropped."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._bucket = Bucket(limits.RTCP_PER_S, limits.RTCP_BURST)

    def read(self, data: bytes) -> tuple[float, Sequence[RtcpPacket]]:
        """Now (monotonic), and the packets in a decrypted compound."""
        now = time.monotonic()
        if not self._bucket.take(now):
            self._counters.rtcp_over_limit += 1
            return now, ()
        try:
            return now, parse_rtcp(data)
        except PacketError:
            self._counters.rtcp_malformed += 1
            return now, ()
