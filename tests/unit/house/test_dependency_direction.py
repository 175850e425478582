"""Walks every import of the package: dependencies run one way, as docs/architecture.md draws them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import vidconf

ROOT = Path(vidconf.__path__[0])
OPEN_TO_ALL = {"vidconf", "vidconf.licences", "vidconf.resources", "vidconf.starting", "vidconf.words"}
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "meeting": (),
    "rtp": (),
    "network": (),
    "protocol": ("meeting",),
    "webrtc": ("rtp", "network"),
    "engine": ("webrtc", "rtp", "network", "protocol.livekit"),
    "relay": ("webrtc", "rtp", "protocol.livekit"),
    "client": ("meeting", "protocol", "network", "engine.api"),
    "gui": ("client", "meeting", "engine.api", "engine.frame_ring"),
    "server": ("meeting", "protocol"),
}
COMPOSITION_ROOTS = {"gui/app.py", "server/app.py"}
STANDARD_LIBRARY_ONLY = (
    "engine/__init__.py", "engine/api.py", "licences.py", "network/options.py", "network/proxies.py", "network/turn_url.py", "resources.py",
    "starting.py", "words.py", "meeting/models.py", "meeting/commands.py", "meeting/events.py", "meeting/messages.py",
)  # fmt: skip


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> list[str]:
    """Every module a file imports, anywhere in it; `from a import b` counts as a.b where that is a module of ours."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            for name in node.names:
                inner = ROOT.parent.joinpath(*base.split("."), name.name)
                found.append(f"{base}.{name.name}" if inner.is_dir() or inner.with_suffix(".py").exists() else base)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    inside = path.relative_to(ROOT)
    room = inside.parts[0] if len(inside.parts) > 1 else ""
    for name in imports(path):
        if not (name == "vidconf" or name.startswith("vidconf.")) or name in OPEN_TO_ALL:
            continue
        target = name.removeprefix("vidconf.")
        assert target.split(".")[0] != "cli" or room in ("cli", ""), f"{inside} imports the command line"
        assert f"{target.replace('.', '/')}.py" not in COMPOSITION_ROOTS or room == "cli", f"{inside} imports a composition root"
        if room in ("cli", "") or str(inside) in COMPOSITION_ROOTS:
            continue
        allowed = (room, *MAY_IMPORT[room])
        assert any(target == a or target.startswith(a + ".") for a in allowed), f"{inside} imports {name}, {room}/ may only import {allowed}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_qt_stays_in_the_gui(path: Path) -> None:
    inside = path.relative_to(ROOT)
    if inside.parts[0] in ("gui", "cli"):
        return
    assert not [n for n in imports(path) if n.split(".")[0] in ("PySide6", "qasync", "shiboken6")], f"{inside} imports Qt"


def test_only_the_seams_touch_aiortc_private_names() -> None:
    """Reaching into another package's underscore names is debt: it has one home."""
    for path in modules():
        inside = path.relative_to(ROOT)
        if str(inside) == "webrtc/seams.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("aiortc", "aioice"):
                assert not [n.name for n in node.names if n.name.startswith("_")], f"{inside} imports private names of {node.module}"


@pytest.mark.parametrize("name", STANDARD_LIBRARY_ONLY)
def test_light_modules_need_only_the_standard_library(name: str) -> None:
    import sys

    for imported in imports(ROOT / name):
        top = imported.split(".")[0]
        assert top in sys.stdlib_module_names or top == "vidconf", f"{name} imports {imported}"


def test_no_room_is_called_after_nothing() -> None:
    for path in modules():
        assert path.stem not in ("utils", "helpers", "common", "manager", "misc"), path


def test_nobody_waits_with_wait_for() -> None:
    """Before Python 3.12 it swallows a cancellation that comes together with what is waited for, and whoever ends the task
    waits for ever: `async with asyncio.timeout(…)` does not."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            waits = isinstance(node, ast.Attribute) and node.attr == "wait_for" and isinstance(node.value, ast.Name) and node.value.id == "asyncio"
            assert not waits, f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)} asyncio.wait_for"
