"""What nobody caught in the window's process, and what Qt says: logged, told to the user, written as a crash report where that is on.

The window's thread, but for `on_qt_message`, which Qt calls on any.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from types import TracebackType

from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler

from vidconf.client.crash_files import CrashReports

log = logging.getLogger("vidconf.window")

_LEVELS = {
    QtMsgType.QtDebugMsg: logging.DEBUG, QtMsgType.QtInfoMsg: logging.INFO, QtMsgType.QtWarningMsg: logging.WARNING,
    QtMsgType.QtCriticalMsg: logging.ERROR, QtMsgType.QtFatalMsg: logging.CRITICAL,
}  # fmt: skip


def hear_qt(reports: CrashReports) -> None:
    """Qt's messages go to the log from now on; after a fatal one Qt ends the program, so that is reported at once."""

    def on_qt_message(kind: QtMsgType, context: QMessageLogContext, message: str) -> None:
        logging.getLogger("vidconf.qt").log(_LEVELS.get(kind, logging.WARNING), "%s", message)
        if kind == QtMsgType.QtFatalMsg:
            reports.told("Qt gave up")

    qInstallMessageHandler(on_qt_message)


def tell_of_faults(reports: CrashReports, tell: Callable[[], None]) -> None:
    """What nobody caught, in a slot or a task, is told by `tell`; the window goes on. Called with the loop running."""

    def on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.error("not caught", exc_info=(kind, error, trace))
        reports.take(error, "not caught")
        if issubclass(kind, Exception):
            tell()

    def on_loose_end(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        log.error("not caught: %s", context.get("message"), exc_info=error if isinstance(error, BaseException) else None)
        if isinstance(error, Exception) and not isinstance(error, ConnectionError):
            reports.take(error, "task")
            tell()

    sys.excepthook = on_exception
    asyncio.get_running_loop().set_exception_handler(on_loose_end)
