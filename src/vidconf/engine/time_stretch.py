"""Speech made a little shorter or longer without changing its pitch, and pieces joined: overlap-add by pitch periods.

Pure; any thread; 16-bit mono at 48 kHz, as bytes. After NetEQ's time_stretch.cc, accelerate.cc, preemptive_expand.cc and merge.cc
(libwebrtc): the period is where the normalised cross-correlation is highest, first at 8 kHz, then at full rate. numpy where it
is; without it the same in plain Python, coarser by a hair and some milliseconds dearer, which is seldom enough.
"""

from __future__ import annotations

import array
import itertools
import math
import operator
from typing import Any

from vidconf.engine.sound import crossfade, np

LEAST, MOST = 120, 720
"""Periods looked for, samples: 2.5 to 15 ms, 400 to 67 Hz."""
COARSE = 6
"""48 kHz to 8 kHz, where the search begins."""
WINDOW = 480
"""10 ms are compared, or what there is."""
ALIKE, BARELY_ALIKE = 0.9, 0.4
"""Correlation from which a period may be taken out or put in, where there is time to wait for one, and in a hurry."""
OVERLAP = 240
"""5 ms, for pieces that belong together by accident only."""
SLIDE = 480
"""How much of a new piece may be left out so that it falls in with the old."""


def shorten(pcm: bytes, most: int = MOST, *, anywhere: bool = False, hurry: bool = False) -> bytes:
    """`pcm` less one pitch period of at most `most` samples from its beginning; as it is when it has none that is clear enough.
    `anywhere`: it holds no voice, so any length will do. Its first and last samples stay what they were."""
    length = len(pcm) // 2
    most = min(most, MOST, length // 2)
    if most < LEAST:
        return pcm
    period, alike = (most, 1.0) if anywhere else _period(pcm, 0, most, forwards=True)
    if alike < (BARELY_ALIKE if hurry else ALIKE):
        return pcm
    return crossfade(pcm[: 2 * period], pcm[2 * period :], period)


def lengthen(past: bytes, pcm: bytes, most: int = MOST, *, anywhere: bool = False, hurry: bool = False) -> bytes:
    """`pcm` with one pitch period more at its beginning, at most `most` samples; `past` is what was played before it."""
    at = len(past) // 2
    most = min(most, MOST, at, len(pcm) // 2)
    if most < LEAST:
        return pcm
    period, alike = (most, 1.0) if anywhere else _period(past + pcm, at, most, forwards=False)
    if alike < (BARELY_ALIKE if hurry else ALIKE):
        return pcm
    return crossfade(pcm[: 2 * period], past[2 * (at - period) :], period) + pcm


def continued(past: bytes, samples: int) -> bytes:
    """How `past` would go on if its last pitch period came again and again."""
    at = len(past) // 2
    most = min(MOST, at // 2)
    if most < LEAST:
        return bytes(2 * samples)
    window = min(WINDOW, at - most)
    period, _ = _period(past, at - window, most, forwards=False)
    last = past[2 * (at - period) :]
    return (last * (samples // period + 1))[: 2 * samples]


def join(past: bytes, pcm: bytes) -> bytes:
    """`pcm` so that it goes on from `past`, from which it is torn off: as little as makes the waves meet is left out at its
    beginning, and what is heard passes over from the one to the other."""
    length = len(pcm) // 2
    if length < OVERLAP or len(past) < 2 * 2 * LEAST:
        return crossfade(continued(past, OVERLAP), pcm, OVERLAP)
    tail = _from(past, continued(past, OVERLAP))
    slide = _best(pcm[: 2 * (OVERLAP + SLIDE)], tail) if length >= OVERLAP + SLIDE else 0
    return crossfade(tail, pcm[2 * slide :], OVERLAP)


def _from(past: bytes, tail: bytes) -> bytes:
    """`tail`, moved so that it begins where `past` ends: a voice that was made up has no period that holds to the sample."""
    before, after = array.array("h", past[-4:]), array.array("h", tail)
    step = 2 * before[1] - before[0] - after[0]
    return array.array("h", (max(-32768, min(32767, v + step)) for v in after)).tobytes()


def _period(pcm: bytes, at: int, most: int, *, forwards: bool) -> tuple[int, float]:
    """The lag, LEAST…most, at which what lies that much after (or before) `at` is most like what lies there; and how alike."""
    length = len(pcm) // 2
    window = min(WINDOW, length - at - (most if forwards else 0))
    start = at + LEAST if forwards else at - most
    template = pcm[2 * at : 2 * (at + window)]
    searched = pcm[2 * start : 2 * (start + most - LEAST + window)]
    coarse = COARSE * _likest(_coarser(searched), _coarser(template))[0]
    first = max(0, coarse - COARSE)
    fine, alike = _likest(_samples(searched[2 * first : 2 * (first + 2 * COARSE + window)]), _samples(template))
    place = start + first + fine
    return abs(place - at), alike


def _best(pcm: bytes, template: bytes) -> int:
    """Where in `pcm` the template fits best, samples from its beginning."""
    return COARSE * _likest(_coarser(pcm), _coarser(template))[0]


def _samples(pcm: bytes) -> Any:
    return np.frombuffer(pcm, np.int16).astype(np.float32) if np is not None else array.array("h", pcm)


def _coarser(pcm: bytes) -> Any:
    """A sixth of the samples: the mean of each six."""
    whole = len(pcm) // (2 * COARSE) * COARSE
    if np is not None:
        return np.frombuffer(pcm, np.int16, whole).reshape(-1, COARSE).mean(1, dtype=np.float32)
    samples = array.array("h", pcm[: 2 * whole])
    return [sum(samples[k : k + COARSE]) / COARSE for k in range(0, whole, COARSE)]


def _likest(searched: Any, template: Any) -> tuple[int, float]:
    """Where in `searched` the template's normalised cross-correlation is highest, and what it is, −1…1."""
    window = len(template)
    count = len(searched) - window + 1
    if np is not None:
        products = np.correlate(searched, template, "valid")
        sums = np.concatenate(([0.0], np.cumsum(searched * searched, dtype=np.float64)))
        scores = products / np.sqrt((sums[window:] - sums[:-window]) * float(np.dot(template, template)) + 1.0)
        best = int(scores.argmax())
        return best, float(scores[best])
    energy = sum(map(operator.mul, template, template))
    squares = list(itertools.accumulate(map(operator.mul, searched, searched), initial=0))
    best, highest = 0, -1.0
    for k in range(count):
        product = sum(map(operator.mul, searched[k : k + window], template))
        score = product / math.sqrt((squares[k + window] - squares[k]) * energy + 1.0)
        if score > highest:
            best, highest = k, score
    return best, highest
