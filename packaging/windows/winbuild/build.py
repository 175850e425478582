"""`packaging/windows/build`: the MSI and the portable ZIP from a checkout, on Linux."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import time
import tomllib
from pathlib import Path

from winbuild import msi, payload, portable, product, signing
from winbuild.running import RunError, run
from winbuild.runtime import LIBRARY, RuntimeDiffers

LARGEST_MSI = 110_000_000


def own_version() -> str:
    with (payload.CHECKOUT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="packaging/windows/build",
        description="Build the Windows client from this checkout: an MSI for all users of a computer, and a portable ZIP.",
        epilog="Two builds of one commit have the same bytes, as long as they are not signed.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the MSI, the ZIP and a report (JSON) go")
    parser.add_argument("--version", default="", metavar="X.Y.Z", help="instead of the version in pyproject.toml")
    parser.add_argument("--work", type=Path, default=payload.CHECKOUT / ".cache" / "windows", metavar="DIR",
                        help="where downloads and prepared wheels are kept (default: .cache/windows)")  # fmt: skip
    parser.add_argument(
        "--python-zip", type=Path, metavar="FILE", help="the embeddable Python 3.13 for x64 to use, as python.org publishes it"
    )
    parser.add_argument("--sha256", default="", metavar="HEX", help="what --python-zip must be")
    parser.add_argument("--no-portable", action="store_true", help="the MSI only")
    signing.add_options(parser)
    return parser


def main(words: list[str] | None = None) -> int:
    parser = options()
    told = parser.parse_args(words)
    if (told.python_zip is None) != (not told.sha256):
        parser.error("--python-zip and --sha256 go together")
    try:
        version = told.version or own_version()
        product.version_parts(version)
        signer = signing.from_options(told)
    except (product.VersionError, signing.SigningError) as error:
        parser.error(str(error))
    try:
        report = build(told, version, signer)
    except (RunError, RuntimeDiffers, signing.SigningError, OSError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    if report["msi"]["bytes"] > LARGEST_MSI:
        print(f"build: the MSI is larger than {LARGEST_MSI} bytes", file=sys.stderr)
        return 1
    return 0


def build(told: argparse.Namespace, version: str, signer: signing.Signer | None) -> dict[str, dict[str, int | str]]:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    epoch = payload.last_change()
    work, out = told.work.resolve(), told.out.resolve()
    for folder in (work, out):
        folder.mkdir(parents=True, exist_ok=True)
    laid = work / f"payload-{version}"
    say(f"Vidconf {version} for Windows x64: Python, wheels, program, launchers")
    payload.lay_out(work, laid, version, payload.Python(told.python_zip, told.sha256), epoch)
    content = payload.digest(laid)
    files = payload.files(laid)
    top = [] if told.no_portable else portable.starters(version, work / "starters")
    if signer is not None:
        waiting = signing.unsigned([*files, *top])
        say(f"signing {len(waiting)} programs and libraries")
        for file in waiting:
            signer.sign(file)
        payload.date(laid, epoch)
    size = sum(file.stat().st_size for file in files)
    say(f"{len(files)} files, {size / 1e6:.0f} MB: packing")
    results: dict[str, dict[str, int | str]] = {"payload": {"files": len(files), "bytes": size, "sha256": content}}
    target = out / product.file_name(version, ".msi")
    code = msi.build(laid, version, epoch, target, content)
    if signer is not None:
        signer.sign(target)
    results["msi"] = {"file": target.name, **told_of(target), "product_code": f"{{{code}}}"}
    results["sbom"] = bill(laid, version, epoch, target)
    if not told.no_portable:
        archive = out / product.file_name(version, "-portable.zip")
        portable.pack(laid, version, epoch, top, archive)
        results["portable"] = {"file": archive.name, **told_of(archive)}
    shutil.rmtree(laid)
    for result in results.values():
        if "file" in result:
            say(f"{result['file']}: {int(result['bytes']) / 1e6:.1f} MB, SHA-256 {result['sha256']}")
    text = json.dumps({"version": version, "signed": signer is not None, "epoch": epoch, **results}, indent=2)
    (out / product.file_name(version, ".json")).write_text(text + "\n", encoding="utf-8")
    return results


def bill(laid: Path, version: str, epoch: int, installer: Path) -> dict[str, int | str]:
    """The MSI's bill of materials beside it, by packaging/sbom. Raises `RunError`."""
    target = installer.with_suffix(".sbom.json")
    run([sys.executable, payload.CHECKOUT / "packaging/sbom.py", "--lock", payload.CHECKOUT / "packaging/windows/requirements-windows.lock",
         "--site", laid / "app", "--system", "windows", "--of", installer, "--version", version, "--epoch", str(epoch),
         "--python", runtime_version(laid), "--out", target])  # fmt: skip
    return {"file": target.name, **told_of(target)}


def runtime_version(laid: Path) -> str:
    """`3.13.2`, as Python's library for Windows says of itself (its version resource, UTF-16)."""
    library = (laid / LIBRARY).read_bytes()
    at = library.find("ProductVersion".encode("utf-16-le"))
    words = library[at : at + 64].decode("utf-16-le", "replace").split("\0") if at >= 0 else []
    return next((word for word in words[1:] if word), "3.13")


def told_of(file: Path) -> dict[str, int | str]:
    with file.open("rb") as opened:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}


if __name__ == "__main__":
    sys.exit(main())
