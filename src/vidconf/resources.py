"""Where the program's own files lie: `resources/` of a checkout, `_resources/` inside an installed wheel.

Standard library only; any thread.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def resource(*parts: str) -> Path:
    """Path of a file or folder that ships with the program, e.g. `resource("words", "vi.json")`."""
    for root in (_HERE / "_resources", _HERE.parents[1] / "resources"):
        if root.is_dir():
            return root.joinpath(*parts)
    raise FileNotFoundError("the program's resources are missing: install it again")
