"""The server's lock, cut out of the whole one: what `vidconf serve` and its commands need, without the window. Standard library only.

    python3 lock.py                     prints it
    python3 lock.py --write             writes requirements-server.lock beside this file; a test holds it to requirements.lock
    python3 lock.py --of hatchling --from ../../../requirements-dev.lock     one package and what it needs, of any such lock

A lock says of each package `# via` whom it is there. What remains when the window's own packages and everything that is there for
them alone are taken away is the server's. Hashes and markers stay as they are; packages for Windows alone are left out.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
WHOLE = HERE.parents[2] / "requirements.lock"
SERVER = HERE / "requirements-server.lock"
PROJECT = "vidconf"
WINDOW = ("pyside6-essentials", "qasync", "keyring", "sounddevice", "tuf", "securesystemslib")
"""Qt and its loop, the desktop's keyring, PortAudio, and signed word of new versions: an installed server has none of them."""
_HEAD = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==\S+(?P<marker> *;[^\\]*)?")


class LockError(Exception):
    """The lock is not written as uv and pip-compile write it; the text names the line."""


@dataclass(frozen=True)
class Entry:
    """One package: its lines as they stand, and whom it is there for."""

    name: str
    marker: str
    via: tuple[str, ...]
    lines: tuple[str, ...]


def entries(text: str) -> list[Entry]:
    """The packages of a lock. Raises LockError."""
    found: list[list[str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or (line.startswith("#") and not found):
            continue
        if _HEAD.match(line):
            found.append([line])
        elif found and line.startswith("    "):
            found[-1].append(line)
        else:
            raise LockError(f"line {number}: {line!r}")
    return [_entry(lines) for lines in found]


def _entry(lines: list[str]) -> Entry:
    head = _HEAD.match(lines[0])
    assert head is not None
    via: list[str] = []
    for line in lines[1:]:
        word = line.strip()
        if not word.startswith("#"):
            continue
        word = word[1:].strip()
        whom = word[3:].strip() if word.startswith("via") else word
        if whom:
            via.append(_plain(whom.split(" ")[0].split("[")[0]))
    if not via:
        raise LockError(f"{head['name']}: no line says for whom it is there (# via …)")
    return Entry(_plain(head["name"]), (head["marker"] or "").strip(" ;"), tuple(via), tuple(lines))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(packages: Iterable[Entry], roots: Collection[str], without: Collection[str] = ()) -> list[Entry]:
    """`roots`, and whatever is there for one that stays; none of `without`, nor what is for Windows or macOS alone."""
    here = [
        one for one in packages if one.name not in without and not re.search(r"sys_platform (== '(win32|darwin)'|!= 'linux')", one.marker)
    ]
    kept = set(roots)
    before = -1
    while before != len(kept):
        before = len(kept)
        kept |= {one.name for one in here if kept.intersection(one.via)}
    return [one for one in here if one.name in kept]


def server(text: str) -> str:
    """The server's lock of the whole one. Raises LockError."""
    packages = entries(text)
    gone = [name for name in WINDOW if name not in {one.name for one in packages}]
    if gone:
        raise LockError(f"WINDOW names what is in no lock: {', '.join(gone)}")
    kept = needed(packages, [PROJECT], WINDOW)
    return "".join(f"{line}\n" for one in kept for line in one.lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="The server's lock, cut out of the whole one.")
    parser.add_argument("--from", dest="whole", type=Path, default=WHOLE, metavar="FILE")
    parser.add_argument("--of", action="append", default=[], metavar="PACKAGE", help="instead: this one and what it needs")
    parser.add_argument("--write", action="store_true", help=f"into {SERVER.name}")
    told = parser.parse_args()
    try:
        text = told.whole.read_text(encoding="utf-8")
        if told.of:
            found = "".join(f"{line}\n" for one in needed(entries(text), [_plain(name) for name in told.of]) for line in one.lines)
        else:
            found = server(text)
    except (OSError, LockError) as error:
        print(f"lock: {error}", file=sys.stderr)
        return 1
    if told.write:
        SERVER.write_text(found, encoding="utf-8")
    else:
        sys.stdout.write(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
