"""What is said in the laboratory, and how well it was heard: Vietnamese sentences in a loop, PESQ-WB of each, delay over time.

The loop is known, so a sentence is looked for where it must be and scored however bad it is: none is left out for being
unrecognisable. Any thread; a score takes a tenth of a second.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from pesq import PesqError, pesq

SPEECH = Path(__file__).resolve().parents[2] / "resources" / "speech"
SENTENCES = ("hue", "can-tho", "quang-ninh", "dak-lak")
PAUSE_S = 0.35
RATE_HZ = 16_000
SEARCH_S = 0.8
"""How far from its place in the loop a sentence may be: what a jitter buffer can have added since."""


def samples(path: Path, rate_hz: int) -> np.ndarray:
    """Mono, −1…1."""
    resampler = av.AudioResampler("flt", "mono", rate_hz)
    with av.open(str(path)) as container:
        parts = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        parts += [out.to_ndarray()[0] for out in resampler.resample(None)]
    return np.concatenate(parts)


@functools.cache
def sentences(rate_hz: int) -> tuple[tuple[np.ndarray, int], ...]:
    """(sentence, where in the loop it begins)."""
    found, at = [], 0
    for name in SENTENCES:
        said = samples(SPEECH / f"{name}.flac", rate_hz)
        found.append((said, at))
        at += len(said) + int(PAUSE_S * rate_hz)
    return tuple(found)


@functools.cache
def loop(rate_hz: int) -> np.ndarray:
    """All sentences with a pause after each."""
    pause = np.zeros(int(PAUSE_S * rate_hz), np.float32)
    return np.concatenate([part for said, _ in sentences(rate_hz) for part in (said, pause)])


@dataclass(frozen=True, slots=True)
class Heard:
    """Scores of the sentences wholly within the watch."""

    scores: tuple[float, ...]
    unheard: int
    """Sentences in which PESQ found no speech at all; each counts as 1.0 in `scores`."""


def phase(heard: np.ndarray) -> int:
    """Where in the loop the recording begins, samples: from the best match of all of it."""
    said = loop(RATE_HZ)
    folded = np.zeros(len(said))
    whole = len(heard) // len(said) * len(said)
    if whole:
        folded += heard[:whole].reshape(-1, len(said)).sum(0)
    folded[: len(heard) - whole] += heard[whole:]
    matched = np.fft.irfft(np.conj(np.fft.rfft(folded)) * np.fft.rfft(said), len(said))
    return int(matched.argmax())


def _best_lag(piece: np.ndarray, said: np.ndarray) -> tuple[int, float]:
    """Where in `piece` (the longer) `said` fits best, and the normalised correlation there."""
    size = 1 << (len(piece) + len(said)).bit_length()
    matched = np.fft.irfft(np.fft.rfft(piece, size) * np.conj(np.fft.rfft(said, size)), size)[: len(piece) - len(said) + 1]
    squares = np.concatenate([[0.0], np.cumsum(piece.astype(np.float64) ** 2)])
    energy = squares[len(said) :] - squares[: len(squares) - len(said)]
    normal = matched / np.sqrt(np.maximum(energy[: len(matched)], 1e-9) * float((said.astype(np.float64) ** 2).sum() + 1e-9))
    best = int(normal.argmax())
    return best, float(normal[best])


def score(heard: np.ndarray, begin_s: float, end_s: float) -> Heard:
    """`heard` at RATE_HZ; seconds of the recording between which it is judged."""
    length, offset = len(loop(RATE_HZ)), phase(heard)
    reach = int(SEARCH_S * RATE_HZ)
    scores, unheard = [], 0
    for said, at in sentences(RATE_HZ):
        place = (at - offset) % length
        while place + len(said) + reach <= min(len(heard), end_s * RATE_HZ):
            if place - reach // 4 >= begin_s * RATE_HZ:
                begin = max(0, place - reach)
                lag, _ = _best_lag(heard[begin : place + len(said) + reach], said)
                try:
                    scores.append(float(pesq(RATE_HZ, said, heard[begin + lag : begin + lag + len(said)], "wb")))
                except (PesqError, ValueError):     # no utterance in it; or nothing at all, which PESQ divides by
                    scores.append(1.0)
                    unheard += 1
            place += length
    return Heard(tuple(scores), unheard)


def delays(heard: np.ndarray, step_s: float = 0.1, window_s: float = 0.4) -> list[tuple[float, float]]:
    """(second of the recording, delay in ms against the recording's own alignment): only where enough of the voice is recognised."""
    said, offset = loop(RATE_HZ), phase(heard)
    window, reach = int(window_s * RATE_HZ), int(SEARCH_S * RATE_HZ)
    loud = float(np.sqrt((said**2).mean()))
    found = []
    for at in range(reach, len(heard) - window - reach, int(step_s * RATE_HZ)):
        piece = heard[at : at + window]
        if float(np.sqrt((piece**2).mean())) < 0.5 * loud:
            continue
        begin = at + offset - reach
        around = np.take(said, range(begin, begin + window + 2 * reach), mode="wrap")
        lag, alike = _best_lag(around, piece)
        if alike > 0.75:
            found.append(((at + window / 2) / RATE_HZ, (reach - lag) * 1000 / RATE_HZ))
    return found
