"""Compiles the program's Python once, with the Python that goes into the installer: Program Files cannot be written by users."""

from __future__ import annotations

from pathlib import Path

from winbuild.running import RunError
from winbuild.wine import Wine, windows_path

_COMPILE = """
import pathlib, py_compile, sys
root, failed = pathlib.Path(sys.argv[1]), 0
for path in sorted(root.rglob("*.py"), key=lambda path: path.as_posix()):
    if path.with_name("__pycache__").joinpath(f"{path.stem}.{sys.implementation.cache_tag}.pyc").exists():
        continue
    try:
        py_compile.compile(
            str(path), dfile=path.relative_to(root).as_posix(), doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except py_compile.PyCompileError as error:
        print(error.msg, file=sys.stderr)
        failed += 1
print("compiled", failed)
"""
"""Unchecked: the installer rounds files' times, and nobody edits an installed file. The path inside is the path in `app`, so that
two builds in different folders are equal."""
NOT_FOR_THIS_PYTHON = 3
"""Files in wheels that are templates or meant for other versions; more than these, and something is wrong."""


def compile_folder(wine: Wine, python: Path, folder: Path) -> int:
    """Every .py below `folder` gets its .pyc; returns how many could not. `python`: a python.exe with its library beside it.
    Raises `RunError`."""
    wine.prepare()
    script = python.parent / "_compile.py"
    script.write_text(_COMPILE, encoding="utf-8")
    try:
        out = wine.checked([python, "-I", "-X", "utf8", windows_path(script), windows_path(folder)], seconds=600)
    finally:
        script.unlink()
    last = out.strip().splitlines()[-1:] or [""]
    if not last[0].startswith("compiled "):
        raise RunError(f"the compiler under Wine said {out[-300:]!r}")
    failed = int(last[0].split()[1])
    if failed > NOT_FOR_THIS_PYTHON:
        raise RunError(f"{failed} files could not be compiled")
    return failed
