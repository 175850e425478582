"""What the packed client needs of the system: asked of the libraries themselves, by dpkg-shlibdeps. Standard library and dpkg-dev.

    python3 depends.py --tree DIR        prints the value of Depends

The names are those of the building release. Where a later one renamed a package (64-bit time), both names are given.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

LOADED_AT_RUN = ("libasound2", "libxcb1", "ca-certificates")
"""What no library names, since the program opens it itself: sound by ALSA, X by libxcb; and whom to trust."""
RENAMED = (
    "libasound2", "libglib2.0-0", "libssl3", "libcups2", "libgnutls30", "libcurl4", "libgtk-3-0", "libreadline8", "libpng16-16", "libatk1.0-0",
    "libatk-bridge2.0-0", "libuv1", "libelf1", "libdb5.3", "libgdbm6",
)  # fmt: skip
"""Called `…t64` since Ubuntu 24.04 and Debian 13."""


class DependsError(Exception):
    """It cannot be told what the tree needs; the text says why."""


def is_elf(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def needed(tree: Path) -> list[str]:
    """Packages, with the least versions, that the ELF files below `tree` are linked to. Raises DependsError."""
    files = sorted(path for path in tree.rglob("*") if is_elf(path))
    if not files:
        raise DependsError(f"no program or library below {tree}")
    folders = sorted({path.parent for path in files})
    with tempfile.TemporaryDirectory() as folder:
        control = Path(folder) / "debian/control"
        control.parent.mkdir()
        control.write_text("Source: vidconf\n\nPackage: vidconf\nArchitecture: any\nDescription: vidconf\n", encoding="utf-8")
        command = ["dpkg-shlibdeps", "-O", "--ignore-missing-info", f"-S{tree.resolve()}"]
        command += [f"-l{path.resolve()}" for path in folders]
        command += [f"-e{path.resolve()}" for path in files]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        except OSError as error:
            raise DependsError(f"dpkg-shlibdeps: {error.strerror}") from None
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    if done.returncode != 0:
        raise DependsError("\n".join(errors) or done.stderr.strip())
    return parsed(done.stdout)


def parsed(printed: str) -> list[str]:
    """The packages in what dpkg-shlibdeps prints. Raises DependsError."""
    found = re.fullmatch(r"shlibs:Depends=(.*)", printed.strip())
    if found is None:
        raise DependsError(f"dpkg-shlibdeps printed {printed!r}")
    return [part.strip() for part in found[1].split(",") if part.strip()]


def named(packages: Iterable[str]) -> str:
    """The value of Depends: sorted, each once, with a second name where a later release has one."""
    wanted: dict[str, str] = {}
    for package in [*packages, *LOADED_AT_RUN]:
        name = re.split(r"[ (|]", package, maxsplit=1)[0]
        if name not in wanted or len(package) > len(wanted[name]):
            wanted[name] = package
    parts = []
    for name in sorted(wanted):
        package = wanted[name]
        parts.append(f"{package} | {package.replace(name, f'{name}t64', 1)}" if name in RENAMED and "|" not in package else package)
    return ", ".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description="The Depends of the packed client.")
    parser.add_argument("--tree", type=Path, required=True, metavar="DIR", help="what is installed")
    told = parser.parse_args()
    try:
        print(named(needed(told.tree)))
    except DependsError as error:
        print(f"depends: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
