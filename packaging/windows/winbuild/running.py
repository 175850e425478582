"""Runs the tools of the build: bounded in time, with their words shown only when they fail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

LONGEST_S = 900


class RunError(RuntimeError):
    """A tool that is missing, failed or hung; the text is for whoever called the build."""


def run(words: Sequence[str | Path], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None, given: str = "") -> str:
    """The tool's stdout. `environment` is added to ours, `given` goes to its stdin. Raises `RunError`."""
    command = [str(word) for word in words]
    try:
        # pipes on all three: a Windows program under Wine cannot start on files
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ, **(environment or {})}, input=given, capture_output=True, text=True, errors="replace", timeout=LONGEST_S, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise RunError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise RunError(f"{command[0]} has not ended within {LONGEST_S} s") from None
    if done.returncode:
        said = "\n".join([*done.stdout.splitlines()[-20:], *done.stderr.splitlines()[-20:]])
        raise RunError(f"{' '.join(command)[:400]}: exit {done.returncode}\n{said}")
    return done.stdout
