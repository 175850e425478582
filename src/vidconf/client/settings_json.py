"""A JSON object out of a file that anybody may have written: the user's settings, an administrator's policies. Pure; any thread."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any


class _Object(dict[str, Any]):
    """An object that remembers which of its names stood there more than once."""

    repeated: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        times = Counter(name for name, _ in pairs)
        made.repeated = tuple(name for name in made if times[name] > 1)
    return made


def json_object(content: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The object, and the names that stand in it more than once (the last of each counts). Raises `ValueError` where there is none."""
    try:
        loaded = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(loaded, _Object):
        raise ValueError("not an object")
    return dict(loaded), loaded.repeated
