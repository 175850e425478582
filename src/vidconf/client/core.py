"""The client without a window: store, actions, wires, put together. asyncio only; everything on one loop's thread.

    client = Client(engine, settings, credentials); await client.start(); … client.actions.… ; await client.close()

Order of start: engine, its events, devices, then the server and account of last time. Order of stop: the meeting is left, the
control connection closed, settings written, the engine ended.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from vidconf.client import changes as c
from vidconf.client import phases
from vidconf.client.actions import Actions
from vidconf.client.closed import CODE as CLOSED_HERE
from vidconf.client.closed import KEYS as CLOSING
from vidconf.client.closed import closed_parts, only_server
from vidconf.client.connection import AskError, ControlConnection, ReconnectPolicy, Refused
from vidconf.client.credentials import Credentials
from vidconf.client.devices import DeviceMemory
from vidconf.client.entry import Entry
from vidconf.client.media_link import MediaLink
from vidconf.client.network_options import NETWORK, network_of
from vidconf.client.outbox import Outbox
from vidconf.client.rest import Rest
from vidconf.client.settings import Settings
from vidconf.client.sounds import Sounds
from vidconf.client.state import LOCAL_SOURCES, ChosenDevices, ClientState
from vidconf.client.store import Store
from vidconf.client.updates.watch import Updates
from vidconf.engine import api
from vidconf.meeting import messages as m
from vidconf.meeting.models import Kind, Meeting
from vidconf.meeting.rules import decide

log = logging.getLogger("vidconf.client")

TICK_S = 1.0
POLICY_S = 60.0
"""Policies are read again so often."""
VOICE = ("echo_cancellation", "noise_suppression", "gain_control", "dtx")
"""Settings that are fields of `api.SetVoice`."""

LIMITS = ("max_video_height", "max_kbps")
"""Settings that are the fields of `api.SetLimits`."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What this client says of itself when it joins, besides a name."""

    kind: Kind = "person"
    unit: str = ""
    position: str = ""


