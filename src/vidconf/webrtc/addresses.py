"""Which addresses this machine has, and when they change: a network that is left is noticed at once, not by its silence.

Loop's thread. On Linux the kernel tells (rtnetlink(7)); elsewhere the list is read each second, which costs well under a
hundredth of a core. What the callback gets is the whole set, after the changes of a moment have come together.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable

import psutil

log = logging.getLogger("vidconf.transport")

TOGETHER_S = 0.05
"""A cable that is pulled takes several addresses with it."""
LOOK_S = 1.0
_LINK, _IPV4_ADDRESS, _IPV6_ADDRESS = 0x1, 0x10, 0x100
"""Multicast groups of rtnetlink: RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR (linux/rtnetlink.h)."""


def local_addresses(host: str) -> list[str]:
    """`host`, or all addresses of this machine for a wildcard: IPv4 for 0.0.0.0, both for `::`. No link-local IPv6.
    Loopback last: of use only to clients on this machine."""
    if host not in ("0.0.0.0", "::"):
        return [host]
    families = (socket.AF_INET,) if host == "0.0.0.0" else (socket.AF_INET, socket.AF_INET6)
    found = [
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in families and "%" not in entry.address and not entry.address.startswith("fe80:")
    ]
    return sorted(dict.fromkeys(found), key=is_loopback) or ["127.0.0.1"]


def is_loopback(address: str) -> bool:
    """Whether only this machine can be reached by it; False for what is no address."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


class AddressWatch:
    """From `start` to `stop`, `changed(addresses)` is called whenever the set differs from what it was."""

    def __init__(self, changed: Callable[[frozenset[str]], None]) -> None:
        self._changed = changed
        self._known: frozenset[str] = frozenset()
        self._socket: socket.socket | None = None
        self._due: asyncio.TimerHandle | None = None
        self._stopped = True

    def start(self) -> None:
        """Watch; again when it is watched already changes nothing."""
        if not self._stopped:
            return
        self._stopped, self._known = False, frozenset(local_addresses("::"))
        if sys.platform == "linux":
            self._listen()
        if self._socket is None:
            self._look_in(LOOK_S)

    def stop(self) -> None:
        self._stopped = True
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _listen(self) -> None:
        """The kernel's own word. Where it may not be had (a sandbox), the list is read instead."""
        if sys.platform != "linux":
            return
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        try:
            sock.bind((0, _LINK | _IPV4_ADDRESS | _IPV6_ADDRESS))
            asyncio.get_running_loop().add_reader(sock, self._told)
        except (OSError, NotImplementedError) as error:
            log.info("the kernel does not tell of addresses: %s", error)
            sock.close()
            return
        self._socket = sock

    def _told(self) -> None:
        """Something about links or addresses; what exactly is read from the list."""
        assert self._socket is not None
        try:
            while self._socket.recv(65536):
                pass
        except BlockingIOError:
            pass        # all has been read
        except OSError as error:
            log.debug("more was told of addresses than could be kept: %s", error)
        self._look_in(TOGETHER_S)

    def _look_in(self, seconds: float) -> None:
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._due = None
        if self._stopped:
            return
        try:
            now = frozenset(local_addresses("::"))
        except OSError as error:
            log.debug("the addresses could not be read: %s", error)
            now = self._known
        if self._socket is None:
            self._look_in(LOOK_S)
        if now != self._known:
            gone, new = len(self._known - now), len(now - self._known)
            self._known = now
            log.info("the network has changed: %d addresses gone, %d new", gone, new)
            self._changed(now)
