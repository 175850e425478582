"""Devices that come and go under a source: another stands in, the chosen one returns, and no mute is ever touched by it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vidconf.engine import api
from vidconf.engine.api import Device, Devices, DeviceSwitched, OpenSource, SourceChanged, SpeakerChanged
from vidconf.engine.device_follow import AGAIN_S, BROKEN_S, SPEAKER_AGAIN_S, SPEAKER_OPENS_S, DeviceFollower
from vidconf.engine.device_listings import Kind

BUILT_IN, HEADSET, OTHER = Device("pulse:built-in", "Âm thanh tích hợp"), Device("pulse:headset", "Tai nghe"), Device("pulse:other", "Khác")
WEBCAM, LAPTOP = Device("v4l2:webcam", "Webcam", "/dev/video2"), Device("v4l2:laptop", "Camera tích hợp", "/dev/video0")
SPEAKERS, JABRA = Device("pulse:speakers", "Loa"), Device("pulse:jabra", "Jabra")


class Machine:
    """A session with publications that open what is plugged in and not in use, and the devices it has."""

    def __init__(self, *plugged: Device, speaker: str = "none") -> None:
        self.now = 1000.0
        self.plugged = list(plugged)
        self.busy: set[str] = set()
        self.dead: set[str] = set()
        """Listed, but they do not work."""
        self.opened: dict[str, str] = {}
        self.muted: dict[str, bool] = {}
        self.switches: list[tuple[str, str]] = []
        self.attempts: list[tuple[str, str]] = []
        self.speaker = speaker
        self.told: list[api.EngineEvent] = []
        self.looks = 0
        self.follower = DeviceFollower(self, speaker, lambda: self.now)

    # ---- what the follower switches
    def switch_device(self, source: Kind, device: str) -> None:
        self.switches.append((source, device))
        if source in self.opened:
            self._open(source, device)

    def select_speaker(self, device: str) -> None:
        self.speaker = device
        if not self._there(device, "speaker") or device in self.dead:
            self.said(api.Failed("no_speaker"))

    def is_muted(self, source: Kind) -> bool:
        return self.muted.get(source, True)

    def attempt(self, kind: Kind, device: str, done: Callable[[bool], None]) -> None:
        self.attempts.append((kind, device))
        done(self._error(kind, device) == "")

    def look(self) -> None:
        self.looks += 1

    def emit(self, event: api.EngineEvent) -> None:
        self.told.append(event)

    # ---- the session
    def said(self, event: api.EngineEvent) -> None:
        shown = self.follower.said(event)
        if shown is not None:
            self.told.append(shown)

    def open(self, source: Kind, device: str, muted: bool = False) -> None:
        assert source != "speaker"
        command = self.follower.open(OpenSource(source, device, muted))
        self.muted[source] = muted
        self._open(source, command.device)

    def _open(self, source: str, device: str) -> None:
        self.opened[source] = device
        self._say(source)
        if not (source == "camera" and self.muted[source]) and (error := self._error(source, device)):
            self.fail(source, error)

    def fail(self, source: str, error: str) -> None:
        device, self.opened[source] = self.opened[source], ""
        self.said(SourceChanged(source, "off", device, error))  # type: ignore[arg-type]

    def _say(self, source: str) -> None:
        self.said(SourceChanged(source, "muted" if self.muted[source] else "on", self.opened[source]))  # type: ignore[arg-type]

    def _there(self, device: str, kind: str) -> bool:
        return device in ([d.id for d in self._kind(kind)] if device != "default" else ["default"] if self._kind(kind) else [])

    def _kind(self, kind: str) -> list[Device]:
        kinds = {"camera": (WEBCAM, LAPTOP), "speaker": (SPEAKERS, JABRA), "microphone": (BUILT_IN, HEADSET, OTHER)}
        return [d for d in self.plugged if d in kinds[kind]]

    def _really(self, kind: str, device: str) -> str:
        return self._kind(kind)[0].id if device == "default" and self._kind(kind) else device

    def _error(self, kind: str, device: str) -> str:
        device = self._really(kind, device)
        if not self._there(device, kind):
            return "no_device" if device == "default" else "not_found"
        return "device_in_use" if device in self.busy else "device_lost" if device in self.dead else ""

    # ---- the world
    def list(self) -> None:
        microphones, speakers = self._kind("microphone"), self._kind("speaker")
        self.follower.listed(Devices(
            tuple(self._kind("camera")), tuple(microphones), tuple(speakers),
            microphones[0].id if microphones else "", speakers[0].id if speakers else "",
        ))  # fmt: skip

    def unplug(self, device: Device) -> None:
        in_it = [source for source, opened in self.opened.items() if self._really(source, opened) == device.id]
        self.plugged.remove(device)
        for source in in_it:
            self.fail(source, "device_lost")
        self.list()

    def plug(self, device: Device) -> None:
        self.plugged.append(device)
        self.list()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.follower.tick()

    def of(self, kind: type) -> list[api.EngineEvent]:
        return [event for event in self.told if isinstance(event, kind)]


@pytest.mark.parametrize("muted", [False, True])
def test_a_microphone_that_is_unplugged_gives_way_and_comes_back_as_muted_as_it_was(muted: bool) -> None:
    m = Machine(BUILT_IN, HEADSET)
    m.list()
    m.open("microphone", HEADSET.id, muted)
    m.unplug(HEADSET)
    assert m.opened["microphone"] == "default"
    m.plug(HEADSET)
    assert m.opened["microphone"] == HEADSET.id
    assert m.muted["microphone"] is muted
    state = "muted" if muted else "on"
    assert [event.state for event in m.of(SourceChanged)] == [state] * 3, "nobody was told it was off between"  # type: ignore[attr-defined]
    assert m.of(DeviceSwitched) == [DeviceSwitched("microphone", "lost", HEADSET.id, BUILT_IN.id), DeviceSwitched("microphone", "back", HEADSET.id)]


def test_one_that_the_sound_server_moved_elsewhere_by_itself_is_followed_all_the_same() -> None:
    """PulseAudio moves a stream whose source is gone: no error ever comes."""
    m = Machine(BUILT_IN, HEADSET)
    m.list()
    m.open("microphone", HEADSET.id)
    m.plugged.remove(HEADSET)
    m.list()
    assert m.opened["microphone"] == "default"
    m.plug(HEADSET)
    assert m.opened["microphone"] == HEADSET.id


def test_a_headset_that_was_away_for_a_moment_is_opened_again() -> None:
    """Between two listings: the sound server has moved the stream, and would leave it there."""
    m = Machine(BUILT_IN, HEADSET)
    m.list()
    m.open("microphone", HEADSET.id, muted=True)
    m.follower.listed(Devices(microphones=(BUILT_IN, replace(HEADSET, node="9")), default_microphone=BUILT_IN.id))
    assert m.switches == [("microphone", HEADSET.id)]
    assert m.muted["microphone"]


def test_who_chooses_another_meanwhile_keeps_it() -> None:
    m = Machine(BUILT_IN, OTHER, HEADSET)
    m.list()
    m.open("microphone", HEADSET.id)
    m.unplug(HEADSET)
    m.open("microphone", OTHER.id)
    m.plug(HEADSET)
    assert m.opened["microphone"] == OTHER.id
    m.open("microphone", "default")
    m.plugged.remove(HEADSET)
    m.list()
    assert len(m.of(DeviceSwitched)) == 1, "of the headset nobody asks any more"


def test_a_saved_device_that_is_away_at_the_start_is_told_and_taken_when_it_comes() -> None:
    m = Machine(BUILT_IN, LAPTOP, SPEAKERS)
    m.list()
    m.open("microphone", HEADSET.id, muted=True)
    m.open("camera", "/dev/video2")
    assert m.follower.select(JABRA.id) == "default"
    assert m.opened == {"microphone": "default", "camera": "default"}
    assert [event.kind for event in m.of(DeviceSwitched)] == ["microphone", "camera", "speaker"]  # type: ignore[attr-defined]
    for device in (HEADSET, WEBCAM, JABRA):
        m.plug(device)
    assert (m.opened, m.speaker) == ({"microphone": HEADSET.id, "camera": WEBCAM.id}, JABRA.id)
    assert m.muted["microphone"]


def test_before_anything_is_listed_the_chosen_one_is_tried() -> None:
    m = Machine(BUILT_IN)
    m.open("microphone", HEADSET.id)
    assert m.opened["microphone"] == "default"
    assert m.of(DeviceSwitched) == [DeviceSwitched("microphone", "lost", HEADSET.id, "")]
    m.list()
    assert m.opened["microphone"] == "default"


def test_a_device_in_use_elsewhere_is_not_replaced_but_opens_when_it_is_free_and_nobody_is_told_of_attempts() -> None:
    m = Machine(LAPTOP, WEBCAM)
    m.list()
    m.busy.add(WEBCAM.id)
    m.open("camera", WEBCAM.id)
    last = m.of(SourceChanged)[-1]
    assert last == SourceChanged("camera", "off", WEBCAM.id, "device_in_use", waits=True)
    told = len(m.told)
    for _ in range(5):
        m.wait(AGAIN_S[-1])
    assert m.attempts == [("camera", WEBCAM.id)] * 5
    assert len(m.told) == told
    m.busy.clear()
    m.wait(AGAIN_S[-1])
    assert m.opened["camera"] == WEBCAM.id
    assert m.of(SourceChanged)[-1] == SourceChanged("camera", "on", WEBCAM.id)


def test_a_camera_that_was_muted_meanwhile_is_not_opened() -> None:
    m = Machine(WEBCAM)
    m.list()
    m.busy.add(WEBCAM.id)
    m.open("camera", WEBCAM.id)
    m.muted["camera"] = True
    m.busy.clear()
    m.wait(60)
    assert m.attempts == []
    assert m.opened["camera"] == ""


def test_a_muted_microphone_is_opened_again_and_stays_muted() -> None:
    m = Machine(HEADSET)
    m.list()
    m.open("microphone", "default", muted=True)
    m.unplug(HEADSET)
    assert m.opened["microphone"] == ""
    assert m.of(SourceChanged)[-1] == SourceChanged("microphone", "off", "default", "device_lost", waits=True)
    m.plug(HEADSET)
    assert m.opened["microphone"] == "default"
    assert m.muted["microphone"]


def test_the_only_one_lost_is_said_and_comes_back_by_itself() -> None:
    m = Machine(HEADSET)
    m.list()
    m.open("microphone", HEADSET.id)
    m.unplug(HEADSET)
    assert m.opened["microphone"] == ""
    last = m.of(SourceChanged)[-1]
    assert isinstance(last, SourceChanged)
    assert (last.state, last.waits) == ("off", True)
    m.plug(HEADSET)
    assert m.opened["microphone"] == HEADSET.id
    assert m.of(SourceChanged)[-1] == SourceChanged("microphone", "on", HEADSET.id)


def test_one_that_is_listed_and_does_not_work_gives_way_and_is_tried_more_and_more_seldom() -> None:
    m = Machine(HEADSET, BUILT_IN)
    m.list()
    m.open("microphone", HEADSET.id)
    m.dead.add(HEADSET.id)
    m.fail("microphone", "device_lost")
    assert m.opened["microphone"] == BUILT_IN.id, "the default is the very one that does not work"
    m.list()
    assert m.opened["microphone"] == BUILT_IN.id
    for wait in (*BROKEN_S, BROKEN_S[-1]):
        m.wait(wait - 0.1)
        tried = len(m.attempts)
        m.wait(0.2)
        assert len(m.attempts) == tried + 1
    m.dead.clear()
    m.wait(BROKEN_S[-1] + 1)
    assert m.opened["microphone"] == HEADSET.id


def test_the_systems_default_is_followed_by_who_chose_it_and_by_nobody_else() -> None:
    m = Machine(BUILT_IN, HEADSET, SPEAKERS, JABRA, speaker="default")
    m.list()
    m.open("microphone", "default")
    m.switches.clear()
    m.plugged.sort(key=lambda d: d in (BUILT_IN, SPEAKERS))
    m.speaker = ""
    m.list()
    assert m.switches == [("microphone", "default")]
    assert m.speaker == "default"
    m.open("microphone", HEADSET.id)
    m.switches.clear()
    m.plugged.sort(key=lambda d: d in (HEADSET, JABRA))
    m.list()
    assert m.switches == []
    assert not m.of(DeviceSwitched)


def test_files_and_graphs_are_nobodys_to_switch() -> None:
    m = Machine(BUILT_IN)
    for device in ("lavfi:sine", "/tmp/a.wav"):
        assert m.follower.open(OpenSource("microphone", device)) == OpenSource("microphone", device)
        lost = SourceChanged("microphone", "off", device, "device_lost")
        assert m.follower.said(lost) == lost
    page = OpenSource("screen_share", "default")
    assert m.follower.open(page) is page
    m.list()
    m.wait(100)
    assert not m.switches
    assert not m.attempts


def test_what_is_closed_is_not_opened_again() -> None:
    m = Machine(HEADSET)
    m.list()
    m.open("microphone", HEADSET.id)
    m.unplug(HEADSET)
    m.follower.close("microphone")
    m.plug(HEADSET)
    m.wait(100)
    assert m.opened["microphone"] == ""


# ---- loudspeakers ----


def test_a_loudspeaker_that_is_lost_gives_way_and_comes_back() -> None:
    m = Machine(SPEAKERS, JABRA, speaker="default")
    m.list()
    m.follower.select(JABRA.id)
    m.speaker = JABRA.id
    m.plugged.remove(JABRA)
    m.said(api.Failed("speaker_lost"))
    assert m.speaker == "default"
    m.list()
    m.plug(JABRA)
    assert m.speaker == JABRA.id
    assert m.of(DeviceSwitched) == [DeviceSwitched("speaker", "lost", JABRA.id, SPEAKERS.id), DeviceSwitched("speaker", "back", JABRA.id)]
    assert not m.of(api.Failed)


def test_without_any_it_is_said_once_and_tried_again_until_there_is_one() -> None:
    m = Machine(speaker="default")
    m.list()
    m.said(api.Failed("no_speaker"))
    for _ in range(6):
        m.wait(SPEAKER_AGAIN_S[-1])
    assert len(m.of(api.Failed)) == 1
    assert m.of(SpeakerChanged) == [SpeakerChanged("default", "no_speaker")]
    m.plug(SPEAKERS)
    m.wait(SPEAKER_OPENS_S)
    assert m.of(SpeakerChanged)[-1] == SpeakerChanged("default")


def test_a_loudspeaker_that_is_listed_and_does_not_work_is_tried_in_silence_until_it_does() -> None:
    m = Machine(SPEAKERS, JABRA, speaker="default")
    m.list()
    m.follower.select(JABRA.id)
    m.dead.add(JABRA.id)
    m.said(api.Failed("speaker_lost"))
    assert m.speaker == "default"
    for wait in BROKEN_S:
        m.wait(wait + 1)
        m.wait(SPEAKER_OPENS_S)
        assert m.speaker == "default"
    assert m.of(DeviceSwitched) == [DeviceSwitched("speaker", "lost", JABRA.id, SPEAKERS.id)]
    m.dead.clear()
    m.wait(BROKEN_S[-1] + 1)
    m.wait(SPEAKER_OPENS_S)
    assert m.speaker == JABRA.id
    assert m.of(DeviceSwitched)[1:] == [DeviceSwitched("speaker", "back", JABRA.id)]
    assert not m.of(api.Failed)


def test_a_loudspeaker_that_another_program_has_is_said_to_be_in_use() -> None:
    m = Machine(SPEAKERS, speaker="default")
    m.list()
    m.said(api.Failed("no_speaker", str(OSError(errno.EBUSY, "Device or resource busy"))))
    assert m.of(api.Failed) == [api.Failed("speaker_in_use", "[Errno 16] Device or resource busy")]
    assert m.of(SpeakerChanged) == [SpeakerChanged("default", "speaker_in_use")]


def test_no_loudspeaker_chosen_is_none_however_many_there_are() -> None:
    m = Machine(SPEAKERS, speaker="default")
    m.list()
    assert m.follower.select("none") == "none"
    m.plug(JABRA)
    m.unplug(SPEAKERS)
    m.wait(100)
    assert m.speaker == "default", "as the machine was told at first: nothing was switched"
    assert m.of(SpeakerChanged) == [SpeakerChanged("none")]


# ---- anything, in any order ----


class Accidents(RuleBasedStateMachine):
    """Whatever is plugged, unplugged, busy or dead: mutes are the user's, and once all rests the choice that can be had is had."""

    def __init__(self) -> None:
        super().__init__()
        self.m = Machine(BUILT_IN, LAPTOP)
        self.m.list()
        self.chosen: dict[str, str] = {}
        self.muted: dict[str, bool] = {}

    @rule(source=st.sampled_from(["microphone", "camera"]), which=st.integers(0, 3), muted=st.booleans())
    def choose(self, source: Kind, which: int, muted: bool) -> None:
        device = ["default", *{"microphone": (BUILT_IN.id, HEADSET.id, OTHER.id), "camera": (LAPTOP.id, WEBCAM.id, "/dev/video2")}[source]][which]
        self.chosen[source], self.muted[source] = device, muted
        self.m.open(source, device, muted)

    @rule(device=st.sampled_from([BUILT_IN, HEADSET, OTHER, WEBCAM, LAPTOP]))
    def plug_or_unplug(self, device: Device) -> None:
        if device in self.m.plugged:
            self.m.unplug(device)
        else:
            self.m.plug(device)

    @rule(device=st.sampled_from([HEADSET, WEBCAM]))
    def use_or_free(self, device: Device) -> None:
        self.m.busy ^= {device.id}

    @rule(source=st.sampled_from(["microphone", "camera"]))
    def dies(self, source: str) -> None:
        if self.m.opened.get(source):
            self.m.fail(source, "device_lost")

    @rule()
    def camera_is_muted(self) -> None:
        if "camera" in self.muted:
            self.muted["camera"] = self.m.muted["camera"] = True

    @rule(seconds=st.sampled_from([1.0, 5.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.m.wait(seconds)

    @precondition(lambda self: self.chosen)
    @rule()
    def all_rests(self) -> None:
        self.m.busy.clear()
        for _ in range(8):
            self.m.list()
            self.m.wait(BROKEN_S[-1] + 1)
        for source, device in self.chosen.items():
            if source == "camera" and self.muted[source]:
                continue
            there = [one for one in self.m._kind(source) if device in (one.id, one.node)]
            wanted = there[0].id if there else "default" if self.m._kind(source) else ""
            got = self.m.opened[source]
            assert got == wanted or (got and not there and got in [d.id for d in self.m._kind(source)]), (source, device, got)

    @invariant()
    def mutes_are_the_users(self) -> None:
        assert self.m.muted == self.muted
        for event in self.m.of(SourceChanged):
            assert not isinstance(event, SourceChanged) or event.state != "on" or not event.error


TestAccidents = Accidents.TestCase
TestAccidents.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_the_switch_of_a_source_never_carries_a_mute() -> None:
    """By construction: what the follower can do to a source has no word for it."""
    m = Machine(BUILT_IN, HEADSET)
    m.list()
    command = OpenSource("microphone", HEADSET.id, muted=True, stamp=True)
    assert m.follower.open(command) == replace(command, device=HEADSET.id)
