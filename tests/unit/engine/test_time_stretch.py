"""Voices made longer and shorter: same pitch, to the sample; with numpy and without."""

from __future__ import annotations

import array
import math
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.engine.media import steepest, tone

from vidconf.engine import sound, time_stretch
from vidconf.engine.sound import level
from vidconf.engine.time_stretch import LEAST, MOST, continued, join, lengthen, shorten

MS = 96
"""Bytes in a millisecond."""


@pytest.fixture(params=["numpy", "plain"], autouse=True)
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(sound, "np", None)
        monkeypatch.setattr(time_stretch, "np", None)
    else:
        pytest.importorskip("numpy")
    return str(request.param)


def voice(seconds: float, hz: float) -> bytes:
    """A vowel: harmonics of a pitch, falling off, each with a phase of its own."""
    count = int(seconds * 48_000)
    total = [0.0] * count
    for harmonic in range(1, int(3000 / hz)):
        step = 2 * math.pi * hz * harmonic / 48_000
        for k in range(count):
            total[k] += math.sin(step * k + harmonic * harmonic) / harmonic
    loudest = max(map(abs, total))
    return array.array("h", (int(9000 * v / loudest) for v in total)).tobytes()


def noise(seconds: float, amplitude: int = 3000, seed: int = 1) -> bytes:
    rnd = random.Random(seed)
    return array.array("h", (rnd.randint(-amplitude, amplitude) for _ in range(int(seconds * 48_000)))).tobytes()


def apart(one: bytes, other: bytes) -> float:
    """RMS of the difference, as a part of the RMS of the first."""
    a, b = array.array("h", one), array.array("h", other)
    assert len(a) == len(b)
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / max(1, sum(x * x for x in a)))


@pytest.mark.parametrize("hz", [75.0, 110.0, 151.0, 233.0, 380.0])
def test_a_period_less_is_the_same_voice_a_moment_later(hz: float) -> None:
    pcm = voice(0.04, hz)
    out = shorten(pcm)
    taken = (len(pcm) - len(out)) // 2
    periods = taken * hz / 48_000
    assert LEAST <= taken <= MOST
    assert periods == pytest.approx(round(periods), abs=0.02)
    assert apart(out, pcm[: len(out)]) < 0.15, "the same wave: only the end is missing"
    assert out[:2] == pcm[:2]
    assert out[-10 * MS :] == pcm[-10 * MS :]


@pytest.mark.parametrize("hz", [75.0, 110.0, 151.0, 233.0, 380.0])
def test_a_period_more_goes_on_from_what_was_played(hz: float) -> None:
    whole = voice(0.06, hz)
    past, pcm = whole[: 30 * MS], whole[30 * MS : 50 * MS]
    out = lengthen(past, pcm)
    more = (len(out) - len(pcm)) // 2
    periods = more * hz / 48_000
    assert LEAST <= more <= MOST
    assert periods == pytest.approx(round(periods), abs=0.02)
    assert out.endswith(pcm)
    assert apart(whole[30 * MS :][: len(out)], out[: len(whole) - 30 * MS]) < 0.15
    assert steepest(past + out) <= 1.3 * steepest(whole)


