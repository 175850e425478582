"""`vidconf doctor` as a help desk has it run: at the program's own server and relay, behind nginx with LiveKit, at servers that are
gone, silent or false, with real sound, and with everything hanging at once."""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.deployed import deployed
from e2e.relayproc import RelayProcess
from e2e.serverproc import ServeProcess, vidconf
from e2e.sound_server import SoundServer
from fakes.strangers import Authority

from vidconf.cli import doctor_media
from vidconf.engine import alsa
from vidconf.meeting.names import skeleton

Checks = dict[str, dict[str, Any]]
LONGEST_S = 20.0
CODE = "kx7m-2pqa-9tdf"


def run(*arguments: str, home: Path, **environment: str | None) -> subprocess.CompletedProcess[str]:
    wanted = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "HOME": str(home), "XDG_CONFIG_HOME": str(home), **environment}
    return subprocess.run(
        [sys.executable, "-m", "vidconf.cli.main", "doctor", *arguments], capture_output=True, text=True, timeout=60,
        env={name: value for name, value in wanted.items() if value is not None},
    )  # fmt: skip


def doctor(*arguments: str, home: Path, **environment: str | None) -> tuple[dict[str, Any], Checks, int]:
    """(the report, its checks by code, the exit code). A whole report always comes, in time."""
    began = time.monotonic()
    done = run("--json", *arguments, home=home, **environment)
    took_s = time.monotonic() - began
    assert took_s < LONGEST_S + 1, took_s
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["took_s"] < LONGEST_S
    for check in report["checks"]:
        assert set(check) == {"code", "status", "result", "detail", "title", "text", "help"}
        assert check["status"] in ("ok", "warning", "failure")
        assert check["text"]
        assert check["title"] != check["code"]
        assert bool(check["help"]) == (check["status"] != "ok"), check
    statuses = {check["status"] for check in report["checks"]}
    assert report["ok"] is ("failure" not in statuses)
    assert done.returncode == ("failure" in statuses)
    return report, {check["code"]: check for check in report["checks"]}, done.returncode


def settle(home: Path, **settings: Any) -> None:
    """The user's settings."""
    (home / "vidconf").mkdir(exist_ok=True)
    (home / "vidconf" / "settings.json").write_text(json.dumps(settings))


# ---- at servers ----


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    with ServeProcess(tmp_path_factory.mktemp("serve")) as server:
        yield server


@pytest.fixture(scope="module")
def meeting(server: ServeProcess) -> dict[str, Any]:
    made = vidconf("meeting", "create", "--title", "Bí mật của cơ quan", "--data", str(server.data), "--json")
    found: dict[str, Any] = json.loads(made.stdout)
    return found


def test_a_good_server_and_its_meeting(server: ServeProcess, meeting: dict[str, Any], tmp_path: Path) -> None:
    report, checks, code = doctor(meeting["chair_link"], home=tmp_path)
    assert code == 0, report
    assert report["server"] == server.url
    for name in ("address", "name", "connect", "http", "ready", "clock", "control", "meeting"):
        assert checks[f"doctor.server.{name}"]["status"] == "ok", checks[f"doctor.server.{name}"]
    assert checks["doctor.server.meeting"]["result"] == "scheduled"
    assert checks["doctor.media.where"]["result"] == "relay"
    assert checks["doctor.media.signalling"]["result"] == "door"
    way = checks["doctor.media.udp"]["detail"]
    assert (way["sent"], way["answered"], way["loss_percent"], way["large_answered"]) == (20, 20, 0, 5)
    assert 0 < way["p50_ms"] <= way["p95_ms"]
    # It may be sent to anybody: nothing in it opens a door or tells what is met about.
    for secret in (meeting["code"], meeting["chair_link"].rpartition("=")[2], "Bí mật"):
        assert secret not in json.dumps(report, ensure_ascii=False)
    assert server.is_alive()


async def test_looking_leaves_no_trace_in_the_meeting(server: ServeProcess, meeting: dict[str, Any], tmp_path: Path) -> None:
    """Nobody knocks, no seat is taken, nothing is recorded."""
    async with server.admin() as api:
        before = await api.state(meeting["id"])
        _, checks, _ = await asyncio.to_thread(doctor, meeting["chair_link"], home=tmp_path)
        assert checks["doctor.server.meeting"]["status"] == "ok"
        assert await api.state(meeting["id"]) == before
        assert (before["participants"], before["lobby"]) == ([], [])


