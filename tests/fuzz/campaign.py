"""Throws spoilt inputs at parsers and writes down what came of it. Used by the tests here and by bench/fuzz.py.

Time is the thread's CPU time with the collector at rest: another process, or a collection of what others left, is no parser. An
input that seems slow is read again, and its best time counts.
"""

from __future__ import annotations

import gc
import random
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fuzz.mutation import spoil, spoil_text
from fuzz.parsers import Parser

AGAIN = 5
"""Readings of an input that seemed slow."""
COLLECT_EVERY = 2000
MOST_KEPT = 5


@dataclass
class Found:
    """What one parser did with its inputs. `raised` and `slow` hold the inputs themselves, the first few."""

    name: str
    inputs: int = 0
    read: int = 0
    worst_s: float = 0.0
    total_s: float = 0.0
    raised: list[tuple[bytes | str, str]] = field(default_factory=list)
    slow: list[tuple[bytes | str, float]] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return not self.raised and not self.slow


@contextmanager
def no_collection() -> Iterator[None]:
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def attack(parser: Parser, inputs: int, seed: int) -> Found:
    """`inputs` spoilt inputs, the same ones for the same seed."""
    chance, found = random.Random(f"{parser.name} {seed}"), Found(parser.name)
    seeds = list(parser.seeds())
    make = spoil_text if parser.text else spoil
    with no_collection():
        for number in range(inputs):
            if number % COLLECT_EVERY == 0:
                gc.collect(0)
            try_one(parser, make(chance, seeds), found)  # type: ignore[arg-type, operator]
    return found


def try_one(parser: Parser, data: bytes | str, found: Found) -> None:
    found.inputs += 1
    began = time.thread_time()
    try:
        found.read += bool(parser.run(data))  # type: ignore[arg-type]
        took = time.thread_time() - began
        if took > parser.longest_s:
            took = min(took, *(_again_s(parser, data) for _ in range(AGAIN)))
    except Exception:
        if len(found.raised) < MOST_KEPT:
            found.raised.append((data, traceback.format_exc(limit=-3)))
        return
    found.total_s += took
    found.worst_s = max(found.worst_s, took)
    if took > parser.longest_s and len(found.slow) < MOST_KEPT:
        found.slow.append((data, took))


def _again_s(parser: Parser, data: bytes | str) -> float:
    began = time.thread_time()
    parser.run(data)  # type: ignore[arg-type]
    return time.thread_time() - began
