"""What systems say of their devices, as it was recorded: ids that stay, names that people know, and nothing that is no device."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.engine.api import Device, Devices, find_device
from vidconf.engine.cameras import linux_cameras
from vidconf.engine.device_listings import (
    LONGEST,
    Listed,
    alsa_devices,
    avfoundation_devices,
    default_of,
    dshow_devices,
    is_device,
    may_be_unlisted,
    portaudio_outputs,
    pulse_defaults,
    pulse_devices,
    pulse_means_change,
    told_apart,
)

PIPEWIRE_SOURCES = """Source #52
\tState: SUSPENDED
\tName: alsa_output.pci-0000_00_1f.3.analog-stereo.monitor
\tDescription: Monitor of Âm thanh tích hợp Analog Stereo
\tDriver: PipeWire
\tSample Specification: s32le 2ch 48000Hz
\tMonitor of Sink: alsa_output.pci-0000_00_1f.3.analog-stereo
\tProperties:
\t\tdevice.description = "Âm thanh tích hợp"
\t\tName: a trap

Source #53
\tState: SUSPENDED
\tName: alsa_input.pci-0000_00_1f.3.analog-stereo
\tDescription: Âm thanh tích hợp Analog Stereo
\tDriver: PipeWire
\tMonitor of Sink: n/a

Source #58
\tState: RUNNING
\tName: alsa_input.usb-Jabra_Speak_510-00.mono-fallback
\tDescription: Jabra Speak 510 Mono
\tMonitor of Sink: n/a
\tPorts:
\t\tanalog-input-mic: Microphone (type: Mic, priority: 8700, availability unknown)
"""
PULSE_SINKS = """Sink #0
\tState: IDLE
\tName: hall
\tDescription: Loa phòng họp
\tMonitor Source: hall.monitor

