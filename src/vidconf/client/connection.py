"""The control WebSocket: hello, requests, pushes, and coming back when it is lost. The loop's thread.

A `ControlConnection` lives from a seat (`rest.Seat`) until `close`, or until the server refuses it for good; between those it
comes back by itself, without end, and resumes from the last event seen. What it learns goes to a `Listener`, in order.

A request is answered once: by the server, or, when its answer was lost with the connection, by `AskError("answer_lost")` after
the connection is back and the missed events have been delivered, so that whoever asked can see what became of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp

from vidconf import __version__
from vidconf.client.phases import ControlState
from vidconf.client.rest import Rest, RestError, code_of, transport_error
from vidconf.meeting.messages import Command, Recorded, Refusal
from vidconf.meeting.models import Meeting
from vidconf.protocol import frames
from vidconf.protocol.control import WireError, decode_meeting

log = logging.getLogger("vidconf.control")

HELLO_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 30.0
HEARTBEAT_S = 10.0
"""A ping every so often; a connection whose pong takes half as long again is lost."""
IN_FLIGHT = 500
STABLE_S = 2.0
REPLACED, NOT_VALID = 4001, 4003
_FOR_GOOD = frozenset({"bad_token", "no_such_meeting", "protocol_version"})


class AskError(Exception):
    """No answer, or no proper one. `code`: `not_connected`, `answer_lost`, `timeout`, `closed`, `too_many`, or the server's
    error (`too_many_requests`, `malformed`, `media_unavailable`, …) with its `ref`."""

    def __init__(self, code: str, ref: str = "") -> None:
        super().__init__(code)
        self.code, self.ref = code, ref


class Refused(Exception):
    """A rule said no."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


class Listener(Protocol):
    """Who is told. Called on the loop's thread, never re-entered."""

    def control_changed(self, state: ControlState) -> None: ...
    def control_snapshot(self, meeting: Meeting, participant: str) -> None: ...
    def control_events(self, events: tuple[Recorded, ...]) -> None: ...
    def control_signal(self, name: str, body: dict[str, Any]) -> None: ...
    def control_refused(self, code: str, detail: dict[str, Any]) -> None:
        """For good: the connection is closed. `code`: the server's (`bad_token`, `not_in_meeting`, …) or `replaced`."""


@dataclass(slots=True)
class ReconnectPolicy:
    """How long to wait before try number `tries` (0 is the first after a loss: at once). Without end: people wait for it."""

    delays_s: tuple[float, ...] = (0.0, 0.3, 0.7, 1.5, 3.0, 5.0)
    random: random.Random = field(default_factory=random.Random)

    def delay_s(self, tries: int) -> float:
        return self.delays_s[min(tries, len(self.delays_s) - 1)] * self.random.uniform(0.75, 1.25)


@dataclass(slots=True)
class _Asked:
    command: Command
    answer: asyncio.Future[dict[str, Any]]
    round: int
    """The connection it was sent on."""


