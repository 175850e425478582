"""What `vidconf engine` runs: a `LocalEngine` behind a local socket. It dies with its parent, whatever kills that.

The parent listens and hands `{"address": …, "secret": …}` over on stdin, one line of JSON; the engine connects, says the secret
as its first line, and from then on one line is one message of `api`. The end of stdin or of the socket is the parent's end.
Its own process and loop; runs on the main thread.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import threading
from typing import Any

from vidconf.engine import api
from vidconf.engine.event_queue import PASSING
from vidconf.engine.local import LocalEngine
from vidconf.engine.session import Options

log = logging.getLogger("vidconf.engine")

SWITCH_INTERVAL_S = 0.0005
"""With CPython's 5 ms a UDP reader beside one busy thread waits 20 ms for the interpreter, 215 ms at the worst."""
MAX_UNREAD = 1 << 20
"""Bytes the window has not read: from here on passing events are left out."""
MAX_MALFORMED = 100
LAST_WORDS_S = 3.0


def run(config: dict[str, Any]) -> int:
    """Until `Quit` or the parent's end. Returns the exit code."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    if sys.platform == "win32":
        # aioice's sockets: the proactor stops reading after an ICMP unreachable
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            return runner.run(_serve(config))
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(config))


def read_config() -> dict[str, Any]:
    """The parent's line on stdin. Raises ValueError."""
    line = sys.stdin.buffer.readline(65_536)
    config = json.loads(line)
    if not isinstance(config, dict) or not isinstance(config.get("secret"), str):
        raise ValueError("the parent did not say where it listens")
    return config


def _watch_parent(loop: asyncio.AbstractEventLoop, gone: asyncio.Event) -> None:
    """A thread that blocks on stdin: the parent holds its other end, the kernel closes it with the parent."""

    def wait() -> None:
        try:
            while sys.stdin.buffer.read(4096):
                continue
        except (OSError, ValueError):
            log.debug("stdin is gone")
        try:
            loop.call_soon_threadsafe(gone.set)
        except RuntimeError:
            return
        # a loop that does not end by itself must not leave a camera on
        threading.Timer(LAST_WORDS_S, lambda: os._exit(1)).start()

    threading.Thread(target=wait, name="parent", daemon=True).start()


async def connect(config: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the parent's socket: a path, or a port of the loopback where there are no such sockets. Raises OSError."""
    if "path" in config:
        return await asyncio.open_unix_connection(str(config["path"]), limit=api.MAX_MESSAGE)
    return await asyncio.open_connection("127.0.0.1", int(config["port"]), limit=api.MAX_MESSAGE)


async def _serve(config: dict[str, Any]) -> int:
    gone = asyncio.Event()
    _watch_parent(asyncio.get_running_loop(), gone)
    reader, writer = await connect(config)
    writer.write(config["secret"].encode() + b"\n")
    engine = LocalEngine(Options(speaker=str(config.get("speaker", "default"))))
    await engine.start()
    tasks = [
        asyncio.create_task(_read(reader, engine, gone), name="engine reads"),
        asyncio.create_task(_write(writer, engine), name="engine writes"),
        asyncio.create_task(engine.quit.wait(), name="engine quits"),
        asyncio.create_task(gone.wait(), name="engine's parent"),
    ]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        if task.exception() is not None:
            log.error("the engine ends: %s", task.get_name(), exc_info=task.exception())
    try:
        async with asyncio.timeout(LAST_WORDS_S):
            await engine.close()
    except TimeoutError:
        log.error("the engine did not end in time")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    writer.close()
    return 0


async def _read(reader: asyncio.StreamReader, engine: LocalEngine, gone: asyncio.Event) -> None:
    malformed = 0
    while True:
        try:
            line = await reader.readline()
        except (ValueError, ConnectionError) as error:       # a line over the limit: nobody of ours writes such
            log.error("the window's line cannot be read: %r", error)
            break
        if not line:
            break
        try:
            message = api.decode(line)
            if not isinstance(message, api.Command):
                raise api.MessageError("an event is no command")
        except api.MessageError as error:
            malformed += 1
            log.warning("a line that is no command (%d): %s", malformed, error)
            if malformed > MAX_MALFORMED:
                break
            continue
        engine.send(message)
    gone.set()


async def _write(writer: asyncio.StreamWriter, engine: LocalEngine) -> None:
    """Never waits for a window that does not read: what passes is left out, what counts is kept by the socket's buffer."""
    try:
        async for event in engine.events():
            if isinstance(event, PASSING) and writer.transport.get_write_buffer_size() > MAX_UNREAD:
                continue
            writer.write(api.encode(event))
    except (ConnectionError, RuntimeError) as error:     # the latter is uvloop's word for a socket that has been closed
        log.info("the window is gone: %r", error)
