"""`packaging/updates/check ZIP`: the portable Windows program finds, verifies, tries and starts its next version, under Wine.

The next version is made from the ZIP itself; the site is made by `vidconf updates` and served on loopback. In the copy that is
tried Wine 8 gets three small libraries it lacks and loses numpy, which it cannot load.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from winbuild import launcher, product, trim
from winbuild.running import RunError, run
from winbuild.wine import Wine, end
from wincheck.machine import LINKED, OVERRIDES, SHIMS, Screen
from wincheck.report import Broken, Report, must

NEXT = "99.0.0"
LOOK_S = 150.0
"""After the start up to 40 s pass until the site is asked, and under Wine a start takes 10."""
INIT = "app/vidconf/__init__.py"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="packaging/updates/check",
        description="Try the portable program's replacement of itself under Wine. Exit 1 when a promise fails.",
    )
    parser.add_argument("zip", type=Path, metavar="ZIP", help="what packaging/windows/build made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON, too")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave Wine's folder and logs here")
    told = parser.parse_args(words)
    if not told.zip.is_file():
        parser.error(f"there is no {told.zip}")
    report = Report(lambda text: print(text, flush=True))
    folder = told.keep.resolve() if told.keep is not None else Path(tempfile.mkdtemp(prefix="vidconf-updates-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with Screen() as screen:
            _try(report, told.zip.resolve(), folder, screen)
    except (RunError, OSError) as error:
        print(f"check: {error}", file=sys.stderr)
        return 1
    finally:
        if told.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    if told.json is not None:
        told.json.write_text(json.dumps({"zip": told.zip.name, **report.as_json()}, indent=2) + "\n", encoding="utf-8")
    return 0 if report.good else 1


def _try(report: Report, archive: Path, folder: Path, screen: Screen) -> None:
    site, keys, root = folder / "site", folder / "keys", folder / "vidconf"
    version = _unpack(archive, folder)
    following = _following(root, version, folder / f"vidconf-{NEXT}-x64-portable.zip")
    _updates("init", site, keys)
    _updates("publish", site, keys, NEXT, "--file", f"windows-portable={following}")
    shutil.copy(keys / "update-root.json", root)
    wine = Wine(folder / "prefix", {"DISPLAY": screen.display, "WINEDLLOVERRIDES": OVERRIDES, "HOME": str(folder)})
    try:
        with _served(site) as url:
            wine.prepare()
            logs = _settle(wine, {"update_url": url, "update_mode": "auto", "sounds": False, "language": "en"})
            current = root / "current"
            with report.promise("the starter starts the version that the ZIP brought"):
                must(_version(wine, root) == version, f"it says {_version(wine, root)}")
            with report.promise("a ZIP that was changed after it was signed is not used") as found:
                (stored,) = site.glob("targets/*.zip")
                good = stored.read_bytes()
                stored.write_bytes(good[:-100] + bytes(100))
                _run(wine, root, lambda: "was not brought in: tampered" in _read(logs))
                must(current.read_text().strip() == version, "another version is to start")
                must(os.listdir(root / "versions") == [version], f"there lie {os.listdir(root / 'versions')}")
                found.append("the log says: tampered")
                stored.write_bytes(good)
            with report.promise(f"version {NEXT} is found, verified, unpacked, started once, and is to start next") as found:
                took_s = _run(wine, root, lambda: current.read_text().strip() == NEXT)
                must((root / "versions" / version).is_dir(), "the running version was removed")
                found.append(f"{took_s:.0f} s after the start")
            with report.promise("the next start is the new version"):
                must(_version(wine, root) == NEXT, f"it says {_version(wine, root)}")
            with report.promise("once it runs, the old version goes") as found:
                _run(wine, root, lambda: os.listdir(root / "versions") == [NEXT])
                found.append("one version lies there")
    finally:
        wine.close()


def _unpack(archive: Path, folder: Path) -> str:
    """The version the ZIP brings, unpacked as a user does, and made fit for Wine. Raises `RunError`."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    root = folder / "vidconf"
    version = (root / "current").read_text().strip()
    program = root / "versions" / version
    trim.without_numpy(program / "app")
    for source in sorted(SHIMS.glob("*.c")):
        run([f"{launcher.PREFIX}gcc", "-shared", "-O2", "-s", "-o", program / f"{source.stem}.dll", source, *LINKED.get(source.stem, ())])
    return version


def _following(root: Path, version: str, target: Path) -> Path:
    """A portable ZIP of `NEXT`: this very program, which says it is another."""
    source = root / "versions" / version
    own = (source / INIT).read_text(encoding="utf-8")
    if f'"{version}"' not in own:
        raise RunError(f"{INIT} does not name the version")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        made.write(root / product.PORTABLE_MARKER, f"vidconf/{product.PORTABLE_MARKER}")
        for path in sorted(source.rglob("*")):
            name = path.relative_to(source).as_posix()
            if name == INIT:
                made.writestr(f"vidconf/versions/{NEXT}/{name}", own.replace(f'"{version}"', f'"{NEXT}"'))
            elif path.is_file() and not name.startswith("app/vidconf/__pycache__/__init__."):  # compiled, it would count before its source
                made.write(path, f"vidconf/versions/{NEXT}/{name}")
    return target


def _updates(what: str, site: Path, keys: Path, *words: str) -> None:
    environment = {"VIDCONF_UPDATES_PASSPHRASE": "a passphrase for a trial"}
    run([sys.executable, "-m", "vidconf.cli.main", "updates", what, site, *words, "--keys", keys], environment=environment)


@contextmanager
def _served(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _settle(wine: Wine, settings: dict[str, object]) -> Path:
    """The user's settings; the folder where the program's logs will be."""
    users = [user for user in (wine.drive_c / "users").iterdir() if user.is_dir() and user.name != "Public"]
    if len(users) != 1:
        raise Broken(f"Wine has {len(users)} users")
    folder = users[0] / "AppData" / "Local" / "vidconf"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


def _read(logs: Path) -> str:
    return "".join(file.read_text(encoding="utf-8", errors="replace") for file in logs.rglob("*.log"))


def _version(wine: Wine, root: Path) -> str:
    """What the starter at the top starts."""
    return wine.checked([root / product.CONSOLE, "--version"]).split()[-1]


def _run(wine: Wine, root: Path, done: Callable[[], bool]) -> float:
    """The window, until `done()`; how long that took. Raises `Broken`."""
    began = time.monotonic()
    process: subprocess.Popen[str] = wine.start([root / product.WINDOW])
    try:
        while not done():
            if time.monotonic() - began > LOOK_S:
                raise Broken(f"it has not come true within {LOOK_S:.0f} s")
            time.sleep(0.5)
        return time.monotonic() - began
    finally:
        end(process)
        wine.close()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


if __name__ == "__main__":
    sys.exit(main())
