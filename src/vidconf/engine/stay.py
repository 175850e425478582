"""A participant's stay at the SFU: joining, noticing that something is wrong, coming back, leaving. One state machine, from idle
through connecting, connected, reconnecting to closed.

Loop's thread only; made by `session`, which owns what outlives a connection. What a loss is, and what is done:
- signalling has ended, a peer has failed, the address that we spoke from is gone: another connection at once;
- nothing has come for `SILENT_S`: reconnecting is shown and another connection begun, while the old one is asked on. Whichever
  answers first stays: after a black-out that is the old one, with everything in place.
The old connection carries sound and pictures until the server has let the new one in. Joining anew instead of resuming: livekit-
server restarts ICE on both peers when a version-0 client resumes, so a resume saves one DTLS handshake and costs a round of
`sync_state`; measured, joining anew is back in a third of a second (bench/RESULTS.md).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from livekit.protocol import models, rtc

from vidconf.engine import api
from vidconf.engine.reconnect import ANSWERED, FIRST_JOIN_PATIENCE_S, HOPELESS, REFUSED, Backoff, connect_timeout_s, usable
from vidconf.engine.signalling import SignalError, plausible_token, token_expiry
from vidconf.engine.transport import Connection
from vidconf.webrtc.addresses import AddressWatch
from vidconf.webrtc.ice_agent import DIRECT_S

log = logging.getLogger("vidconf.session")

SILENT_S = 2.0
"""From then on the user is told, and another connection is tried."""
HEARD_S = 0.5
"""A way that was heard within this is one again."""
LOOK_S = 0.1
TOKEN_ASKED_EVERY_S = 10.0
DUPLICATE_OURS_S = 5.0
"""A join of ours that was given up may still have reached the server, which then puts the older connection out."""
DIRECT_AGAIN_S = 0.3
"""What UDP is given alone where it did not get through the last time."""

_REASONS = {
    models.DisconnectReason.DUPLICATE_IDENTITY: "duplicate",
    models.DisconnectReason.PARTICIPANT_REMOVED: "removed",
    models.DisconnectReason.ROOM_DELETED: "room_ended",
    models.DisconnectReason.ROOM_CLOSED: "room_ended",
    models.DisconnectReason.USER_REJECTED: "removed",
}


class Owner(Protocol):
    """What a stay needs of its session."""

    def emit(self, event: api.EngineEvent) -> None: ...

    def new_connection(self) -> Connection:
        """Another connection for the same publications and subscriptions."""

    def joined(self, join: rtc.JoinResponse) -> None:
        """The server has let us in: what it says is the whole truth about the room."""

    def let_go(self, connection: Connection) -> None:
        """This connection carries nothing any more."""

    def ended(self) -> None:
        """The stay is over."""


class Stay:
    """`start` with a Join, `stop` to leave; `state`, `connection` and `reconnects` for whoever looks on."""

    def __init__(self, owner: Owner, *, adaptive: bool) -> None:
        self._owner, self._adaptive = owner, adaptive
        self.state: api.MediaState = "idle"
        self.connection: Connection | None = None
        self.reconnects = 0
        self.way = ""
        """By which media comes, or came last."""
        self.times: dict[str, float] = {}
        """Monotonic instants of this join: started, joined."""
        self.join: api.Join | None = None
        self.refreshed = ""
        """The newest token the server gave us."""
        self._run: asyncio.Task[None] | None = None
        self._next: api.Join | None = None
        self._leaving = False
        self._closings: set[asyncio.Task[None]] = set()
        self._new_join, self._new_network = asyncio.Event(), asyncio.Event()
        self._backoff = Backoff()
        self._direct_s = DIRECT_S
        self._given_up_at = float("-inf")
        self._addresses = AddressWatch(self._network_changed)

    @property
    def is_over(self) -> bool:
        return self._run is None or self._run.done()

    # ---- from the session
    def start(self, join: api.Join) -> None:
        """Join; or move to another room or go on with another token, when there is a stay already."""
        if self._leaving and not self.is_over:
            self._next = join           # once the one that is being left has ended
            return
        self.join, self.refreshed, self._leaving = join, "", False
        if not self.is_over:
            self._new_join.set()
            if self.connection is not None and self.state == "connected":
                self.connection.move()
            return
        self._new_join.clear()
        self.times = {"started": time.monotonic()}
        self._run = asyncio.create_task(self._live(), name="session")
        self._run.add_done_callback(self._start_next)

    def stop(self) -> None:
        """Leave; `closed` follows."""
        self._next, self._leaving = None, True
        if self._run is not None and not self._run.done():
            self._run.cancel()
        elif self.state not in ("idle", "closed"):
            self._change("closed", "left")

    async def wait(self, timeout_s: float) -> None:
        """Until everything of a stay that was stopped is closed."""
        if self._run is not None:
            await asyncio.wait([self._run], timeout=timeout_s)
        if self._closings:
            await asyncio.wait(self._closings, timeout=timeout_s)

    def take_token(self, token: str) -> None:
        """From the server, to come back with."""
        if plausible_token(token):
            self.refreshed = token

    # ---- the whole of it
    def _start_next(self, ended: asyncio.Task[None]) -> None:
        join, self._next = self._next, None
        if join is not None and ended is self._run:
            self.start(join)

    def _change(self, state: api.MediaState, reason: str = "") -> None:
        if state != self.state or reason:
            log.info("media is %s%s", state, f" ({reason})" if reason else "")
        self.state = state
        self._owner.emit(api.StateChanged(state, reason))

    async def _live(self) -> None:
        self._change("connecting")
        ending = "left"
        self._addresses.start()
        try:
            ending = await self._join_and_stay()
        except asyncio.CancelledError:
            ending = "left"
        except Exception:
            log.exception("the session failed")
            ending = "failed"
        finally:
            self._addresses.stop()
            closing = self._dispose(farewell=True)
            if closing is not None:
                await asyncio.shield(closing)
            self._owner.ended()
            self._change("closed", ending)

    async def _join_and_stay(self) -> str:
        """Joins, stays, comes back; returns why it is over."""
        self._backoff, self._direct_s = Backoff(), DIRECT_S
        reason = await self._attempts(first=True)
        while not reason:
            reason = await self._until_wrong()
            final = self._final(reason)
            if final:
                return final
            self._change("reconnecting", reason)
            reason = await self._come_back()
        return reason

    async def _until_wrong(self) -> str:
        connection, began = self.connection, time.monotonic()
        assert connection is not None
        while not connection.ended.done() and connection.silent_s() < SILENT_S:
            await asyncio.wait([connection.ended], timeout=LOOK_S)
        self._backoff.lasted(time.monotonic() - began)
        return connection.ended.result() if connection.ended.done() else "silent"

    # ---- coming back
    async def _come_back(self) -> str:
        """By another connection or by the old one, whichever answers first. "" when it is there, else why it is over."""
        former = self.connection
        attempts = asyncio.create_task(self._attempts(first=False), name="coming back")
        watching = asyncio.create_task(self._heard_again(former), name="listening to the old way") if former is not None else None
        try:
            if watching is not None:
                await asyncio.wait([attempts, watching], return_when=asyncio.FIRST_COMPLETED)
                if watching.done() and self.connection is former:
                    outcome = watching.result()
                    if not outcome:
                        log.info("the old way answers again")
                        self._change("connected")
                    return outcome
            return await attempts
        finally:
            for task in (attempts, watching):
                if task is not None and not task.done():
                    task.cancel()
                    await asyncio.wait([task])

    async def _heard_again(self, former: Connection) -> str:
        """"" when `former` is heard again; a final reason when the server says goodbye on it. It may also never return."""
        while True:
            if former.ended.done():
                final = self._final(former.ended.result())
                if final and final != "duplicate":      # that would be our own doing
                    return final
                if former.media_lost() and self.connection is former:
                    self._dispose()
            elif former.silent_s() < HEARD_S:
                return ""
            await asyncio.sleep(LOOK_S)

    async def _attempts(self, *, first: bool) -> str:
        """Try until connected ("") or until it makes no sense (why)."""
        patience_ends = time.monotonic() + FIRST_JOIN_PATIENCE_S
        wait_s = 0.0 if first else self._backoff.next_delay_s()
        while True:
            await self._pause(wait_s)
            if not first and not self._token_usable():
                await self._need_token()
            self._new_join.clear()
            self._new_network.clear()
            wait_s = 0.0
            try:
                reason = await self._connect(connect_timeout_s(self._backoff.tries))
                if not reason:
                    return ""
            except SignalError as error:
                log.info("joining failed: %s", error)
                reason, wait_s = error.code, error.wait_s
                if reason in HOPELESS and first:
                    return reason
                if reason in REFUSED:
                    if first and not self._new_join.is_set():
                        return reason
                    await self._need_token()
            final = self._final(reason)
            if final:
                return final
            if first and time.monotonic() > patience_ends:
                return reason
            wait_s = max(wait_s, self._backoff.next_delay_s())

    async def _connect(self, connect_s: float) -> str:
        """One attempt. "" when media flows, else why it does not. Raises SignalError when the server does not let us in."""
        assert self.join is not None
        connection = self._owner.new_connection()
        opening = asyncio.create_task(connection.open(
            self.join.url, self.refreshed or self.join.token, self.join.ice_servers,
            subscribe=self.join.subscribe, adaptive=self._adaptive, connect_s=connect_s, direct_s=self._direct_s,
        ))  # fmt: skip
        opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        changed = asyncio.ensure_future(self._new_network.wait())
        try:
            await asyncio.wait([opening, changed], return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                raise SignalError("network_changed", "what was begun is begun anew")
            join = opening.result()
        except BaseException as error:
            if not (isinstance(error, SignalError) and error.code in ANSWERED):
                self._given_up_at = time.monotonic()
            opening.cancel()
            self._close(connection, farewell=False)
            raise
        finally:
            changed.cancel()
        # The server has put the former out by now: from here on this one is it.
        self._dispose()
        self.connection = connection
        self._owner.joined(join)
        connection.begin()
        if not await connection.connected():
            reason = connection.ended.result() if connection.ended.done() else "ice_lost"
            self._dispose()
            return reason
        self.way = connection.way
        self._direct_s = DIRECT_S if self.way == "udp" else DIRECT_AGAIN_S
        if self.state == "reconnecting":
            self.reconnects += 1
        self.times.setdefault("joined", time.monotonic())
        self._change("connected")
        return ""

    def _network_changed(self, addresses: frozenset[str]) -> None:
        """Loop's thread, from the watch: an address that is gone takes what went by it with it at once."""
        self._backoff.tries = 0
        self._new_network.set()
        if self.connection is not None:
            self.connection.network_changed(addresses)

    # ---- ends
    def _dispose(self, *, farewell: bool = False) -> asyncio.Task[None] | None:
        """The present connection carries nothing from now on; what is left of it closes beside."""
        connection, self.connection = self.connection, None
        if connection is None:
            return None
        connection.release()
        self._owner.let_go(connection)
        return self._close(connection, farewell=farewell)

    def _close(self, connection: Connection, *, farewell: bool) -> asyncio.Task[None]:
        closing = asyncio.create_task(connection.close(farewell=farewell), name="connection closes")
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)
        return closing

    def _final(self, reason: str) -> str:
        """The code with which it is over; "" when coming back is right."""
        if not reason.startswith("leave:"):
            return ""
        _, number, action = reason.split(":")
        if int(action) != rtc.LeaveRequest.Action.DISCONNECT:
            return ""
        final = _REASONS.get(int(number), "")  # type: ignore[call-overload]
        if final == "duplicate" and time.monotonic() - self._given_up_at < DUPLICATE_OURS_S:
            return ""
        return str(final)

    # ---- waiting
    def _token_usable(self) -> bool:
        assert self.join is not None
        return usable(token_expiry(self.refreshed or self.join.token), time.time())

    async def _need_token(self) -> None:
        """Ask for another token until one comes."""
        while not self._new_join.is_set():
            self._owner.emit(api.TokenNeeded())
            await _either(TOKEN_ASKED_EVERY_S, self._new_join.wait)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not when a new `Join` comes or the network has changed."""
        if seconds > 0 and not self._new_join.is_set() and not self._new_network.is_set():
            await _either(seconds, self._new_join.wait, self._new_network.wait)


async def _either(seconds: float, *waits: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Until one of `waits` is over, at most so long."""
    tasks = [asyncio.create_task(wait()) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