class Client:
    """`store` to watch, `actions` to do. A listener of the control connection. `counts` of its parts are for the help desk."""

    def __init__(
        self, engine: api.Engine, settings: Settings, credentials: Credentials, *, tls: ssl.SSLContext | None = None,
        identity: Identity | None = None, lobby_timeout_s: float | None = None,
        reconnect: ReconnectPolicy | None = None,
    ) -> None:  # fmt: skip
        self.engine, self.settings, self.credentials, self.tls = engine, settings, credentials, tls
        self.identity = identity or Identity()
        self.network = network_of(settings)
        self._lobby_timeout_s, self._reconnect = lobby_timeout_s, reconnect
        chosen = ChosenDevices(settings.text("microphone"), settings.text("camera"), settings.text("speaker"))
        names = settings.mapping("device_names")
        self.store = Store(
            ClientState(
                chosen=chosen, name=settings.text("name"), server=only_server(settings) or settings.text("server"),
                device_names=names, closed=closed_parts(settings),
            )
        )  # fmt: skip
        self.connection: ControlConnection | None = None
        self.media = MediaLink(self.store, engine, self.ask, site=self.identity.kind == "site")
        self.outbox = Outbox(self.store, self.ask)
        self.sounds = Sounds(self.store, settings, engine)
        self.device_memory = DeviceMemory(self.store, settings)
        self.updates = Updates(self.store, settings)
        self.entry = Entry(self)
        self.actions = Actions(self)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._saving: asyncio.Task[None] | None = None
        self._closed = False
        self.store.subscribe(self._state_changed)
        settings.subscribe(self._setting_changed)

    @property
    def lobby_timeout_s(self) -> float:
        return float(self.settings["lobby_timeout_s"]) if self._lobby_timeout_s is None else self._lobby_timeout_s

    async def start(self) -> None:
        """Answers when the engine is being started; the server of last time is asked in the background."""
        await self.engine.start()
        self.spawn(self.media.run(), "engine events")
        self.engine.send(api.ListDevices())
        if self.store.state.chosen.speaker != "default":
            self.engine.send(api.SelectSpeaker(self.store.state.chosen.speaker))
        self._set_voice()
        self._set_network()
        self._set_limits()
        self.spawn(self._tick(), "client tick")
        self.spawn(self.entry.start(), "server of last time")
        self.spawn(self.updates.run(), "updates")

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self.entry.leave()
        await self.disconnect()
        self.close_devices()
        self.sounds.close()
        await self.outbox.close()
        await self.media.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.settings.dirty:
            await asyncio.to_thread(self.settings.save)
        await self.entry.close()
        await self.engine.close()

    # ---- tasks ----

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Run in the background; what it raises is logged, never lost."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)

    async def _tick(self) -> None:
        last_policy = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            self.store.dispatch(c.TimePassed(time.time()))
            if self.store.state.phase == "lobby" and self.entry.lobby_waited_too_long(time.time()):
                await self.entry.leave("lobby_timeout")
            if time.monotonic() - last_policy > POLICY_S:
                last_policy = time.monotonic()
                self.settings.reload_policies()

    def _setting_changed(self, key: str) -> None:
        if key in VOICE:
            self._set_voice()
        if key in LIMITS:
            self._set_limits()
        if key in CLOSING:
            self._close_parts()
        if key in NETWORK:
            self.network = network_of(self.settings)
            self._set_network()
        self._save_soon()

    def _close_parts(self) -> None:
        """Policy has changed while the program runs: what is closed from now on ends now."""
        before, now = self.store.state.closed, closed_parts(self.settings)
        self.store.dispatch(c.Set({"closed": now}))
        if "screen_share" in now - before and self.store.state.sources["screen_share"].wanted != "off":
            self.media.open("screen_share", "off")
            self.tell("warn", CLOSED_HERE, {}, "refusal")
        if "password_login" in before ^ now:
            self.spawn(self.entry.accounts_changed(), "accounts by policy")

    def _set_voice(self) -> None:
        self.engine.send(api.SetVoice(**{key: self.settings.on(key) for key in VOICE}))

    def _set_limits(self) -> None:
        self.engine.send(api.SetLimits(int(self.settings["max_video_height"]), int(self.settings["max_kbps"])))

    def _set_network(self) -> None:
        self.engine.send(api.SetNetwork(**asdict(self.network)))

    def _save_soon(self) -> None:
        if not self._closed and (self._saving is None or self._saving.done()):
            self._saving = asyncio.create_task(self._save(), name="save settings")
            self._tasks.add(self._saving)
            self._saving.add_done_callback(self._done)

    async def _save(self) -> None:
        await asyncio.sleep(0.5)  # several changes are one writing
        while self.settings.dirty:
            if not await asyncio.to_thread(self.settings.save):
                self.tell("warn", "settings_not_saved", {}, "error")
                return

    def tell(
        self, level: Literal["info", "warn", "error"], code: str, detail: dict[str, Any] | None = None,
        family: Literal["notice", "refusal", "error"] = "notice",
    ) -> None:  # fmt: skip
        self.store.dispatch(c.Told(level, code, detail or {}, time.time(), family))

    # ---- devices ----

    def open_devices(self) -> None:
        """For pre-join: the microphone (for its level), and the camera where the settings open it."""
        sources = self.store.state.sources
        if sources["microphone"].wanted == "off" and not sources["microphone"].error:
            self.media.open("microphone", "muted" if self.settings.on("start_muted") else "on")
        if sources["camera"].wanted == "off" and not sources["camera"].error and not self.settings.on("camera_off_on_join"):
            self.media.open("camera", "on")

    def close_devices(self) -> None:
        for source in LOCAL_SOURCES:
            if self.store.state.sources[source].wanted != "off":
                self.media.open(source, "off")

    def choose(self, what: Literal["microphone", "camera", "speaker"], device: str) -> None:
        match what:
            case "microphone":
                chosen = replace(self.store.state.chosen, microphone=device)
            case "camera":
                chosen = replace(self.store.state.chosen, camera=device)
            case "speaker":
                chosen = replace(self.store.state.chosen, speaker=device)
        self.store.dispatch(c.Set({"chosen": chosen}))
        self.settings.remember(what, device)

    # ---- asking ----

    async def ask(self, command: m.Command) -> dict[str, Any]:
        """Raises `Refused` or `AskError`."""
        if self.connection is None:
            raise AskError("not_connected")
        return await self.connection.ask(command)

    def ask_later(self, command: m.Command) -> None:
        """Ask in the background: pending until answered, a refusal becomes a notice."""
        concerned = getattr(command, "participants", None) or (getattr(command, "participant", None),)
        names = tuple(one or "" for one in concerned)
        self.store.dispatch(c.Asked(command.name, names))
        self.spawn(self._ask_and_tell(command, names), f"ask {command.name}")

    async def _ask_and_tell(self, command: m.Command, names: tuple[str, ...]) -> None:
        try:
            await self.ask(command)
        except Refused as refused:
            self.tell("warn", refused.refusal.code, refused.refusal.detail, "refusal")
        except AskError as error:
            if error.code != "answer_lost" or not self._came_true(command):
                self.tell("warn", error.code, {"ref": error.ref} if error.ref else {}, "error")
        finally:
            self.store.dispatch(c.Answered(command.name, names))

    def _came_true(self, command: m.Command) -> bool:
        """Whether what was asked is so by now: asking again would change nothing, or could no longer be asked."""
        state = self.store.state
        if state.meeting is None or state.me is None:
            return True
        return decide(state.meeting, state.me, command, time.time()) == ()

    # ---- the control connection ----

    async def connect(self, rest: Rest, token: str) -> None:
        await self.disconnect()
        self.connection = ControlConnection(rest, token, _Line(self), policy=self._reconnect)
        self.connection.start()

    async def disconnect(self) -> None:
        connection = self.take_connection()
        if connection is not None:
            await connection.close()

    def take_connection(self) -> ControlConnection | None:
        """The connection, which is no longer ours: what it still says is not heard."""
        connection, self.connection = self.connection, None
        return connection

    def _state_changed(self, old: ClientState, new: ClientState) -> None:
        if new.phase == "ended" and old.phase != "ended":
            self.store.dispatch(c.MeetingForgotten())
            connection = self.take_connection()
            if connection is not None:
                self.spawn(connection.close(), "close control")
        if new.control == "connected" and old.control != "connected":
            self.outbox.flush()
        if new.phase == "meeting" and old.phase != "meeting":
            self.outbox.flush()