class ControlConnection:
    """One seat's control. `start`, then `ask`; `close` when done. `counts` tells what was odd, for the help desk."""

    def __init__(
        self, rest: Rest, token: str, listener: Listener, *, policy: ReconnectPolicy | None = None, heartbeat_s: float = HEARTBEAT_S,
    ) -> None:  # fmt: skip
        self._rest, self._token, self._listener = rest, token, listener
        self._policy = policy or ReconnectPolicy()
        self._heartbeat_s = heartbeat_s
        # Not by its wss:// name: under that aiohttp finds no proxy that a system or an agency sets for https.
        self._url = rest.origin + "/api/v1/control"
        self._seq: int | None = None
        self._participant = ""
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self._next_id = 1
        self._in_flight: dict[int, _Asked] = {}
        self._round = 0
        self._run: asyncio.Task[None] | None = None
        self._closed = False
        self._ever = False
        self._hurry = asyncio.Event()
        self._state: ControlState = "idle"
        self.last_error: RestError | None = None
        self.counts: Counter[str] = Counter()

    @property
    def connected(self) -> bool:
        return self._state == "connected"

    @property
    def seq(self) -> int | None:
        """Number of the last event seen; None before the first snapshot."""
        return self._seq

    def start(self) -> None:
        if self._run is None:
            self._run = asyncio.create_task(self._live(), name="control connection")

    async def close(self) -> None:
        """End it; requests still waiting get `closed`."""
        self._closed = True
        run, self._run = self._run, None
        if run is not None and run is not asyncio.current_task():
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
        self._fail_all("closed")
        self._change("idle")

    # ---- asking ----

    async def ask(self, command: Command, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """The answer to `command`. Raises `Refused` or `AskError`."""
        ws = self._ws
        if not self.connected or ws is None:
            raise AskError("closed" if self._closed else "not_connected")
        if len(self._in_flight) >= IN_FLIGHT:
            raise AskError("too_many")
        number, self._next_id = self._next_id, self._next_id + 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._in_flight[number] = _Asked(command, answer, self._round)
        try:
            await ws.send_str(frames.request(number, command))
        except (ConnectionError, aiohttp.ClientError, RuntimeError) as error:
            log.debug("sending failed: %r", error)  # the reader sees it too, and the answer is lost like any other
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise AskError("timeout") from None
        finally:
            self._in_flight.pop(number, None)

    async def renew(self) -> None:
        """Come back at once on a new socket (the computer woke up, the network changed)."""
        self._hurry.set()
        if self._ws is not None:
            await self._ws.close()

    def _settle(self, answer: frames.Answer) -> None:
        asked = self._in_flight.pop(answer.re, None)
        if asked is None or asked.answer.done():
            self.counts["late_answers"] += 1
        elif answer.ok is not None:
            asked.answer.set_result(answer.ok)
        elif answer.refused is not None:
            asked.answer.set_exception(Refused(answer.refused))
        else:
            asked.answer.set_exception(AskError(answer.error or "malformed", answer.ref))

    def _fail_all(self, code: str, before_round: int | None = None) -> None:
        """What can no longer be answered. Those who asked hear it after what is being delivered now."""
        for number, asked in list(self._in_flight.items()):
            if before_round is None or asked.round < before_round:
                del self._in_flight[number]
                if not asked.answer.done():
                    asked.answer.set_exception(AskError(code))

    # ---- living ----

    def _change(self, state: ControlState) -> None:
        if state != self._state:
            log.info("control is %s", state)
            self._state = state
            self._listener.control_changed(state)

    async def _live(self) -> None:
        tries = 0
        loop = asyncio.get_running_loop()
        while not self._closed:
            self._change("reconnecting" if self._ever else "connecting")
            began, greeted = loop.time(), False
            try:
                greeted = await self._one_connection()
            except (RestError, aiohttp.ClientError, TimeoutError, OSError) as error:
                self.last_error = transport_error(error)
                log.debug("control connection: %r", error)
            except WireError as error:
                # An event may be lost with it: only a snapshot makes the view whole again.
                self.counts["malformed"] += 1
                log.warning("the server sent what is no frame: %s", error.code)
                self._seq = None
            except Exception:
                # A bug of ours in what a frame set off must not end the meeting: begin again from a snapshot.
                self.counts["failed"] += 1
                log.exception("taking a frame failed")
                self._seq = None
            finally:
                self._ws = None
            if self._closed:
                return
            # At once after a connection that lived; one that ends as soon as it is made waits like one that fails.
            tries = 0 if greeted and loop.time() - began > STABLE_S else tries + 1
            self._change("reconnecting" if self._ever else "connecting")
            await self._pause(self._policy.delay_s(tries))

    async def _pause(self, seconds: float) -> None:
        self._hurry.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return

    async def _one_connection(self) -> bool:
        """One socket from its opening to its end; whether the server took our hello."""
        self._round += 1
        async with self._rest.http().ws_connect(
            self._url, heartbeat=self._heartbeat_s, max_msg_size=frames.SERVER_FRAME_LIMIT, timeout=aiohttp.ClientWSTimeout(ws_close=2.0)
        ) as ws:
            hello = frames.hello(0, self._token, f"vidconf/{__version__}", self._seq)
            await ws.send_str(hello)
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                first = await ws.receive()
            if first.type is not aiohttp.WSMsgType.TEXT:
                self._final_close(ws.close_code)
                return False
            answer = frames.parse_server_frame(first.data)
            if not isinstance(answer, frames.Answer) or answer.re != 0:
                raise WireError("malformed", {"field": "re", "reason": "no answer to hello"})
            if answer.ok is None:
                self._hello_refused(answer)
                return False
            resumed = self._take_hello(answer.ok)
            self._ws, self._ever, self.last_error = ws, True, None
            if not resumed:
                self._now_connected()
            try:
                await self._read(ws, resumed)
            finally:
                # A resume's events that never came: still not connected as far as those who wait are concerned.
                self._ws = None
            self._final_close(ws.close_code)
            return True

    async def _read(self, ws: aiohttp.ClientWebSocketResponse, resumed: bool) -> None:
        # The events missed lie in the first push behind a resuming hello, if there were any; what follows within the same
        # turn of the loop is already here. So lost answers are settled after the first frame, or once the line is quiet.
        quiet = asyncio.get_running_loop().call_later(0.2, self._now_connected) if resumed else None
        try:
            async for message in ws:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    self.counts["odd_frames"] += 1
                    continue
                self._take(frames.parse_server_frame(message.data))
                if quiet is not None:
                    quiet.cancel()
                    quiet = None
                    self._now_connected()
        finally:
            if quiet is not None:
                quiet.cancel()

    def _now_connected(self) -> None:
        if self._closed or self._ws is None:
            return
        self._fail_all("answer_lost", self._round)
        self._change("connected")

    def _take_hello(self, ok: dict[str, Any]) -> bool:
        """Whether events that were missed may follow."""
        participant = ok.get("participant")
        self._participant = participant if isinstance(participant, str) else self._participant
        snapshot = ok.get("snapshot")
        if snapshot is None:
            if self._seq is None:
                raise WireError("malformed", {"field": "snapshot", "reason": "none, and nothing to resume"})
            seq = ok.get("seq")
            return not (isinstance(seq, int) and seq <= self._seq)
        self._take_snapshot(decode_meeting(snapshot))
        return False

    def _take_snapshot(self, meeting: Meeting) -> None:
        self._seq = meeting.seq
        self._listener.control_snapshot(meeting, self._participant)

    def _take(self, frame: frames.Answer | frames.Events | frames.Snapshot | frames.Signal | frames.Unknown) -> None:
        match frame:
            case frames.Answer():
                self._settle(frame)
            case frames.Events(events=events, last_seq=last):
                fresh = tuple(event for event in events if self._seq is None or event.seq > self._seq)
                self.counts["stale_events"] += len(events) - len(fresh)
                self._seq = max(self._seq or 0, last)
                if fresh:
                    self._listener.control_events(fresh)
            case frames.Snapshot(meeting=meeting):
                self._take_snapshot(meeting)
            case frames.Signal(name=name, body=body):
                self._listener.control_signal(name, body)
            case frames.Unknown():
                self.counts["unknown_frames"] += 1

    def _hello_refused(self, answer: frames.Answer) -> None:
        if answer.refused is not None:
            self._give_up(answer.refused.code, answer.refused.detail)
        elif answer.error in _FOR_GOOD:
            self._give_up(answer.error or "", {"ref": answer.ref} if answer.ref else {})
        else:  # draining, internal, …: the next try may fare better
            self.last_error = RestError(code_of(answer.error or ""), {"ref": answer.ref})

    def _final_close(self, code: int | None) -> None:
        if code == REPLACED:
            self._give_up("replaced", {})
        elif code == NOT_VALID:
            self._give_up("not_in_meeting", {})

    def _give_up(self, code: str, detail: dict[str, Any]) -> None:
        if self._closed:
            return
        log.info("the server refuses this seat: %s", code)
        self._closed = True
        self._fail_all("closed")
        self._listener.control_refused(code, detail)


Connect = Callable[[Rest, str, Listener], ControlConnection]
"""How a client makes its connection (tests put their own in)."""
