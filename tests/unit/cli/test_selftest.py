"""The self-test: that it fails when something is wrong, with each thing made wrong in turn; and the real one, all of it."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.strangers import Authority
from packaging.requirements import Requirement

from vidconf import licences
from vidconf.cli import selftest, selftest_checks
from vidconf.cli.findings import Finding
from vidconf.cli.selftest import ORDER, program
from vidconf.engine import voice as voice_module
from vidconf.engine.codecs import opus as opus_codec
from vidconf.engine.codecs import vp8 as vp8_codec
from vidconf.engine.frame_ring import RingWriter

ROOT = Path(__file__).resolve().parents[3]


def findings_of(check: Callable[..., None], **told: Any) -> list[Finding]:
    found: list[Finding] = []
    check(found.append, told)
    return found


def run(*arguments: str, home: Path, **environment: str | None) -> subprocess.CompletedProcess[str]:
    wanted = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "HOME": str(home), "XDG_CONFIG_HOME": str(home), **environment}
    return subprocess.run(
        [sys.executable, "-m", "vidconf.cli.main", "selftest", *arguments], capture_output=True, text=True, timeout=100,
        env={name: value for name, value in wanted.items() if value is not None},
    )  # fmt: skip


# ---- the whole ----


def test_everything_is_tried_and_good_here(tmp_path: Path) -> None:
    done = run("--json", home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    checks = {check["code"]: check for check in report["checks"]}
    assert list(checks) == [code for code in ORDER if code in checks], "in the report's order, each once"
    assert report["ok"] is True
    for name in ("program", "packages", "numpy", "uvloop", "server", "sqlite", "resources", "opus", "vp8", "ring", "voice", "qt", "tls"):
        assert checks[f"selftest.{name}"]["status"] == "ok", checks[f"selftest.{name}"]
    assert checks["selftest.keyring"]["status"] in ("ok", "warning")
    assert checks["selftest.vp8"]["detail"]["pictures"] == 20
    assert done.stderr == "", "what the checks' processes say stays with them"


def test_the_report_to_read_is_in_the_user_s_language(tmp_path: Path) -> None:
    (tmp_path / "vidconf").mkdir()
    (tmp_path / "vidconf" / "settings.json").write_text('{"language": "en"}')
    done = run(home=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "There and back" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="X11 and Wayland")
def test_without_a_display_the_window_is_a_warning_and_the_rest_is_good(tmp_path: Path) -> None:
    done = run("--json", home=tmp_path, QT_QPA_PLATFORM=None, DISPLAY=None, WAYLAND_DISPLAY=None)
    checks = {check["code"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 0, done.stdout
    assert (checks["selftest.qt"]["status"], checks["selftest.qt"]["result"]) == ("warning", "no_display")


@pytest.mark.skipif(sys.platform != "linux", reason="X11")
def test_a_qt_that_dies_is_a_line_and_the_others_are_told_all_the_same(tmp_path: Path) -> None:
    done = run("--json", home=tmp_path, QT_QPA_PLATFORM="xcb", DISPLAY=":no-such-display", WAYLAND_DISPLAY=None)
    report = json.loads(done.stdout)
    checks = {check["code"]: check for check in report["checks"]}
    assert done.returncode == 1
    assert report["ok"] is False
    assert (checks["selftest.qt"]["status"], checks["selftest.qt"]["result"]) == ("failure", "crashed")
    assert ":no-such-display" in checks["selftest.qt"]["text"]
    for name in ("opus", "vp8", "ring", "packages", "tls"):
        assert checks[f"selftest.{name}"]["status"] == "ok", checks[f"selftest.{name}"]


def test_a_stdout_that_cannot_write_vietnamese_ends_no_report(tmp_path: Path) -> None:
    done = run(home=tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert "Opus" in done.stdout


def test_words_that_are_gone_are_told_by_code(tmp_path: Path) -> None:
    """An installation without its resources: the program away from its checkout, with nothing beside it."""
    shutil.copytree(ROOT / "src" / "vidconf", tmp_path / "site" / "vidconf", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "vidconf.cli.main", "selftest", "--json"], capture_output=True, text=True, timeout=60, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    [check] = json.loads(done.stdout)["checks"]
    assert (check["code"], check["status"]) == ("selftest.resources", "failure")
    assert "Traceback" not in done.stderr


def test_wrong_usage(tmp_path: Path) -> None:
    for arguments in (["--no-such-option"], ["an argument"], ["--part", "no such part"]):
        done = run(*arguments, home=tmp_path)
        assert done.returncode == 2
        assert done.stdout == ""


# ---- packages ----


def test_the_packages_are_those_of_the_project_s_own_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        found = [Requirement(one) for one in requirements]
        return {one.name for one in found if one.marker is None or one.marker.evaluate()}

    client = {name for name, _ in selftest_checks.CLIENT_PACKAGES}
    assert client | {*selftest_checks.OPTIONAL_PACKAGES, *selftest_checks.USED_PACKAGES} == names(project["dependencies"])
    assert {name for name, _ in selftest_checks.SERVER_PACKAGES} == names(project["optional-dependencies"]["server"])


@pytest.fixture
def packages_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_packages_that_are_missing_or_broken_are_told_apart(packages_folder: Path) -> None:
    (packages_folder / "selftest_broken.py").write_text("raise OSError('libportaudio.so.2: cannot open shared object file')")
    (packages_folder / "selftest_needs.py").write_text("import a_package_that_is_not_there")
    (packages_folder / "selftest_unversioned.py").write_text("")
    (packages_folder / "selftest_versioned.py").write_text("__version__ = '4.5'")
    imported = selftest_checks._imported
    assert imported("not-there", "not_there.at_all") == ("", ("missing", "No module named 'not_there'"))
    assert imported("not-there", "") == ("", ("missing", "not-there"))
    assert imported("selftest-broken", "selftest_broken")[1] == ("broken", "OSError: libportaudio.so.2: cannot open shared object file")
    assert imported("selftest-needs", "selftest_needs")[1] == ("broken", "No module named 'a_package_that_is_not_there'")
    assert imported("selftest-unversioned", "selftest_unversioned") == ("?", None)
    assert imported("selftest-versioned", "selftest_versioned") == ("4.5", None)


def test_what_is_missing_is_weighed(packages_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest_checks, "CLIENT_PACKAGES", (("psutil", "psutil"), ("not-there", "not_there")))
    monkeypatch.setattr(selftest_checks, "OPTIONAL_PACKAGES", ())
    monkeypatch.setattr(selftest_checks, "SERVER_PACKAGES", (("not-there", "not_there"), ("psutil", "psutil")))
    found = findings_of(selftest_checks.packages)
    assert [(f.code, f.status, f.result) for f in found] == [("selftest.packages", "failure", "missing"), ("selftest.server", "ok", "absent")]
    (packages_folder / "selftest_broken2.py").write_text("1 / 0")
    monkeypatch.setattr(selftest_checks, "SERVER_PACKAGES", (("selftest-broken2", "selftest_broken2"),))
    assert [(f.status, f.result) for f in findings_of(selftest_checks.packages)][-1] == ("warning", "broken")


@pytest.mark.skipif(sys.platform == "win32", reason="no uvloop there")
def test_uvloop_is_needed_and_numpy_is_not(packages_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest_checks, "CLIENT_PACKAGES", ())
    for name in ("uvloop", "numpy"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    found = {finding.code: finding for finding in findings_of(selftest_checks.packages)}
    assert found["selftest.uvloop"].status == "failure"
    assert found["selftest.numpy"].status == "warning"


# ---- media ----


def test_codecs_that_work() -> None:
    assert [(f.code, f.status) for f in findings_of(selftest_checks.media)] == [(f"selftest.{name}", "ok") for name in ("opus", "vp8", "ring", "voice")]


def media_finding(name: str) -> Finding:
    return next(finding for finding in findings_of(selftest_checks.media) if finding.code == f"selftest.{name}")


def test_a_voice_that_comes_out_wrong_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    real = opus_codec.OpusDecoder.decode
    for wrong in (lambda self, payload: bytes(opus_codec.BLOCK_BYTES), lambda self, payload: real(self, payload)[::-1], lambda self, payload: 2 * real(self, payload)[: opus_codec.BLOCK]):
        monkeypatch.setattr(opus_codec.OpusDecoder, "decode", wrong)
        assert (media_finding("opus").status, media_finding("opus").result) == ("failure", "wrong")
        assert media_finding("vp8").status == "ok", "the others are tried all the same"


def test_a_codec_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise opus_codec.CodecError("no encoder libopus")

    monkeypatch.setattr(opus_codec.OpusEncoder, "__init__", gone)
    assert (media_finding("opus").status, media_finding("opus").result) == ("failure", "broken")
    assert "no encoder libopus" in media_finding("opus").detail["reason"]


def test_a_voice_without_libopus_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opus_codec, "_library", lambda: None)
    assert (media_finding("opus").status, media_finding("opus").result) == ("warning", "no_concealment")


def test_a_voice_that_is_not_processed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = voice_module.Voice.process
    monkeypatch.setattr(voice_module.Voice, "process", lambda self, pcm, at: (real(self, pcm, at), pcm)[1])
    assert (media_finding("voice").status, media_finding("voice").result) == ("failure", "wrong")
    monkeypatch.setattr(voice_module, "missing", lambda: "pywebrtc_audio")
    finding = media_finding("voice")
    assert (finding.status, finding.result, finding.detail) == ("warning", "missing", {"name": "pywebrtc_audio"})


def test_a_picture_that_comes_out_wrong_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    real = vp8_codec.Vp8Decoder.decode

    def upside_down(self: Any, data: bytes) -> Any:
        picture = real(self, data)
        if picture is not None:
            plane = picture.planes[0]
            plane.update(bytes(plane)[::-1])
        return picture

    for wrong in (upside_down, lambda self, data: None):
        monkeypatch.setattr(vp8_codec.Vp8Decoder, "decode", wrong)
        assert (media_finding("vp8").status, media_finding("vp8").result) == ("failure", "wrong")


def test_a_ring_that_loses_or_changes_pictures_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    real = RingWriter.write_bgrx
    for wrong in (
        lambda self, picture, width, height, stride: False,
        lambda self, picture, width, height, stride: real(self, bytes(len(picture)), width, height, stride),
        lambda self, picture, width, height, stride: real(self, picture, width, height - 2, stride),
    ):
        monkeypatch.setattr(RingWriter, "write_bgrx", wrong)
        assert (media_finding("ring").status, media_finding("ring").result) == ("failure", "wrong")


def test_no_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("multiprocessing.shared_memory.SharedMemory.__init__", full)
    monkeypatch.setattr("multiprocessing.shared_memory.SharedMemory.__del__", lambda self: None)
    finding = media_finding("ring")
    assert (finding.status, finding.result) == ("failure", "broken")


# ---- the system ----


def test_files_that_are_missing_or_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [(f.status, f.result) for f in findings_of(selftest_checks.resources)] == [("ok", "all")]
    (tmp_path / "fonts").mkdir()
    (tmp_path / "fonts" / "NotoSans-Bold.ttf").write_bytes(b"")
    (tmp_path / "fonts" / "NotoSans-Regular.ttf").write_bytes(b"font")
    monkeypatch.setattr(selftest_checks, "resource", lambda *parts: tmp_path.joinpath(*parts))
    [finding] = findings_of(selftest_checks.resources)
    assert (finding.status, finding.result) == ("failure", "missing")
    assert "fonts/NotoSans-Bold.ttf" in finding.detail["missing"]
    assert "words/vi.json" in finding.detail["missing"]
    assert "fonts/NotoSans-Regular.ttf" not in finding.detail["missing"]


def test_two_languages_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidconf.words.table", lambda language: {"a": "b"} if language == "vi" else {"c": "d"})
    [finding] = findings_of(selftest_checks.resources)
    assert (finding.status, finding.result, finding.detail["missing"]) == ("failure", "words_differ", ["a", "c"])


def test_the_certificate_store_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    [finding] = findings_of(selftest_checks.tls)
    assert finding.status == "ok"
    assert finding.result == ("system" if sys.platform in ("win32", "darwin") else "store")
    authority = Authority(tmp_path)
    if sys.platform == "linux":
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        [finding] = findings_of(selftest_checks.tls)
        assert (finding.result, finding.detail["roots"]) == ("store", 1)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system judges")
def test_a_system_that_trusts_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("truststore._openssl._CA_FILE_CANDIDATES", [])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    [finding] = findings_of(selftest_checks.tls)
    assert (finding.status, finding.result) == ("warning", "no_roots")


def test_a_store_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> ssl.SSLContext:
        raise ssl.SSLError("unknown error (_ssl.c:3900)")

    monkeypatch.setattr("vidconf.client.rest.tls_context", broken)
    [finding] = findings_of(selftest_checks.tls)
    assert (finding.status, finding.result) == ("failure", "broken")


def test_a_context_that_verifies_nobody_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What some software does to make certificates "work"."""

    def careless() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    monkeypatch.setattr("vidconf.client.rest.tls_context", careless)
    [finding] = findings_of(selftest_checks.tls)
    assert (finding.status, finding.result) == ("failure", "trusts_anybody")


