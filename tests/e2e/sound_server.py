"""A PulseAudio of a test's own, with devices that are plugged in and pulled out: real modules of a real daemon, and nobody else's."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidconf.engine import alsa


def needs_sound_server() -> None:
    """Skips where one cannot be had."""
    if shutil.which("pulseaudio") is None or shutil.which("pactl") is None or not alsa.has_plugin("pulse"):
        pytest.skip("needs PulseAudio and ALSA's plugin for it: apt install pulseaudio pulseaudio-utils libasound2-plugins")


@contextlib.contextmanager
def own_sound_server(folder: Path, setup: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoundServer]:
    """One that runs, and that this process and its children play and record with."""
    server = SoundServer(folder, setup)
    server.start()
    monkeypatch.setenv("PULSE_SERVER", server.address)
    try:
        yield server
    finally:
        server.stop()


class SoundServer:
    """`address` for PULSE_SERVER. `setup`: lines of its script, run at each start."""

    def __init__(self, folder: Path, setup: str = "") -> None:
        needs_sound_server()
        self._folder, self._setup = folder, setup
        self.address = f"unix:{folder}/native"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        socket = self._folder / "native"
        script = self._folder / "setup.pa"
        script.write_text(f"{self._setup}\nload-module module-native-protocol-unix socket={socket} auth-anonymous=1\n")
        self.process = subprocess.Popen(
            ["pulseaudio", "-n", "-F", str(script), "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"],
            env={**os.environ, "HOME": str(self._folder), "XDG_RUNTIME_DIR": str(self._folder)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        ends = time.monotonic() + 15
        while not socket.exists():
            if time.monotonic() > ends or self.process.poll() is not None:
                self.stop()
                pytest.skip("PulseAudio does not start here")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def pactl(self, *words: str) -> str:
        environment = {**os.environ, "PULSE_SERVER": self.address, "LC_ALL": "C"}
        done = subprocess.run(["pactl", *words], env=environment, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    def plug(self, module: str, *arguments: str) -> str:
        """Load a module; its number, to be pulled out again."""
        return self.pactl("load-module", f"module-{module}", *arguments)

    def unplug(self, number: str) -> None:
        self.pactl("unload-module", number)

    def microphone(self, name: str, words: str) -> str:
        """Hears silence, in blocks as small as a real one's: what PulseAudio makes up a tone with gives two seconds at once."""
        return self.plug("null-source", f"source_name={name}", f"description=\"{words}\"", "rate=48000", "max_latency_msec=20")

    def loudspeaker(self, name: str, words: str) -> str:
        return self.plug("null-sink", f"sink_name={name}", f"sink_properties=\"device.description='{words}'\"", "rate=48000")

    def playing_on(self) -> list[str]:
        """Names of the sinks that something plays on."""
        return self._used("sinks", "sink-inputs")

    def recording_from(self) -> list[str]:
        """Names of the sources that something records."""
        return self._used("sources", "source-outputs")

    def _used(self, devices: str, streams: str) -> list[str]:
        if self.process is None:
            return []
        names = {line.split("\t")[0]: line.split("\t")[1] for line in self.pactl("list", "short", devices).splitlines()}
        return [names.get(line.split("\t")[1], "?") for line in self.pactl("list", "short", streams).splitlines()]