class _Line:
    """What one control connection says to the client, as long as it is the client's."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._made_for: ControlConnection | None = None

    def _ours(self) -> bool:
        """The first word binds the line to its connection; after another has taken its place, it is silent."""
        if self._made_for is None:
            self._made_for = self._client.connection
        return self._made_for is not None and self._client.connection is self._made_for

    def control_changed(self, state: phases.ControlState) -> None:
        if self._ours():
            # A new seat's first connection, taken because the old one was lost, is still "reconnecting" to who looks on.
            lost = state == "connecting" and self._client.store.state.phase in phases.IN
            self._client.store.dispatch(c.Navigate(phases.ControlChanged("reconnecting" if lost else state)))

    def control_snapshot(self, meeting: Meeting, participant: str) -> None:
        if self._ours():
            self._client.store.dispatch(c.SnapshotTaken(meeting, participant, time.time()))
            self._client.entry.seated()

    def control_events(self, events: tuple[m.Recorded, ...]) -> None:
        if self._ours():
            self._client.store.dispatch(c.EventsCame(events, time.time()))
            self._client.media.meeting_events(events)

    def control_signal(self, name: str, body: dict[str, Any]) -> None:
        participant, emoji = body.get("participant"), body.get("emoji")
        if self._ours() and name == "reaction" and isinstance(participant, str) and isinstance(emoji, str) and len(emoji) <= 16:
            self._client.store.dispatch(c.Reacted(participant, emoji, time.time()))

    def control_refused(self, code: str, detail: dict[str, Any]) -> None:
        if self._ours():
            self._client.spawn(self._client.entry.refused(code, detail), "seat refused")
