"""What a user can do. Called by the window on the loop's thread; coroutines are run as tasks.

Nothing here raises for what a server, a rule or a device says: that becomes state (`join_error`, `notices`, a source's `error`).
Commands are asked and forgotten: `ClientState.pending` marks them until they are answered, and events show what came of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from vidconf.client import changes as c
from vidconf.client import closed
from vidconf.client.settings_table import SettingError
from vidconf.client.state import LocalSourceName, ShareView
from vidconf.engine import api
from vidconf.meeting import messages as m
from vidconf.meeting.models import Allowed, Role
from vidconf.meeting.rules import allowed

if TYPE_CHECKING:
    from vidconf.client.core import Client


class Actions:
    """One a client. Which refusals come: `can`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._store = client.store
        self._media = client.media
        self._engine = client.engine

    # ---- before the meeting ----

    async def open_link(self, text: str) -> None:
        """A link or a code: to pre-join, with the meeting's preview. A host never used before only after `confirm_host`."""
        await self._client.entry.open_link(text)

    async def confirm_host(self) -> None:
        """The user trusts the link's host."""
        await self._client.entry.confirm_host()

    async def sign_in(self, server: str, name: str, password: str) -> None:
        """`server`: as typed, or "" for the one known."""
        await self._client.entry.sign_in(server, name, password)

    async def sign_out(self) -> None:
        await self._client.entry.sign_out()

    def open_sign_in(self) -> None:
        self._client.entry.open_sign_in()

    async def refresh_upcoming(self) -> None:
        await self._client.entry.refresh_upcoming()

    async def create_meeting(self, title: str, start: float | None = None, lobby: bool = True, duration_s: float | None = None) -> None:
        """Its links are then in `ClientState.created`."""
        await self._client.entry.create_meeting(title, start, lobby, duration_s)

    def set_name(self, name: str) -> None:
        """Own name before joining; fixed by the account when signed in."""
        self._client.entry.set_name(name)

    async def join(self) -> None:
        """Knock with the link at hand. Answers when one stands in the lobby or the room, or it did not work."""
        await self._client.entry.join()

    async def cancel(self) -> None:
        """Give up joining, or waiting in the lobby: back to pre-join or home."""
        await self._client.entry.cancel()

    async def back_home(self) -> None:
        """To home; a running meeting is left first."""
        await self._client.entry.back_home()

    # ---- own devices ----

    def set_microphone(self, on: bool) -> None:
        self._switch("microphone", on)

    def set_camera(self, on: bool) -> None:
        self._switch("camera", on)

    def _switch(self, source: LocalSourceName, on: bool) -> None:
        if not on:
            self._media.mute(source)
            return
        if source == "microphone":
            self._store.dispatch(c.Set({"unmute_asked": False}))
        if not self._refused(m.SetSource(source, "on")):
            self._media.open(source, "on")

    def choose_device(self, source: Literal["microphone", "camera"], device_id: str) -> None:
        """Used from now on, at once where it is open; remembered."""
        self._client.choose(source, device_id)
        held = self._store.state.sources[source]
        if held.wanted != "off":
            self._media.open(source, held.wanted, device_id)

    def choose_speaker(self, device_id: str) -> None:
        self._client.choose("speaker", device_id)
        self._engine.send(api.SelectSpeaker(device_id))

    def refresh_devices(self) -> None:
        """Look again what is plugged in; the answer is `ClientState.devices`."""
        self._engine.send(api.ListDevices())

    def test_speaker(self) -> None:
        """Play a short sound where the meeting is heard."""
        self._engine.send(api.PlaySound("test"))

    def list_screens(self) -> None:
        """Look what can be shared; the answer is `ClientState.screens` and, one after another, `thumbnails`."""
        if self._refused(m.SetSource("screen_share", "on")):
            return
        self._engine.send(api.ListScreens(os.getpid()))

    def share(self, device: str, name: str = "", sound: bool = False) -> None:
        """Show a screen or a window (an id of `ClientState.screens`) to all; `sound`: let them hear the computer, too."""
        if not self._refused(m.SetSource("screen_share", "on")):
            self._media.share(ShareView(device, name, sound))

    def share_image(self, path: str) -> None:
        """Show a page image to all."""
        self.share(path, PurePath(path.replace("\\", "/")).name)

    def pause_share(self, paused: bool) -> None:
        """Paused: others keep the last picture and nothing leaves."""
        if paused or not self._refused(m.SetSource("screen_share", "on")):
            self._media.pause_share(paused)

    def stop_share(self) -> None:
        self._media.open("screen_share", "off")

    def tell_refusal(self, command: m.Command) -> None:
        """Say why what is about to be chosen would be refused."""
        self._refused(command)

    def talk_while_held(self, down: bool) -> None:
        """Push to talk; also call it with False when the window loses the focus."""
        self._media.talk_while_held(down)

    def answer_unmute(self, yes: bool) -> None:
        """The prompt of `unmute_asked`."""
        self._store.dispatch(c.Set({"unmute_asked": False}))
        if yes:
            self.set_microphone(True)

    # ---- in the meeting ----

    def command(self, command: m.Command) -> None:
        """Ask for `command`; a refusal becomes a notice."""
        if (refusal := closed.refusal(self._store.state.closed, command)) is not None:
            self._client.tell("warn", refusal.code, refusal.detail, "refusal")
            return
        self._client.ask_later(command)

    def can(self, command: m.Command) -> m.Refusal | None:
        """Why it would be refused now, by the server's own rules on what we know; None when it would not."""
        state = self._store.state
        if (here := closed.refusal(state.closed, command)) is not None:
            return here
        if state.meeting is None or state.me is None:
            return m.Refusal("not_in_meeting")
        return allowed(state.meeting, state.me, command)

    def _refused(self, command: m.Command) -> bool:
        """In the meeting, say at once what the server would refuse; before it, only what is closed here is known."""
        state = self._store.state
        refusal = self.can(command) if state.phase == "meeting" else closed.refusal(state.closed, command)
        if refusal is None:
            return False
        self._client.tell("warn", refusal.code, refusal.detail, "refusal")
        return True

    def admit(self, participants: Sequence[str]) -> None:
        self.command(m.Admit(tuple(participants)))

    def admit_all(self) -> None:
        self.command(m.AdmitAll())

    def deny(self, participants: Sequence[str], reason: str = "") -> None:
        self.command(m.Deny(tuple(participants), reason))

    def to_lobby(self, participants: Sequence[str]) -> None:
        self.command(m.ToLobby(tuple(participants)))

    def mute(self, participants: Sequence[str]) -> None:
        self.command(m.Mute(tuple(participants)))

    def mute_all(self, but: Sequence[str] = ()) -> None:
        self.command(m.MuteAll(tuple(but)))

    def stop_camera(self, participants: Sequence[str]) -> None:
        self.command(m.StopCamera(tuple(participants)))

    def stop_share_of(self, participants: Sequence[str]) -> None:
        self.command(m.StopShare(tuple(participants)))

    def ask_unmute(self, participants: Sequence[str]) -> None:
        self.command(m.AskUnmute(tuple(participants)))

    def remove(self, participants: Sequence[str]) -> None:
        self.command(m.Remove(tuple(participants)))

    def lock(self, on: bool) -> None:
        self.command(m.Lock() if on else m.Unlock())

    def set_permission(self, source: Literal["microphone", "camera", "screen_share", "chat"], who: Allowed) -> None:
        self.command(m.SetPermission(source, who))

    def raise_hand(self) -> None:
        self.command(m.RaiseHand())

    def lower_hand(self, participants: Sequence[str] = ()) -> None:
        """One's own without names."""
        self.command(m.LowerHand(tuple(participants)))

    def move_hand(self, participant: str, position: int) -> None:
        self.command(m.MoveHand(participant, position))

    def give_floor(self, participant: str, seconds: int | None = None) -> None:
        self.command(m.GiveFloor(participant, seconds))

    def end_floor(self) -> None:
        self.command(m.EndFloor())

    def set_role(self, participant: str, role: Role, co_chair: bool | None = None) -> None:
        self.command(m.SetRole(participant, role, co_chair))

    def rename(self, name: str, participant: str | None = None) -> None:
        self.command(m.Rename(name, participant))

    def spotlight(self, participant: str | None) -> None:
        self.command(m.Spotlight(participant))

    def react(self, emoji: str) -> None:
        self.command(m.React(emoji))

    def chat(self, text: str, to: str | None = None) -> None:
        """Kept until it is in the meeting, over any loss; `ClientState.unsent_chat` shows it until then."""
        if (refusal := closed.refusal(self._store.state.closed, m.Chat(text, to))) is not None:
            self._client.tell("warn", refusal.code, refusal.detail, "refusal")
            return
        self._client.outbox.typed(text, to)

    def chat_again(self, key: str) -> None:
        """Send a refused message once more."""
        self._client.outbox.again(key)

    def chat_give_up(self, key: str) -> None:
        """Drop a refused message."""
        self._client.outbox.give_up(key)

    def chat_seen(self) -> None:
        self._store.dispatch(c.Set({"unread_chat": 0}))

    def watch(
        self, track: str, width: int, height: int, visible: bool = True, fill: bool = True, format: api.PixelFormat = "bgrx"
    ) -> None:  # fmt: skip
        """How large a picture is shown, in device pixels, and by whom (`format`); not visible: it need not come."""
        self._media.watch(api.WatchTrack(track, width, height, visible, format, fill))

    def set_volume(self, participant: str | None, gain: float) -> None:
        """0…2; None: everybody's."""
        self._media.set_volume(participant, gain)

    async def leave(self) -> None:
        """Leave the meeting, or the lobby."""
        await self._client.entry.leave()

    def end_for_all(self) -> None:
        self.command(m.End())

    def dismiss(self, notice_id: int) -> None:
        self._store.dispatch(c.NoticeDismissed(notice_id))

    def put_away_update(self) -> None:
        """The notice of the newer version is read; the next version has one again."""
        self._client.updates.put_away()

    # ---- settings ----

    def change_setting(self, key: str, value: Any) -> None:
        """A locked or malformed one becomes a notice."""
        try:
            if key == "server" and value and not self._client.entry.may_use(value):
                raise SettingError("setting_locked", key)
            self._client.settings.set(key, value)
        except SettingError as error:
            self._client.tell("warn", error.code, {"key": error.key}, "error")
