"""Levels, mixing and fades, with numpy and without."""

from __future__ import annotations

import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.engine.media import steepest, tone

from vidconf.engine import sound
from vidconf.engine.sound import Mixer, crossfade, fade_in, fade_out, level

samples = st.lists(st.integers(-32768, 32767), max_size=200).map(lambda v: array.array("h", v).tobytes())
gains = st.floats(0, 2)


@pytest.fixture(params=["numpy", "plain"], autouse=True)
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(sound, "np", None)
    return str(request.param)


def test_level() -> None:
    assert level(b"") == level(bytes(1920)) == 0.0
    assert level(tone(0.02, amplitude=1.0)) == pytest.approx(0.707, abs=0.01)
    assert level(array.array("h", [-32768] * 960).tobytes()) == pytest.approx(1.0, abs=0.001)


def test_one_sound_alone_is_passed_on_untouched() -> None:
    pcm = tone(0.02)
    assert Mixer().mix([(pcm, 1.0, 1.0), (tone(0.02), 0.0, 0.0)], 1920) == pcm
    assert Mixer().mix([], 1920) == bytes(1920)


def test_gain_changes_without_a_click() -> None:
    mixer, heard = Mixer(), b""
    pcm = tone(0.1)
    for k, (first, last) in enumerate([(1.0, 1.0), (1.0, 0.0), (0.0, 0.0), (0.0, 2.0), (2.0, 2.0)]):
        heard += mixer.mix([(pcm[k * 1920 : (k + 1) * 1920], first, last)], 1920)
    assert steepest(heard) < 2 * 566 + 120
    assert level(heard[3840:5760]) == 0.0
    assert level(heard[7680:]) == pytest.approx(2 * 0.212, abs=0.01)


def test_a_loud_crowd_is_turned_down_not_clipped() -> None:
    mixer, parts = Mixer(), [tone(0.4, hz=300 + 37 * k, amplitude=0.6) for k in range(6)]
    heard = b"".join(mixer.mix([(p[at : at + 1920], 1.0, 1.0) for p in parts], 1920) for at in range(0, len(parts[0]), 1920))
    values = array.array("h", heard)
    assert max(abs(v) for v in values) <= 32767
    assert sum(abs(v) > 32000 for v in values) < 0.05 * len(values)
    assert steepest(heard) < 6000
    quiet = tone(0.02, amplitude=0.1)
    for _ in range(60):
        last = mixer.mix([(quiet, 1.0, 1.0)], 1920)
    assert last == quiet, "and comes back"


@given(st.lists(st.tuples(samples, gains, gains), max_size=4), st.integers(1, 100))
def test_mixing_is_total(parts: list[tuple[bytes, float, float]], count: int) -> None:
    assert len(Mixer().mix(parts, 2 * count)) == 2 * count


@given(st.lists(st.tuples(samples.filter(bool), gains, gains), min_size=1, max_size=3))
def test_numpy_and_plain_agree(parts: list[tuple[bytes, float, float]]) -> None:
    one, other = Mixer(), Mixer()
    for _ in range(2):
        a = array.array("h", one.mix(parts, 400))
        b = array.array("h", other._mix_plain([p for p in parts if p[1] > 0 or p[2] > 0], 400) if any(p[1] or p[2] for p in parts) else bytes(400))
        assert max(abs(x - y) for x, y in zip(a, b, strict=True)) <= 4


@given(samples, samples)
def test_fades_keep_the_length(old: bytes, new: bytes) -> None:
    assert len(crossfade(old, new)) == len(fade_in(new)) == len(fade_out(new)) == len(new)


def test_fades_begin_and_end_softly() -> None:
    pcm = tone(0.02, start=30)
    assert steepest(bytes(200) + fade_in(pcm)) < 620
    assert steepest(fade_out(pcm) + bytes(200)) < 620
    assert fade_in(pcm)[2 * sound.FADE :] == pcm[2 * sound.FADE :]
