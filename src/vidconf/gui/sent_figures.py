"""What oneself sends, as lines of the connection's figures: one a size of a picture, one a sound. The window's thread.

`take` a report each second; rates and pictures a second are those of the last seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from vidconf import words

RECENT = 5
"""Reports, one a second, over which a rate is counted."""
NOTHING = "–"


class SentFigures:
    """Lines with the columns of `statistics.COLUMNS`."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], deque[tuple[int, int]]] = {}
        """Source and layer -> octets and frames at each report."""
        self._sent: Mapping[str, Any] = {}

    def take(self, sent: object) -> None:
        """Another second's `sent` of the engine's report."""
        self._sent = sent if isinstance(sent, Mapping) else {}
        here = {(source, rid): part for source, rid, part in self._parts()}
        self._counts = {key: counts for key, counts in self._counts.items() if key in here}
        for key, part in here.items():
            counts = self._counts.setdefault(key, deque(maxlen=RECENT + 1))
            now = (_number(part, "octets"), _number(part, "frames"))
            if counts and now < counts[-1]:
                counts.clear()      # another connection counts anew
            counts.append(now)

    def lines(self, name: str) -> list[tuple[str, ...]]:
        """The camera first; of each picture the largest size first. `name` is one's own."""
        found: list[tuple[str, ...]] = []
        for source in sorted(self._sent, key=str):
            entry = self._sent[source]
            what = words.text(f"statistics.{source}") if words.has(f"statistics.{source}") else str(source)
            about = (words.text("people.me", name=name), f"{what} · {entry.get('codec', '')}" if isinstance(entry, Mapping) else what)
            parts = [(rid, part) for s, rid, part in self._parts() if s == source]
            sending = [(rid, part) for rid, part in parts if "layers" not in entry or self._frames(source, rid)]
            if not sending:
                found.append((*about, NOTHING, NOTHING, NOTHING, NOTHING, words.text("statistics.unneeded"), words.text("statistics.kbps", value=0)))
            for rid, part in reversed(sending):
                video = "layers" in entry
                loss = part.get("fraction_lost", 0.0)
                found.append((
                    *about,
                    f"{_number(part, 'width')}×{_number(part, 'height')}" if video else NOTHING,
                    words.number(float(self._frames(source, rid))) if video else NOTHING,
                    words.text("statistics.percent", value=words.number(100 * float(loss if isinstance(loss, int | float) else 0.0))),
                    NOTHING,
                    NOTHING,
                    words.text("statistics.kbps", value=round(self._octets(source, rid) * 8 / 1000)),
                ))  # fmt: skip
        return found

    def _parts(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Source, layer, figures: of a sound its own."""
        for source, entry in self._sent.items():
            if not isinstance(entry, Mapping):
                continue
            for part in entry.get("layers", (entry,)):
                if isinstance(part, Mapping):
                    yield source, str(part.get("rid", "")), part

    def _frames(self, source: str, rid: str) -> float:
        """Pictures a second."""
        return self._rate(source, rid, 1)

    def _octets(self, source: str, rid: str) -> float:
        """Octets a second."""
        return self._rate(source, rid, 0)

    def _rate(self, source: str, rid: str, which: int) -> float:
        counts = self._counts.get((source, rid))
        return (counts[-1][which] - counts[0][which]) / (len(counts) - 1) if counts and len(counts) > 1 else 0.0


def _number(values: Mapping[str, Any], key: str) -> int:
    value = values.get(key, 0)
    return int(value) if isinstance(value, int | float) else 0
