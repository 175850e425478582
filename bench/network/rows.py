"""The rows of the laboratory: conditions, and which figures of a watch they are about. `run` of each gives records; no printing."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import statistics
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.network import frame_times, voices
from bench.network.impairment import Settings
from bench.network.watch import SEED, Plan, Watch, WatchError, measure

BUFFER_GOAL_MS = 60.0
HOLD_S = 0.5
OWN_DELAY = "the way's own delay p99, ms"
"""Above a few milliseconds the machine was too busy for the row to mean much."""
NARROW_BPS, NARROW_AT_S = 600_000, 8.0
"""Enough for the smaller layers; a queue of 300 ms."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the command line asks of every row."""

    receivers: Sequence[str] = ("ours", "sdk")
    seconds: float = 30.0
    losses: Sequence[float] = (0.0, 0.02, 0.05, 0.10, 0.15)
    rtts_ms: Sequence[float] = (50.0,)
    reds: Sequence[bool] = (False, True)
    bursts: Sequence[float] = (1.0,)
    """Mean length of a run of losses."""
    jitters_ms: Sequence[float] = (0.0,)
    alone: bool = False
    """One receiver after the other instead of all at once."""
    seed: int = SEED


@dataclass(frozen=True, slots=True)
class Record:
    """One condition: figure -> receiver -> value."""

    row: str
    condition: str
    figures: dict[str, dict[str, float | None]] = field(default_factory=dict)
    failed: str = ""


async def _watched(server: Any, plan: Plan, folder: Path, told: Told) -> list[Watch]:
    if not told.alone:
        return await measure(server, plan, folder)
    return [w for name in plan.receivers for w in await measure(server, dataclasses.replace(plan, receivers=[name]), folder)]


def _ways(told: Told) -> Iterator[tuple[str, float, Settings]]:
    """(what it is called, round trip in ms, what the way is like): every combination asked for."""
    for rtt_ms, burst, jitter_ms, loss in itertools.product(told.rtts_ms, told.bursts, told.jitters_ms, told.losses):
        words = [f"{rtt_ms:.0f} ms round trip", *([f"jitter {jitter_ms:.0f} ms"] if jitter_ms else []), f"{100 * loss:.0f} % lost"]
        yield ", ".join(words) + (f" in runs of {burst:.0f}" if burst > 1 else ""), rtt_ms, Settings(jitter_ms=jitter_ms, loss=loss, burst=burst)


def _record(row: str, condition: str, found: dict[str, dict[str, float | None]]) -> Record:
    """`found` is receiver -> figure -> value."""
    names = dict.fromkeys(name for figures in found.values() for name in figures)
    return Record(row, condition, {name: {receiver: figures.get(name) for receiver, figures in found.items()} for name in names})


def _share(part: float, whole: float) -> float | None:
    return 100 * part / whole if whole > 0 else None


# ---- speech
async def speech(server: Any, told: Told, folder: Path) -> AsyncIterator[Record]:
    """PESQ-WB of every sentence wholly within the watch: how well a voice comes through losses."""
    for red, (words, rtt_ms, way) in itertools.product(told.reds, list(_ways(told))):
        condition = f"RED {'on' if red else 'off'}, {words}"
        plan = Plan(told.receivers, told.seconds, rtt_ms, [(0.0, way)], seed=told.seed, red=red, record=True)
        try:
            watches = await _watched(server, plan, folder, told)
        except WatchError as error:
            yield Record("speech", condition, failed=str(error))
            continue
        yield _record("speech", condition, {w.receiver: await asyncio.to_thread(_of_speech, w) for w in watches})


def _of_speech(watch: Watch) -> dict[str, float | None]:
    way = watch.on_the_way("audio")
    figures: dict[str, float | None] = {
        "PESQ-WB median": None, "PESQ-WB worst": None, "sentences": 0.0,
        "concealed %": _share(watch.counted("audio", "concealed"), watch.counted("audio", "sounded")),
        "in the buffer, ms": _mean([ms for at, ms in watch.buffers("audio") if 0 <= at <= watch.end - watch.begin]),
        "lost on the way %": _share(way["lost"], way["packets"]),
        "repairs per loss": way["repairs"] / way["lost"] if way["lost"] else None,
        OWN_DELAY: watch.way["own_delay_ms"]["p99"],
    }  # fmt: skip
    began = watch.report["sound_began"]
    if watch.record is None or began is None or not watch.record.exists():
        return figures
    heard = voices.samples(watch.record, voices.RATE_HZ)
    scored = voices.score(heard, watch.begin - began + 0.2, watch.end - began - 0.1)
    if scored.scores:
        figures["PESQ-WB median"], figures["PESQ-WB worst"] = statistics.median(scored.scores), min(scored.scores)
        figures["sentences"] = float(len(scored.scores))
    return figures


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


