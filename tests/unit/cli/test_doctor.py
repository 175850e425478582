"""The doctor's own parts: whom it looks at, its lines in their order, and this PC's devices really opened."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import psutil
import pytest

from vidconf import words
from vidconf.cli import doctor, doctor_devices
from vidconf.cli.doctor import ORDER, sections
from vidconf.cli.doctor_devices import _microphone, _speaker, camera, graphics_cards, loudness, machine, sound_server_hint
from vidconf.cli.findings import Finding
from vidconf.client.links import LINK_ERRORS
from vidconf.client.settings import Settings
from vidconf.gui.stage import graphics


@pytest.fixture(autouse=True)
def vietnamese() -> Iterator[None]:
    words.set_language("vi")
    yield
    words.set_language("vi")


def found_by(check: Callable[..., None], **told: Any) -> dict[str, Finding]:
    found: list[Finding] = []
    check(found.append, told)
    return {finding.code: finding for finding in found}


def hanging(seconds: float) -> Callable[..., None]:
    """A driver that keeps whoever opens its device, and then fails."""

    def hang(*_: Any) -> None:
        time.sleep(seconds)
        raise OSError("the device is gone")

    return hang


# ---- whom it looks at ----


def settings(**values: Any) -> Settings:
    held = Settings(None)
    for key, value in values.items():
        held.set(key, value)
    return held


@pytest.mark.parametrize(
    ("link", "held", "wanted"),
    [
        ("", {}, ("", "", False)),
        ("", {"server": "https://hop.example.gov.vn"}, ("https://hop.example.gov.vn", "", False)),
        ("https://hop.example/m/kx7m-2pqa-9tdf#k=0123456789abcdefXYZ", {}, ("https://hop.example", "kx7m-2pqa-9tdf", True)),
        ("vidconf://hop.example:8443/m/kx7m-2pqa-9tdf", {"known_servers": ("https://hop.example:8443",)}, ("https://hop.example:8443", "kx7m-2pqa-9tdf", False)),
        ("KX7M-2PQA-9TDF", {"server": "https://hop.example"}, ("https://hop.example", "kx7m-2pqa-9tdf", False)),
        ("http://127.0.0.1:8080/m/kx7m-2pqa-9tdf", {}, ("http://127.0.0.1:8080", "kx7m-2pqa-9tdf", True)),
    ],
)
def test_the_server_is_the_link_s_or_the_settings(link: str, held: dict[str, Any], wanted: tuple[str, str, bool]) -> None:
    assert doctor._target(link, settings(**held)) == wanted


@pytest.mark.parametrize(
    ("link", "held", "code"),
    [
        ("http://hop.example/m/kx7m-2pqa-9tdf", {}, "link_insecure"),
        ("https://u:p@hop.example/m/kx7m-2pqa-9tdf", {}, "link_userinfo"),
        ("https://hop.example/m/kx7m-2pqa-9tdf?x=1", {}, "link_options"),
        ("https://h\u043ep.example/m/kx7m-2pqa-9tdf", {}, "link_lookalike"),
        ("https://hop.example/x", {}, "link_path"),
        ("kx7m-2pqa-9tdf", {}, "link_no_server"),
        ("https://evil.example/m/kx7m-2pqa-9tdf", {"allowed_servers": ("*.gov.vn",)}, "link_not_allowed"),
        ("x" * 20_000, {}, "link_too_long"),
        ("  ", {}, "link_empty"),
    ],
)
def test_a_link_that_is_none_says_why_and_what_to_do(link: str, held: dict[str, Any], code: str) -> None:
    assert code in LINK_ERRORS
    with pytest.raises(click.UsageError) as raised:
        doctor._target(link, settings(**held))
    assert raised.value.message == f"{words.error(code)} {words.help_for(code)} ({code})"
    assert raised.value.exit_code == 2


# ---- how long it takes ----


def test_windows_is_given_longer() -> None:
    here, there = doctor.patience("linux"), doctor.patience("win32")
    assert here.whole <= 17.5, "of the twenty seconds that are promised"
    assert there.whole <= 42.5, "of forty-five"
    assert there.whole > 2 * here.whole
    assert here.whole - here.machine > 10, "what comes after the look at the machine has its time, too"
    assert there.whole - there.machine > 2 * (here.whole - here.machine)


def test_what_does_not_answer_in_time_is_not_waited_for() -> None:
    began = time.monotonic()
    found = {finding.code: finding for finding in doctor._look(settings(), "", "", False, began, doctor.Patience(0.05, 0.01))}
    assert time.monotonic() - began < 10
    for code in ("doctor.cpu", "doctor.camera", "selftest.opus"):
        assert (found[code].status, found[code].result) == ("failure", "hung"), code


# ---- its lines ----


def test_every_line_has_its_section_and_its_place() -> None:
    found = [Finding(code, "ok", "x") for code in (*ORDER, "selftest.keyring", "doctor.media.turn", "doctor.server.of_a_newer_version")]
    assert sorted(finding.code for _, lines in sections(found) for finding in lines) == sorted(finding.code for finding in found)


def test_the_self_test_is_one_line_and_what_is_not_good() -> None:
    good = [Finding(f"selftest.{name}", "ok", "x") for name in ("program", "opus")]
    [line] = doctor._short(good)
    assert (line.code, line.status, line.result) == ("doctor.selftest", "ok", "all")
    line, bad = doctor._short([*good, Finding("selftest.keyring", "warning", "none")])
    assert (line.result, line.detail["good"], line.detail["count"], bad.code) == ("some", 2, 3, "selftest.keyring")


def test_ignored_policies_are_a_line(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"theme": 7, "language": "xx"}')
    assert doctor._policies(Settings(None)) == []
    [line] = doctor._policies(Settings(tmp_path / "settings.json", looking=True))
    assert (line.status, line.result, line.detail) == ("warning", "ignored", {"count": 2, "files": [str(tmp_path / "settings.json")]})


# ---- this PC ----


def test_this_machine_as_it_is() -> None:
    found = found_by(machine)
    assert found["doctor.cpu"].detail["cores"] == psutil.cpu_count()
    assert found["doctor.cpu"].detail["name"]
    assert 0 < found["doctor.memory"].detail["free_mb"] <= found["doctor.memory"].detail["total_mb"]
    assert found["doctor.graphics"].status == "ok"


@pytest.mark.parametrize(
    ("cores", "busy", "free_mb", "cpu", "memory"),
    [(8, 12.0, 9000, ("ok", "enough"), ("ok", "enough")), (8, 97.0, 200, ("warning", "busy"), ("warning", "short")), (1, 3.0, 9000, ("warning", "one_core"), ("ok", "enough"))],
)
def test_a_weak_machine(
    cores: int, busy: float, free_mb: int, cpu: tuple[str, str], memory: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda: cores)
    monkeypatch.setattr(psutil, "cpu_percent", lambda seconds: busy)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free_mb << 20, total=16_000 << 20))
    found = found_by(machine)
    assert (found["doctor.cpu"].status, found["doctor.cpu"].result) == cpu
    assert (found["doctor.memory"].status, found["doctor.memory"].result) == memory


def test_graphics_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_devices, "CARDS", tmp_path / "drm")
    assert graphics_cards() == []
    for name, vendor, driver in (("card0", "0x8086", "i915"), ("card1", "0x10de", "nouveau"), ("card2", "0x9999", "own"), ("card3", "0x8086", "i915")):
        device = tmp_path / "drm" / name / "device"
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (tmp_path / driver).mkdir(exist_ok=True)
        (device / "driver").symlink_to(tmp_path / driver)
    (tmp_path / "drm" / "card0-HDMI-A-1").mkdir()
    (tmp_path / "drm" / "card4").mkdir()
    assert graphics_cards() == ["Intel (i915)", "NVIDIA (nouveau)", "0x9999 (own)"]
    monkeypatch.setattr(doctor_devices, "graphics_cards", lambda: ["Microsoft Basic Display Adapter"])
    assert found_by(machine)["doctor.graphics"].result == "basic"


@pytest.mark.parametrize(
    ("chosen", "code", "named"),
    [
        ("auto", "print('{\"renderer\": \"Mesa Intel\"}')", "Mesa Intel"), ("raster", "print('{\"renderer\": \"Mesa Intel\"}')", ""),
        ("auto", "print('{\"renderer\": \"llvmpipe\"}')", ""), ("gpu", "print('{\"renderer\": \"llvmpipe\"}')", "llvmpipe"),
        ("auto", "print('{\"renderer\": \"\"}')", ""), ("auto", "import os; os.abort()", ""), ("auto", "print('nothing')", ""), ("auto", "import time; time.sleep(60)", ""),
    ],
)  # fmt: skip
def test_who_will_paint_is_asked_as_the_window_asks(chosen: str, code: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_devices, "RENDERER_S", 3.0)
    monkeypatch.setattr(graphics, "probe_command", lambda: [sys.executable, "-c", code])
    assert doctor_devices.painting_card(chosen) == named
    monkeypatch.setattr(doctor_devices, "graphics_cards", lambda: ["Intel (i915)"])
    monkeypatch.setattr(doctor_devices, "painting_card", lambda chosen: named)
    found = found_by(machine)["doctor.graphics"]
    assert (found.result, found.status) == ("card" if named else "found", "ok")


# ---- devices ----


def test_a_microphone_that_hears_something() -> None:
    finding = _microphone("lavfi:sine=frequency=440:sample_rate=48000", {"a": "A", "b": "B"})
    assert (finding.status, finding.result, finding.detail["devices"]) == ("ok", "works", ["A", "B"])
    assert -24 < finding.detail["level_db"] < -18


def test_a_microphone_that_is_turned_low_and_one_that_is_switched_off() -> None:
    finding = _microphone("lavfi:sine=frequency=440:sample_rate=48000,volume=0.01", {})
    assert (finding.status, finding.result) == ("ok", "quiet")
    finding = _microphone("lavfi:anullsrc=r=48000:cl=mono", {})
    assert (finding.status, finding.result) == ("warning", "silent")
    assert finding.help()


def test_microphones_that_are_not_there() -> None:
    finding = _microphone("alsa:no such card", {})
    assert (finding.status, finding.result) == ("failure", "not_found")
    assert finding.text() == words.text("device.microphone.not_found")
    assert finding.help() == words.text("device.help.not_found")


def test_a_microphone_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_devices, "OPENS_S", 0.3)
    monkeypatch.setattr("vidconf.engine.capture.open_source", hanging(1.5))
    began = time.monotonic()
    finding = _microphone("default", {"a": "A"})
    assert (finding.status, finding.result) == ("failure", "device_lost")
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("told", "names", "status", "result"),
    [
        ([("no_device", "EIO")], [], "warning", "no_device"),
        ([("no_device", "EIO")], ["A"], "failure", "unreadable"),
        ([("device_in_use", "EBUSY")], ["A"], "failure", "device_in_use"),
        ([("no_permission", "EACCES")], [], "failure", "no_permission"),
        ([("not_found", "gone")], ["A"], "warning", "not_found"),
        ([("not_found", "gone")], [], "failure", "not_found"),
        ([("of_a_newer_version", "")], [], "failure", "unreadable"),
        ([], [], "failure", "device_lost"),
    ],
)
def test_what_a_device_s_trouble_weighs(told: list[tuple[str, str]], names: list[str], status: str, result: str) -> None:
    finding = doctor_devices._trouble("doctor.microphone", told, {"devices": names})
    assert (finding.status, finding.result) == (status, result)
    assert finding.text()
    assert finding.help()


def test_loudness_in_decibels() -> None:
    assert loudness([bytes(1920)]) == (0, -120)
    assert loudness([b"\xff\x7f" * 960]) == (32767, 0)
    assert loudness([b"\x00\x80" * 960]) == (32768, 0)
    assert loudness([b"\x00\x00\x00\x40" * 480])[1] == -9


def test_a_camera_that_gives_a_picture() -> None:
    finding = found_by(camera, camera="lavfi:testsrc2=size=640x360:rate=30")["doctor.camera"]
    assert (finding.status, finding.result) == ("ok", "works")
    assert "640×360" in finding.text()


def test_cameras_that_give_none(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = found_by(camera, camera="/dev/video99")["doctor.camera"]
    assert (finding.status, finding.result) == ("failure", "not_found")
    monkeypatch.setattr(doctor_devices, "PICTURE_S", 0.3)
    monkeypatch.setattr("vidconf.engine.capture.open_source", hanging(1.5))
    finding = found_by(camera, camera="default")["doctor.camera"]
    assert (finding.status, finding.result) == ("failure", "device_lost")


def test_loudspeakers() -> None:
    assert _speaker("alsa:null", {"alsa:null": "Discard"}).status == "ok"
    assert _speaker("none", {}).result == "off"
    assert _speaker("alsa:no such card", {"alsa:null": "Discard"}).result == "not_found"
    assert _speaker("alsa:no such card", {}).result == "no_device"
    finding = _speaker("alsa:no such card", {"alsa:no such card": "Broken"})
    assert (finding.status, finding.result) == ("warning", "does_not_open")
    assert finding.detail["device"] == "Broken"


def test_a_loudspeaker_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_devices, "PLAYS_S", 0.3)
    monkeypatch.setattr("vidconf.engine.loudspeaker.open_output", hanging(2.5))
    began = time.monotonic()
    assert (_speaker("default", {"a": "A"}).status, _speaker("default", {"a": "A"}).result) == ("warning", "does_not_open")
    assert time.monotonic() - began < 8


def test_a_sound_server_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PULSE_SERVER", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("vidconf.engine.alsa.has_plugin", lambda name: False)
    assert sound_server_hint() is None, "none runs"
    (tmp_path / "pulse").mkdir()
    (tmp_path / "pulse" / "native").touch()
    found = sound_server_hint()
    assert found is not None
    assert (found.result, found.detail["package"]) == ("no_plugin", "libasound2-plugins")
    monkeypatch.setattr("vidconf.engine.alsa.has_plugin", lambda name: True)
    monkeypatch.setattr("shutil.which", lambda name: None)
    found = sound_server_hint()
    assert found is not None
    assert found.result == "no_pactl"
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/pactl")
    assert sound_server_hint() is None
