"""A folder becomes a package, and the same folder the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging_scripts import load

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is Debian's")


archive = load("packaging/debian/archive.py")
CONTROL = """Package: sample
Version: 1.0-1
Architecture: all
Maintainer: Nobody <nobody@example.com>
Description: a sample
 of a package
"""


def tree(folder: Path, umask: int = 0o022) -> Path:
    before = os.umask(umask)
    try:
        for name in ("opt/sample/run", "etc/sample/sample.conf", "etc/sample/secret"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name, encoding="utf-8")
        (folder / "opt/sample/run").chmod(0o755)
        (folder / "etc/sample/secret").chmod(0o600)
        (folder / "usr/bin").mkdir(parents=True)
        (folder / "usr/bin/sample").symlink_to("../../opt/sample/run")
    finally:
        os.umask(before)
    return folder


@needs_dpkg
def test_the_same_folder_makes_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for number, umask in ((1, 0o022), (2, 0o077), (3, 0o002)):
        root = tree(tmp_path / str(number), umask)
        root.joinpath("opt/sample/run").touch()
        if umask == 0o077:  # what was made so by chance, and not meant
            for path in root.rglob("*"):
                if not path.is_symlink() and path.name != "secret":
                    path.chmod(0o755 if path.is_dir() or path.name == "run" else 0o644)
        made.append(
            archive.make(root, CONTROL, tmp_path / f"out{number}", 1_700_000_000, conffiles=["/etc/sample/sample.conf"]).read_bytes()
        )
    assert made[0] == made[1] == made[2]


@needs_dpkg
def test_owner_modes_and_conffiles(tmp_path: Path) -> None:
    script = tmp_path / "after"
    script.write_text("#!/bin/sh\nset -e\n", encoding="utf-8")
    made = archive.make(
        tree(tmp_path / "tree"),
        CONTROL,
        tmp_path / "out",
        1_700_000_000,
        conffiles=["/etc/sample/sample.conf"],
        scripts={"postinst": script},
    )
    assert made.name == "sample_1.0-1_all.deb"
    listed = subprocess.run(
        ["dpkg-deb", "-c", str(made)], capture_output=True, text=True, check=True, env={**os.environ, "TZ": "UTC"}
    ).stdout
    lines = {line.split()[5]: line.split() for line in listed.splitlines()}
    assert lines["./opt/sample/run"][:2] == ["-rwxr-xr-x", "root/root"]
    assert lines["./etc/sample/secret"][0] == "-rw-------"
    assert lines["./usr/bin/sample"][0].startswith("l")
    assert {line[3] for line in lines.values()} == {"2023-11-14"}
    inside = subprocess.run(["dpkg-deb", "-I", str(made), "conffiles", "control"], capture_output=True, text=True, check=True).stdout
    assert "/etc/sample/sample.conf" in inside
    assert "Installed-Size: " in inside
    assert "Description: a sample\n of a package\n" in inside
    assert "set -e" in subprocess.run(["dpkg-deb", "-I", str(made), "postinst"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["/etc/sample/gone", "/opt/sample/run", "etc/sample/sample.conf"])
def test_a_conffile_lies_in_etc(tmp_path: Path, name: str) -> None:
    with pytest.raises(archive.ArchiveError, match="is no file under /etc"):
        archive.make(tree(tmp_path / "tree"), CONTROL, tmp_path / "out", 0, conffiles=[name])


def test_what_can_not_be_packed_is_refused(tmp_path: Path) -> None:
    root = tree(tmp_path / "tree")
    os.mkfifo(root / "opt/sample/pipe")
    with pytest.raises(archive.ArchiveError, match="no file, folder or link"):
        archive.make(root, CONTROL, tmp_path / "out", 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Package: a",
        CONTROL.replace("Version: 1.0-1\n", ""),
        CONTROL + "Package: b\n",
        "nonsense\n" + CONTROL,
        CONTROL.replace("Maintainer: ", "Maintainer "),
    ],
)
def test_a_control_file_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(archive.ArchiveError):
        archive.fields(text)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = archive.fields(text)
    except archive.ArchiveError:
        return
    assert found["Package"]