@pytest.mark.parametrize("most", [160, 300, 720])
def test_no_more_is_taken_or_given_than_was_allowed(most: int) -> None:
    pcm = voice(0.08, 380.0)
    past, pcm = pcm[: len(pcm) // 2], pcm[len(pcm) // 2 :]
    assert 0 < len(pcm) - len(shorten(pcm, most)) <= 2 * most
    assert 0 < len(lengthen(past, pcm, most)) - len(pcm) <= 2 * most
    assert len(pcm) - len(shorten(noise(0.04), most, anywhere=True)) == 2 * most


def test_what_has_no_pitch_is_left_alone_unless_nobody_speaks() -> None:
    hiss = noise(0.04)
    assert shorten(hiss) == hiss
    assert lengthen(hiss, hiss) == hiss
    assert len(shorten(hiss, anywhere=True)) == len(hiss) - 2 * MOST
    assert len(lengthen(hiss, hiss, anywhere=True)) == len(hiss) + 2 * MOST
    assert level(shorten(hiss, anywhere=True)) > 0.7 * level(hiss), "no hole in the hiss"


def test_speech_again_and_again_keeps_its_pitch() -> None:
    """Half a second squeezed by a fifth: the same pitch, counted in crossings of a pure tone."""
    pcm, out, rest = tone(0.5, 220.0), b"", b""
    for at in range(0, len(pcm), 20 * MS):
        rest += pcm[at : at + 20 * MS]
        if len(rest) >= 30 * MS:
            rest = shorten(rest, hurry=True)
            out, rest = out + rest[: 20 * MS], rest[20 * MS :]
    out += rest
    assert len(out) < 0.85 * len(pcm)
    samples = array.array("h", out)
    rising = [k for k in range(1, len(samples)) if samples[k - 1] < 0 <= samples[k]]
    assert 48_000 * (len(rising) - 1) / (rising[-1] - rising[0]) == pytest.approx(220.0, rel=0.005)
    assert steepest(out) <= 1.2 * steepest(pcm)
    assert level(out) == pytest.approx(level(pcm), rel=0.05)


def test_a_voice_is_continued_at_its_pitch() -> None:
    whole = voice(0.06, 151.0)
    out = continued(whole[: 30 * MS], 30 * 48)
    assert len(out) == 30 * MS
    assert apart(whole[30 * MS :], out) < 0.25
    assert steepest(whole[: 30 * MS] + out) <= 1.3 * steepest(whole)
    assert continued(b"", 100) == bytes(200)
    assert len(continued(tone(0.001), 500)) == 1000


@pytest.mark.parametrize("torn_ms", [1, 2.5, 5, 7, 9])
def test_pieces_that_do_not_belong_together_are_joined_without_a_step(torn_ms: float) -> None:
    whole = voice(0.08, 151.0)
    past, pcm = whole[: 30 * MS], whole[int((30 + torn_ms) * 48) * 2 :][: 20 * MS]
    out = join(past, pcm)
    assert len(pcm) - 10 * MS <= len(out) <= len(pcm)
    assert out[-5 * MS :] == pcm[-5 * MS :]
    assert steepest(past + out) <= 1.3 * steepest(whole)
    assert apart(whole[: len(past + out)], past + out) < 0.3, "the periods meet"


def test_joining_begins_and_ends_of_nothing() -> None:
    assert join(b"", b"") == b""
    pcm = tone(0.02)
    assert len(join(b"", pcm)) == len(pcm)
    assert len(join(pcm, pcm[: 2 * MS])) == 2 * MS
    assert steepest(bytes(30 * MS) + join(bytes(30 * MS), tone(0.02, start=27))) < 1200


@given(st.binary(max_size=400), st.binary(max_size=400), st.integers(-10, 3000), st.booleans(), st.booleans())
def test_nothing_breaks_it(past: bytes, pcm: bytes, most: int, anywhere: bool, hurry: bool) -> None:
    past, pcm = past * 8, pcm * 8
    past, pcm = past[: len(past) // 2 * 2], pcm[: len(pcm) // 2 * 2]
    assert len(pcm) - 2 * MOST <= len(shorten(pcm, most, anywhere=anywhere, hurry=hurry)) <= len(pcm)
    assert len(pcm) <= len(lengthen(past, pcm, most, anywhere=anywhere, hurry=hurry)) <= len(pcm) + 2 * MOST
    assert len(join(past, pcm)) <= len(pcm)
    assert len(continued(past, 480)) == 960


def test_it_costs_little(arithmetic: str) -> None:
    pcm = voice(0.04, 110.0)
    started = time.thread_time()
    for _ in range(20):
        shorten(pcm)
    assert (time.thread_time() - started) / 20 < (0.001 if arithmetic == "numpy" else 0.02)