Sink #1
\tState: IDLE
\tName: nameless
\tDescription: (null)
"""


def test_pulseaudio_and_pipewire_name_microphones_and_not_what_is_only_played() -> None:
    assert pulse_devices(PIPEWIRE_SOURCES) == (
        Device("pulse:alsa_input.pci-0000_00_1f.3.analog-stereo", "Âm thanh tích hợp Analog Stereo", "53"),
        Device("pulse:alsa_input.usb-Jabra_Speak_510-00.mono-fallback", "Jabra Speak 510 Mono", "58"),
    )
    assert pulse_devices(PULSE_SINKS) == (Device("pulse:hall", "Loa phòng họp", "0"), Device("pulse:nameless", "nameless", "1"))
    assert pulse_devices("") == pulse_devices("Connection failure: Connection refused\n") == ()


def test_the_sound_servers_defaults_and_what_it_tells() -> None:
    info = "Server String: unix:/run/user/1000/pulse/native\nDefault Sink: hall\nDefault Source: hall.monitor\nCookie: 35e1:3deb\n"
    assert pulse_defaults(info) == ("hall.monitor", "hall")
    assert pulse_defaults("Server Name: pulseaudio\nDefault Sink: \n") == ("", "")
    told = ["Event 'new' on source #2", "Event 'remove' on sink #0", "Event 'change' on server #4294967295", "Event 'change' on card #3"]
    assert all(pulse_means_change(line) for line in told)
    others = ["Event 'new' on sink-input #7", "Event 'change' on source-output #1", "Event 'new' on client #4", "", "Event"]
    assert not any(pulse_means_change(line) for line in others)


def listed(name: str, description: str, *media: str) -> Listed:
    return SimpleNamespace(name=name, description=description, media_types=list(media))


def test_alsa_cards_are_known_by_their_word_and_listed_once() -> None:
    found = alsa_devices([
        listed("default", "Default Audio Device"), listed("hw:CARD=PCH,DEV=0", "HDA Intel PCH, ALC257 Analog\nDirect hardware device"),
        listed("plughw:CARD=PCH,DEV=0", "HDA Intel PCH, ALC257 Analog\nHardware device with all software conversions"),
        listed("plughw:CARD=Headset,DEV=0", ""),
    ])  # fmt: skip
    assert found == (
        Device("alsa:plughw:CARD=PCH,DEV=0", "HDA Intel PCH, ALC257 Analog Hardware device with all software conversions"),
        Device("alsa:plughw:CARD=Headset,DEV=0", "plughw:CARD=Headset,DEV=0"),
    )


CAMERA_PNP = r"@device_pnp_\\?\usb#vid_046d&pid_082d&mi_00#6&2be8ed8&0&0000#{65e8773d-8f56-11d0-a3b9-00a0c9223196}\global"
MIC_CM = r"@device_cm_{33D9A762-90C8-11D0-BD43-00A0C911CE86}\wave_{1B3F6C3C-4B1E-4E0E-9F3B-2C6B6C1B7C2A}"


def test_directshows_devices_by_their_alternative_names() -> None:
    recorded = [listed(CAMERA_PNP, "HD Pro Webcam C920", "video"), listed(MIC_CM, "Micrô (Realtek(R) Audio)", "audio"), listed("@x", "OBS Virtual Camera")]
    assert dshow_devices(recorded, "video") == (Device(f"dshow:{CAMERA_PNP}", "HD Pro Webcam C920"),)
    assert dshow_devices(recorded, "audio") == (Device(f"dshow:{MIC_CM}", "Micrô (Realtek(R) Audio)"),)


def test_two_cameras_of_one_model_keep_their_numbers_in_whatever_order_they_come() -> None:
    first, second = listed("@a", "Webcam", "video"), listed("@b", "Webcam", "video")
    one, other = dshow_devices([first, second], "video"), dshow_devices([second, first], "video")
    assert {d.id: d.name for d in one} == {d.id: d.name for d in other} == {"dshow:@a": "Webcam (1)", "dshow:@b": "Webcam (2)"}


def test_macs_devices_by_name_and_without_the_screens() -> None:
    recorded = [listed("0", "FaceTime HD Camera", "video"), listed("1", "Capture screen 0", "video"), listed("0", "MacBook Pro Microphone", "audio")]
    assert avfoundation_devices(recorded, "video") == (Device("avfoundation:FaceTime HD Camera", "FaceTime HD Camera", "0"),)
    assert avfoundation_devices(recorded, "audio") == (Device("avfoundation:MacBook Pro Microphone", "MacBook Pro Microphone", "0"),)


def test_windows_loudspeakers_come_once_and_under_their_whole_names() -> None:
    interfaces = [{"name": "MME"}, {"name": "Windows DirectSound"}, {"name": "Windows WASAPI"}, {"name": "Windows WDM-KS"}]
    entries = [
        {"name": "Loa (Realtek High Definition Au", "hostapi": 0, "max_output_channels": 2},
        {"name": "Micrô (Realtek High Definition Audio)", "hostapi": 2, "max_output_channels": 0},
        {"name": "Loa (Realtek High Definition Audio)", "hostapi": 1, "max_output_channels": 2},
        {"name": "Loa (Realtek High Definition Audio)", "hostapi": 2, "max_output_channels": 2},
        {"name": "Output 1 (Realtek HD Audio output)", "hostapi": 3, "max_output_channels": 2},
    ]
    name = "Loa (Realtek High Definition Audio)"
    assert portaudio_outputs(entries, interfaces) == (Device(f"portaudio:{name}", name, "3"),)
    mac = [{"name": "MacBook Pro Speakers", "hostapi": 0, "max_output_channels": 2}]
    assert portaudio_outputs(mac, [{"name": "Core Audio"}]) == (Device("portaudio:MacBook Pro Speakers", "MacBook Pro Speakers", "0"),)


# ---- cameras of Linux ----


class System:
    """`/sys/class/video4linux` and `/dev` of a machine, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.system, self.nodes = folder / "sys", folder / "dev"
        for made in (self.system, self.nodes / "v4l" / "by-id", self.nodes / "v4l" / "by-path"):
            made.mkdir(parents=True)

    def plug(self, node: str, name: str, by_id: str = "", by_path: str = "", index: int = 0) -> None:
        (self.system / node).mkdir()
        (self.system / node / "index").write_text(f"{index}\n")
        (self.system / node / "name").write_text(f"{name}\n")
        (self.nodes / node).touch()
        for folder, link in (("by-id", by_id), ("by-path", by_path)):
            if link:
                (self.nodes / "v4l" / folder / link).symlink_to(f"../../{node}")

    def cameras(self) -> tuple[Device, ...]:
        return linux_cameras(self.system, self.nodes)


