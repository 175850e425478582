"""One headless participant: an engine in this process, a seat in a meeting (or a token of an SFU), a report at the end.

`Bot(...).run()` on a loop; several may share one. `vidconf bot` and the demo make them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidconf.cli.bot_meeting import MeetingError, MeetingSeat
from vidconf.engine import api
from vidconf.engine.local import LocalEngine
from vidconf.engine.recording import VideoRecorder
from vidconf.engine.session import Options
from vidconf.engine.signalling import token_expiry
from vidconf.engine.stats import ProcessUsage
from vidconf.network.options import DEFAULTS, NetworkOptions

log = logging.getLogger("vidconf.bot")

LOBBY_TIMEOUT_S = 300.0
USAGE_AFTER_S = 3.0
CLEAN = frozenset({"done", "meeting_ended"})


@dataclass(frozen=True, slots=True)
class BotOptions:
    """What `vidconf bot` was asked. Sources: a device, a file, `lavfi:…` or `none`."""

    link: str = ""
    livekit_url: str = ""
    token: str = ""
    name: str = "Bot"
    kind: str = "person"
    unit: str = ""
    position: str = ""
    seconds: float | None = None
    camera: str = "none"
    microphone: str = "none"
    screen: str = "none"
    speaker: str = "none"
    muted: bool = False
    record_audio: str = ""
    record_video: str = ""
    codec: str = ""
    stamp: bool = False
    network: NetworkOptions = DEFAULTS
    subscribe: str = "all"
    """`all`, `none`, or `speaker`: only who speaks."""
    script: tuple[dict[str, Any], ...] = ()
    """What to do when: `{"at": seconds from admission, "do": <command of the control protocol>, …fields}`, or
    `{"at": …, "local": "mute" | "unmute" | "open" | "close", "source": …, "device": …}`."""


def read_script(path: str) -> tuple[dict[str, Any], ...]:
    """Raises ValueError, OSError."""
    entries = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(entries, list) or not all(isinstance(e, dict) and isinstance(e.get("at"), (int, float)) for e in entries):
        raise ValueError('a script is a list of {"at": seconds, "do": …} or {"at": seconds, "local": …}')
    return tuple(sorted(entries, key=lambda e: float(e["at"])))


def _place_of(snapshot: Any, participant: str) -> str:
    """Where a snapshot says that we are; "" when it does not."""
    people = snapshot.get("participants", {}) if isinstance(snapshot, dict) else {}
    entries = people.values() if isinstance(people, dict) else people
    return next((str(p.get("place", "")) for p in entries if isinstance(p, dict) and p.get("id") == participant), "")


class Bot:
    """`stop` ends it early (SIGTERM); the report is made in any case."""

    def __init__(self, options: BotOptions) -> None:
        self.options = options
        self.ended = ""
        self.events: list[str] = []
        """Event names of the meeting, in order (bounded), for tests and the demo."""
        self.admitted = asyncio.Event()
        self._over = asyncio.Event()
        self._engine = LocalEngine(Options(decode_unwatched=True, speaker=options.speaker, camera_codec=options.codec))
        self._seat: MeetingSeat | None = None
        self._started = 0.0
        self._joined_s: float | None = None
        self._joined = asyncio.Event()
        self._usage = ProcessUsage()
        self._recorder: VideoRecorder | None = None
        self._following: set[str] = set()
        self._sources_told: dict[str, str] = {}
        self._asks: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(200)
        self._last_token = ""
        self._report: dict[str, Any] = {}

    def stop(self, why: str = "done") -> None:
        if not self.ended:
            self.ended = why
        self._over.set()

    @property
    def failed(self) -> bool:
        """Also a meeting that was over before one was ever in it."""
        return self.ended not in CLEAN or (self.ended == "meeting_ended" and self._joined_s is None)

    async def run(self) -> dict[str, Any]:
        """Until the time is up, the meeting over, or `stop`. Never raises for what a server or a network does."""
        self._started = time.monotonic()
        await self._engine.start()
        self._engine.send(api.SetNetwork(**asdict(self.options.network)))
        tasks = [asyncio.create_task(self._follow_engine(), name="bot engine")]
        try:
            if self.options.livekit_url:
                self.admitted.set()
                self._open_sources()
                self._join_media(self.options.livekit_url, self.options.token, ())
            else:
                tasks += await self._take_seat()
            tasks += [
                asyncio.create_task(self._clock(), name="bot clock"),
                asyncio.create_task(self._play_script(), name="bot script"),
                asyncio.create_task(self._measure(), name="bot usage"),
            ]
            await self._over.wait()
        except MeetingError as error:
            log.error("no seat in the meeting: %s", error)
            self.stop(error.code)
        finally:
            self._report = self._make_report()
            if self._seat is not None:
                await self._seat.leave()  # while its connection is still read: the answer comes there
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()
        return self._report

    async def _close(self) -> None:
        if self._seat is not None:
            with contextlib.suppress(MeetingError, OSError):
                await self._seat.close()
        await self._engine.close()
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.close)

    # ---- the meeting
    async def _take_seat(self) -> list[asyncio.Task[None]]:
        self._seat = MeetingSeat(self.options.link, self.options.network)
        await self._seat.join(
            name=self.options.name, kind=self.options.kind, unit=self.options.unit, position=self.options.position
        )
        return [
            asyncio.create_task(self._follow_meeting(self._seat), name="bot meeting"),
            asyncio.create_task(self._ask_in_turn(self._seat), name="bot asks"),
        ]

    async def _follow_meeting(self, seat: MeetingSeat) -> None:
        try:
            async for item in seat.events():
                if "snapshot" in item:
                    place = _place_of(item["snapshot"], seat.participant)
                    if (place == "admitted" or (not place and seat.state == "admitted")) and not self.admitted.is_set():
                        self._enter()
                    elif place in ("denied", "removed"):
                        self.stop(place)
                    continue
                if "ev" in item:
                    self._on_event(seat, item)
        except MeetingError as error:
            self.stop(error.code)
            return
        if not self._over.is_set():
            self.stop("control_lost")

    def _on_event(self, seat: MeetingSeat, item: dict[str, Any]) -> None:
        self.events = [*self.events[-500:], str(item["ev"])]
        name, mine = item["ev"], item.get("participant") == seat.participant
        if name == "ended":
            self.stop("meeting_ended")
        elif name == "epoch_changed" and self.admitted.is_set():
            self._ask("media")
        elif not mine:
            return
        elif name == "admitted":
            if not self.admitted.is_set():
                self._enter()
        elif name in ("denied", "removed", "banned"):
            self.stop(name)
        elif name == "left":
            self.stop("meeting_ended" if item.get("reason") == "ended" else "left")
        elif name == "sent_to_lobby":
            self.admitted.clear()
            self._engine.send(api.Leave())
        elif name == "muted":
            self._engine.send(api.MuteSource("microphone", True))
        elif name == "camera_stopped":
            self._engine.send(api.MuteSource("camera", True))
        elif name == "share_stopped":
            self._engine.send(api.CloseSource("screen_share"))

    def _enter(self) -> None:
        self.admitted.set()
        self._open_sources()
        self._ask("media")

    def _ask(self, do: str, **fields: Any) -> None:
        try:
            self._asks.put_nowait((do, fields))
        except asyncio.QueueFull:
            log.warning("too much to ask the server at once; left out: %s", do)

    async def _ask_in_turn(self, seat: MeetingSeat) -> None:
        while True:
            do, fields = await self._asks.get()
            try:
                answer = await seat.ask(do, **fields)
            except MeetingError as error:
                log.info("%s: %s", do, error)
                if do == "media" and not self._over.is_set():
                    await asyncio.sleep(1)
                    self._ask("media")
                continue
            if do == "media":
                self._join_media(str(answer.get("url", "")), str(answer.get("token", "")), tuple(answer.get("ice_servers") or ()))

    # ---- media
    def _open_sources(self) -> None:
        options = self.options
        if options.microphone != "none":
            self._engine.send(api.OpenSource("microphone", options.microphone, muted=options.muted))
        if options.camera != "none":
            self._engine.send(api.OpenSource("camera", options.camera, stamp=options.stamp))
        if options.screen != "none":
            self._engine.send(api.OpenSource("screen_share", options.screen, stamp=options.stamp))

    def _join_media(self, url: str, token: str, servers: tuple[dict[str, Any], ...]) -> None:
        self._last_token = token
        self._engine.send(api.Join(url, token, servers, subscribe=self.options.subscribe == "all"))

    async def _follow_engine(self) -> None:
        async for event in self._engine.events():
            try:
                self._on_engine(event)
            except Exception:       # a bot that misreads one event still has to report
                log.exception("an event of the engine could not be handled")

    def _on_engine(self, event: api.EngineEvent) -> None:
        match event:
            case api.StateChanged("connected"):
                if self._joined_s is None:
                    self._joined_s = time.monotonic() - self._started
                    self._joined.set()
                    if self.options.record_audio:
                        self._engine.send(api.Record(self.options.record_audio))
            case api.StateChanged("closed", reason):
                self._media_closed(reason)
            case api.TokenNeeded():
                self._token_needed()
            case api.TrackAdded(track, _, _, "video"):
                if self.options.record_video and self._recorder is None:
                    video = self._engine.session.subscription(track, "video").video
                    assert video is not None
                    self._recorder = VideoRecorder(self.options.record_video)
                    video.recorder = self._recorder
            case api.SourceChanged(source, state, _, error):
                if error:
                    log.warning("%s: %s", source, error)
                    if source == "screen_share":
                        self._engine.send(api.CloseSource(source))  # its last picture would stay with the others
                self._tell_source(source, "off" if error else state)
            case api.Speakers(active) if self.options.subscribe == "speaker":
                self._follow_speaker(active)
            case api.Failed(code, detail):
                log.warning("engine: %s: %s", code, detail)

    def _media_closed(self, reason: str) -> None:
        if self._over.is_set() or reason == "left":
            return
        if self._seat is None:
            self.stop("meeting_ended" if reason == "room_ended" else reason or "closed")
        elif reason in ("room_ended", "removed", "refused", "token_refused", "no_room"):
            # the meeting's own events say why; if it goes on without saying anything, come back
            asyncio.get_running_loop().call_later(2.0, self._media_again)
        else:
            self.stop(reason)

    def _media_again(self) -> None:
        if not self._over.is_set() and self.admitted.is_set() and self._engine.session.state == "closed":
            self._ask("media")

    def _token_needed(self) -> None:
        if self._seat is not None:
            self._ask("media")
            return
        expiry = token_expiry(self._last_token)
        if expiry is not None and expiry < time.time():
            self.stop("token_expired")
        else:
            asyncio.get_running_loop().call_later(1.0, self._join_media, self.options.livekit_url, self._last_token, ())

    def _tell_source(self, source: str, state: str) -> None:
        if source == "screen_share_audio":
            return  # part of the share, as far as the meeting goes
        if self._seat is not None and self.admitted.is_set() and self._sources_told.get(source) != state:
            self._sources_told[source] = state
            self._ask("set_source", source=source, state=state)

    def _follow_speaker(self, active: tuple[tuple[str, float], ...]) -> None:
        """Take whoever speaks loudest, and let go of who spoke before."""
        own = self._engine.session.identity
        loudest = next((identity for identity, _ in active if identity != own), None)
        if loudest is None or loudest in self._following:
            return
        for identity in self._following:
            self._engine.send(api.Subscribe(identity, False))
        self._engine.send(api.Subscribe(loudest, True))
        self._following = {loudest}

    # ---- time
    async def _clock(self) -> None:
        if self._seat is not None:
            try:
                async with asyncio.timeout(LOBBY_TIMEOUT_S):
                    await self.admitted.wait()
            except TimeoutError:
                self.stop("lobby_timeout")
                return
        if self.options.seconds is not None:
            await asyncio.sleep(self.options.seconds)
            self.stop("done")

    async def _measure(self) -> None:
        await self._joined.wait()
        await asyncio.sleep(USAGE_AFTER_S)
        self._usage.restart()

    async def _play_script(self) -> None:
        await self.admitted.wait()
        begun = time.monotonic()
        for entry in self.options.script:
            await asyncio.sleep(max(0.0, float(entry["at"]) - (time.monotonic() - begun)))
            if "local" in entry:
                self._play_local(entry)
            elif "do" in entry and self._seat is not None:
                self._ask(str(entry["do"]), **{k: v for k, v in entry.items() if k not in ("at", "do")})

    def _play_local(self, entry: dict[str, Any]) -> None:
        source = entry.get("source", "microphone")
        match entry["local"]:
            case "mute" | "unmute":
                self._engine.send(api.MuteSource(source, entry["local"] == "mute"))
            case "open":
                self._engine.send(api.OpenSource(source, str(entry.get("device", "default")), muted=bool(entry.get("muted"))))
            case "close":
                self._engine.send(api.CloseSource(source))
            case other:
                log.warning("the script knows no %s", other)

    # ---- the report
    def _make_report(self) -> dict[str, Any]:
        session = self._engine.session
        tracks = [t for t in session.tracks_report(past=True) if t["packets"] or (self.options.subscribe == "all" and not t["muted"])]
        for track in tracks:
            if self.options.livekit_url:
                track["participant"] = track["identity"]
            for extra in ("track", "recent_fps", "muted", "identity"):
                track.pop(extra, None)
        firsts = [(t.kind, t.first_at, t.first_sound_at) for t in session.past_tracks]
        firsts += [(s.kind, s.first_at, s.first_sound_at()) for s in session.subscriptions()]
        pictures = [first for kind, first, _ in firsts if kind == "video" and first is not None]
        sounds = [heard for kind, _, heard in firsts if kind == "audio" and heard is not None]
        return {
            "name": self.options.name,
            "joined_s": None if self._joined_s is None else round(self._joined_s, 3),
            "first_video_s": round(min(pictures) - self._started, 3) if pictures else None,
            "first_audio_s": round(min(sounds) - self._started, 3) if sounds else None,
            "reconnects": session.reconnects,
            "way": session.way,
            "cpu_percent": self._usage.mean(),
            "rss_mb": self._usage.rss_mb(),
            "sent": session.sent_report(),
            "uplink": session.uplink_report(),
            "ended": self.ended,
            "tracks": tracks,
        }
