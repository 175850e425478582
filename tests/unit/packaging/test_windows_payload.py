"""What goes into the Windows client: the locked wheels, what is trimmed of them, and the portable ZIP."""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from winbuild import build, payload, portable, product, runtime, trim
from winbuild.running import RunError, run

from vidconf.client.updates import portable as replacing

ROOT = Path(__file__).resolve().parents[3]
WINDOWS = ROOT / "packaging" / "windows"


def pins(lock: Path) -> dict[str, set[str]]:
    """Every `name==version` of a lock with the conditions it stands under, by name."""
    found: dict[str, set[str]] = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        match = re.match(r"([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)(?: ; ([^\\]+))?", line)
        if match:
            found.setdefault(match[1], set()).add(match[2])
    return found


def test_windows_has_the_versions_that_were_tested() -> None:
    """Made anew after a change of requirements.lock; packaging/windows/README.md says how."""
    ours, tested = pins(payload.LOCK), pins(ROOT / "requirements.lock")
    assert {name: versions for name, versions in ours.items() if not versions <= tested.get(name, set())} == {}


def test_windows_has_every_package_of_the_client() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("\ndependencies = [") : text.index("\n]", text.index("\ndependencies = ["))]
    wanted = {
        name.lower().replace("_", "-") for name, rest in re.findall(r'"([A-Za-z0-9_-]+)[^"]*?(; [^"]*)?"', block) if "win32" not in rest
    }
    assert wanted - set(pins(payload.LOCK)) == set()
    assert not {"sqlalchemy", "alembic", "pytest", "uvloop", "jeepney", "secretstorage"} & set(pins(payload.LOCK))
    assert "pywin32-ctypes" in pins(payload.LOCK), "the keyring of Windows needs it"


