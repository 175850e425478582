"""What was last seen of the update site, kept for the next start and for reports. Blocks on one small file; any thread.

It is the user's own file: what it says is checked like everything from outside, and none of it is trusted for what gets installed
(that is TUF's memory beside it).
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from vidconf.client.updates.release import Release, ReleaseError, parse_release
from vidconf.client.whole_file import write_whole

log = logging.getLogger("vidconf.updates")

NAME = "seen.json"
SIZE_LIMIT = 200_000


@dataclass(frozen=True, slots=True)
class Seen:
    """`at`: Unix seconds of the last look, 0 for never; `trouble`: its code of `check.CODES`, "" when it was good.

    `release`: the newest version ever seen there, also when the last look failed. `put_away`: the version whose notice was dismissed."""

    url: str = ""
    at: float = 0.0
    trouble: str = ""
    release: Release | None = None
    put_away: str = ""


def update_folder() -> Path:
    """Where this user's updates are remembered: TUF's memory and ours."""
    return Path(platformdirs.user_data_dir("vidconf", appauthor=False, roaming=False)) / "updates"


def recall(folder: Path, url: str) -> Seen:
    """What is remembered of the site `url`; nothing where there is nothing, or nothing sound."""
    try:
        with (folder / NAME).open("rb") as file:
            body = json.loads(file.read(SIZE_LIMIT))
        held = body["release"]
        release = None if held is None else parse_release(json.dumps(held).encode())
        seen = Seen(_text(body, "url"), _time(body["at"]), _text(body, "trouble"), release, _text(body, "put_away"))
    except FileNotFoundError:
        return Seen(url)
    except (OSError, ValueError, RecursionError, KeyError, TypeError, ReleaseError) as error:
        log.info("what was remembered of updates is not read: %s", error)
        return Seen(url)
    return seen if seen.url == url else Seen(url)


def remember(folder: Path, seen: Seen) -> None:
    """Write it, whole; what cannot be written is logged."""
    body = {
        "url": seen.url, "at": round(seen.at), "trouble": seen.trouble, "put_away": seen.put_away,
        "release": seen.release.as_json() if seen.release is not None else None,
    }  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / NAME, json.dumps(body).encode())
    except OSError as error:
        log.warning("what was seen of updates is not remembered: %s", error.strerror or error)


def _text(body: dict[str, Any], name: str) -> str:
    value = body[name]
    if not isinstance(value, str) or len(value) > 2048:
        raise ValueError(name)
    return value


def _time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value < 1e11:
        raise ValueError("at")
    return float(value)
