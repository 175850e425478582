"""Windows programs on this machine: a Wine of its own in one folder, with nothing shared with the user's. Any thread, one at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from winbuild.running import RunError

QUIET = ("it looks like wine32 is missing", "multiarch needs to be enabled", 'execute "dpkg', "apt-get install wine32", "wine32:i386")
"""What Debian's wrapper says each time: 32-bit programs are none of our business."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended. `code` as Linux sees it: Windows' own, modulo 256; -1: ended because its time was over."""

    code: int
    out: str
    err: str
    took_s: float


class Wine:
    """One prefix. `close` ends every program in it."""

    def __init__(self, prefix: Path, environment: Mapping[str, str] | None = None) -> None:
        self.prefix = prefix.resolve()
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("QT_", "PYTHON", "WINE"))},
            "WINEPREFIX": str(self.prefix), "WINEARCH": "win64", "WINEDEBUG": "-all", "TZ": "UTC", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8",
            "WINEDLLOVERRIDES": "mscoree,mshtml=", **(environment or {}),
        }  # fmt: skip

    @property
    def drive_c(self) -> Path:
        return self.prefix / "drive_c"

    def prepare(self) -> None:
        """Make the prefix, as Windows 10. Raises `RunError`."""
        if (self.prefix / "system.reg").is_file():
            return
        self.prefix.mkdir(parents=True, exist_ok=True)
        self.checked(["wineboot", "-i"], seconds=180)
        self.checked(["winecfg", "-v", "win10"], seconds=60)

    def start(
        self, words: Sequence[str | Path], environment: Mapping[str, str] | None = None, *, cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        """A program with pipes on all three ends: Wine gives a Windows program no files there. In a process group of its own."""
        return subprocess.Popen(
            ["wine", *(str(word) for word in words)], env={**self._environment, **(environment or {})}, cwd=cwd, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace", start_new_session=True,
        )  # fmt: skip

    def run(
        self, words: Sequence[str | Path], *, seconds: float = 90, given: str = "", environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Ran:  # fmt: skip
        """Run to its end, for at most `seconds`. Raises `RunError` where there is no Wine."""
        began = time.monotonic()
        try:
            process = self.start(words, environment, cwd=cwd)
        except FileNotFoundError:
            raise RunError("wine is not installed") from None
        try:
            out, err = process.communicate(given, timeout=seconds)
            code = process.returncode
        except subprocess.TimeoutExpired:
            end(process)
            try:
                out, err = process.communicate(timeout=5)
            except subprocess.TimeoutExpired:  # wineserver's children may hold the pipes
                out, err = "", "its output could not be read"
            code = -1
        kept = "\n".join(line for line in err.splitlines() if not line.startswith(QUIET))
        return Ran(code, out.replace("\r\n", "\n"), kept, time.monotonic() - began)

    def checked(self, words: Sequence[str | Path], *, seconds: float = 90) -> str:
        """Its stdout. Raises `RunError` when it fails or hangs."""
        done = self.run(words, seconds=seconds)
        if done.code:
            how = f"exit {done.code}" if done.code != -1 else f"not ended within {seconds:.0f} s"
            raise RunError(f"under Wine: {' '.join(map(str, words))[:300]}: {how}\n{done.out[-1500:]}\n{done.err[-1500:]}")
        return done.out

    def close(self) -> None:
        """End every program of this prefix, and its server."""
        with contextlib.suppress(FileNotFoundError, subprocess.TimeoutExpired):
            subprocess.run(["wineserver", "-k"], env=self._environment, capture_output=True, timeout=30, check=False)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a started program with all it has started in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def windows_path(path: Path) -> str:
    """A file of this machine as programs under Wine name it."""
    return "Z:" + str(path.resolve()).replace("/", "\\")