@pytest.mark.parametrize("lock", [payload.LOCK, runtime.LOCK, WINDOWS / "tools.lock"], ids=lambda path: path.name)
def test_everything_is_held_to_its_hash(lock: Path) -> None:
    entries = re.split(
        r"\n(?=[a-z])", "\n".join(line for line in lock.read_text(encoding="utf-8").splitlines() if not line.startswith("#")).strip()
    )
    assert entries
    assert [entry.split("\n")[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize(
    "path",
    [
        "PySide6/QtWidgets.pyd", "PySide6/Qt6Svg.dll", "PySide6/pyside6.abi3.dll", "PySide6/msvcp140_1.dll", "PySide6/__init__.py",
        "PySide6/plugins/platforms/qwindows.dll", "PySide6/plugins/tls/qschannelbackend.dll", "PySide6/plugins/iconengines/qsvgicon.dll",
        "shiboken6/Shiboken.pyd", "av.libs/avcodec-62.dll", "av/codec/context.py", "numpy/_core/_multiarray_umath.cp313-win_amd64.pyd",
        "numpy.libs/libopenblas.dll", "numpy/testing/__init__.py", "_sounddevice_data/portaudio-binaries/libportaudio64bit.dll",
        "keyring-25.7.0.dist-info/entry_points.txt", "keyring-25.7.0.dist-info/METADATA", "av-18.1.0.dist-info/licenses/LICENSE.txt",
        "google/protobuf/message.py", "win32ctypes/core/__init__.py",
    ],
)  # fmt: skip
def test_the_installer_takes(path: str) -> None:
    assert trim.kept(path)


@pytest.mark.parametrize(
    "path",
    [
        "PySide6/QtQml.pyd", "PySide6/Qt6Quick.dll", "PySide6/opengl32sw.dll", "PySide6/designer.exe", "PySide6/QtWidgets.pyi",
        "PySide6/plugins/platforms/qminimal.dll", "PySide6/plugins/sqldrivers/qsqlite.dll", "PySide6/translations/qtbase_de.qm",
        "PySide6/qml/QtQml/qmldir", "bin/pyside6-rcc.exe", "numpy/tests/test_x.py", "numpy/f2py/main.py", "numpy/_core/include/numpy/a.h",
        "aiohttp/_http_parser.pyx", "av/frame.pxd", "keyring-25.7.0.dist-info/RECORD", "keyring-25.7.0.dist-info/INSTALLER", "click/py.typed",
        "click/__pycache__/core.cpython-313.pyc", "_sounddevice_data/portaudio-binaries/libportaudio.dylib", "av/include/avcodec.h",
        "_sounddevice_data/portaudio-binaries/libportaudio64bit-asio.dll", ".lock",
    ],
)  # fmt: skip
def test_the_installer_leaves_out(path: str) -> None:
    assert not trim.kept(path)


def test_trimming_leaves_no_empty_folders(tmp_path: Path) -> None:
    for path in ("PySide6/QtCore.pyd", "PySide6/qml/a/b.qml", "click/tests/test_a.py", "click/core.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    trim.trim(tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "PySide6",
        "PySide6/QtCore.pyd",
        "click",
        "click/core.py",
    ]


@pytest.fixture
def laid(tmp_path: Path) -> Path:
    """A small payload; the program of it is a script, which this system can start."""
    folder = tmp_path / "pay"
    for path, content in (("app/vidconf/a.py", b"a"), ("python313.dll", b"MZ"), (product.WINDOW, b"MZ"), (product.CONSOLE, b"MZ")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "vidconf").write_text("#!/bin/sh\necho vidconf, version 1.2.3\n", encoding="ascii")
    return folder


def packed(laid: Path, target: Path, version: str = "1.2.3") -> Path:
    top = [laid / product.WINDOW, laid / product.CONSOLE]
    portable.pack(laid, version, 1_767_225_600, top, target)
    return target


def test_the_portable_zip_is_laid_out_as_the_program_replaces_it(laid: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed(laid, tmp_path / "a.zip")) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "out")
    top = tmp_path / "out" / portable.TOP
    assert {f"{portable.TOP}/{name}" for name in (product.WINDOW, product.CONSOLE, product.PORTABLE_MARKER, "current")} <= set(names)
    place = replacing.find_portable(top / "versions" / "1.2.3" / product.WINDOW)
    assert place == replacing.Portable(top, "1.2.3")
    assert replacing.current_version(place) == "1.2.3"


def test_the_program_can_take_its_next_version_out_of_the_zip(laid: Path, tmp_path: Path) -> None:
    (tmp_path / "root" / "versions" / "1.2.2").mkdir(parents=True)
    (tmp_path / "root" / "current").write_text("1.2.2\n", encoding="ascii")
    place = replacing.Portable(tmp_path / "root", "1.2.2")
    archive = packed(laid, tmp_path / "a.zip")
    _let_it_be_started(archive)
    replacing.replace_with(place, archive, "1.2.3")
    assert replacing.current_version(place) == "1.2.3"
    assert (place.versions / "1.2.3" / "app" / "vidconf" / "a.py").read_bytes() == b"a"


def _let_it_be_started(archive: Path) -> None:
    """Give the script its x bit, which a Windows program has none of."""
    with zipfile.ZipFile(archive) as opened:
        entries = [(info, opened.read(info)) for info in opened.infolist()]
    with zipfile.ZipFile(archive, "w") as written:
        for info, content in entries:
            if info.filename.endswith("/vidconf"):
                info.external_attr = 0o100755 << 16
            written.writestr(info, content)


def test_two_portable_zips_have_the_same_bytes(laid: Path, tmp_path: Path) -> None:
    first = packed(laid, tmp_path / "a.zip").read_bytes()
    for path in laid.rglob("*"):
        path.touch()
    assert packed(laid, tmp_path / "b.zip").read_bytes() == first


def test_the_digest_sees_names_and_contents(laid: Path) -> None:
    seen = {payload.digest(laid)}
    (laid / "python313.dll").write_bytes(b"MZ2")
    seen.add(payload.digest(laid))
    (laid / "python313.dll").rename(laid / "python314.dll")
    seen.add(payload.digest(laid))
    assert len(seen) == 3


def test_the_version_of_the_installer_is_the_programs() -> None:
    assert f'__version__ = "{build.own_version()}"' in (ROOT / "src" / "vidconf" / "__init__.py").read_text(encoding="utf-8")


def test_a_runtime_that_is_another_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("python313.dll", b"")
    digest = runtime.digest((tmp_path / "a.zip").read_bytes())
    with pytest.raises(runtime.RuntimeDiffers, match="SHA-256"):
        runtime.unpack_zip(tmp_path / "a.zip", "0" * 64, tmp_path / "out")
    with pytest.raises(runtime.RuntimeDiffers, match="no embeddable Python"):
        runtime.unpack_zip(tmp_path / "a.zip", digest, tmp_path / "out")


def test_a_tool_that_fails_is_told_with_its_words() -> None:
    with pytest.raises(RunError, match=r"(?s)exit 3.*no such luck"):
        run(["sh", "-c", "echo no such luck >&2; exit 3"])
    with pytest.raises(RunError, match="is not installed"):
        run(["a-tool-that-nobody-has"])


@pytest.mark.parametrize("command", ["build", "check", "agency"])
def test_the_commands_tell_what_they_do(command: str) -> None:
    done = subprocess.run([WINDOWS / command, "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith(f"usage: packaging/windows/{command} ")
    assert done.stderr == ""
