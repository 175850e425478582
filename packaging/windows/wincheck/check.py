"""`packaging/windows/check MSI`: every promise about the Windows client that a Linux machine can try, under Wine."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from winbuild import build, payload, product
from winbuild.running import RunError

from wincheck import contents, life, program, signed
from wincheck.machine import Machine, Screen
from wincheck.report import Report, must

CANNOT = (
    ("sound processing (numpy), echo and noise removal", "Wine 8's C runtime cannot load numpy: the copy that is tried has none"),
    ("cameras, microphones, loudspeakers, screen capture", "Wine has no camera and no WASAPI"),
    (
        "vidconf-cli.exe doctor in good time",
        "nine processes start at once: how soon they do on a cold PC with a virus scanner, Wine does not tell",
    ),
    ("the picture painted by a real graphics driver", "Wine translates Direct3D for Xvfb's software renderer"),
    ("the firewall rule itself", "Wine's netsh does nothing"),
    ("the restart manager asking the program to end by itself", "Wine has none: only the closing by force is tried"),
    ("SmartScreen, AppLocker, WDAC, group policy processing, Intune", "parts of Windows"),
    ("accounts without rights, UAC, several users on one computer", "Wine has one user, who may do everything"),
    ("Windows 10 1809 as the oldest", "Wine tells the version it is told to"),
)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="packaging/windows/check",
        description="Try what is promised of an MSI: its contents by its tables, its life and the program under Wine. Exit 1 when a promise fails.",
        epilog="A portable ZIP and the build's report are taken from beside the MSI when they are there.",
    )
    parser.add_argument("msi", type=Path, metavar="MSI")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON, too")
    parser.add_argument("--higher", type=Path, metavar="MSI", help="a higher version to upgrade to (default: one is built)")
    parser.add_argument("--work", type=Path, default=payload.CHECKOUT / ".cache" / "windows", metavar="DIR", help="of the build, which see")
    parser.add_argument("--no-reproduce", action="store_true", help="do not build the same MSI once more to compare the bytes")
    parser.add_argument("--contents-only", action="store_true", help="read the MSI's tables; no Wine")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave Wine's folder and logs here")
    return parser


def main(words: list[str] | None = None) -> int:
    parser = options()
    told = parser.parse_args(words)
    for file in (told.msi, told.higher):
        if file is not None and not file.is_file():
            parser.error(f"there is no {file}")
    report = Report(lambda text: print(text, flush=True))
    folder = told.keep.resolve() if told.keep is not None else Path(tempfile.mkdtemp(prefix="vidconf-check-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        contents.check(report, told.msi)
        if not told.contents_only and report.good:
            _under_wine(report, told, folder)
    except (RunError, OSError) as error:
        print(f"check: {error}", file=sys.stderr)
        return 1
    finally:
        if told.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    document = report.as_json()
    if told.json is not None:
        told.json.write_text(json.dumps({"msi": told.msi.name, **document}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(", ".join(f"{count} {result}" for result, count in document["counts"].items()))
    return 0 if report.good else 1


def _under_wine(report: Report, told: argparse.Namespace, folder: Path) -> None:
    msi = told.msi.resolve()
    version = life.version_of(msi)
    if not told.no_reproduce:
        _reproduce(report, msi, version, told.work, folder)
    higher = told.higher.resolve() if told.higher is not None else _build(told.work, folder / "higher", higher_version(version))
    archive = msi.with_name(product.file_name(version, "-portable.zip"))
    files = life.Files(msi, higher, archive if archive.is_file() else None)
    with Screen() as screen:
        machine = Machine(folder, screen)
        try:
            machine.boot()
            life.install(report, machine, files)
            life.policies(report, machine)
            signed.check(report, machine, msi)
            machine.make_copy()
            program.imports(report, machine)
            program.window(report, machine)
            program.meeting(report, machine, program.own_python())
            life.upgrade(report, machine, files)
            life.replace(report, machine, files)
            life.remove(report, machine)
            if files.zip_file is not None:
                life.portable_program(report, machine, files.zip_file)
        finally:
            machine.close()
    for promise, why in CANNOT:
        report.cannot(promise, why)


def higher_version(version: str) -> str:
    """The next one. Raises `VersionError` at the end of what Windows Installer counts."""
    major, minor, patch = product.version_parts(version)
    following = f"{major}.{minor}.{patch + 1}"
    product.version_parts(following)
    return following


def _build(work: Path, out: Path, version: str) -> Path:
    if build.main(["--out", str(out), "--work", str(work), "--version", version, "--no-portable"]):
        raise RunError(f"version {version} could not be built")
    return out / product.file_name(version, ".msi")


def _reproduce(report: Report, msi: Path, version: str, work: Path, folder: Path) -> None:
    said = msi.with_suffix(".json")
    if not said.is_file() or json.loads(said.read_text(encoding="utf-8"))["signed"]:
        report.cannot("two builds have the same bytes", "no report of an unsigned build lies beside this MSI")
        return
    with report.promise("two builds have the same bytes") as told:
        again = _build(work, folder / "again", version)
        first, second = (build.told_of(file)["sha256"] for file in (msi, again))
        must(first == second, f"{first} and {second}: the checkout has changed since, or the build depends on where and when")
        told.append(f"SHA-256 {first}")


if __name__ == "__main__":
    sys.exit(main())
