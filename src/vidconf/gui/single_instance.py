"""One window a user: a second start hands its link to the first and ends. Qt's local sockets; the window's thread.

The link is hostile input like any other: at most `LIMIT` bytes of UTF-8 on one line, parsed where all links are.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket as sockets
import struct
import sys
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

log = logging.getLogger("vidconf.instance")

LIMIT = 8192
WAIT_MS = 1500
HELLO, DONE = b"vidconf 1 ", b"ok\n"


def instance_name(scope: str = "") -> str:
    """Of this user on this machine; `scope` (or VIDCONF_INSTANCE) tells apart what should not meet (the demo, tests)."""
    user = str(os.getuid()) if sys.platform != "win32" else os.environ.get("USERNAME", "")
    scope = scope or os.environ.get("VIDCONF_INSTANCE", "")
    told = hashlib.sha256(f"{user}\0{Path.home()}\0{scope}".encode()).hexdigest()[:16]
    return f"vidconf-{told}"


def hand_over(link: str, name: str = "") -> bool:
    """Give `link` ("": only show yourself) to the window that runs already; False when there is none. Blocks for at most 3 s."""
    socket = _at_the_door(name)
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


def runs_already(name: str = "") -> bool:
    """Whether a window of this user runs; it is not asked for anything. Blocks for at most 2 s."""
    socket = _at_the_door(name)
    if socket is None:
        return False
    socket.disconnectFromServer()
    return True


def _at_the_door(name: str) -> QLocalSocket | None:
    """A connection to this user's window; None when there is none. Others may have taken the name: on Linux the socket may lie in
    /tmp, which is everybody's, and there the system tells who listens. (A Mac's folder for it is the user's own.)"""
    socket = QLocalSocket()
    socket.connectToServer(name or instance_name())
    if not socket.waitForConnected(WAIT_MS):
        return None
    if sys.platform == "linux":
        with sockets.socket(fileno=os.dup(int(socket.socketDescriptor()))) as same:
            _, owner, _ = struct.unpack("3i", same.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, 12))
        if owner != os.geteuid():
            log.warning("another user (%d) listens where this program would: no link is handed over", owner)
            socket.abort()
            return None
    return socket


class SingleInstance(QObject):
    """The first start listens; `handed(link)` comes for each later one."""

    handed = Signal(str)

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self._name = name or instance_name()
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._on_connection)

    def listen(self) -> bool:
        """False where no socket can be had: the program runs all the same, without this."""
        if self._server.listen(self._name):
            return True
        # What is left of a window that crashed: nobody answered `hand_over`.
        QLocalServer.removeServer(self._name)
        if self._server.listen(self._name):
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
        if not line.startswith(HELLO):
            log.warning("somebody said something unknown at the program's door")
            socket.abort()
            return
        socket.write(DONE)
        socket.flush()
        self.handed.emit(line.removeprefix(HELLO).decode("utf-8", "replace").strip())
