"""The newest picture that a bot in this process gets of one track, and whether it shows what it should."""

from __future__ import annotations

from typing import Any

import av

from vidconf.cli.bot_participant import Bot


class Screening:
    """In place of a recorder. `of(bot, track)` begins to look."""

    def __init__(self) -> None:
        self.frame: av.VideoFrame | None = None
        self.count = 0

    @classmethod
    def of(cls, bot: Bot, track: dict[str, Any]) -> Screening:
        made = cls()
        video = bot._engine.session.subscription(track["track"], "video").video
        assert video is not None
        video.recorder = made  # type: ignore[assignment]
        return made

    def write(self, frame: av.VideoFrame, at_s: float) -> None:
        self.frame, self.count = frame, self.count + 1

    def size(self) -> tuple[int, int]:
        return (self.frame.width, self.frame.height) if self.frame is not None else (0, 0)

    def shows(self, colour: int, x: float, y: float) -> bool:
        """At a share of its sides; what coding leaves of a colour."""
        if self.frame is None:
            return False
        picture = self.frame.reformat(format="rgb24")
        plane = picture.planes[0]
        at = int(y * (picture.height - 1)) * plane.line_size + 3 * int(x * (picture.width - 1))
        found = bytes(plane)[at : at + 3]
        return all(abs(a - b) < 24 for a, b in zip(found, (colour >> 16, colour >> 8 & 255, colour & 255), strict=True))
