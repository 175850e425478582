"""The program's log on disk: one UTF-8 file a day for each of its processes, bounded in size, kept for so many days, without secrets.

    plan = log_plan(settings); start_logging("window", plan.folder, plan.level, plan.days)

Standard library and platformdirs only, so that the engine's process starts with it, too. Handlers may be called on any thread.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

import platformdirs

if TYPE_CHECKING:
    from vidconf.client.settings import Settings

log = logging.getLogger("vidconf.logs")

Part = Literal["window", "engine"]
DAY_BYTES = 20_000_000
"""The most one process writes a day."""
LINE_LIMIT = 20_000
AGAIN_S = 60.0
"""After the disk has refused, it is asked again so much later."""
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
NAMES: dict[Part, str] = {"window": "vidconf", "engine": "vidconf-engine"}
QUIET: dict[Part, tuple[tuple[str, ...], int]] = {
    "window": (("qasync", "asyncio"), logging.WARNING), "engine": (("aiortc", "aioice", "libav"), logging.ERROR),
}  # fmt: skip
_OURS = re.compile(r"vidconf(-engine)?-\d{4}-\d\d-\d\d\.log|vidconf-crash-\d{8}-\d{6}-[a-z]+-[0-9a-f]{8}\.txt")
_SECRETS = (
    (re.compile(r"(#k=)[A-Za-z0-9_%-]+"), r"\1…"),
    (re.compile(r"(/m/)[A-Za-z0-9][A-Za-z0-9-]*"), r"\1…"),
    (re.compile(r"\beyJ[\w-]{5,}(?:\.[\w-]+){0,2}"), "eyJ…"),
    (re.compile(r"(?i)\b(bearer|basic|digest|negotiate|ntlm)\s+[\w.~+/=-]{6,}"), r"\1 …"),
    (re.compile(r"(://)[^\s/@:]*(?::[^\s/@]*)?@"), r"\1…@"),
    (
        re.compile(
            r"(?i)((?:token|password|passwd|secret|credential|api[_-]?key|authorization|ticket|badge)[\"']?\s*[=:]\s*)"
            r"(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,;&)}\]]+)"
        ),
        r"\1…",
    ),
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What moves a terminal's cursor, ends a line for some reader, or turns the order of letters."""
GOES_ON = "\n    "


def without_secrets(text: str) -> str:
    """`text` with meeting codes, tokens, passwords and what else lets somebody in struck out."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


class CleanFormatter(logging.Formatter):
    """As logging's own; secrets are struck out of the whole, tracebacks included, and no line is endless. Strangers' words are repeated
    in logs: what goes on over several lines is indented, so that nobody writes one that looks like another's, and controls are told."""

    def format(self, record: logging.LogRecord) -> str:
        text = without_secrets(super().format(record)[:LINE_LIMIT])
        return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text).replace("\n", GOES_ON)


