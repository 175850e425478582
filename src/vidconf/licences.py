"""Everything that this installation consists of, with version, licence and the licence's text.

For the window's page, `vidconf licences` and the bill of materials of packages. Packages speak for themselves by their metadata
(`dist-info`, which every way of packaging keeps); what they carry inside, the interpreter, fonts and icons are in
`resources/licences/bundled.json`. Standard library only; any thread. Reading takes some tens of milliseconds: not while painting.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Literal

from vidconf import __version__
from vidconf.resources import resource

log = logging.getLogger("vidconf.licences")

System = Literal["linux", "windows", "macos"]
TEXT_LIMIT = 400_000
UNKNOWN = "unknown"
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")
_LICENCE_FILE = re.compile(r"[^/]*(licen[cs]e|copying|copyright|notice)[^/]*(?<!\.py)(?<!\.pyc)", re.IGNORECASE)
_CLASSIFIERS = {"MIT License": "MIT", "BSD License": "BSD-3-Clause", "Apache Software License": "Apache-2.0", "Python Software Foundation License": "PSF-2.0",
                "ISC License (ISCL)": "ISC", "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0"}  # fmt: skip
_SPELLINGS = {
    "Apache 2.0": "Apache-2.0", "Apache License, Version 2.0": "Apache-2.0", "Apache License 2.0": "Apache-2.0", "MIT License": "MIT",
    "3-Clause BSD License": "BSD-3-Clause",
}  # fmt: skip
_COMMON = ("Apache-2.0", "LGPL-3.0", "GPL-3.0")
"""Licences whose text stands in for a package that brings none: the first that its expression names; LGPL-3.0 needs GPL-3.0 beside it."""


@dataclass(frozen=True, slots=True)
class Component:
    """One thing that ships. `licence`: an SPDX expression, or what its maker calls it; `version` "" where nobody says.
    `part_of`: the package that carries it, "" for packages themselves. `home`: where its source is."""

    name: str
    version: str
    licence: str
    part_of: str = ""
    home: str = ""
    files: tuple[str, ...] = ()
    """Patterns of the libraries' file names that are it."""
    sources: tuple[Path, ...] = ()
    """Where the licence's text lies."""

    def text(self) -> str:
        """The licence as its maker wrote it, "" where none came along."""
        parts = []
        for source in self.sources:
            try:
                parts.append(source.read_text(encoding="utf-8", errors="replace")[:TEXT_LIMIT].strip())
            except OSError as error:
                log.warning("the licence of %s cannot be read: %s", self.name, error.strerror or error)
        return ("\n\n" + "-" * 72 + "\n\n").join(parts)


def system() -> System:
    """This machine's."""
    return "windows" if sys.platform == "win32" else "macos" if sys.platform == "darwin" else "linux"


@lru_cache(maxsize=1)
def components() -> tuple[Component, ...]:
    """The program itself first, then all others by name."""
    found = packages()
    carriers = {normal(one.name) for one in found} | {"python", "vidconf"}
    inside = [one for one in bundled(system()) if normal(one.part_of) in carriers]
    own = Component("vidconf", __version__, "GPL-3.0-or-later", sources=(_text("GPL-3.0"),))
    return (own, *sorted((*found, *inside), key=lambda one: (one.name.casefold(), one.part_of)))


def bundled(on: System | None = None) -> tuple[Component, ...]:
    """What packages carry, on one system or (None) on any. Raises ValueError for a list that is none."""
    rows = json.loads(resource("licences", "bundled.json").read_text(encoding="utf-8"))
    return tuple(
        Component(
            row["name"], row["version"] or (sys.version.split()[0] if row["name"] == "CPython" else ""), row["licence"], row["part_of"], row["home"],
            tuple(row["files"]), tuple(_text(name) for name in row["texts"]),
        )
        for row in rows if on is None or on in row["systems"]
    )  # fmt: skip


def packages() -> tuple[Component, ...]:
    """The Python packages that vidconf needs, and theirs, as far as they are installed; all there are where nobody says what it needs."""
    held = {normal(name): one for one in metadata.distributions() if (name := one.name)}
    told = _Told(held)
    roots = _needed_by_vidconf(told)
    names = _reached(roots, told) if roots is not None else set(held)
    return tuple(_component(held[name], told[name]) for name in sorted(names) if name != "vidconf")


