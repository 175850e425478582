"""What a row makes of what a receiver reported and a way counted: the laboratory's tables are no better than this."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.network import rows, voices
from bench.network.__main__ import table
from bench.network.rows import Record, Told
from bench.network.watch import Plan, Settings, Watch, delayed

BEGIN = 1000.0


def stream(ssrc: int, packets: int, lost: int = 0, **more: int) -> dict[str, int]:
    return {"ssrc": ssrc, "payload_type": 96, "packets": packets, "octets": 0, "padding": 0, "lost": lost, "repaired": 0, "repeated": 0, **more}


def watch(*, seconds: float = 20.0, report: dict[str, Any] | None = None, streams: tuple[dict[str, int], ...] = (), record: Path | None = None) -> Watch:
    told = {"pictures": {}, "samples": [], "sound_began": None, "notes": {}, **(report or {})}
    way = {"down": {"passed": 0, "streams": list(streams)}, "own_delay_ms": {"p99": 0.1}}
    return Watch("ours", BEGIN, BEGIN + seconds, 12.0, told, way, {12: 11}, {11: "video", 12: "video", 21: "audio"}, record)


def sample(at: float, **tracks: dict[str, Any]) -> dict[str, Any]:
    return {"at": BEGIN + at, "tracks": tracks}


def test_counters_rise_within_the_watch_only() -> None:
    samples = [sample(at, a={"kind": "audio", "nacks": 10 * at, "buffer_ms": 40 + at}, v={"kind": "video", "nacks": at, "buffer_ms": None}) for at in range(-3, 24)]
    found = watch(report={"samples": samples})
    assert found.counted("audio", "nacks") == 200
    assert found.counted("video", "nacks") == 20
    assert found.counted("video", "no such thing") == 0
    assert found.buffers("audio")[0] == (-3, 37)
    assert found.buffers("video") == []


def test_the_way_tells_repairs_from_probes_and_voices_from_pictures() -> None:
    found = watch(streams=(stream(11, 500, 20), stream(12, 30, 2, padding=6), stream(21, 200, 5, repeated=4), stream(99, 7)))
    assert found.on_the_way("video") == {"packets": 500, "lost": 20, "repairs": 24}
    assert found.on_the_way("audio") == {"packets": 200, "lost": 5, "repairs": 4}


def test_a_row_of_pictures() -> None:
    seen = [(BEGIN + k / 30, 50.0 + (k % 100 == 0) * 100) for k in range(-60, 600) if not 300 < k < 330]
    samples = [sample(at, v={"kind": "video", "nacks": 2 * at, "plis": 0, "buffer_ms": 30}) for at in range(21)]
    found = rows._of_pictures(watch(report={"pictures": {"TR": seen}, "samples": samples}, streams=(stream(11, 500, 20), stream(12, 30))))
    assert found["freezes"] == 1
    assert found["frozen, s a minute"] == pytest.approx(3, abs=0.01)
    assert (found["latency p50, ms"], found["latency p95, ms"]) == (50, 50)
    assert (found["repairs per loss"], found["own NACK count per loss"]) == (1.5, 2.0)


def test_nothing_seen_is_no_figure_and_no_fault() -> None:
    found = rows._of_pictures(watch())
    assert found["latency p50, ms"] is None
    assert found["pictures a second"] == 0
    assert rows._of_speech(watch())["PESQ-WB median"] is None


def recording(path: Path, pcm: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(voices.RATE_HZ)
        file.writeframes((np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def test_a_row_of_a_stall_reads_the_voice_itself(tmp_path: Path) -> None:
    """Six seconds as usual, then 0.3 s late, and two seconds later back."""
    rate, said = voices.RATE_HZ, voices.loop(voices.RATE_HZ)
    whole = np.take(said, range(24 * rate), mode="wrap").astype(np.float32)
    heard = np.concatenate([whole[: 7 * rate], np.zeros(int(0.3 * rate), np.float32), whole[7 * rate : 9 * rate], whole[int(9.3 * rate) :]])
    samples = [sample(at, a={"kind": "audio", "buffer_ms": 300 if 6 <= at < 9 else 40}) for at in range(21)]
    found = rows._of_stall(watch(report={"samples": samples, "sound_began": BEGIN - 0.5}, record=recording(tmp_path / "heard.wav", heard)), 6.0)
    assert found["in the buffer before, ms"] == 40
    assert found["buffer ≤ 60 ms after, s"] == pytest.approx(2.5)
    assert found["voice late at most, ms"] == pytest.approx(300, abs=3)
    assert found["back within 20 ms after, s"] == pytest.approx(2.1, abs=0.6)


def test_every_combination_is_a_way() -> None:
    told = Told(losses=(0.0, 0.05), rtts_ms=(0.0, 50.0), bursts=(1.0, 3.0), jitters_ms=(0.0,))
    found = list(rows._ways(told))
    assert len(found) == len({words for words, _, _ in found}) == 8
    assert ("50 ms round trip, 5 % lost in runs of 3", 50.0, Settings(loss=0.05, burst=3.0)) in found


def test_half_the_round_trip_each_way_whatever_the_timetable_says() -> None:
    timetable = delayed([(0.0, Settings(delay_ms=10)), (3.0, Settings(loss=0.1))], 50)
    assert [(at, s.delay_ms, s.loss) for at, s in timetable] == [(0.0, 35, 0), (3.0, 25, 0.1)]
    assert Plan(["ours"]).seed == Told().seed


def test_a_table_has_a_column_a_receiver_and_the_ratio() -> None:
    text = table(Record("nine", "nine of them", {"CPU %": {"ours": 20.0, "sdk": 50.0}, "freezes": {"ours": 0.0, "sdk": None}}))
    assert "| CPU % | 20 | 50 | 0.40 |" in text
    assert "| freezes | 0 | – |  |" in text
    assert "not measured: nobody" in table(Record("nine", "nine of them", failed="nobody"))
