"""What the program writes of its own mistakes where `crash_reports` is on: a small text file beside the logs, and nowhere else.

    reports = CrashReports(folder, "window", on=True); reports.listen(); …; reports.close()

A file holds version, time, system, and where in the program it happened. What the exception itself says is left out, for that may
quote what was said or shown in a meeting. Nothing is ever uploaded. `log_files` deletes them with the old logs. Any thread.
"""

from __future__ import annotations

import faulthandler
import hashlib
import logging
import os
import platform
import sys
import threading
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import IO

from vidconf import __version__
from vidconf.client.log_files import Part, open_own, read_own

log = logging.getLogger("vidconf.crash")

MOST_A_RUN = 20
FAULT_PREFIX = "vidconf-fault-"
FAULT_BYTES = 200_000
"""So much of one is taken up."""


class CrashReports:
    """One a process. `on` may change while it runs."""

    def __init__(self, folder: Path, part: Part, *, on: bool) -> None:
        self.folder, self._part, self._on = folder, part, False
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self._fault: IO[bytes] | None = None
        self._listening = False
        self.turn(on)

    @property
    def on(self) -> bool:
        return self._on

    def turn(self, on: bool) -> None:
        """Write reports from now on, or none."""
        if on == self._on:
            return
        self._on = on
        if on:
            self._take_up_faults()
            self._watch_faults()
        else:
            self._unwatch_faults()

    def listen(self) -> None:
        """Take what no code of ours catches, in threads and in the interpreter's own clean-up, too: logged always, written where it is on."""
        self._listening = True
        sys.excepthook = self._on_exception
        threading.excepthook = self._on_thread
        sys.unraisablehook = self._on_unraisable
        logging.getLogger("asyncio").addHandler(_OfTasks(self))

    def close(self) -> None:
        """The process ends well: no fault file stays."""
        self._unwatch_faults()
        if self._listening:
            self._listening = False
            sys.excepthook, threading.excepthook, sys.unraisablehook = sys.__excepthook__, threading.__excepthook__, sys.__unraisablehook__
            held = logging.getLogger("asyncio")
            for handler in [one for one in held.handlers if isinstance(one, _OfTasks) and one.reports is self]:
                held.removeHandler(handler)

    # ---- one report

    def take(self, error: BaseException, where: str) -> Path | None:
        """Write a report of `error`; the file, or None (off, told already, too many, no disk). `where`: a word for what called."""
        if not self._on or isinstance(error, KeyboardInterrupt | SystemExit):
            return None
        return self._put(f"{where}: {type(error).__module__}.{type(error).__qualname__}\n\n{places(error)}")

    def told(self, where: str) -> Path | None:
        """As `take`, for what is no exception: the place that is running now."""
        return self._put(f"{where}\n\n{''.join(traceback.format_stack()[:-1])}") if self._on else None

    def _put(self, what: str, at: float | None = None) -> Path | None:
        key = hashlib.sha256(what.encode("utf-8", "replace")).hexdigest()[:8]
        with self._lock:
            if key in self._seen or len(self._seen) >= MOST_A_RUN:
                return None
            self._seen.add(key)
        when = time.localtime(at)
        file = self.folder / f"vidconf-crash-{time.strftime('%Y%m%d-%H%M%S', when)}-{self._part}-{key}.txt"
        text = (
            f"vidconf {__version__}, {self._part}\n{time.strftime('%Y-%m-%d %H:%M:%S %z', when)}\n"
            f"Python {platform.python_version()}, {sys.platform}, {platform.machine()}\n\n{what.rstrip()}\n"
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = open_own(file, os.O_EXCL)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as out:
                out.write(text)
        except OSError as error:
            log.warning("no crash report could be written: %s", error.strerror or error)
            return None
        log.info("a crash report was written: %s", file.name)
        return file

    # ---- what nobody caught

    def _on_exception(self, kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        log.error("not caught", exc_info=(kind, error or kind(), trace))
        if error is not None:
            self.take(error, "not caught")

    def _on_thread(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            log.error("a thread has ended: %s", args.thread.name if args.thread is not None else "?", exc_info=args.exc_value)
            self.take(args.exc_value, "thread")

    def _on_unraisable(self, args: sys.UnraisableHookArgs) -> None:
        if args.exc_value is not None:
            log.error("%s", args.err_msg or "an exception nobody could take", exc_info=args.exc_value)
            self.take(args.exc_value, "unraisable")

    # ---- crashes below Python

    def _watch_faults(self) -> None:
        """The interpreter itself writes where it was, into a file that has to be open before."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = open_own(self._fault_path(), os.O_TRUNC)
        except OSError as error:
            log.warning("crashes below Python leave no report: %s", error.strerror or error)
            return
        self._fault = os.fdopen(handle, "wb", buffering=0)
        faulthandler.enable(self._fault, all_threads=True)

    def _unwatch_faults(self) -> None:
        fault, self._fault = self._fault, None
        if fault is not None:
            faulthandler.disable()
            fault.close()
            try:
                self._fault_path().unlink()
            except OSError as error:
                log.debug("a fault file stays: %s", error.strerror or error)

    def _fault_path(self) -> Path:
        return self.folder / f"{FAULT_PREFIX}{self._part}-{os.getpid()}.txt"

    def _take_up_faults(self) -> None:
        """What earlier processes of this part left: a report where something is in it, nothing where nothing is."""
        try:
            left = sorted(self.folder.glob(f"{FAULT_PREFIX}{self._part}-*.txt"))
        except OSError:
            return
        for file in left:
            try:
                if file.is_symlink():
                    file.unlink()  # no process of ours makes such
                    continue
                if _lives(file):
                    continue
                held, at = read_own(file, FAULT_BYTES)
                file.unlink()
            except OSError as error:
                log.debug("a fault file stays: %s", error.strerror or error)
                continue
            if text := held.decode("utf-8", "replace").strip():
                log.error("the program crashed when it ran last (%s)", self._part)
                self._put(f"crash below Python\n\n{text}", at)


def places(error: BaseException) -> str:
    """The way to an exception and to those it came from, without what they say."""
    parts: list[str] = []
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen and len(seen) < 10:
        seen.add(id(one))
        parts.append(f"{type(one).__module__}.{type(one).__qualname__}\n" + "".join(traceback.format_tb(one.__traceback__)))
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return "\ncame from\n".join(parts)


def _lives(file: Path) -> bool:
    """Whether the process that a fault file is named for runs still."""
    number = file.stem.rpartition("-")[2]
    if not number.isdigit():
        return False
    if sys.platform == "win32":
        try:  # a file that another process holds open cannot be renamed there
            os.replace(file, file)
        except OSError:
            return True
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return int(number) != os.getpid()


class _OfTasks(logging.Handler):
    """asyncio tells its logger of what no task's owner took."""

    def __init__(self, reports: CrashReports) -> None:
        super().__init__(logging.ERROR)
        self.reports = reports

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.reports.take(record.exc_info[1], "task")
