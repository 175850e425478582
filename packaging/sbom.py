"""The bill of materials of an installer as CycloneDX 1.6 (JSON): every package with its licence, address and the hashes of its lock, and
what packages carry inside, as `src/vidconf/licences.py` and `resources/licences/bundled.json` list it. Standard library only.

Run by `packaging/sbom`, which tells the options. The same installation gives the same bytes: date and serial number come from what is told.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SERIAL = uuid.UUID("6f1a52f0-8c0b-5d6e-9a57-3c1f5d1f7b0e")
"""The name space of the serial numbers; fixed for ever."""
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_IDENTIFIER = re.compile(r"[A-Za-z0-9.+-]+")
_OPERATORS = re.compile(r"\s+(?:AND|OR|WITH)\s+|[()]")


class BillError(Exception):
    """No bill can be made; the text says why."""


def pins(lock: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """(package, version) -> SHA-256 of its files, of a requirements file with hashes. Raises BillError."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for entry in re.split(r"(?<!\\)\n", lock):
        text = entry.strip()
        if not text or text.startswith("#"):
            continue
        pin = _PIN.match(text)
        if pin is None:
            raise BillError(f"the lock has a line that pins nothing: {text[:80]!r}")
        hashes = tuple(_HASH.findall(text))
        if not hashes:
            raise BillError(f"the lock has no hash for {pin[1]}")
        found[_normal(pin[1]), pin[2]] = hashes
    if not found:
        raise BillError("the lock is empty")
    return found


def is_expression(licence: str) -> bool:
    """Whether a licence is written as SPDX has it, as far as its form tells."""
    words = [word for word in _OPERATORS.split(licence) if word.strip()]
    return bool(words) and all(_IDENTIFIER.fullmatch(word.strip()) for word in words)


def licences_of(licence: str) -> list[dict[str, Any]]:
    """The `licenses` of a component."""
    if not licence or licence == "unknown":
        return []
    if is_expression(licence):
        return [{"expression": licence}]
    return [{"license": {"name": licence}}]


def component(
    name: str, version: str, licence: str, home: str, hashes: Sequence[str] = (), part_of: str = "", kind: str = "library"
) -> dict[str, Any]:
    """One component. Packages have an address in PyPI's name space (purl); what they carry says whose part it is.

    A lock's hashes are of the files that the package may come in, one of which was installed: they are properties, since a component's own
    `hashes` would say that it is that one file.
    """
    purl = f"pkg:pypi/{_normal(name)}@{version}" if not part_of else ""
    row: dict[str, Any] = {
        "type": kind,
        "bom-ref": purl or "part:" + re.sub(r"[^a-z0-9/]+", "-", f"{part_of}/{name}".lower()),
        "name": name,
    }
    if version:
        row["version"] = version
    if licence and licences_of(licence):
        row["licenses"] = licences_of(licence)
    if purl:
        row["purl"] = purl
    if home.startswith(("http://", "https://")):
        row["externalReferences"] = [{"type": "website", "url": home}]
    properties = [{"name": "vidconf:distribution-sha256", "value": one} for one in sorted(hashes)]
    if part_of:
        properties.append({"name": "vidconf:part-of", "value": part_of})
    if properties:
        row["properties"] = properties
    return row


