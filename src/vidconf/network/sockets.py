"""Sockets for media: ports of a range, and the mark that routers sort packets by (DSCP, RFC 2474). The loop's thread.

Windows takes no mark from a program: there a policy for the program's file name sets it (docs/policies.md).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from vidconf.network.options import NetworkOptions

log = logging.getLogger("vidconf.transport")

MAX_TRIES = 4096
_TAKEN = frozenset({errno.EADDRINUSE, errno.EACCES, getattr(errno, "WSAEADDRINUSE", 0), getattr(errno, "WSAEACCES", 0)}) - {0}
"""In use, or kept from programs: another port may be free."""
P = TypeVar("P", bound=asyncio.BaseProtocol)


def mark(sock: Any, dscp: int) -> None:
    """`sock`: a socket, or what asyncio calls one. 0 leaves it as the system has it. Where it cannot be marked, it is used unmarked."""
    if not dscp:
        return
    if sock.family == socket.AF_INET6:
        level, name = socket.IPPROTO_IPV6, getattr(socket, "IPV6_TCLASS", None)
    else:
        level, name = socket.IPPROTO_IP, getattr(socket, "IP_TOS", None)
    try:
        if name is not None:
            sock.setsockopt(level, name, dscp << 2)
    except OSError as error:
        log.debug("a socket could not be marked: %s", error)


async def open_datagram(
    make: Callable[[], P], network: NetworkOptions, *, local: str = "", remote: tuple[str, int] | None = None
) -> tuple[asyncio.DatagramTransport, P]:
    """A UDP socket at the address `local` ("": any), for `remote` alone if one is given; at a port of the options' range, marked.
    Raises OSError: EADDRINUSE when no port of the range is free."""
    loop = asyncio.get_running_loop()
    if network.udp_ports:
        transport, protocol = await loop.create_datagram_endpoint(make, sock=await _bound(network.udp_ports, local, remote))
    else:
        transport, protocol = await loop.create_datagram_endpoint(make, local_addr=(local, 0) if local else None, remote_addr=remote)
    sock = transport.get_extra_info("socket")
    if sock is not None:
        mark(sock, network.dscp)
    return transport, protocol


async def _bound(allowed: range, local: str, remote: tuple[str, int] | None) -> socket.socket:
    """Tried here and not by the loop: uvloop 0.22 does not say why an address could not be bound. Raises OSError."""
    family, known = socket.AF_INET6 if ":" in local else socket.AF_INET, None
    if remote is not None:
        family, _, _, _, address = (await asyncio.get_running_loop().getaddrinfo(*remote, type=socket.SOCK_DGRAM))[0]
        known = address[:2]
    here = local or ("::" if family == socket.AF_INET6 else "0.0.0.0")
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        for port in _ports(allowed):
            try:
                sock.bind((here, port))
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
                continue
            if known is not None:
                sock.connect(known)
            return sock
        raise OSError(errno.EADDRINUSE, "no port of the range is free")
    except BaseException:
        sock.close()
        raise


def _ports(allowed: range) -> Iterator[int]:
    """From anywhere in it, all the way round: several participants of one PC do not all begin at the same."""
    first = random.randrange(len(allowed))
    for step in range(min(len(allowed), MAX_TRIES)):
        yield allowed[(first + step) % len(allowed)]
