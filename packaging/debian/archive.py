"""Makes a .deb of a folder so that the same folder makes the same bytes: fixed times, owners, modes and order. Standard library and dpkg-deb.

    python3 archive.py --tree DIR --control FILE --out DIR [--conffile /etc/…]… [--script postinst=FILE]…

`DIR` holds what is installed (`opt/…`, `usr/…`). `FILE` holds the control fields but Installed-Size, which is counted here.
The result is `<Package>_<Version>_<Architecture>.deb`; its path is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config", "triggers", "templates")


class ArchiveError(Exception):
    """The package cannot be made; the text says why."""


def fields(text: str) -> dict[str, str]:
    """Control fields by name; a value that goes on keeps its line breaks. Raises ArchiveError."""
    found: dict[str, str] = {}
    name = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(" ") and name:
            found[name] += f"\n{line}"
        elif (match := re.fullmatch(r"([A-Za-z][A-Za-z0-9-]*): ?(.*)", line)) is not None:
            name = match[1]
            if name in found:
                raise ArchiveError(f"control line {number}: {name} stands twice")
            found[name] = match[2]
        elif line.strip():
            raise ArchiveError(f"control line {number} is no field: {line!r}")
    for needed in ("Package", "Version", "Architecture", "Maintainer", "Description"):
        if not found.get(needed):
            raise ArchiveError(f"the control file has no {needed}")
    return found


def installed_kib(tree: Path) -> int:
    """As dpkg-gencontrol counts: files by whole KiB, everything else as one."""
    total = 0
    for path in tree.rglob("*"):
        status = path.lstat()
        total += -(-status.st_size // 1024) if stat.S_ISREG(status.st_mode) else 1
    return total


def settle(tree: Path, epoch: int) -> None:
    """One time for all, and modes that do not depend on who built: 0755 for folders and what can be run, else 0644.

    A mode stricter than that (0600, 0750) was meant and stays. Raises ArchiveError for what is no file, folder or link.
    """
    for path in sorted(tree.rglob("*"), reverse=True):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            pass
        elif stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
            mode = stat.S_IMODE(status.st_mode)
            strict = not mode & 0o007
            if not strict:
                path.chmod(0o755 if stat.S_ISDIR(status.st_mode) or mode & 0o100 else 0o644)
        else:
            raise ArchiveError(f"{path} is no file, folder or link")
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    tree.chmod(0o755)
    os.utime(tree, (epoch, epoch))


def md5sums(tree: Path) -> str:
    """dpkg's list, by which `debsums` finds what was changed."""
    lines = []
    for path in sorted(tree.rglob("*")):
        inside = path.relative_to(tree)
        if path.is_file() and not path.is_symlink() and inside.parts[0] != "DEBIAN":
            lines.append(f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {inside}\n")
    return "".join(lines)


def make(
    tree: Path,
    control: str,
    out: Path,
    epoch: int,
    *,
    conffiles: Sequence[str] = (),
    scripts: Mapping[str, Path] | None = None,
    compressor: str = "xz",
) -> Path:
    """The package of `tree`, in `out`. `tree` gets a DEBIAN folder, and its times and modes are set. Raises ArchiveError."""
    told = fields(control)
    meta = tree / "DEBIAN"
    shutil.rmtree(meta, ignore_errors=True)
    told["Installed-Size"] = str(installed_kib(tree))
    listed = md5sums(tree)
    meta.mkdir()
    # Description goes last, as everybody writes it.
    description = told.pop("Description")
    (meta / "control").write_text("".join(f"{k}: {v}\n" for k, v in told.items()) + f"Description: {description}\n", encoding="utf-8")
    (meta / "md5sums").write_text(listed, encoding="utf-8")
    if conffiles:
        for name in conffiles:
            if not name.startswith("/etc/") or not tree.joinpath(name[1:]).is_file():
                raise ArchiveError(f"{name} is no file under /etc in the package")
        (meta / "conffiles").write_text("".join(f"{name}\n" for name in sorted(conffiles)), encoding="utf-8")
    for name, source in (scripts or {}).items():
        if name not in SCRIPTS:
            raise ArchiveError(f"dpkg knows no script called {name}")
        shutil.copyfile(source, meta / name)
        (meta / name).chmod(0o644 if name in ("triggers", "templates") else 0o755)
    settle(tree, epoch)
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{told['Package']}_{told['Version']}_{told['Architecture']}.deb"
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}
    # Two threads whatever the machine has: xz cuts its blocks by that.
    command = ["dpkg-deb", "--root-owner-group", f"-Z{compressor}", "--threads-max=2", "--build", str(tree), str(target)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    except OSError as error:
        raise ArchiveError(f"dpkg-deb: {error.strerror}") from None
    if done.returncode != 0:
        raise ArchiveError(done.stderr.strip())
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes a .deb of a folder; the same folder makes the same bytes.")
    parser.add_argument("--tree", type=Path, required=True, metavar="DIR", help="what is installed; its times and modes are set")
    parser.add_argument("--control", type=Path, required=True, metavar="FILE", help="the fields, but Installed-Size")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--conffile", action="append", default=[], metavar="/etc/…", help="kept as the administrator changed it")
    parser.add_argument("--script", action="append", default=[], metavar="NAME=FILE", help=", ".join(SCRIPTS))
    parser.add_argument("--compressor", default="xz", choices=("xz", "zstd", "gzip", "none"))
    parser.add_argument(
        "--epoch", type=int, default=int(os.environ.get("SOURCE_DATE_EPOCH", "0")), help="the time of all files (SOURCE_DATE_EPOCH)"
    )
    told = parser.parse_args()
    try:
        scripts = dict(part.split("=", 1) for part in told.script)
    except ValueError:
        parser.error("--script takes NAME=FILE")
    try:
        target = make(
            told.tree, told.control.read_text(encoding="utf-8"), told.out, told.epoch,
            conffiles=told.conffile, scripts={name: Path(file) for name, file in scripts.items()}, compressor=told.compressor,
        )  # fmt: skip
    except (ArchiveError, OSError) as error:
        print(f"archive: {error}", file=sys.stderr)
        return 1
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