class DayFiles(logging.Handler):
    """`NAME-YYYY-MM-DD.log` in `folder`, by local time. Made with `days` to keep; raises OSError where nothing can be written there."""

    def __init__(self, folder: Path, name: str, days: int, *, most_bytes: int = DAY_BYTES, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.folder, self.days = folder, days
        self._name, self._most_bytes, self._clock = name, most_bytes, clock
        self._day = ""
        self._file: TextIO | None = None
        self._written = 0
        self._left_out = 0
        self._not_before = 0.0
        self.setFormatter(CleanFormatter(FORMAT))
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(self.format(record) + "\n")
        except OSError:
            # A full disk is no reason to stop, and no place to say so; who reads later sees the gap.
            self._shut()
            self._left_out += 1
            self._not_before = self._clock() + AGAIN_S
        except Exception:
            self.handleError(record)

    def _write(self, line: str) -> None:
        if self._clock() < self._not_before:
            self._left_out += 1
            return
        if self._file is None or self._today() != self._day:
            self._open()
        assert self._file is not None
        if self._written > self._most_bytes:
            self._left_out += 1
            return
        if self._left_out:
            line = f"({self._left_out} lines left out)\n{line}"
        self._written += len(line.encode("utf-8", "backslashreplace"))
        if self._written > self._most_bytes:
            line += f"(more than {self._most_bytes} bytes today: no more is written)\n"
        self._file.write(line)
        self._file.flush()
        self._left_out = 0

    def _today(self) -> str:
        return time.strftime("%Y-%m-%d", time.localtime(self._clock()))

    def _open(self) -> None:
        self._shut()
        day = self._today()
        path = self.folder / f"{self._name}-{day}.log"
        handle = open_own(path, os.O_APPEND)
        self._file = os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace", newline="\n")
        self._written = os.fstat(handle).st_size
        if day != self._day:
            self._day = day
            remove_old(self.folder, self.days, self._clock())

    def _shut(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # what it had not written yet has been counted
                file.close()

    def close(self) -> None:
        self.acquire()
        try:
            self._shut()
        finally:
            self.release()
        super().close()


def open_own(path: Path, how: int) -> int:
    """Open a file of this user's alone for writing, made if need be (`how`: O_APPEND, O_EXCL, …). Raises OSError, also for what others
    may have laid out in a folder they can write to: links of either kind, pipes, files of theirs."""
    return _owned(path, os.O_WRONLY | os.O_CREAT | how)


def read_own(path: Path, most_bytes: int) -> tuple[bytes, float]:
    """The beginning of such a file, and when it was last written (Unix seconds). Raises OSError; waits for no pipe."""
    with os.fdopen(_owned(path, os.O_RDONLY), "rb") as file:
        return file.read(most_bytes), os.fstat(file.fileno()).st_mtime


def _owned(path: Path, how: int) -> int:
    handle = os.open(
        path, how & ~os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0), 0o600
    )
    held = os.fstat(handle)
    if not stat.S_ISREG(held.st_mode) or held.st_nlink > 1 or (sys.platform != "win32" and held.st_uid != os.geteuid()):
        os.close(handle)
        raise PermissionError(errno.EPERM, "not a file of this user's alone", str(path))
    if how & os.O_TRUNC:  # only what has been looked at is emptied
        os.ftruncate(handle, 0)
    return handle


def remove_old(folder: Path, days: int, now: float) -> None:
    """Of the program's own files there, those that were last written more than `days` days ago. Nothing else is touched."""
    try:
        held = [file for file in folder.iterdir() if _OURS.fullmatch(file.name)]
    except OSError:
        return
    for file in held:
        try:
            if now - file.stat().st_mtime > days * 86400:
                file.unlink()
        except OSError as error:
            log.debug("an old log stays: %s", error.strerror or error)


# ---- where, and how much ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogPlan:
    """What the settings say. `refused`: the folder that was asked for and cannot be used, "" when there is none; then `folder` is the
    user's own."""

    folder: Path
    level: str
    days: int
    crash_reports: bool
    refused: str = ""

    def for_engine(self) -> dict[str, Any]:
        """For `EngineHost`, which hands it to its process."""
        return {"folder": str(self.folder), "level": self.level, "days": self.days, "crash_reports": self.crash_reports}


def own_folder() -> Path:
    """Where logs lie when nobody says otherwise."""
    return Path(platformdirs.user_log_dir("vidconf", appauthor=False))


def log_plan(settings: Settings) -> LogPlan:
    """Touches the disk: whether the folder of `log_dir` can be written is tried."""
    folder, refused = own_folder(), ""
    if asked := settings.text("log_dir").strip():
        wanted = expanded(asked)
        if wanted is not None and _writable(wanted):
            folder = wanted
        else:
            refused = asked
    return LogPlan(folder, settings.text("log_level"), int(settings["log_days"]), settings.on("crash_reports"), refused)


def expanded(text: str) -> Path | None:
    """A folder as administrators write it, `%VARIABLE%`, `$VARIABLE` and `~` filled in; None where that gives no absolute path."""

    def filled(match: re.Match[str]) -> str:
        return os.environ.get(match[1], match[0])

    path = os.path.expanduser(os.path.expandvars(re.sub(r"%(\w+)%", filled, text)))
    return Path(path) if os.path.isabs(path) and not re.search(r"%\w+%|\$\w", path) else None


def _writable(folder: Path) -> bool:
    probe = folder / f".vidconf-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(open_own(probe, os.O_EXCL))
        probe.unlink()
    except OSError:
        return False
    return True


def start_logging(part: Part, folder: Path | None, level: str, days: int) -> DayFiles | None:
    """To stderr where there is one, and to the day's file. What cannot be written is said on stderr, and None given."""
    files: DayFiles | None = None
    handlers: list[logging.Handler] = []
    if sys.stderr is not None:
        stream = logging.StreamHandler(sys.stderr)
        stream.setFormatter(CleanFormatter(FORMAT if part == "window" else FORMAT.replace(" %(name)s", f" {part} %(name)s")))
        handlers.append(stream)
    trouble = ""
    if folder is not None:
        try:
            files = DayFiles(folder, NAMES[part], days)
            handlers.append(files)
        except OSError as error:
            trouble = f"no log file in {folder}: {error.strerror or error}"
    logging.basicConfig(level=level.upper(), handlers=handlers)
    quiet, at = QUIET[part]
    for noisy in quiet:
        logging.getLogger(noisy).setLevel(at)
    if trouble:
        log.warning("%s", trouble)
    return files
