"""The Windows that is checked on: a Wine prefix with a screen, its registry, and a copy of the program that Wine can load.

Wine 8 lacks three system libraries (wine-shims/) and cannot load numpy: the copy has the first and not the second. What is
installed is never touched.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from winbuild import launcher, product, trim
from winbuild.running import RunError, run
from winbuild.wine import Ran, Wine, end, windows_path

from wincheck.report import Broken

SHIMS = Path(__file__).resolve().parent.parent / "wine-shims"
LINKED = {"bcryptprimitives": ("-ladvapi32",)}
INSTALLED = ("Program Files", product.NAME)
OVERRIDES = "mscoree,mshtml=;mscms,icuuc,bcryptprimitives=n,b"


class Screen:
    """An X server of its own, and its display's name. `with Screen() as screen:`"""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self.display = ""

    def __enter__(self) -> Screen:
        words = ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"]
        try:
            self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except FileNotFoundError:
            raise RunError("Xvfb is not installed") from None
        assert self._process.stdout is not None
        self.display = f":{self._process.stdout.readline().strip()}"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)

    def windows(self) -> str:
        """Titles and programs of what is on it."""
        return run(["xwininfo", "-display", self.display, "-root", "-tree"])


class Machine:
    """`folder`: all of it, the prefix and the copy. `close` ends whatever still runs in it."""

    def __init__(self, folder: Path, screen: Screen) -> None:
        self.folder, self.screen = folder, screen
        home = folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        # Wine links the user's folders (Desktop among them) to this HOME
        self.wine = Wine(folder / "prefix", {"DISPLAY": screen.display, "WINEDLLOVERRIDES": OVERRIDES, "HOME": str(home)})
        self.installed = self.wine.drive_c.joinpath(*INSTALLED)
        self.copy = folder / "copy"
        self._waiting: subprocess.Popen[str] | None = None

    def boot(self) -> None:
        """Make the prefix; from here on one program waits in it, or Wine would start and stop anew around each. Raises `RunError`."""
        self.wine.prepare()
        self._waiting = self.wine.start(["cmd"])
        assert self._waiting.stdin is not None
        assert self._waiting.stdout is not None
        self._waiting.stdin.write("echo it is up\n")
        self._waiting.stdin.flush()
        # until then Wine's services start, and would hold the pipes of whatever is started beside it
        while "it is up" not in (line := self._waiting.stdout.readline()):
            if not line:
                raise RunError("Wine does not start")

    def close(self) -> None:
        self.wine.close()
        if self._waiting is not None:
            end(self._waiting)
            self._waiting.communicate()

    def msiexec(self, *words: str | Path, seconds: float = 300) -> Ran:
        """Silent and without a restart."""
        return self.wine.run(
            ["msiexec", *(windows_path(w) if isinstance(w, Path) else w for w in words), "/qn", "/norestart"], seconds=seconds
        )

    def value(self, key: str, name: str = "") -> str | None:
        """A text of the registry ("": the key's default), None where there is none."""
        done = self.wine.run(["reg", "query", key, *(["/v", name] if name else ["/ve"])])
        match = re.search(r"(?m)^    .*?    REG_[A-Z_]+(?:    (.*))?$", done.out)
        return (match[1] or "").rstrip() if done.code == 0 and match else None

    def has_key(self, key: str) -> bool:
        return self.wine.run(["reg", "query", key]).code == 0

    def program(self, *words: str, seconds: float = 120) -> Ran:
        """The installed vidconf-cli.exe."""
        return self.wine.run([self.installed / product.CONSOLE, *words], seconds=seconds)

    def copied(self, *words: str, seconds: float = 120) -> Ran:
        """vidconf-cli.exe of the copy."""
        return self.wine.run([self.copy / product.CONSOLE, *words], seconds=seconds)

    def links(self) -> list[str]:
        """The shortcuts of users and of everybody: file names below their folders."""
        found = [*(self.wine.drive_c).rglob("*.lnk"), *(self.folder / "home").rglob("*.lnk")]
        return sorted({f"{path.parent.name}/{path.name}" for path in found if path.name == f"{product.NAME}.lnk"})

    def make_copy(self) -> None:
        """From what is installed. Raises `RunError`, `Broken`."""
        if not (self.installed / product.CONSOLE).is_file():
            raise Broken("nothing is installed")
        if self.copy.exists():
            shutil.rmtree(self.copy)
        shutil.copytree(self.installed, self.copy)
        trim.without_numpy(self.copy / "app")
        for source in sorted(SHIMS.glob("*.c")):
            linked = LINKED.get(source.stem, ())
            run([f"{launcher.PREFIX}gcc", "-shared", "-O2", "-s", "-o", self.copy / f"{source.stem}.dll", source, *linked])