# ---- pictures
async def pictures(server: Any, told: Told, folder: Path) -> AsyncIterator[Record]:
    """720p30 with a voice, which pictures are shown together with: freezes, how old a picture is when it is handed over, what
    repairing costs. The first of `reds` counts."""
    for words, rtt_ms, way in _ways(told):
        red = told.reds[0]
        condition = f"720p30, RED {'on' if red else 'off'}, {words}"
        plan = Plan(told.receivers, told.seconds, rtt_ms, [(0.0, way)], seed=told.seed, red=red, picture="1280x720", ages=True, settle_s=6.0)
        try:
            watches = await _watched(server, plan, folder, told)
        except WatchError as error:
            yield Record("pictures", condition, failed=str(error))
            continue
        yield _record("pictures", condition, {w.receiver: _of_pictures(w) for w in watches})


def _of_pictures(watch: Watch) -> dict[str, float | None]:
    (seen, *_) = watch.report["pictures"].values() or [[]]
    found = frame_times.pictures(seen, watch.begin, watch.end)
    way = watch.on_the_way("video")
    minute = 60 / (watch.end - watch.begin)
    return {
        "pictures a second": found["fps"], "freezes": float(found["freezes"]), "frozen, s a minute": found["freeze_s"] * minute,
        "latency p50, ms": found["latency_p50_ms"], "latency p95, ms": found["latency_p95_ms"],
        "lost packets": float(way["lost"]), "repairs per loss": way["repairs"] / way["lost"] if way["lost"] else None,
        "own NACK count per loss": watch.counted("video", "nacks") / way["lost"] if way["lost"] else None,
        "PLIs": watch.counted("video", "plis"), "CPU %": watch.cpu_percent, OWN_DELAY: watch.way["own_delay_ms"]["p99"],
    }  # fmt: skip