def test_the_report_to_read_in_both_languages(server: ServeProcess, meeting: dict[str, Any], tmp_path: Path) -> None:
    shown = run(meeting["link"], home=tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "\x1b" not in shown.stdout
    assert "UDP: Đi về" in shown.stdout or "UDP: Không đều" in shown.stdout, shown.stdout
    settle(tmp_path, language="en", server=server.url)
    shown = run(home=tmp_path)
    assert "Round trip" in shown.stdout or "Uneven" in shown.stdout, shown.stdout
    assert skeleton(server.url.partition("//")[2]) in skeleton(shown.stdout), "the server of the settings, without a link"


def test_a_meeting_that_is_not_there(server: ServeProcess, tmp_path: Path) -> None:
    _, checks, code = doctor(f"{server.url}/m/aaaa-bbbb-cccc", home=tmp_path)
    assert code == 1
    assert (checks["doctor.server.meeting"]["status"], checks["doctor.server.meeting"]["result"]) == ("failure", "not_found")
    assert checks["doctor.media.udp"]["detail"]["answered"] == 20, "everything else is looked at all the same"


def test_a_server_without_media(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    with ServeProcess(tmp_path / "bare", "[media]\nrelay = false\n") as bare:
        _, checks, code = doctor(f"{bare.url}/m/{CODE}", home=tmp_path)
    assert code == 1
    assert checks["doctor.media.where"]["result"] == "none"
    assert "doctor.media.udp" not in checks


async def test_a_relay_alone_is_measured_as_the_doctor_does(tmp_path: Path) -> None:
    """Nothing but the relay's own process: it answers a stranger's plain question, and counts it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with RelayProcess("--udp-port", str(port)) as relay:
        way = await doctor_media.measure("127.0.0.1", port)
        assert (way.sent, way.answered, way.large_answered, way.loss_percent) == (20, 20, 5, 0)
        counted = relay.counters()["port"]
        assert (counted["probes"], counted["probes_refused"], counted["stun_refused"], counted["faults"]) == (25, 0, 0, 0)
    way = await doctor_media.measure("127.0.0.1", port, count=3, large=0)
    assert (way.answered, way.refused) == (0, True)


@pytest.mark.livekit_server
def test_behind_nginx_with_tls_and_livekit(tmp_path: Path) -> None:
    with deployed(tmp_path) as house:
        _, checks, code = doctor(f"{house.front}/m/{CODE}", home=tmp_path)
        assert code == 1
        assert checks["doctor.server.tls"]["result"] == "untrusted", "its authority is none of this system's"
        assert "hop.example.gov.vn" in checks["doctor.server.tls"]["text"], "but who it is, is said"
        assert "doctor.server.http" not in checks
        report, checks, _ = doctor(f"{house.front}/m/{CODE}", home=tmp_path, SSL_CERT_FILE=str(house.certificate))
        assert checks["doctor.server.tls"]["result"] in ("trusted", "expires")
        for name in ("server.http", "server.ready", "server.clock", "server.control", "media.where", "media.signalling"):
            assert checks[f"doctor.{name}"]["status"] == "ok", checks[f"doctor.{name}"]
        assert checks["doctor.media.where"]["result"] == "external"
        assert checks["doctor.media.udp"]["result"] == "unmeasured", "LiveKit answers no strangers, and the report says so"
        assert report["server"] == house.front


def test_nobody_there_and_somebody_silent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    _, checks, code = doctor(f"http://127.0.0.1:{port}/m/{CODE}", home=tmp_path)
    assert code == 1
    assert (checks["doctor.server.connect"]["result"], checks["doctor.server.connect"]["detail"]["port"]) == ("refused", port)
    assert "doctor.server.http" not in checks, "what cannot be looked at is not guessed"
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        _, checks, code = doctor(f"http://127.0.0.1:{silent.getsockname()[1]}/m/{CODE}", home=tmp_path)
    assert code == 1
    assert (checks["doctor.server.http"]["status"], checks["doctor.server.http"]["result"]) == ("failure", "timeout")


def test_a_certificate_s_own_words_do_not_reach_the_terminal_as_they_are(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "hop.example\x1b[31m\u202eevil")
    authority.server()  # leaves server.pem
    (tmp_path / "serve.py").write_text(
        "import socket, ssl, sys\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(sys.argv[1])\n"
        "listening = socket.create_server(('127.0.0.1', 0)); print(listening.getsockname()[1], flush=True)\n"
        "while True:\n"
        "    raw, _ = listening.accept()\n"
        "    try:\n"
        "        with context.wrap_socket(raw, server_side=True) as talk: talk.recv(1024)\n"
        "    except OSError: pass\n"
    )
    false = subprocess.Popen([sys.executable, str(tmp_path / "serve.py"), str(tmp_path / "server.pem")], stdout=subprocess.PIPE, text=True)
    try:
        assert false.stdout is not None
        port = int(false.stdout.readline())
        shown = run(f"https://127.0.0.1:{port}/m/{CODE}", home=tmp_path)
    finally:
        false.kill()
        false.wait()
        assert false.stdout is not None
        false.stdout.close()
    assert shown.returncode == 1
    assert "hop.example?[31m?evil" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert "\u202e" not in shown.stdout


# ---- links, usage ----


@pytest.mark.parametrize(
    "link",
    ["javascript:alert(1)", "http://example.com/m/aaaa-bbbb-cccc", "https://a@b/m/x", "vidconf://", "https://[::/m/aaaa-bbbb-cccc", "\x1b[2J", CODE,
     "https://127.1/m/aaaa-bbbb-cccc", "file:///etc/passwd", "https://meet.example/m/aaaa-bbbb-cccc?server=evil.example", "a b c", "\u202e" * 50],
)  # fmt: skip
def test_a_link_that_is_none_is_wrong_usage(link: str, tmp_path: Path) -> None:
    done = run("--json", "--", link, home=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "(link_" in done.stderr
    assert "\x1b" not in done.stderr


def test_other_wrong_usage(tmp_path: Path) -> None:
    for arguments in (["--no-such-option"], ["https://a.example/m/aaaa-bbbb-cccc", "https://b.example/m/aaaa-bbbb-cccc"]):
        assert run(*arguments, home=tmp_path).returncode == 2


def test_without_any_server(tmp_path: Path) -> None:
    report, checks, code = doctor(home=tmp_path)
    assert code == 0, "nothing is broken: nothing was said to look at"
    assert (report["server"], checks["doctor.server"]["status"], checks["doctor.server"]["result"]) == (None, "warning", "none")
    assert not [name for name in checks if name.startswith("doctor.media")]


# ---- devices ----


def test_the_devices_of_the_settings_are_opened(tmp_path: Path) -> None:
    settle(tmp_path, microphone="lavfi:sine=frequency=440:sample_rate=48000", camera="lavfi:testsrc2=size=320x240:rate=30", speaker="alsa:null")
    _, checks, _ = doctor(home=tmp_path)
    assert checks["doctor.microphone"]["result"] == "works"
    assert -24 < checks["doctor.microphone"]["detail"]["level_db"] < -18
    assert (checks["doctor.camera"]["detail"]["width"], checks["doctor.camera"]["detail"]["height"]) == (320, 240)
    assert checks["doctor.speaker"]["result"] == "works"
    settle(tmp_path, microphone="lavfi:anullsrc=r=48000:cl=mono", camera="/dev/video99", speaker="alsa:no such card")
    _, checks, code = doctor(home=tmp_path)
    assert code == 1
    assert (checks["doctor.microphone"]["status"], checks["doctor.microphone"]["result"]) == ("warning", "silent")
    assert (checks["doctor.camera"]["status"], checks["doctor.camera"]["result"]) == ("failure", "not_found")
    assert checks["doctor.speaker"]["status"] == "warning"


def test_real_sound(tmp_path: Path) -> None:
    """Microphones and loudspeakers of a real sound server: one hears a tone, one is switched off."""
    setup = (
        "load-module module-sine-source source_name=tone frequency=440\n"
        "load-module module-null-sink sink_name=hall sink_properties=\"device.description='Loa phòng họp'\"\n"
        "load-module module-remap-source source_name=off master=hall.monitor source_properties=device.description=Mic_tat\n"
        "set-default-source tone\nset-default-sink hall"
    )
    server = SoundServer(tmp_path, setup)
    server.start()
    try:
        _, checks, _ = doctor(home=tmp_path, PULSE_SERVER=server.address)
        assert checks["doctor.microphone"]["result"] == "works", checks["doctor.microphone"]
        assert checks["doctor.speaker"]["result"] == "works", checks["doctor.speaker"]
        assert "Loa phòng họp" in checks["doctor.speaker"]["text"], "also with pactl 16, whose JSON knows no Vietnamese"
        assert "Mic_tat" in checks["doctor.microphone"]["text"]
        settle(tmp_path, microphone="pulse:off", speaker="pulse:gone")
        _, checks, _ = doctor(home=tmp_path, PULSE_SERVER=server.address)
        assert checks["doctor.microphone"]["result"] == "silent", checks["doctor.microphone"]
        assert checks["doctor.microphone"]["detail"]["device"] == "Mic_tat"
        assert checks["doctor.speaker"]["result"] == "not_found", checks["doctor.speaker"]
    finally:
        server.stop()


def test_devices_that_somebody_wrote_for_alsa(tmp_path: Path) -> None:
    """A microphone that is a file, a loudspeaker that writes one: both by name, from the system's configuration and one more."""
    tone = array.array("h", (round(8000 * math.sin(2 * math.pi * 440 * n / 48_000)) for n in range(5 * 48_000)))
    (tmp_path / "tone.raw").write_bytes(tone.tobytes())
    (tmp_path / "alsa.conf").write_text(
        f'<{alsa.CONFIG}>\n'
        f'pcm.hears {{ type file slave.pcm null file /dev/null infile "{tmp_path}/tone.raw" format raw }}\n'
        f'pcm.writes {{ type file slave.pcm null file "{tmp_path}/played.raw" format raw }}\n'
    )  # fmt: skip
    if not Path(alsa.CONFIG).is_file():
        pytest.skip("needs ALSA's configuration: apt install libasound2-data")
    settle(tmp_path, microphone="alsa:hears", speaker="alsa:writes")
    _, checks, _ = doctor(home=tmp_path, ALSA_CONFIG_PATH=str(tmp_path / "alsa.conf"), PULSE_SERVER=f"unix:{tmp_path}/none")
    assert checks["doctor.microphone"]["result"] == "works", checks["doctor.microphone"]
    assert -18 < checks["doctor.microphone"]["detail"]["level_db"] < -12
    assert checks["doctor.speaker"]["result"] == "works", checks["doctor.speaker"]
    assert (tmp_path / "played.raw").stat().st_size > 4_000, "some blocks of 10 ms"


# ---- when everything hangs ----


@pytest.mark.skipif(sys.platform != "linux", reason="X11 and PulseAudio")
def test_a_display_a_sound_server_and_a_server_that_all_hang_are_lines_of_a_report_in_time(tmp_path: Path) -> None:
    """Each takes the connection and never says a word."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=50))
        display = 0
        for number in range(40, 90):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", 6000 + number), backlog=50))
                display = number
                break
        assert display
        sound = stack.enter_context(socket.socket(socket.AF_UNIX))
        sound.bind(str(tmp_path / "native"))
        sound.listen(50)
        report, checks, code = doctor(
            f"http://127.0.0.1:{server.getsockname()[1]}/m/{CODE}", home=tmp_path, QT_QPA_PLATFORM="xcb", DISPLAY=f"127.0.0.1:{display}",
            WAYLAND_DISPLAY=None, PULSE_SERVER=f"unix:{tmp_path}/native",
        )  # fmt: skip
    assert code == 1
    assert (checks["selftest.qt"]["status"], checks["selftest.qt"]["result"]) == ("failure", "hung")
    assert checks["doctor.server.http"]["result"] == "timeout"
    assert checks["doctor.microphone"]["status"] != "ok"
    assert checks["doctor.speaker"]["status"] != "ok"
    assert checks["doctor.memory"]["status"] in ("ok", "warning"), "what does not hang is found all the same"
    assert {"doctor.cpu", "doctor.graphics", "doctor.camera", "doctor.selftest"} <= {check["code"] for check in report["checks"]}
