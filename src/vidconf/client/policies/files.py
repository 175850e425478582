"""Policies of a Linux machine: JSON files under /etc/opt/vidconf/policies/managed and …/recommended. Any thread.

Files are read in the order of their names, the later wins and that is told. What anybody but root could have written, or put in its
place, is no policy: the file, every folder above it and every link on the way are root's and nobody else may write them. The group
counts as somebody else. (Of an access control list the mask shows in the group's bits, so a right given to one user shows too.)
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from vidconf.client.policies.reading import Policies, known
from vidconf.client.settings_json import json_object

FOLDER = Path("/etc/opt/vidconf/policies")
FILE_LIMIT = 1 << 20
LINKS_LIMIT = 40
LEVELS: tuple[Literal["managed", "recommended"], ...] = ("managed", "recommended")
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class _Unsafe(Exception):
    """Somebody who is not trusted could change this file or folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


class FilePolicies:
    """The policies under `folder`. `trusted`: whose files count, by user id; root's always do."""

    def __init__(self, folder: Path = FOLDER, *, trusted: Collection[int] = ()) -> None:
        self._folder = folder
        self._trusted = frozenset((0, *trusted))

    @property
    def places(self) -> tuple[str, ...]:
        return tuple(str(self._folder / level) for level in LEVELS)

    def read(self) -> Policies:
        policies = Policies()
        for level in LEVELS:
            for file in self._files(self._folder / level, policies):
                self._take(file, level, policies)
        return policies

    def trusted(self, file: Path) -> bytes:
        """Another file's content (of one too large a byte more than `FILE_LIMIT`), held to the same rules. Raises OSError."""
        try:
            return self._content(self._followed(file))
        except _Unsafe as unsafe:
            raise PermissionError(errno.EPERM, "others than root could write it", str(unsafe.path)) from unsafe

    def _files(self, folder: Path, policies: Policies) -> list[Path]:
        """The files of one level in their order; none, and a problem, where the folder is not to be trusted."""
        try:
            folder.lstat()
        except FileNotFoundError:
            return []
        except OSError:
            policies.ignore(str(folder), "unreadable")
            return []
        try:
            real = self._followed(folder)
            held = real.stat()
            if stat.S_ISDIR(held.st_mode) and held.st_mode & _OTHERS:  # also a sticky one: a stranger's link to root's file would count
                raise _Unsafe(real)
            return sorted(folder / name for name in os.listdir(real) if name.endswith(".json"))
        except _Unsafe as unsafe:
            policies.ignore(str(unsafe.path), "unsafe_folder")
        except OSError:
            policies.ignore(str(folder), "unreadable")
        return []

    def _take(self, file: Path, level: Literal["managed", "recommended"], policies: Policies) -> None:
        origin = str(file)
        policies.found.append(origin)
        try:
            content = self._content(self._followed(file))
        except _Unsafe:
            return policies.ignore(origin, "unsafe_owner")
        except OSError:
            return policies.ignore(origin, "unreadable")
        if len(content) > FILE_LIMIT:
            return policies.ignore(origin, "too_large")
        try:
            values, repeated = json_object(content)
        except ValueError:
            return policies.ignore(origin, "malformed")
        for name in repeated:
            policies.ignore(origin, "repeated", name)
        into = policies.managed if level == "managed" else policies.recommended
        for name, value in values.items():
            setting = known(name)
            if setting is None:
                policies.ignore(origin, "unknown_name", name)
            elif (held := policies.value(setting, value, origin)) is not None:
                if setting.key in into:
                    policies.ignore(origin, "twice", name)
                into[setting.key] = held
        return None

    def _content(self, real: Path) -> bytes:
        """At most one byte more than is allowed. It is the opened file that is judged, and a pipe is not waited for."""
        handle = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as opened:
            held = os.fstat(handle)
            if not stat.S_ISREG(held.st_mode):
                raise OSError("not a file")
            if held.st_uid not in self._trusted or held.st_mode & _OTHERS:
                raise _Unsafe(real)
            return opened.read(FILE_LIMIT + 1)

    def _followed(self, path: Path) -> Path:
        """`path` without links, every step of which only the trusted could change. Raises `_Unsafe`, `OSError`."""
        here, links = Path(path.anchor), 0
        rest = list(reversed(path.parts[1:]))
        self._check(here, here.lstat(), folder=True)
        while rest:
            part = rest.pop()
            if part == "..":
                here = here.parent
                continue
            step = here / part
            held = step.lstat()
            link = stat.S_ISLNK(held.st_mode)
            self._check(step, held, folder=bool(rest) and not link)
            if not link:
                here = step
                continue
            links += 1
            if links > LINKS_LIMIT:
                raise OSError("links without an end")
            target = Path(os.readlink(step))
            if target.is_absolute():
                here = Path(target.anchor)
            rest.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        return here

    def _check(self, path: Path, held: os.stat_result, *, folder: bool) -> None:
        """The owner, and for a folder who may write there: in a sticky one (/tmp) nobody can replace what is the trusted's."""
        if held.st_uid not in self._trusted or (folder and held.st_mode & _OTHERS and not held.st_mode & stat.S_ISVTX):
            raise _Unsafe(path)