C920 = "usb-046d_HD_Pro_Webcam_C920_3F2B1C9F-video-index0"


def test_a_camera_keeps_its_id_whatever_number_it_gets(tmp_path: Path) -> None:
    before, after = System(tmp_path / "before"), System(tmp_path / "after")
    before.plug("video0", "HD Pro Webcam C920", C920, "pci-0000:00:14.0-usb-0:1:1.0-video-index0")
    before.plug("video1", "HD Pro Webcam C920", index=1)
    after.plug("video0", "Integrated Camera", by_path="pci-0000:00:14.0-usb-0:8:1.0-video-index0")
    after.plug("video10", "HD Pro Webcam C920", C920)
    after.plug("video2", "Virtual")
    assert before.cameras() == (Device(f"v4l2:{C920}", "HD Pro Webcam C920", "/dev/video0"),)
    assert [(d.id, d.node) for d in after.cameras()] == [
        ("v4l2:pci-0000:00:14.0-usb-0:8:1.0-video-index0", "/dev/video0"), ("v4l2:video2", "/dev/video2"), (f"v4l2:{C920}", "/dev/video10"),
    ]  # fmt: skip


def test_what_a_container_or_a_bad_driver_shows_is_no_camera(tmp_path: Path) -> None:
    system = System(tmp_path)
    system.plug("video0", "of the host")
    (system.nodes / "video0").unlink()
    (system.system / "video1").mkdir()
    system.plug("video2", "")
    assert system.cameras() == (Device("v4l2:video2", "video2", "/dev/video2"),)
    assert linux_cameras(tmp_path / "none", tmp_path / "none") == ()


# ---- which one was chosen ----


def test_a_choice_is_found_by_id_by_what_older_versions_kept_and_by_a_name_that_only_one_has() -> None:
    first, second = Device("v4l2:a", "Webcam", "/dev/video0"), Device("v4l2:b", "Camera phòng họp", "/dev/video2")
    assert find_device([first, second], "v4l2:b") is second
    assert find_device([first, second], "/dev/video2") is second
    assert find_device([first, second], "Camera phòng họp") is second
    assert find_device([first, Device("v4l2:c", "Webcam")], "Webcam") is None, "either may be meant"
    assert find_device([first, second], "") is find_device([], "v4l2:a") is None


def test_defaults_by_kind() -> None:
    devices = Devices((Device("v4l2:a", "A"), Device("v4l2:b", "B")), default_microphone="pulse:m", default_speaker="pulse:s")
    assert [default_of(devices, kind) for kind in ("camera", "microphone", "speaker")] == ["v4l2:a", "pulse:m", "pulse:s"]
    assert default_of(Devices(), "camera") == ""


@pytest.mark.parametrize("device", ["default", "pulse:a/b.wav", "alsa:null", "/dev/video0", "v4l2:x", "Jabra Speak 510", "HD Webcam C9.20", "7"])
def test_what_may_come_and_go(device: str) -> None:
    assert is_device(device)
    assert may_be_unlisted(device) == (device == "alsa:null")


@pytest.mark.parametrize("device", ["lavfi:testsrc2", "film.mp4", "FILM.MP4", "a/film", "/tmp/a.wav", "file:///tmp/a", "page.png", "none", ""])
def test_what_is_no_device(device: str) -> None:
    assert not is_device(device)


@given(st.text(alphabet="SourcenkameDiptM: #0123\t\n\"'()/á\x00", max_size=300))
def test_no_text_of_a_sound_server_raises(text: str) -> None:
    for device in pulse_devices(text):
        assert device.id.startswith("pulse:")
        assert device.name
    pulse_defaults(text)
    pulse_means_change(text)


@given(st.lists(st.tuples(st.text(min_size=1, max_size=4), st.sampled_from(["A", "B"])), unique_by=lambda pair: pair[0], max_size=8))
def test_names_are_told_apart_and_ids_stay(pairs: list[tuple[str, str]]) -> None:
    found = told_apart(Device(id_, name) for id_, name in pairs)
    assert [device.id for device in found] == [id_ for id_, _ in pairs]
    assert len({device.name for device in found}) == len(found)
    assert told_apart([Device("x" * (LONGEST + 1), "no device's")]) == ()
