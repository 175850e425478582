"""The bill of materials names what is installed, with the lock's hashes, and is the same for the same installation."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging_scripts import ROOT, load

from vidconf.licences import Component

sbom = load("packaging/sbom.py")
SITE = sysconfig.get_path("purelib")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sbom")
    (folder / "installer").write_bytes(b"an installer")
    for name in ("first", "second"):
        subprocess.run(
            [sys.executable, str(ROOT / "packaging/sbom.py"), "--lock", str(ROOT / "requirements.lock"), "--site", SITE, "--system", "linux", "--version", "1.2.3",
             "--of", str(folder / "installer"), "--python", "3.11.9", "--epoch", "1700000000", "--out", str(folder / f"{name}.json")],
            check=True, stdout=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
    return folder


def test_packages_and_what_they_carry_are_named(made: Path) -> None:
    told = json.loads((made / "first.json").read_text(encoding="utf-8"))
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.6")
    digest = hashlib.sha256((made / "installer").read_bytes()).hexdigest()
    assert told["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    rows = {row["name"].lower(): row for row in told["components"]}
    aiohttp = rows["aiohttp"]
    assert aiohttp["version"] == importlib.metadata.version("aiohttp")
    assert aiohttp["purl"] == f"pkg:pypi/aiohttp@{aiohttp['version']}"
    assert len([one for one in aiohttp["properties"] if one["name"] == "vidconf:distribution-sha256"]) > 5
    assert rows["cpython"]["version"] == "3.11.9"
    assert {"name": "vidconf:part-of", "value": "av"} in rows["x264"]["properties"]
    assert all(row.get("licenses") for row in rows.values()), [name for name, row in rows.items() if not row.get("licenses")]


def test_everything_named_is_there_once(made: Path) -> None:
    told = json.loads((made / "first.json").read_text(encoding="utf-8"))
    refs = [row["bom-ref"] for row in told["components"]]
    assert len(refs) == len(set(refs))
    known = {*refs, told["metadata"]["component"]["bom-ref"]}
    for row in told["dependencies"]:
        assert row["ref"] in known
        assert set(row["dependsOn"]) <= known


def test_the_same_installation_gives_the_same_bytes(made: Path) -> None:
    assert (made / "first.json").read_bytes() == (made / "second.json").read_bytes()


def test_what_was_not_locked_is_refused() -> None:
    with pytest.raises(sbom.BillError, match="not in the lock"):
        sbom.bill({"name": "x", "version": "1"}, [Component("stray", "1.0", "MIT")], {}, {}, 0)


@pytest.mark.parametrize("lock", ["", "# nothing\n", "one==1.0\n", "one>=1.0 --hash=sha256:" + "0" * 64, "-r other.lock\n"])
def test_a_lock_without_pins_or_hashes_is_refused(lock: str) -> None:
    with pytest.raises(sbom.BillError):
        sbom.pins(lock)


@given(st.text(max_size=200))
def test_any_lock_is_read_or_refused(text: str) -> None:
    try:
        found = sbom.pins(text)
    except sbom.BillError:
        return
    assert all(hashes for hashes in found.values())


@pytest.mark.parametrize(
    ("licence", "expression"),
    [
        ("MIT", True),
        ("Apache-2.0 OR BSD-3-Clause", True),
        ("(MIT AND PSF-2.0) OR GPL-3.0-or-later WITH GCC-exception-3.1", True),
        ("BSD license, see file", False),
        ("", False),
    ],
)
def test_spdx_expressions_are_known_by_their_form(licence: str, expression: bool) -> None:
    assert sbom.is_expression(licence) is expression
