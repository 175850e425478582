"""A LINK on the command line, which may be a chair's: `-` reads it from stdin, and what was given openly is wiped where it shows.

Every user of a Linux or macOS machine can read the words that others started their programs with (`ps`), for as long as those run.
On macOS the wiping has been tried with a stand-in for its C library only: there `-` is the sure way. Any thread, once, at the start.
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
    was possible: on Linux and macOS; on Windows other users see no command lines."""
    wanted = [word for secret in secrets if (word := secret.encode("utf-8", "surrogateescape"))]
    if not wanted:
        return True
    try:
        places = _PLACES[sys.platform]()
    except (KeyError, OSError, ValueError, IndexError, AttributeError) as error:
        log.debug("the command line stays as it is: %r", error)
        return False
    for start, size in places:
        for word in wanted:
            words = ctypes.string_at(start, size)
            at = words.find(word)
            while at >= 0:
                ctypes.memset(start + at, ord("*"), len(word))
                at = words.find(word, at + len(word))
    return bool(places)


def _linux() -> list[tuple[int, int]]:
    """Address and size of all words, which lie one behind the other."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    return [(start, end - start)] if 0 < start < end else []


def _macos() -> list[tuple[int, int]]:
    """Of each word: dyld keeps the argv of `main`, and the kernel reads it from there for `ps` (crt_externs.h, KERN_PROCARGS2)."""
    system = ctypes.CDLL(None)
    system._NSGetArgc.restype = ctypes.POINTER(ctypes.c_int)
    system._NSGetArgv.restype = ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p))
    count, words = system._NSGetArgc().contents.value, system._NSGetArgv().contents
    return [(at, len(ctypes.string_at(at))) for k in range(count) if (at := words[k])]


_PLACES = {"linux": _linux, "darwin": _macos}
