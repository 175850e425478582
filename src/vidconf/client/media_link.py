"""Between the meeting, the engine and the server: who is in the room sends and receives, and nobody sends what was not chosen.

The loop's thread. Three truths are held together here: what the user chose (`LocalSource.wanted`), what the engine says it does
(`LocalSource.state`), and what the meeting says (`Participant.sources`). The server is told by `set_source` after the engine says
so. What is re-applied after any loss is what was chosen, or less: a moderator's mute becomes the choice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from vidconf.client import changes as c
from vidconf.client.connection import AskError, Refused
from vidconf.client.devices import switched
from vidconf.client.links import is_loopback
from vidconf.client.reduction import participant_of
from vidconf.client.speaking import SpeakerOrder
from vidconf.client.state import LOCAL_SOURCES, ClientState, LocalSourceName, ShareView
from vidconf.client.store import Store
from vidconf.engine import api
from vidconf.meeting import messages as m
from vidconf.meeting.models import SourceState
from vidconf.meeting.rules import allowed

log = logging.getLogger("vidconf.media_link")

RETRY_S = (0.5, 1.0, 2.0, 4.0, 8.0)
TELL_AGAIN_S = 1.0
"""After the server found us too quick."""
MUTED_JUST_NOW_S = 3.0
Ask = Callable[[m.Command], Awaitable[dict[str, Any]]]


class MediaLink:
    """`ask` sends a command to the server. `run` reads the engine's events until it is closed. `site`: this client stands in a
    meeting room, which may have agreed that the floor opens its microphone; nobody else's opens by a word of the server."""

    def __init__(
        self, store: Store, engine: api.Engine, ask: Ask, *, site: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._engine, self._ask, self._site, self._clock = store, engine, ask, site, clock
        self._speakers = SpeakerOrder()
        self._heard_now: tuple[tuple[str, float], ...] = ()
        self._told: dict[LocalSourceName, SourceState] = {}
        self._telling: dict[LocalSourceName, asyncio.Task[None]] = {}
        self._joining: asyncio.Task[None] | None = None
        self._tries = 0
        self._connected = asyncio.Event()
        """Control is up."""
        self._quiet: asyncio.TimerHandle | None = None
        self._held = False
        self._muted_at = -MUTED_JUST_NOW_S
        self._watches: dict[str, api.WatchTrack] = {}
        self._reopen_microphone = False
        self.counts: Counter[str] = Counter()
        self._unsubscribe = store.subscribe(self._state_changed)

    async def run(self) -> None:
        async for event in self._engine.events():
            self.counts[type(event).__name__] += 1
            self._engine_said(event)

    async def close(self) -> None:
        self._unsubscribe()
        if self._quiet is not None:
            self._quiet.cancel()
        tasks = [task for task in (self._joining, *self._telling.values()) if task is not None and not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- where we stand ----

    def _state_changed(self, old: ClientState, new: ClientState) -> None:
        if new.control == "connected" and old.control != "connected":
            self._connected.set()
            self._compare_with_meeting()
        elif new.control != "connected" and old.control == "connected":
            self._connected.clear()
        if new.phase == old.phase:
            if new.phase == "meeting" and _epoch(new) != _epoch(old):
                log.info("the media room has changed")
                self.join_media()
            return
        if new.phase == "meeting":
            self._enter()
        elif new.phase == "lobby" and old.phase == "meeting":
            self._reopen_microphone = new.sources["microphone"].wanted != "off"
            self._leave()
        elif new.phase == "ended" and old.phase in ("meeting", "lobby", "joining"):
            self._leave()

    def _enter(self) -> None:
        """In the room: what was chosen before may be more than is allowed here."""
        self._told.clear()
        self._tries = 0
        if self._reopen_microphone:
            self._reopen_microphone = False
            self.open("microphone", "muted")
        state = self._store.state
        for source in LOCAL_SOURCES:
            if state.sources[source].wanted == "on" and (refusal := self._forbidden(source)) is not None:
                self._stop(source)
                self._tell_user("warn", refusal.code, refusal.detail, "refusal")
        self.join_media()

    def _leave(self) -> None:
        if self._joining is not None:
            self._joining.cancel()
            self._joining = None
        self._engine.send(api.Leave())
        self._told.clear()
        self._watches.clear()
        self._held = False
        self._speakers, self._heard_now = SpeakerOrder(), ()
        self._store.dispatch(c.Set({"share": ShareView()}))
        for source in LOCAL_SOURCES:
            self._store.dispatch(c.SourceWanted(source, "off"))

    # ---- joining the SFU ----

    def join_media(self) -> None:
        """Ask the server for a token and (re)join the SFU with it; once at a time."""
        if self._joining is None or self._joining.done():
            self._joining = asyncio.create_task(self._join_media(), name="join media")

    async def _join_media(self) -> None:
        while self._store.state.phase == "meeting":
            if self._tries:
                await asyncio.sleep(RETRY_S[min(self._tries - 1, len(RETRY_S) - 1)])
            self._tries += 1
            await self._connected.wait()
            epoch = _epoch(self._store.state)
            try:
                grant = await self._ask(m.Media())
                join = self._checked(grant)
            except Refused as refused:
                # In the lobby again, or out: the event that says so is on its way.
                log.info("no media: %s", refused.refusal.code)
                continue
            except AskError as error:
                if error.code not in ("not_connected", "answer_lost", "closed", "timeout"):
                    self._tell_user("warn", error.code, {"ref": error.ref} if error.ref else {}, "error")
                continue
            if epoch != _epoch(self._store.state):
                continue  # it changed while we asked: this may be the way into the room of before
            if self._store.state.phase == "meeting":
                self._engine.send(join)
            return

    def _checked(self, grant: dict[str, Any]) -> api.Join:
        """Raises `AskError("media_unavailable")` for what is no place to send voices to."""
        url, token, ice = grant.get("url"), grant.get("token"), grant.get("ice_servers", [])
        if not isinstance(url, str) or not isinstance(token, str) or not token or not isinstance(ice, list):
            raise AskError("media_unavailable")
        parts = urlsplit(url)
        plain = parts.scheme in ("ws", "http")
        if parts.scheme not in ("ws", "wss", "http", "https") or (plain and not is_loopback(parts.hostname or "")):
            raise AskError("media_unavailable")
        return api.Join(url, token, tuple(server for server in ice if isinstance(server, dict)))

    def _again(self) -> None:
        if self._store.state.phase == "meeting":
            self.join_media()

    # ---- the engine ----

    def _engine_said(self, event: api.EngineEvent) -> None:
        held = self._store.state.sources["screen_share"]
        match event:
            case api.Speakers(active=active):
                self._heard(tuple((participant_of(identity), level) for identity, level in active))
                return
            case api.StateChanged(state="connected"):
                self._tries = 0
            case api.MutedByServer(source=source) if source in LOCAL_SOURCES:
                self._held, self._muted_at = False, self._clock()
                self._store.dispatch(c.SourceWanted(source, "muted"))
                self._store.dispatch(c.Set({"talk_held": False}))
                # Obeyed already, but for a click that crossed it on the way: the mute wins.
                self._engine.send(api.MuteSource(source, True))
                return
            case api.SourceChanged(source="screen_share", error=error) if error:
                self._share_failed(event)
                self._tell_server("screen_share")
                return
            case api.SourceChanged(source="screen_share", state="off") if held.error and held.wanted == "off":
                event = replace(event, error=held.error, detail=held.detail)  # we closed what had failed: it has failed all the same
            case api.SourceChanged(source="screen_share_audio", error=error) if error:
                if self._store.state.share.sound:
                    self._stop_share_sound()
                    self._tell_user("warn", "share_sound_failed", {"code": error})
            case api.DeviceSwitched():
                switched(self._store.state, event, self._tell_user)
                return
            case api.Failed(code=code, detail=detail):
                log.warning("the engine: %s %s", code, detail)
                self._tell_user("warn", code, {}, "error")
        self._store.dispatch(c.EngineSaid(event))
        match event:
            case api.StateChanged(state="connected"):
                self._compare_with_meeting()
            case api.StateChanged(state="closed", reason="engine_crashed"):
                if self._store.state.phase == "meeting":
                    self._tell_user("warn", "engine_crashed")
            case api.StateChanged(state="closed", reason=reason) if reason != "left":
                log.info("media closed: %s", reason)
                if reason == "no_turn":
                    self._tell_user("error", "media_no_turn", {}, "error")
                elif reason in ("unreachable", "ice_lost", "untrusted_certificate", "bad_url"):
                    self._tell_user("error", "media_unreachable", {"reason": reason}, "error")
                self._again()
            case api.TokenNeeded():
                self._again()
            case api.SourceChanged(source=source) if source in LOCAL_SOURCES:
                self._tell_server(source)
            case api.TrackAdded(track=track, identity=identity):
                gain = self._store.state.volumes.get(participant_of(identity))
                if gain is not None:
                    self._engine.send(api.SetVolume(identity, gain))
                if track in self._watches:
                    self._engine.send(self._watches[track])
            case api.TrackRemoved(track=track):
                self._watches.pop(track, None)

    def _heard(self, levels: tuple[tuple[str, float], ...]) -> None:
        """The SFU tells changes only: these are heard until it says otherwise."""
        self._heard_now = levels
        self._show_speakers()

    def _show_speakers(self) -> None:
        speaking = self._speakers.report(self._heard_now, self._clock())
        self._store.dispatch(c.Set({"speaking": speaking, "main_speaker": self._speakers.main}))
        if self._quiet is not None:
            self._quiet.cancel()
        wait_s = self._speakers.next_change_s
        self._quiet = asyncio.get_running_loop().call_later(wait_s, self._show_speakers) if wait_s < 60 else None

    # ---- what the user chooses ----

    def open(self, source: LocalSourceName, state: SourceState, device: str = "") -> None:
        """Choose `state` for one's own source, on `device` ("" the one chosen before)."""
        held = self._store.state.sources[source]
        if source == "screen_share":
            where = device
        else:
            where = device or getattr(self._store.state.chosen, source)
        if state == "off":
            self._store.dispatch(c.SourceWanted(source, "off"))
            self._engine.send(api.CloseSource(source))
            if source == "screen_share":
                self._stop_share_sound()
            return
        self._store.dispatch(c.SourceWanted(source, state, where))
        if held.state == "off" or held.error or held.device not in ("", where):
            self._engine.send(api.OpenSource(source, where, muted=state == "muted"))
        else:
            self._engine.send(api.MuteSource(source, state == "muted"))

    def share(self, share: ShareView) -> None:
        """A screen, a window or a page, with the computer's sound or without."""
        self._store.dispatch(c.Set({"share": share}))
        self.open("screen_share", "on", share.device)
        if share.sound:
            self._engine.send(api.OpenSource("screen_share_audio", "computer"))
        else:
            self._engine.send(api.CloseSource("screen_share_audio"))

    def pause_share(self, paused: bool) -> None:
        """Its last picture stays with the others; nothing of it leaves, sound neither."""
        share, held = self._store.state.share, self._store.state.sources["screen_share"]
        if held.wanted == "off":
            return
        self.open("screen_share", "muted" if paused else "on", share.device)
        if share.sound:
            self._engine.send(api.MuteSource("screen_share_audio", paused))

    def _stop_share_sound(self) -> None:
        if self._store.state.share.sound:
            self._store.dispatch(c.Set({"share": replace(self._store.state.share, sound=False)}))
            self._engine.send(api.CloseSource("screen_share_audio"))

    def _share_failed(self, event: api.SourceChanged) -> None:
        """It could not open, or ended by itself: it is taken out of the room, where its last picture would stay for ever."""
        before = self._store.state
        if before.share.device and event.device not in ("", before.share.device):
            return  # of what was shared before
        ended = event.error in ("window_closed", "screen_gone")
        self._store.dispatch(c.EngineSaid(replace(event, error="", detail="") if ended else event))
        if before.sources["screen_share"].wanted == "off":
            return  # our own closing, told with the reason once more
        if ended:
            self.open("screen_share", "off")
            self._tell_user(
                "info", "share_window_closed" if event.error == "window_closed" else "share_screen_gone", {"name": before.share.name}
            )
        else:
            self._engine.send(api.CloseSource("screen_share"))
            self._stop_share_sound()

    def mute(self, source: LocalSourceName) -> None:
        """Silence it: a microphone keeps its level, a camera keeps its place in the room while there is one."""
        held = self._store.state.sources[source]
        if source == "microphone" or (source == "camera" and self._store.state.phase == "meeting"):
            if held.wanted != "off":
                self._store.dispatch(c.SourceWanted(source, "muted"))
                self._engine.send(api.MuteSource(source, True))
        else:
            self.open(source, "off")

    def talk_while_held(self, down: bool) -> None:
        """Push to talk. Releasing only ever mutes, so that nothing said meanwhile (a moderator's mute) is undone by it."""
        microphone = self._store.state.sources["microphone"]
        if down:
            if self._held or microphone.wanted == "on" or (self._store.state.phase == "meeting" and self._forbidden("microphone")):
                return
            self._held = True
            self.open("microphone", "on")
        elif self._held:
            self._held = False
            self.mute("microphone")
        self._store.dispatch(c.Set({"talk_held": self._held}))

    def watch(self, watch: api.WatchTrack) -> None:
        self._watches[watch.track] = watch
        self._engine.send(watch)

    def set_volume(self, participant: str | None, gain: float) -> None:
        gain = min(2.0, max(0.0, gain))
        self._store.dispatch(c.VolumeSet(participant, gain))
        if participant is None:
            self._engine.send(api.SetVolume(None, gain))
            return
        for identity in {t.identity for t in self._store.state.tracks.values() if t.participant == participant and t.identity}:
            self._engine.send(api.SetVolume(identity, gain))

    # ---- what the server says of us ----

    def meeting_events(self, events: tuple[m.Recorded, ...]) -> None:
        """After the store has applied them."""
        state = self._store.state
        for recorded in events:
            event, by = recorded.event, {"by": recorded.actor, "name": self._name_of(recorded.actor)}
            if getattr(event, "participant", None) != state.me:
                continue
            match event:
                case m.Muted():
                    self._obey("microphone", "muted", "muted_by", by)
                case m.CameraStopped():
                    self._obey("camera", "off", "camera_stopped_by", by)
                case m.ShareStopped():
                    self._obey("screen_share", "off", "share_stopped_by", by)
                case m.SourceChanged(source=source, state=is_now):
                    self._told[source] = is_now
                case m.UnmuteAsked(consent=consent):
                    self._asked_to_unmute(consent, by)
                case m.FloorGiven(seconds=seconds):
                    self._tell_user("info", "floor_given", {**by, "seconds": seconds})
                case m.FloorEnded():
                    self._tell_user("info", "floor_ended", by)
                case m.SentToLobby():
                    self._tell_user("warn", "sent_to_lobby", by)
                case m.RoleSet(role=role, co_chair=co_chair):
                    self._tell_user("info", "role_set", {**by, "role": "co_chair" if co_chair else role})
        self._give_up_what_is_closed()

    def _give_up_what_is_closed(self) -> None:
        """A source that waits for its device, and of which the meeting was not told yet: nobody mutes it when it is closed to us, and it
        must not come live of its own when the device is back."""
        for source in LOCAL_SOURCES:
            held = self._store.state.sources[source]
            if held.wanted == "on" and held.state == "off" and held.waits and (refusal := self._forbidden(source)) is not None:
                self._stop(source)
                self._tell_user("warn", refusal.code, refusal.detail, "refusal")

    def _obey(self, source: LocalSourceName, is_now: SourceState, code: str, by: dict[str, Any]) -> None:
        was = self._store.state.sources[source]
        if source == "microphone":
            self._held = False
            self._store.dispatch(c.Set({"talk_held": False}))
        own = self._store.state.own
        self._told[source] = own.sources.get(source) if own is not None else is_now
        self._stop(source)
        # Often the SFU's word comes first and is obeyed by now.
        if was.wanted == "on" or was.state == "on" or self._clock() - self._muted_at < MUTED_JUST_NOW_S:
            self._tell_user("warn", code, by)

    def _stop(self, source: LocalSourceName) -> None:
        held = self._store.state.sources[source]
        if source == "microphone":
            if held.wanted != "off" or held.state != "off":
                self._store.dispatch(c.SourceWanted(source, "muted"))
                self._engine.send(api.MuteSource(source, True))
        else:
            self.open(source, "off")

    def _asked_to_unmute(self, consent: bool, by: dict[str, Any]) -> None:
        if self._store.state.sources["microphone"].wanted == "on":
            return
        if consent and self._site:  # given beforehand by who runs this site
            self.open("microphone", "on")
            return
        self._store.dispatch(c.Set({"unmute_asked": True}))
        self._tell_user("info", "unmute_asked", by)

    # ---- telling the server ----

    def _compare_with_meeting(self) -> None:
        """After coming (back) into the room, or after a loss: the meeting's own word is what it was last told."""
        state = self._store.state
        if state.own is None or state.phase != "meeting":
            return
        before, self._told = self._told, {source: state.own.sources.get(source) for source in LOCAL_SOURCES}
        if before.get("microphone") == "on" and self._told["microphone"] == "muted" and state.sources["microphone"].wanted == "on":
            # It was told that we are on, and says otherwise: a moderator's mute of which only a snapshot tells.
            self._obey("microphone", "muted", "muted_by", {"by": "", "name": ""})
        self._give_up_what_is_closed()
        for source in LOCAL_SOURCES:
            self._tell_server(source)

    def _tell_server(self, source: LocalSourceName) -> None:
        task = self._telling.get(source)
        if task is None or task.done():
            self._telling[source] = asyncio.create_task(self._tell(source), name=f"tell of {source}")

    async def _tell(self, source: LocalSourceName) -> None:
        while True:
            state = self._store.state
            is_now = state.sources[source].told
            ready = state.phase == "meeting" and state.control == "connected" and state.media == "connected"
            if not ready or self._told.get(source, "off") == is_now:
                return
            self._told[source] = is_now
            try:
                await self._ask(m.SetSource(source, is_now))
            except Refused as refused:
                if refused.refusal.code != "too_many_changes":
                    if is_now == "on":
                        self._stop(source)
                        self._tell_user("warn", refused.refusal.code, refused.refusal.detail, "refusal")
                    return
                self._not_told(source, refused.refusal.code)
            except AskError as error:
                # Told again when control is back, by `_compare_with_meeting`.
                self._not_told(source, error.code)
                if error.code != "too_many_requests":
                    return
            else:
                continue
            await asyncio.sleep(TELL_AGAIN_S)

    def _not_told(self, source: LocalSourceName, code: str) -> None:
        """What it was told last is what the meeting says still: also "off" has to be told where that is not off."""
        log.info("the server was not told of %s: %s", source, code)
        own = self._store.state.own
        if own is None:
            self._told.pop(source, None)
        else:
            self._told[source] = own.sources.get(source)

    # ---- words ----

    def _forbidden(self, source: LocalSourceName) -> m.Refusal | None:
        state = self._store.state
        if state.meeting is None or state.me is None:
            return None
        return allowed(state.meeting, state.me, m.SetSource(source, "on"))

    def _name_of(self, actor: str) -> str:
        meeting = self._store.state.meeting
        who = meeting.participants.get(actor) if meeting is not None else None
        return who.name if who is not None else ""

    def _tell_user(self, level: Any, code: str, detail: dict[str, Any] | None = None, family: Any = "notice") -> None:
        self._store.dispatch(c.Told(level, code, detail or {}, time.time(), family))


def _epoch(state: ClientState) -> int | None:
    """Which media room is the meeting's now."""
    return state.meeting.epoch if state.meeting is not None else None
