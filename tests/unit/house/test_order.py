"""What keeps the house easy to walk: every file says what it is, none swells, no two need each other to start, one version."""

from __future__ import annotations

import ast
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import vidconf

ROOT = Path(__file__).resolve().parents[3]
SOURCE = Path(vidconf.__path__[0])
SWOLLEN = 500
"""Lines. Split a file by subject before it has so many."""


def written() -> list[Path]:
    return sorted(file for folder in ("src", "tests", "bench", "packaging") for file in (ROOT / folder).rglob("*.py"))


def needed_to_start(path: Path) -> set[str]:
    """The modules of ours that `path` imports when it is imported: not for types alone, not in a function."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                found.add(inner if (SOURCE.parent / inner.replace(".", "/")).with_suffix(".py").is_file() else str(node.module))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return {name for name in found if name.startswith("vidconf.")}


def test_every_file_says_what_it_is() -> None:
    silent = [
        str(file.relative_to(ROOT))
        for file in written()
        if (text := file.read_text(encoding="utf-8")).strip() and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


def test_no_module_is_swollen() -> None:
    lines = {str(file.relative_to(SOURCE)): len(file.read_text(encoding="utf-8").splitlines()) for file in SOURCE.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > SWOLLEN} == {}


def test_no_modules_need_each_other_to_start() -> None:
    needs = {".".join(file.relative_to(SOURCE.parent).with_suffix("").parts): needed_to_start(file) for file in SOURCE.rglob("*.py")}
    assert len(list(TopologicalSorter(needs).static_order())) >= len(needs), "CycleError names a circle"


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("from vidconf.rtp import red", {"vidconf.rtp.red"}),
        ("from vidconf.rtp.red import Red\nimport json", {"vidconf.rtp.red"}),
        ("try:\n    import vidconf.words\nexcept ImportError:\n    raise", {"vidconf.words"}),
        ("def f():\n    import vidconf.words", set()),
        ("if TYPE_CHECKING:\n    import vidconf.words\nelse:\n    import vidconf.resources", {"vidconf.resources"}),
    ],
)
def test_what_a_file_needs_to_start(tmp_path: Path, text: str, needed: set[str]) -> None:
    (tmp_path / "one.py").write_text(text)
    assert needed_to_start(tmp_path / "one.py") == needed


def test_the_package_and_the_program_have_one_version() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"] == vidconf.__version__
