"""How good a participant's connection is, in LiveKit's four words. Pure; any thread."""

from __future__ import annotations

from livekit.protocol import models

SILENT_S = 8.0
"""No consent check for so long: it is lost, though not yet given up."""


def score(fraction_lost: float, silent_s: float) -> tuple[models.ConnectionQuality, float]:
    """(quality, score 1…5 of a mean opinion) from the worst loss in either direction, 0…1."""
    quality = models.ConnectionQuality
    if silent_s > SILENT_S:
        return quality.LOST, 1.0
    points = max(1.0, 4.5 - 25 * fraction_lost)
    if fraction_lost <= 0.02:
        return quality.EXCELLENT, points
    if fraction_lost <= 0.08:
        return quality.GOOD, points
    return quality.POOR, points
