"""A real `vidconf serve` for the end-to-end tests: started on a free port in a folder of its own, asked, stopped by its own pid."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from e2e.children import bound
from e2e.control_client import Api
from e2e.livekitproc import free_port


class ServeProcess:
    """`with ServeProcess(folder) as server:`; the port and the folder stay over `kill` and `start`."""

    def __init__(self, folder: Path, toml: str = "") -> None:
        self.data, self.log = folder / "data", folder / "serve.log"
        self.port = free_port()
        config = folder / "server.toml"
        config.write_text(toml, encoding="utf-8")
        self._argv = [sys.executable, "-m", "vidconf.cli.main", "serve", "--config", str(config), "--port", str(self.port), "--data", str(self.data)]
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServeProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> float:
        """Seconds until it listened."""
        began = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(bound(*self._argv), stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL)
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], 30)
        line = self._process.stdout.readline().decode() if readable else ""
        if not line.startswith("ready "):
            self.stop()
            raise RuntimeError(f"the server did not start: {line!r}\n{self.said()[-3000:]}")
        self.url = line.split()[1]
        return time.monotonic() - began

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.data / "server.json").read_text(encoding="utf-8"))
        return found

    def admin(self) -> Api:
        """REST by the machine's own key; close it."""
        return Api(self.url, self.facts()["admin_key"])

    def relay_pid(self) -> int:
        """Its one child that is a relay."""
        [child] = [child for child in psutil.Process(self.pid).children() if "relay" in child.cmdline()]
        return int(child.pid)

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """kill -9, and its relay with it."""
        assert self._process is not None
        self._process.kill()
        self._end()

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self._process is None:
            return 0
        self.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._end()

    def _end(self) -> int:
        process = self._process
        assert process is not None
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None
        return process.returncode


def vidconf(*words: str, stdin: str = "", timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Another command of the program, as somebody types it."""
    argv = [sys.executable, "-m", "vidconf.cli.main", *words]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout_s, env=os.environ, check=False)