def test_keyrings(monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring
    from keyring.backends import fail, null

    class Nothing(null.Keyring):
        """Takes everything and keeps nothing."""

    class Failing(fail.Keyring):
        """None at all."""

    class Mine:
        name = "Own Keyring"

    for held, status, result in ((Failing(), "warning", "none"), (Nothing(), "warning", "none"), (Mine(), "ok", "here")):
        monkeypatch.setattr(keyring, "get_keyring", lambda held=held: held)
        [finding] = findings_of(selftest_checks.keyring)
        assert (finding.status, finding.result) == (status, result)
    assert finding.detail["name"] == "Own Keyring"

    def locked() -> Any:
        raise RuntimeError("the collection is locked")

    monkeypatch.setattr(keyring, "get_keyring", locked)
    [finding] = findings_of(selftest_checks.keyring)
    assert (finding.status, finding.result) == ("warning", "broken")

    monkeypatch.setattr(selftest_checks, "KEYRING_S", 0.1)
    monkeypatch.setattr(keyring, "get_keyring", lambda: time.sleep(0.5))
    [finding] = findings_of(selftest_checks.keyring)
    assert (finding.status, finding.result) == ("warning", "silent")


def test_no_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings_of(selftest_checks.sqlite)[0].status == "ok"
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    [finding] = findings_of(selftest_checks.sqlite)
    assert (finding.status, finding.result) == ("warning", "missing")


@pytest.mark.parametrize(
    ("name", "status", "result"),
    [("", "ok", "system"), ("xim", "ok", "system"), ("ibus", "ok", "named"), ("fcitx", "warning", "missing"), ("../../x", "warning", "missing"), ("ibus;wayland", "ok", "named")],
)
def test_input_methods(name: str, status: str, result: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from PySide6.QtCore import QLibraryInfo

    monkeypatch.setenv("QT_IM_MODULE", name)
    finding = selftest_checks._input_method(Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.PluginsPath)))
    assert (finding.status, finding.result) == (status, result)


@pytest.mark.parametrize(("version", "status"), [((3, 10, 9), "failure"), ((3, 11, 0), "ok"), ((3, 13, 2), "ok"), ((3, 14, 0), "failure")])
def test_which_pythons_fit(version: tuple[int, int, int], status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "system_name", lambda: "a system")
    monkeypatch.setattr(selftest.sys, "version_info", version)
    assert program().status == status


def test_licences_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = findings_of(selftest_checks.components)
    assert (finding.status, finding.result) == ("ok", "all")
    bare = licences.Component("thing", "1.0", "MIT")
    monkeypatch.setattr(licences, "components", lambda: (bare,))
    (finding,) = findings_of(selftest_checks.components)
    assert (finding.status, finding.detail) == ("warning", {"missing": ["thing"]})
    monkeypatch.setattr(licences, "components", lambda: ())
    (finding,) = findings_of(selftest_checks.components)
    assert (finding.status, finding.detail) == ("warning", {"missing": ["*.dist-info"]})
