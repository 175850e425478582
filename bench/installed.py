"""Installers as somebody gets them: how large they are, packed and unpacked, and how long the client takes to start.

    python bench/installed.py dist/*.deb dist/*.msi dist/*.zip [--rounds 5] [--drop-caches] [--json]

A Debian package of the client is unpacked (nothing is installed) and started: the command line alone (`vidconf --version`), and the window
until it answers a second start, on Qt's offscreen platform with an empty home. Cold: none of its files is in memory (with `--drop-caches`,
as root, nothing of the whole machine is: the system's libraries come from the disk too); warm: started just before. Of an MSI and a ZIP the
sizes are told; what starts under Wine says nothing of Windows. Linux only. Prints a table: medians, and the worst of the cold ones.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

WAIT_S = 60.0
MB = 1_000_000


def unpacked(installer: Path, folder: Path) -> bool:
    """The installer's files in `folder`; False where this machine has nothing that opens it."""
    if installer.suffix == ".zip":
        with zipfile.ZipFile(installer) as archive:
            archive.extractall(folder)
        return True
    command = {".deb": ["dpkg-deb", "-x", str(installer), str(folder)], ".msi": ["msiextract", "-C", str(folder), str(installer)]}[
        installer.suffix
    ]
    if shutil.which(command[0]) is None:
        return False
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return True


def weight(folder: Path) -> tuple[int, int]:
    """Bytes and number of the files below."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(sizes), len(sizes)


def forget(folder: Path, everything: bool) -> None:
    """Has the kernel forget the files below, or all it has read."""
    os.sync()
    if everything:
        Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="ascii")
        return
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def environment(home: Path) -> dict[str, str]:
    for name in ("run", "tmp"):
        (home / name).mkdir(exist_ok=True, mode=0o700)
    return {
        "HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(home / "run"),
        "TMPDIR": str(home / "tmp"), "VIDCONF_INSTANCE": "bench",
    }  # fmt: skip


def version_s(program: Path, home: Path) -> float:
    """Seconds of `vidconf --version`."""
    began = time.monotonic()
    subprocess.run([program, "--version"], env=environment(home), check=True, stdout=subprocess.DEVNULL, timeout=WAIT_S)
    return time.monotonic() - began


def window_s(program: Path, home: Path) -> float:
    """Seconds from the start until the window answers a second start. Raises RuntimeError when it ends before, or never does."""
    began = time.monotonic()
    process = subprocess.Popen([program], env=environment(home), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)  # fmt: skip
    try:
        while time.monotonic() - began < WAIT_S:
            if process.poll() is not None:
                raise RuntimeError(f"the window ended with {process.returncode}")
            if any(_answers(path) for path in (home / "tmp").glob("vidconf-*") if path.is_socket()):
                return time.monotonic() - began
            time.sleep(0.01)
        raise RuntimeError(f"no window within {WAIT_S:.0f} s")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(path: Path) -> bool:
    """As a second start would say hello (`gui/single_instance.py`)."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(WAIT_S)
        try:
            line.connect(str(path))
            line.sendall(b"vidconf 1 \n")
            return line.recv(16) == b"ok\n"
        except OSError:
            return False


def starts(tree: Path, rounds: int, everything: bool) -> dict[str, Any] | None:
    """Cold and warm starts of the client below `tree`, in seconds; None when there is none in it."""
    program = tree / "opt/vidconf/vidconf"
    if not program.is_file():
        return None
    measures: dict[str, Callable[[Path, Path], float]] = {"command": version_s, "window": window_s}
    found: dict[str, Any] = {}
    for name, measure in measures.items():
        times: dict[str, list[float]] = {"cold": [], "warm": []}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as home:
                forget(tree, everything)
                times["cold"].append(measure(program, Path(home)))
            with tempfile.TemporaryDirectory() as home:
                times["warm"].append(measure(program, Path(home)))
        found[name] = {
            "cold_s": round(statistics.median(times["cold"]), 2), "cold_worst_s": round(max(times["cold"]), 2), "warm_s": round(statistics.median(times["warm"]), 2),
        }  # fmt: skip
    return found


def measured(installer: Path, rounds: int, everything: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"installer": installer.name, "packed_mb": round(installer.stat().st_size / MB, 1)}
    with tempfile.TemporaryDirectory(prefix="vidconf-installed-", dir=installer.resolve().parent) as folder:  # on the disk, not in memory
        tree = Path(folder)
        if unpacked(installer, tree):
            size, files = weight(tree)
            found |= {"unpacked_mb": round(size / MB, 1), "files": files}
            if installer.suffix == ".deb" and sys.platform == "linux":
                found["starts"] = starts(tree, rounds, everything)
    return found


def row(found: dict[str, Any]) -> str:
    """A line of the table."""
    cells = [found["installer"], f"{found['packed_mb']:.1f}", f"{found['unpacked_mb']:.0f} / {found['files']}" if "files" in found else "–"]
    for name in ("command", "window"):
        told = (found.get("starts") or {}).get(name)
        cells.append(f"{told['cold_s']:.2f} ({told['cold_worst_s']:.2f}) / {told['warm_s']:.2f}" if told else "–")
    return f"| {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("installers", nargs="+", type=Path, metavar="FILE", help=".deb, .msi or .zip")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--drop-caches", action="store_true", help="as root: the whole machine's, not only the client's files")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    for installer in told.installers:
        if not installer.is_file() or installer.suffix not in (".deb", ".msi", ".zip"):
            parser.error(f"{installer} is no .deb, .msi or .zip")
    if told.drop_caches and not os.access("/proc/sys/vm/drop_caches", os.W_OK):
        parser.error("--drop-caches needs root rights")
    rows = [measured(installer, told.rounds, told.drop_caches) for installer in told.installers]
    if told.json:
        print(json.dumps(rows, indent=2))
        return 0
    print("| installer | MB | unpacked MB / files | `vidconf --version` cold (worst) / warm, s | window answers cold (worst) / warm, s |")
    print("|---|---|---|---|---|")
    print("\n".join(map(row, rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