def bill(
    product: Mapping[str, Any],
    parts: Iterable[Any],
    locked: Mapping[tuple[str, str], Sequence[str]],
    needs: Mapping[str, Iterable[str]],
    epoch: int,
    python: str = "",
) -> dict[str, Any]:
    """The document. `parts` are licences.Component; `needs` names each package's own needs; `epoch` is its date (seconds, UTC).

    Raises BillError for a package that the lock does not hold: then something else was installed than was locked.
    """
    rows: list[dict[str, Any]] = []
    inside: dict[str, list[str]] = {}
    for part in parts:
        if part.part_of:
            version = python if part.name == "CPython" and python else part.version
            row = component(
                part.name, version, part.licence, part.home, part_of=part.part_of, kind="platform" if part.name == "CPython" else "library"
            )
            inside.setdefault(_normal(part.part_of), []).append(row["bom-ref"])
        else:
            hashes = locked.get((_normal(part.name), part.version))
            if hashes is None:
                raise BillError(f"{part.name} {part.version} is installed, but not in the lock")
            row = component(part.name, part.version, part.licence, part.home, hashes)
        rows.append(row)
    refs = {_normal(row["name"]): row["bom-ref"] for row in rows if "purl" in row}
    own = f"product:{product['name']}@{product['version']}"
    graph = [{"ref": own, "dependsOn": sorted([*refs.values(), *inside.get("python", []), *inside.get("vidconf", [])])}]
    for name, ref in sorted(refs.items()):
        wanted = {refs[other] for other in needs.get(name, ()) if other in refs and other != name} | set(inside.get(name, ()))
        graph.append({"ref": ref, "dependsOn": sorted(wanted)})
    rows.sort(key=lambda row: row["bom-ref"])
    told = {"type": "application", "bom-ref": own, **product, "licenses": [{"expression": "GPL-3.0-or-later"}]}
    content = json.dumps([told, rows, graph], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(SERIAL, content)}",
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)), "component": told,
            "tools": {"components": [{"type": "application", "name": "packaging/sbom"}]},
        },
        "components": rows, "dependencies": graph,
    }  # fmt: skip


def installed(site: Path) -> tuple[list[Any], dict[str, set[str]]]:
    """What is installed in `site` as licences.Component, and the names that each package needs. Raises BillError."""
    folders = [str(ROOT / "src"), str(site)]
    # Only what lies there counts, not what this Python has of its own.
    sys.path[:] = folders + [path for path in sys.path if not path.rstrip("/").endswith(("site-packages", "dist-packages"))]
    from vidconf import licences

    found = [one for one in licences.packages() if _normal(one.name) not in ("vidconf",)]
    if not found:
        raise BillError(f"no package is installed in {site}")
    needs = {}
    for one in metadata.distributions(path=[str(site)]):
        wanted = [re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line) for line in one.requires or () if "extra ==" not in line]
        needs[_normal(one.metadata["Name"])] = {_normal(match[1]) for match in wanted if match is not None}
    return found, needs


def carried(system: str, names: Iterable[str]) -> list[Any]:
    """What the packages called so, the interpreter and the program carry on one system."""
    from vidconf import licences

    carriers = {_normal(name) for name in names} | {"python", "vidconf"}
    return [one for one in licences.bundled(system) if _normal(one.part_of) in carriers]  # type: ignore[arg-type]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="packaging/sbom", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="packaging/debian/build and packaging/windows/build leave it beside the installer as <installer>.sbom.json.",
    )  # fmt: skip
    parser.add_argument("--lock", type=Path, required=True, metavar="FILE", help="with hashes, what was installed from")
    parser.add_argument("--site", type=Path, required=True, metavar="DIR", help="where the packages' *.dist-info lie")
    parser.add_argument("--system", choices=("linux", "windows", "macos"), required=True, help="whose the installer is")
    parser.add_argument("--of", type=Path, metavar="FILE", help="the installer, whose SHA-256 goes in")
    parser.add_argument("--name", default="vidconf")
    parser.add_argument("--version", required=True)
    parser.add_argument("--python", default="", metavar="V", help="version of the interpreter inside (this one's)")
    parser.add_argument("--epoch", type=int, default=int(os.environ.get("SOURCE_DATE_EPOCH", "0")), help="its date (SOURCE_DATE_EPOCH)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    told = parser.parse_args()
    try:
        locked = pins(told.lock.read_text(encoding="utf-8"))
        found, needs = installed(told.site)
        parts = [*found, *carried(told.system, (one.name for one in found))]
        product: dict[str, Any] = {"name": told.name, "version": told.version}
        if told.of:
            product["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(told.of.read_bytes()).hexdigest()}]
        made = bill(product, parts, locked, needs, told.epoch, told.python)
        told.out.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except (BillError, OSError, ValueError) as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    print(told.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