# ---- a narrow line
async def narrow(server: Any, told: Told, folder: Path) -> AsyncIterator[Record]:
    """Simulcast, and a line that after eight seconds carries NARROW_BPS only: whether the SFU is told so in time and sends less."""
    for rtt_ms in told.rtts_ms:
        condition = f"720p30 in layers, {rtt_ms:.0f} ms round trip, {NARROW_BPS // 1000} kb/s after {NARROW_AT_S:.0f} s"
        down = [(0.0, Settings()), (NARROW_AT_S, Settings(rate_bps=NARROW_BPS, queue_bytes=NARROW_BPS * 3 // 80))]
        plan = Plan(
            told.receivers, told.seconds + NARROW_AT_S, rtt_ms, down, seed=told.seed, picture="1280x720", bps=2_000_000, simulcast=True, ages=True,
            settle_s=8.0,
        )  # fmt: skip
        try:
            watches = await _watched(server, plan, folder, told)
        except WatchError as error:
            yield Record("narrow", condition, failed=str(error))
            continue
        yield _record("narrow", condition, {w.receiver: _of_narrow(w) for w in watches})


def _of_narrow(watch: Watch) -> dict[str, float | None]:
    (seen, *_) = watch.report["pictures"].values() or [[]]
    begin, minute = watch.begin + NARROW_AT_S, 60 / (watch.end - watch.begin - NARROW_AT_S)
    found = frame_times.pictures(seen, begin, watch.end)
    late = frame_times.pictures(seen, begin + 5, watch.end)
    return {
        "pictures a second": found["fps"], "freezes": float(found["freezes"]), "frozen, s a minute": found["freeze_s"] * minute,
        "latency p50 from 5 s on, ms": late["latency_p50_ms"], "latency p95 from 5 s on, ms": late["latency_p95_ms"],
        "packets that the queue had no room for": float(watch.way["down"]["overflowed"]), "PLIs": watch.counted("video", "plis"),
    }  # fmt: skip


# ---- a stall
async def stall(server: Any, told: Told, folder: Path) -> AsyncIterator[Record]:
    """Nothing for half a second, then all of it at once: how long the voice stays late."""
    for red in told.reds[:1]:
        for rtt_ms in told.rtts_ms:
            condition = f"{1000 * HOLD_S:.0f} ms stall, {rtt_ms:.0f} ms round trip"
            at = 6.0
            down = [(0.0, Settings()), (at, Settings(held=True)), (at + HOLD_S, Settings())]
            plan = Plan(told.receivers, max(told.seconds, at + 14.0), rtt_ms, down, seed=told.seed, red=red, record=True, settle_s=8.0)
            try:
                watches = await _watched(server, plan, folder, told)
            except WatchError as error:
                yield Record("stall", condition, failed=str(error))
                continue
            yield _record("stall", condition, {w.receiver: await asyncio.to_thread(_of_stall, w, at) for w in watches})


def _of_stall(watch: Watch, at: float) -> dict[str, float | None]:
    """From the voice as recorded: its delay against what it was before the stall."""
    before = _mean([ms for when, ms in watch.buffers("audio") if 0 <= when < at])
    figures: dict[str, float | None] = {"in the buffer before, ms": before, "voice late at most, ms": None, "back within 20 ms after, s": None}
    figures["buffer ≤ 60 ms after, s"] = _back(watch.buffers("audio"), at + HOLD_S, BUFFER_GOAL_MS)
    began = watch.report["sound_began"]
    if watch.record is None or began is None:
        return figures
    delays = _smooth([(when + began - watch.begin, ms) for when, ms in voices.delays(voices.samples(watch.record, voices.RATE_HZ))])
    usual = [ms for when, ms in delays if 0 <= when < at]
    after = [(when, ms) for when, ms in delays if at + HOLD_S < when < watch.end - watch.begin]
    if not usual or not after:
        return figures
    normal = statistics.median(usual)
    figures["voice late at most, ms"] = max(ms for _, ms in after) - normal
    figures["back within 20 ms after, s"] = _back([(when, ms - normal) for when, ms in delays], at + HOLD_S, 20)
    return figures


def _back(delays: Sequence[tuple[float, float]], since: float, most_ms: float) -> float | None:
    """Seconds after `since` until the delay is, for a second in the mean, no more than that. None: not within the watch."""
    for when, _ in delays:
        following = [ms for at, ms in delays if when <= at < when + 1]
        if when >= since and statistics.fmean(following) <= most_ms and delays[-1][0] >= when + 1:
            return when - since
    return None


def _smooth(delays: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The median of each and its neighbours: a vowel now and then fits best a period off."""
    return [(delays[k][0], statistics.median(ms for _, ms in delays[max(0, k - 2) : k + 3])) for k in range(len(delays))]


# ---- many
async def nine(server: Any, told: Told, folder: Path) -> AsyncIterator[Record]:
    """Nine participants at 360p30 with voices: what receiving and decoding them costs. Each receiver alone."""
    async for record in _crowd(server, told, folder, "nine", 9, "640x360", 400_000):
        yield record


async def wall(server: Any, told: Told, folder: Path) -> AsyncIterator[Record]:
    """Twenty-five participants at 180p30 with voices."""
    async for record in _crowd(server, told, folder, "wall", 25, "320x180", 120_000):
        yield record


async def _crowd(server: Any, told: Told, folder: Path, row: str, count: int, picture: str, bps: int) -> AsyncIterator[Record]:
    found: dict[str, dict[str, float | None]] = {}
    for name in told.receivers:
        plan = Plan([name], told.seconds, 0.0, crowd=count, picture=picture, bps=bps, seed=told.seed)
        try:
            (watch,) = await measure(server, plan, folder)
        except WatchError as error:
            yield Record(row, f"{count} × {picture}", failed=str(error))
            continue
        seen = [frame_times.pictures(times, watch.begin, watch.end) for times in watch.report["pictures"].values()]
        found[name] = {
            "CPU % of one core": watch.cpu_percent, "slowest picture, a second": min((s["fps"] for s in seen), default=None),
            "pictures a second": sum(s["fps"] for s in seen), "freezes": float(sum(s["freezes"] for s in seen)),
            "packets a second": watch.way["down"]["passed"] / (watch.end - watch.begin),
            "voice in the buffer, ms": _mean([ms for at, ms in watch.buffers("audio") if at >= 0]),
            OWN_DELAY: watch.way["own_delay_ms"]["p99"],
        }  # fmt: skip
    yield _record(row, f"{count} × {picture} at 30 and voices", found)


ROWS = {"speech": speech, "pictures": pictures, "narrow": narrow, "stall": stall, "nine": nine, "wall": wall}