class _Told(dict[str, metadata.PackageMetadata]):
    """What packages say of themselves, by name: read once, and only of those that are asked about."""

    def __init__(self, held: dict[str, metadata.Distribution]) -> None:
        super().__init__()
        self.held = held

    def __missing__(self, name: str) -> metadata.PackageMetadata:
        self[name] = told = self.held[name].metadata
        return told

    def requires(self, name: str) -> list[str]:
        return [str(line) for line in self[name].get_all("Requires-Dist") or []]


def normal(name: str) -> str:
    """A package's name as names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _needed_by_vidconf(told: _Told) -> list[str] | None:
    """What vidconf asks for: by its own metadata, or in a checkout by pyproject.toml. None: neither is here."""
    if "vidconf" in told.held:
        return [line for line in told.requires("vidconf") if _extra(line) in ("", "server")]
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    try:
        said = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        return [*said["dependencies"], *said["optional-dependencies"]["server"]]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return None


def _reached(roots: Iterable[str], told: _Told) -> set[str]:
    """Names of installed packages that `roots` lead to. Markers are not weighed: what does not fit this machine is not installed."""
    names: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [one for line in roots for one in _wants(line)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen or name not in told.held:
            continue
        seen.add((name, extra))
        names.add(name)
        waiting += [one for line in told.requires(name) if _extra(line) == extra for one in _wants(line)]
    return names


def _wants(line: str) -> Iterator[tuple[str, str]]:
    """(package, extra) of a requirement: the package itself, and each extra asked of it."""
    match = _NAME.match(line)
    if match is None:
        return
    name = normal(match[1])
    yield name, ""
    for extra in (match[2] or "").split(","):
        if extra.strip():
            yield name, normal(extra.strip())


def _extra(line: str) -> str:
    """The extra for which a requirement counts, "" for always."""
    match = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
    return normal(match[1]) if match else ""


def _component(one: metadata.Distribution, told: metadata.PackageMetadata) -> Component:
    licence = _licence(told)
    return Component(told["Name"], told["Version"], licence, home=_home(told), sources=_licence_files(one) or _standing_in(licence))


def _licence_files(one: metadata.Distribution) -> tuple[Path, ...]:
    """In its `dist-info`. Looked for there, since some have no list of their files, and Qt's is very long."""
    folder = getattr(one, "_path", None)  # importlib has no public name for it
    if not isinstance(folder, Path) or not folder.is_dir():
        return ()
    return tuple(sorted(file for file in folder.rglob("*") if _LICENCE_FILE.fullmatch(file.name) and file.is_file()))


def _licence(told: metadata.PackageMetadata) -> str:
    plain = _first(told, "License-Expression") or _first(told, "License")
    if plain and "\n" not in plain and len(plain) <= 120:
        return _SPELLINGS.get(plain, plain)
    for classifier in told.get_all("Classifier") or []:
        kind, _, name = str(classifier).rpartition(" :: ")
        if kind.startswith("License"):
            return _CLASSIFIERS.get(name, name)
    return UNKNOWN


def _first(told: metadata.PackageMetadata, name: str) -> str:
    return str((told.get_all(name) or [""])[0]).strip()


def _standing_in(licence: str) -> tuple[Path, ...]:
    first = next((name for name in _COMMON if name in licence), None)
    if first is None:
        return ()
    return (_text(first), _text("GPL-3.0")) if first == "LGPL-3.0" else (_text(first),)


def _home(told: metadata.PackageMetadata) -> str:
    """Where its source is, as it says itself."""
    urls: dict[str, str] = {}
    for line in told.get_all("Project-URL") or []:
        label, _, url = line.partition(",")
        urls[re.sub(r"[^a-z]", "", label.lower())] = url.strip()
    named = next((urls[label] for label in ("source", "sourcecode", "repository", "github", "homepage", "home") if urls.get(label)), "")
    return named or _first(told, "Home-page") or next(iter(urls.values()), "")


def _text(name: str) -> Path:
    return resource(*name.split("/")) if "/" in name else resource("licences", f"{name}.txt")
