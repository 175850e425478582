"""Checks that may take the interpreter with them (native code, drivers, Qt) or never come back run in processes of their own.

The child (`vidconf selftest --part NAME`, `vidconf doctor --part NAME`) writes each finding as a line of JSON as soon as it has
it; the parent reads along. Whatever the child dies of, and however long it hangs, what it had found stays, and what it owed
becomes a finding that says how it ended. `Part` is for the parent, `child` for the process itself.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vidconf.cli.findings import Finding
from vidconf.starting import own_command

log = logging.getLogger("vidconf.checks")

LINE_LIMIT = 1 << 20
STDERR_KEPT = 8192
Put = Callable[[Finding], None]


class Part:
    """A child that owes findings of the codes `owes`, in this order. Started by the constructor; any thread."""

    def __init__(
        self, command: str, name: str, owes: Sequence[str], *, told: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
    ) -> None:  # fmt: skip
        """`told` goes to the child's stdin as JSON: nothing of it is to be seen in a list of processes."""
        self.name, self._owes, self._began = name, tuple(owes), time.monotonic()
        self._found: list[Finding] = []
        self._stderr = b""
        self._hung_after: float | None = None
        self._failed = ""
        try:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                own_command(command, "--part", name),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **(environment or {})},
            )  # fmt: skip
        except OSError as error:
            self._process, self._failed = None, str(error)
            return
        self._readers = [threading.Thread(target=read, name=f"part {name}", daemon=True) for read in (self._read, self._read_stderr)]
        for reader in self._readers:
            reader.start()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError), self._process.stdin as stdin:  # one that has ended already is seen below
            stdin.write(json.dumps(told or {}).encode() + b"\n")

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := self._process.stdout.readline(LINE_LIMIT):
            try:
                self._found.append(Finding.from_json(json.loads(line)))
            except (ValueError, RecursionError):
                log.info("part %s wrote what is no finding", self.name)  # a library's own print

    def _read_stderr(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        while piece := self._process.stderr.read1(65536):  # type: ignore[attr-defined]
            self._stderr = (self._stderr + piece)[-STDERR_KEPT:]

    def wait(self, deadline: float) -> list[Finding]:
        """All findings, in the order owed, the rest as they came; `deadline` in monotonic seconds. Kills what still runs then."""
        if self._process is not None:
            try:
                self._process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._hung_after = time.monotonic() - self._began
                self._process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):  # a driver may hold it for ever: it is left behind
                    self._process.wait(0.5)
            for reader, pipe in zip(self._readers, (self._process.stdout, self._process.stderr), strict=True):
                reader.join(0.5)
                if pipe is not None and not reader.is_alive():
                    pipe.close()
        found = list(self._found)
        given = {finding.code for finding in found}
        lost = [self._lost(code) for code in self._owes if code not in given]
        order = {code: place for place, code in enumerate(self._owes)}
        return sorted([*found, *lost], key=lambda finding: order.get(finding.code, len(order)))

    def _lost(self, code: str) -> Finding:
        if self._hung_after is not None:
            return Finding(code, "failure", "hung", {"seconds": round(self._hung_after)})
        status = self._process.returncode if self._process is not None else 0
        said = self._stderr.decode("utf-8", "replace").strip().splitlines()
        return Finding(code, "failure", "crashed", {"how": _how(status), "said": _telling(said) or self._failed or "–"})


def _how(status: int | None) -> str:
    """`SIGABRT`, or the exit code."""
    if status is not None and status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return str(status)
    return str(status)


def _telling(lines: Sequence[str]) -> str:
    """What of the last words says most: of Qt's its first complaint, of Python's the exception, of a crash where it was."""
    kept = [line.strip() for line in lines if line.strip()]
    if any(line.startswith("Traceback") for line in kept):
        return kept[-1]
    for start in ("qt.", 'File "'):
        for line in kept:
            if line.startswith(start):
                return line
    return kept[-1] if kept else ""


def child(checks: Sequence[Callable[[Put, Mapping[str, Any]], None]], *, polite: bool = False) -> None:
    """The child's whole life: each check in a thread, at once; ends the process. `polite`: others on this machine come first."""
    told = json.loads(sys.stdin.buffer.readline(LINE_LIMIT) or b"{}")
    if polite and hasattr(os, "nice"):
        os.nice(5)
    faulthandler.enable()
    # Only findings go to the parent: what a library prints goes where its errors go.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    turn = threading.Lock()
    failed: list[BaseException] = []

    def put(finding: Finding) -> None:
        entry = {"code": finding.code, "status": finding.status, "result": finding.result, "detail": dict(finding.detail)}
        line = json.dumps(entry, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"
        with turn:
            out.write(line)

    def run(check: Callable[[Put, Mapping[str, Any]], None]) -> None:
        try:
            check(put, told)
        except Exception as error:
            failed.append(error)
            logging.getLogger("vidconf.checks").error("the check failed", exc_info=error)

    if len(checks) == 1:
        run(checks[0])
    else:
        threads = [threading.Thread(target=run, args=(check,), daemon=True) for check in checks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sys.stderr.flush()
    # Not by the interpreter's way out: libraries that hold devices may hang or crash there, and everything is said.
    os._exit(1 if failed else 0)
