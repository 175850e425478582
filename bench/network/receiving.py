"""What every receiver program of the laboratory does alike: its arguments, `ready` when the media are there, samples, a report.

A receiver is a child process of its own, so that its CPU is its own. It joins, prints `ready` when every track expected has
brought something, takes a sample of its counters each quarter of a second, and prints one line of JSON when its input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

SAMPLE_S = 0.25
READY_S = 20.0


@dataclass
class Report:
    """Times are `time.monotonic`, the same in every process of one machine."""

    pictures: dict[str, list[tuple[float, float | None]]] = field(default_factory=dict)
    """By track: when each was handed over, and its age in ms where it was asked for and could be read."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """`at`, and by track: `kind`, `packets`, `lost`, `nacks`, `plis`, `buffer_ms` (of late), `concealed` and `sounded` (samples so far)."""
    sound_began: float | None = None
    """When the first sample of the recording was heard."""
    notes: dict[str, Any] = field(default_factory=dict)

    def saw(self, track: str, at: float, age_ms: float | None) -> None:
        self.pictures.setdefault(track, []).append((at, age_ms))

    def __str__(self) -> str:
        return json.dumps(
            {"pictures": self.pictures, "samples": self.samples, "sound_began": self.sound_began, "notes": self.notes}, separators=(",", ":")
        )


@dataclass(frozen=True, slots=True)
class Told:
    url: str
    token: str
    pictures: int
    """How many video tracks are expected."""
    sounds: int
    record: str
    """A WAV for what is heard; "" for none."""
    ages: bool
    """Read the time painted in each picture."""


def arguments(what: str) -> Told:
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("--pictures", type=int, default=0)
    parser.add_argument("--sounds", type=int, default=0)
    parser.add_argument("--record", default="")
    parser.add_argument("--ages", action="store_true")
    return Told(**vars(parser.parse_args()))


async def until_told(
    report: Report, ready: Callable[[], bool], sample: Callable[[], Awaitable[dict[str, Any]]], finish: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Say when it is ready, sample until the input ends, let `finish` complete the report, print it."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: sys.stdin.readline() or ended.set())
    deadline = time.monotonic() + READY_S
    while not ready() and time.monotonic() < deadline and not ended.is_set():  # noqa: ASYNC110 - what is asked has no event
        await asyncio.sleep(0.02)
    print("ready" if ready() else "not ready", flush=True)
    while not ended.is_set():
        report.samples.append({"at": time.monotonic(), **await sample()})
        try:
            async with asyncio.timeout(SAMPLE_S):
                await ended.wait()
        except TimeoutError:
            continue
    if finish is not None:
        await finish()
    print(report, flush=True)
