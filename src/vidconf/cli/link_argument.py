"""A LINK on the command line, which may be a chair's: `-` reads it from stdin, and what was given openly is wiped where it shows.

Every user of a Linux machine can read the words that others started their programs with (`ps`, /proc/PID/cmdline), for as long as
those run. Any thread, once, at the start.
"""

from __future__ import annotations

import ctypes
import logging
import sys

import click

log = logging.getLogger("vidconf.cli")

LIMIT = 8192
"""Characters of a line from stdin."""
_ARG_START, _ARG_END = 45, 46
"""Places of arg_start and arg_end in /proc/self/stat, from `state` on: proc(5) numbers them 48 and 49."""


def given_link(said: str) -> str:
    """The link meant by `said`, what stands behind its `#` wiped from the command line. Raises UsageError for an empty stdin."""
    if said != "-":
        conceal(said.partition("#")[2])
        return said
    line = sys.stdin.readline(LIMIT).strip() if sys.stdin is not None else ""
    if not line:
        raise click.UsageError("there is no link on stdin")
    return line


def conceal(*secrets: str) -> bool:
    """Overwrite each of `secrets` among the words this process was started with, so that `ps` no longer tells it. Whether that
    was possible: Linux only; elsewhere other users see no command lines (Windows), or go on seeing them (macOS)."""
    wanted = [word for secret in secrets if (word := secret.encode("utf-8", "surrogateescape"))]
    if sys.platform != "linux" or not wanted:
        return not wanted
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    except (OSError, ValueError, IndexError) as error:
        log.debug("the command line stays as it is: %r", error)
        return False
    if not 0 < start < end:
        return False
    for word in wanted:
        words = ctypes.string_at(start, end - start)
        at = words.find(word)
        while at >= 0:
            ctypes.memset(start + at, ord("*"), len(word))
            at = words.find(word, at + len(word))
    return True
