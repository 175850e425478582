"""A real relay process for the end-to-end tests and benches: started, asked, stopped by its own pid."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

from e2e.children import bound

KEY, SECRET = "testkey", "a secret of the tests that is long enough"


class RelayProcess:
    """`with RelayProcess() as relay:`; `url` is its HTTP address."""

    def __init__(self, *arguments: str, log_level: str = "warning") -> None:
        self._argv = [
            sys.executable, "-m", "vidconf.cli.main", "relay", "--port", "0", "--udp-port", "0", "--log-level", log_level, *arguments,
        ]  # fmt: skip
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RelayProcess:
        self._process = subprocess.Popen(
            bound(*self._argv), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env={**os.environ, "VIDCONF_RELAY_KEY": f"{KEY}:{SECRET}"}
        )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], 20)
        line = self._process.stdout.readline().decode() if readable else ""
        if not line.startswith("ready "):
            self.stop()
            raise RuntimeError(f"the relay did not start: {line!r}")
        self.url = line.split()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    def counters(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/debug/counters", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        process = self._process
        if process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        return process.returncode


def cpu_seconds(pid: int) -> float:
    """User and system time of one process (Linux)."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def cpu_of(pid: int) -> Iterator[Sequence[float]]:
    """Percent of one core within the block, in the list's only element after it."""
    result: list[float] = []
    began, spent = time.monotonic(), cpu_seconds(pid)
    yield result
    result.append(100 * (cpu_seconds(pid) - spent) / (time.monotonic() - began))
