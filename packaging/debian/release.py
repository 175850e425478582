"""The version of a package, and its changelog, from the checkout's own: `__version__` and CHANGELOG.md. Standard library only.

python3 release.py version [--version V] [--suffix S]      Debian's form of the version: 0.2.0rc1 -> 0.2.0~rc1-1
python3 release.py changelog --package NAME [--version V] [--suffix S] [--epoch SECONDS]
"""

from __future__ import annotations

import argparse
import calendar
import os
import re
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAINTAINER = "vidconf maintainers <packages@example.gov.vn>"
_VERSION = re.compile(
    r"(?P<number>\d+(?:\.\d+)*)(?P<pre>(?:a|b|rc)\d+)?(?P<post>\.post\d+)?(?P<dev>\.dev\d+)?(?P<local>\+[a-z0-9]+(?:[.][a-z0-9]+)*)?"
)
_HEADING = re.compile(r"## \[(?P<name>[^\]]+)\](?: - (?P<date>\d{4}-\d{2}-\d{2}))?\s*")


@dataclass(frozen=True)
class Release:
    """One heading of CHANGELOG.md: a version, or `Unreleased`; its day (UTC, "" when it has none yet); its points."""

    name: str
    date: str
    points: tuple[str, ...]


def maintainer() -> str:
    """Who answers for the package: DEBFULLNAME and DEBEMAIL, as Debian's own tools have it, else a stand-in."""
    name, email = os.environ.get("DEBFULLNAME", ""), os.environ.get("DEBEMAIL", "")
    return f"{name} <{email}>" if name and email else MAINTAINER


def source_version(root: Path = ROOT) -> str:
    """`__version__` of the checkout. Raises ValueError."""
    text = (root / "src/vidconf/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if found is None:
        raise ValueError("src/vidconf/__init__.py says no version")
    return found[1]


def debian_version(version: str, suffix: str = "", revision: int = 1) -> str:
    """Debian's form of a Python version (PEP 440), which sorts as that does. `suffix` tells builds for one release apart (`+deb12`).

    Raises ValueError for what is no version.
    """
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ValueError(f"{version!r} is not a version such as 1.2.3 or 1.2.3rc1")
    if re.fullmatch(r"(?:\+[a-z0-9.~]+)?", suffix) is None:
        raise ValueError(f"{suffix!r} is not a suffix such as +deb12")
    part = {name: text or "" for name, text in found.groupdict().items()}
    # A "~" sorts before everything, even before the end: what comes before a version in Python gets one, `.dev` before all of it two.
    upstream = part["number"]
    if part["pre"]:
        upstream += f"~{part['pre']}"
    if part["post"]:
        upstream += f"+{part['post'][1:]}"
    if part["dev"]:
        upstream += f"~~{part['dev'][1:]}"
    return f"{upstream}{part['local']}-{revision}{suffix}"


def releases(text: str) -> list[Release]:
    """The headings of a changelog in the form of Keep a Changelog, newest first as written."""
    found: list[Release] = []
    name, date, points = "", "", []
    for line in [*text.splitlines(), "## [end]"]:
        heading = _HEADING.fullmatch(line)
        if heading is not None:
            if name:
                found.append(Release(name, date, tuple(" ".join(point.split()) for point in points)))
            name, date, points = heading["name"], heading["date"] or "", []
        elif line.startswith("- "):
            points.append(line[2:])
        elif points and line.startswith("  "):
            points[-1] += " " + line.strip()
    return found


def changelog(package: str, version: str, epoch: int, text: str, suffix: str = "") -> str:
    """The package's changelog in Debian's form. What is not released yet belongs to `version`, dated `epoch` (seconds, UTC)."""
    entries = []
    built = debian_version(version, suffix)
    known = releases(text)
    if not any(release.name == version for release in known):
        points = next((release.points for release in known if release.name == "Unreleased"), ())
        entries.append(_entry(package, built, points or ("A build of this version.",), epoch))
    for release in known:
        if release.name == "Unreleased":
            continue
        moment = calendar.timegm(time.strptime(release.date, "%Y-%m-%d")) if release.date else epoch
        entries.append(_entry(package, debian_version(release.name, suffix), release.points or ("See the changelog.",), moment))
    return "\n".join(entries)


def _entry(package: str, version: str, points: tuple[str, ...], epoch: int) -> str:
    lines = [f"{package} ({version}) stable; urgency=medium", ""]
    for point in points:
        plain = point.replace("`", "")
        lines += textwrap.wrap(plain, 76, initial_indent="  * ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    # Names of days and months by hand: strftime would take the locale's.
    moment = time.gmtime(epoch)
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[moment.tm_wday]
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[moment.tm_mon - 1]
    date = f"{day}, {moment.tm_mday:02d} {month} {moment.tm_year} {moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d} +0000"
    return "\n".join([*lines, "", f" -- {maintainer()}  {date}", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description="The version of a Debian package, and its changelog, from the checkout's own.")
    parser.add_argument("what", choices=("version", "changelog"))
    parser.add_argument("--package", default="vidconf")
    parser.add_argument("--version", default="", help="instead of the checkout's own")
    parser.add_argument("--suffix", default="", help="of a build for one release of Debian or Ubuntu, such as +deb12")
    parser.add_argument("--epoch", type=int, default=int(os.environ.get("SOURCE_DATE_EPOCH", "0")))
    told = parser.parse_args()
    try:
        version = told.version or source_version()
        if told.what == "version":
            print(debian_version(version, told.suffix))
        else:
            text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
            sys.stdout.write(changelog(told.package, version, told.epoch, text, told.suffix))
    except (OSError, ValueError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
