"""`vidconf serve` as its own process on free ports in a test's folder, and `vidconf bot` beside it: as others start them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

VIDCONF = [sys.executable, "-m", "vidconf.cli.main"]


class ServerProcess:
    """`start` after `kill` is a restart on the same data and port."""

    def __init__(self, folder: Path, config: str = "") -> None:
        self.data = folder / "server"
        self._words = ["--data", str(self.data)]
        if config:
            (folder / "vidconf.toml").write_text(config, encoding="utf-8")
            self._words += ["--config", str(folder / "vidconf.toml")]
        self._log = folder / "server.log"
        self._port = "0"
        self.url = ""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> ServerProcess:
        with self._log.open("a", encoding="utf-8") as log:
            command = [*VIDCONF, "serve", "--port", self._port, *self._words]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8")
        assert self.process.stdout is not None
        word, _, url = self.process.stdout.readline().strip().partition(" ")
        assert word == "ready", self.log()
        self.url = url
        facts = json.loads((self.data / "server.json").read_text(encoding="utf-8"))
        self.local_url, self.admin_key = str(facts["local_url"]), str(facts["admin_key"])
        self._port = self.local_url.rpartition(":")[2]
        return self

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def relay_pid(self) -> int:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (relay,) = [int(pid) for pid in children if b"relay" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return relay

    def kill(self) -> None:
        """As a power cut would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._wait()

    def _wait(self) -> int:
        assert self.process is not None
        try:
            return self.process.wait(20)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()


class BotProcess:
    """`vidconf bot …  --json`; `report` after it has ended."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen([*VIDCONF, "bot", *words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")
        self._printed: tuple[str, str] | None = None

    async def ended(self, timeout_s: float = 40) -> int:
        """Its exit code."""
        if self._printed is None:
            self._printed = await asyncio.to_thread(self.process.communicate, timeout=timeout_s)
        return self.process.returncode

    async def report(self, timeout_s: float = 40) -> Any:
        await self.ended(timeout_s)
        assert self._printed is not None
        printed, logged = self._printed
        assert printed, logged[-3000:]
        return json.loads(printed)

    async def stop(self) -> None:
        """SIGTERM, where it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
        await self.ended()


def run_vidconf(*words: str) -> Any:
    """A command with `--json`; its document."""
    done = subprocess.run([*VIDCONF, *words, "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
