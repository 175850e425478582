"""What `doctor` and `selftest` found: one `Finding` a line of the report, by stable codes; as JSON, and in words to read.

`code` says what was looked at (`doctor.server.name`), `result` what was found (`not_found`); the words are `<code>` (the line's
title), `<code>.<result>` and `<code>.<result>.help` (what to do next). What is said of it elsewhere in the program is said in
the same words: a device's trouble by `device.…`, the server's by `error.…`, what any check can end in by `finding.…`.
What comes from outside (names in certificates, a meeting's title, a driver's last words) is cleaned before it is shown.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from rich.console import Console
from rich.text import Text

from vidconf import words

Status = Literal["ok", "warning", "failure"]
STYLES: dict[Status, str] = {"ok": "green", "warning": "yellow", "failure": "bold red"}
TEXT_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `detail` fills the words; plain data only."""

    code: str
    status: Status
    result: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, entry: Any) -> Finding:
        """What another process says it found. Raises ValueError."""
        try:
            code, status, result, detail = entry["code"], entry["status"], entry["result"], entry["detail"]
        except (TypeError, KeyError) as error:
            raise ValueError(f"no finding: {error}") from None
        if status not in get_args(Status) or not isinstance(code, str) or not isinstance(result, str) or not isinstance(detail, dict):
            raise ValueError("no finding")
        return cls(code, status, result, detail)

    def as_json(self) -> dict[str, Any]:
        said = {"title": self.title(), "text": self.text(), "help": self.help()}
        return {"code": self.code, "status": self.status, "result": self.result, "detail": dict(self.detail), **said}

    def title(self) -> str:
        return words.text(self.code)

    def text(self) -> str:
        """What was found."""
        for key in self._keys():
            if words.has(key):
                return words.text(key, **self._shown())
        return words.text("finding.unknown", code=self.result)

    def help(self) -> str:
        """What to do next; "" where there is nothing to do."""
        if self.status == "ok":
            return ""
        kind = self.code.rpartition(".")[2]
        device = (f"device.help.{self.result}",) if words.has(f"device.{kind}.{self.result}") else ()
        for key in (f"{self.code}.{self.result}.help", *device, f"error.{self.result}.help", f"finding.{self.result}.help"):
            if words.has(key):
                return words.text(key, **self._shown())
        return ""

    def _keys(self) -> tuple[str, ...]:
        kind = self.code.rpartition(".")[2]
        return (f"{self.code}.{self.result}", f"device.{kind}.{self.result}", f"error.{self.result}", f"finding.{self.result}")

    def _shown(self) -> dict[str, Any]:
        return {name: cleaned(value) for name, value in self.detail.items()}


def cleaned(value: Any) -> Any:
    """A value for the eye: texts without control and direction characters and not endless; lists joined."""
    if isinstance(value, list | tuple):
        return ", ".join(str(cleaned(one)) for one in value[:40]) or "–"
    if isinstance(value, str):
        flat = "".join(" " if char.isspace() else char if unicodedata.category(char)[0] != "C" else "?" for char in value)
        return flat if len(flat) <= TEXT_LIMIT else flat[: TEXT_LIMIT - 1] + "…"
    return value


def worst(findings: Iterable[Finding]) -> Status:
    statuses = {finding.status for finding in findings}
    return "failure" if "failure" in statuses else "warning" if "warning" in statuses else "ok"


def prepare_stdout() -> None:
    """A terminal that cannot write Vietnamese shows question marks; it ends no report."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def print_json(document: Mapping[str, Any]) -> None:
    print(json.dumps(document, ensure_ascii=False), flush=True)


def print_findings(sections: Iterable[tuple[str, Iterable[Finding]]]) -> None:
    """Sections with their lines, one a line however wide the terminal is, so that it can be copied and searched."""
    console = Console(highlight=False, markup=False, emoji=False)
    width = max(len(words.text(f"finding.status.{status}")) for status in STYLES)
    for heading, findings in sections:
        console.print(Text(f"\n{heading}", "bold"), soft_wrap=True)
        for finding in findings:
            line = Text("  ")
            line.append(words.text(f"finding.status.{finding.status}").ljust(width), STYLES[finding.status])
            line.append(f"  {finding.title()}: {finding.text()}")
            console.print(line, soft_wrap=True)
            cure = finding.help()
            if cure:
                console.print(Text(f"  {'':{width}}  → {cure}", "italic"), soft_wrap=True)


def print_summary(findings: Iterable[Finding], good: str) -> None:
    """The last line: how many of what. `good` is a word's key for when there is nothing to complain of."""
    found = list(findings)
    failures, warnings = (sum(finding.status == status for finding in found) for status in ("failure", "warning"))
    said = words.text("finding.summary", failures=failures, warnings=warnings) if failures or warnings else words.text(good)
    Console(highlight=False, markup=False, emoji=False).print(Text(f"\n{said}", STYLES[worst(found)]), soft_wrap=True)
