"""What was promised and what was found, as a table for people and JSON for programs. Any thread, one at a time."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from winbuild.running import RunError

Result = Literal["ok", "failed", "Wine cannot"]


class Broken(AssertionError):
    """A promise that does not hold; the text says what was found instead."""


@dataclass(frozen=True, slots=True)
class Line:
    """One promise. `took_s`: how long its trial was."""

    promise: str
    result: Result
    found: str
    took_s: float


@dataclass(slots=True)
class Report:
    """Lines are printed as they come. `say`: where to."""

    say: Callable[[str], None]
    lines: list[Line] = field(default_factory=list)

    @contextmanager
    def promise(self, text: str) -> Iterator[list[str]]:
        """One trial: whatever it raises is its failure, and the next one goes on. What is put into the list is told beside it."""
        told: list[str] = []
        began = time.monotonic()
        result: Result = "ok"
        try:
            yield told
        except (Broken, RunError, OSError, ValueError, KeyError) as error:
            result = "failed"
            told.append(f"{type(error).__name__}: {error}" if not isinstance(error, Broken | RunError) else str(error))
        self._add(Line(text, result, "; ".join(told), round(time.monotonic() - began, 1)))

    def cannot(self, promise: str, why: str) -> None:
        """A promise that Wine has nothing to try it with."""
        self._add(Line(promise, "Wine cannot", why, 0.0))

    def _add(self, line: Line) -> None:
        self.lines.append(line)
        took = f"{line.took_s:6.1f} s" if line.took_s >= 0.1 else " " * 8
        self.say(f"{line.result:<12}{took}  {line.promise}")
        if line.found:
            text = line.found if line.result != "failed" else line.found[-3000:]
            self.say(textwrap.indent("\n".join(textwrap.wrap(text, 110)), " " * 24))

    @property
    def good(self) -> bool:
        return bool(self.lines) and all(line.result != "failed" for line in self.lines)

    def as_json(self) -> dict[str, Any]:
        counts = {result: sum(line.result == result for line in self.lines) for result in ("ok", "failed", "Wine cannot")}
        return {
            "ok": self.good, "counts": counts,
            "promises": [{"promise": each.promise, "result": each.result, "found": each.found, "took_s": each.took_s} for each in self.lines],
        }  # fmt: skip


def must(true: object, found: str) -> None:
    """Raises `Broken` with what was found."""
    if not true:
        raise Broken(found)
