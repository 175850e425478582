"""`vidconf bot` as its own process, and other commands with `--json`: as other programs start them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

from e2e.serverproc import vidconf


class BotProcess:
    """`vidconf bot … --json`; `report` after it has ended."""

    def __init__(self, *words: str) -> None:
        argv = [sys.executable, "-m", "vidconf.cli.main", "bot", *words, "--json"]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")
        self._printed: tuple[str, str] | None = None

    async def ended(self, timeout_s: float = 40) -> int:
        """Its exit code."""
        if self._printed is None:
            self._printed = await asyncio.to_thread(self.process.communicate, timeout=timeout_s)
            print(self._printed[1], file=sys.stderr)  # its log, shown with a test that fails
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
    done = vidconf(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
