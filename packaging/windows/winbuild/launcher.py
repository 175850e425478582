"""Compiles `vidconf.exe` and `vidconf-cli.exe`, with icon, manifest and version, for Windows x64. Runs mingw-w64's compiler.

Two pairs of the same names: the program's own, and those at the top of the portable folder, which start the newest version there.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from winbuild import product
from winbuild.running import run

SOURCES = Path(__file__).resolve().parent.parent / "launcher"
ICON = SOURCES.parent / "vidconf.ico"
PREFIX = "x86_64-w64-mingw32-"
KINDS = (
    # file, the linker's subsystem, what Task Manager says, defined for the compiler
    (product.WINDOW, "windows", "Vidconf", ()),
    (product.CONSOLE, "console", "Vidconf command line", ("-DVIDCONF_CONSOLE",)),
)


PROGRAM, STARTER = "launcher.c", "starter.c"


def compile_launchers(version: str, folder: Path, source: str = PROGRAM) -> None:
    """Both programs of `source` into `folder`. The same sources and compiler make the same bytes. Raises `RunError`."""
    numbers = ",".join(str(part) for part in (*product.version_parts(version), 0))
    with tempfile.TemporaryDirectory(prefix="vidconf-launcher-") as name:
        work = Path(name)
        for each in (*SOURCES.iterdir(), ICON):
            shutil.copy(each, work)
        for file, subsystem, description, defined in KINDS:
            told = {"VERSION_TEXT": f'"{version}"', "DESCRIPTION": f'"{description}"', "FILE_NAME": f'"{file}"'}
            head = f"#define VERSION_NUMBERS {numbers}\n" + "".join(f"#define {key} {value}\n" for key, value in told.items())
            (work / "named.rc").write_text(head + (work / "launcher.rc").read_text(encoding="ascii"), encoding="ascii")
            run([f"{PREFIX}windres", "named.rc", "resources.o"], cwd=work)
            run(
                [
                    f"{PREFIX}gcc", "-O2", "-s", "-Wall", "-Werror", "-municode", "-DUNICODE", "-D_UNICODE", *defined,
                    f"-Wl,--subsystem,{subsystem}", "-Wl,--no-insert-timestamp", "-Wl,--dynamicbase,--high-entropy-va,--nxcompat",
                    "-static-libgcc", "-o", file, source, "resources.o", "-luser32",
                ],
                cwd=work,
            )  # fmt: skip
            shutil.copy(work / file, folder / file)
