"""The program's version numbers: read, and compared. Pure; any thread.

    1.4    1.4.0    1.4.2rc1    1.5.0a2 < 1.5.0b1 < 1.5.0rc1 < 1.5.0

One to four numbers of up to five digits, with `a`, `b` or `rc` and a number before a release. What is missing is 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_GRAMMAR = re.compile(r"(\d{1,5}(?:\.\d{1,5}){0,3})(?:(a|b|rc)(\d{1,5}))?", re.ASCII)
_RELEASED = ("z", 0)
"""Sorts after every `a`, `b` and `rc`."""


class VersionError(ValueError):
    """No version."""


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Compares as versions do; `str` writes it with three numbers or four."""

    numbers: tuple[int, int, int, int]
    stage: tuple[str, int] = _RELEASED

    def __str__(self) -> str:
        numbers = self.numbers if self.numbers[3] else self.numbers[:3]
        told = ".".join(map(str, numbers))
        return told if self.stage == _RELEASED else f"{told}{self.stage[0]}{self.stage[1]}"


def parse_version(text: str) -> Version:
    """Raises `VersionError`."""
    found = _GRAMMAR.fullmatch(text)
    if found is None:
        raise VersionError(text[:40])
    numbers = [int(one) for one in found[1].split(".")]
    padded = (*numbers, *[0] * (4 - len(numbers)))
    return Version((padded[0], padded[1], padded[2], padded[3]), (found[2], int(found[3])) if found[2] else _RELEASED)


def is_version(text: str) -> bool:
    return _GRAMMAR.fullmatch(text) is not None


def older(one: str, other: str) -> bool:
    """Whether `one` comes before `other`. Raises `VersionError`."""
    return parse_version(one) < parse_version(other)
