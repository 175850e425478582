"""One window a user: a second start hands its link to the first and ends. Qt's local sockets; the window's thread.

The link is hostile input like any other: at most `LIMIT` bytes of UTF-8 on one line, parsed where all links are.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import secrets
import socket as sockets
import struct
import sys
import time

from PySide6.QtCore import QObject, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

from vidconf.gui.own_door import Door, own_door

log = logging.getLogger("vidconf.instance")

LIMIT = 8192
WAIT_MS = 1500
HELLO, DONE, WHO = b"vidconf 1 ", b"ok\n", b"vidconf who "
NONCE = re.compile(re.escape(WHO) + rb"[0-9a-f]{32}")


def hand_over(link: str, door: Door | None = None) -> bool:
    """Give `link` ("": only show yourself) to the window that runs already; False when there is none. Blocks for at most 3 s."""
    socket = _at_the_door(door or own_door())
    if socket is None:
        return False
    line = HELLO + link.replace("\n", " ").encode("utf-8", "replace")[:LIMIT] + b"\n"
    socket.write(line)
    socket.waitForBytesWritten(WAIT_MS)
    heard = b""
    while DONE not in heard and socket.waitForReadyRead(WAIT_MS):
        heard += bytes(socket.readAll().data())
    socket.disconnectFromServer()
    if DONE not in heard:
        log.warning("the window that runs does not answer")
    return DONE in heard


def runs_already(door: Door | None = None) -> bool:
    """Whether a window of this user runs; it is not asked for anything. Blocks for at most 2 s."""
    socket = _at_the_door(door or own_door())
    if socket is None:
        return False
    socket.disconnectFromServer()
    return True


def _at_the_door(door: Door) -> QLocalSocket | None:
    """A connection to this user's window; None when there is none. Others may have taken the name: on Linux the socket may lie in
    /tmp, which is everybody's, and there the system tells who listens. (A Mac's folder for it is the user's own.) On Windows who
    listens proves that it knows the door's secret."""
    socket = QLocalSocket()
    socket.connectToServer(door.name)
    if not socket.waitForConnected(WAIT_MS):
        return None
    if sys.platform == "linux":
        with sockets.socket(fileno=os.dup(int(socket.socketDescriptor()))) as same:
            _, owner, _ = struct.unpack("3i", same.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, 12))
        if owner != os.geteuid():
            log.warning("another user (%d) listens where this program would: no link is handed over", owner)
            socket.abort()
            return None
    if door.secret and not _proven(socket, door):
        log.warning("somebody listens where this program would and cannot prove to be it: no link is handed over")
        socket.abort()
        return None
    return socket


def _proven(socket: QLocalSocket, door: Door) -> bool:
    nonce = secrets.token_hex(16)
    socket.write(WHO + nonce.encode() + b"\n")
    wanted, heard, until = door.proof(nonce) + b"\n", b"", time.monotonic() + WAIT_MS / 1000
    # Neither what never ends nor what trickles keeps a start waiting.
    while len(heard) < len(wanted) and (left := int(1000 * (until - time.monotonic()))) > 0 and socket.waitForReadyRead(left):
        heard += bytes(socket.read(len(wanted) - len(heard)).data())
    return hmac.compare_digest(heard, wanted)


class SingleInstance(QObject):
    """The first start listens; `handed(link)` comes for each later one."""

    handed = Signal(str)

    def __init__(self, door: Door | None = None) -> None:
        super().__init__()
        self._door = door or own_door(anew=True)
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._on_connection)

    def listen(self) -> bool:
        """False where no socket can be had: the program runs all the same, without this."""
        if self._server.listen(self._door.name):
            return True
        # What is left of a window that crashed: nobody answered `hand_over`.
        QLocalServer.removeServer(self._door.name)
        if self._server.listen(self._door.name):
            return True
        log.warning("no second start can hand its link over: %s", self._server.errorString())
        return False

    def close(self) -> None:
        self._server.close()

    def _on_connection(self) -> None:
        while (socket := self._server.nextPendingConnection()) is not None:
            heard = bytearray()
            socket.readyRead.connect(lambda socket=socket, heard=heard: self._on_bytes(socket, heard))
            socket.disconnected.connect(socket.deleteLater)
            self._on_bytes(socket, heard)

    def _on_bytes(self, socket: QLocalSocket, heard: bytearray) -> None:
        heard += bytes(socket.readAll().data())
        if len(heard) > LIMIT + 64:
            log.warning("somebody said too much at the program's door")
            socket.abort()
            return
        line, end, _ = bytes(heard).partition(b"\n")
        if not end:
            return
        heard.clear()
        if self._door.secret and NONCE.fullmatch(line):
            socket.write(self._door.proof(line.removeprefix(WHO).decode()) + b"\n")
            socket.flush()
            return
        if not line.startswith(HELLO):
            log.warning("somebody said something unknown at the program's door")
            socket.abort()
            return
        socket.write(DONE)
        socket.flush()
        self.handed.emit(line.removeprefix(HELLO).decode("utf-8", "replace").strip())
