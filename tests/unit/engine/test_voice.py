"""The voice's processing on sound of known make: echo, fan, keyboard, loudness, and each part switched alone."""

from __future__ import annotations

import importlib
import sys

import av
import numpy as np
import pytest

from vidconf.engine import voice as voice_module
from vidconf.engine.api import SetVoice
from vidconf.engine.far_end import FarEnd
from vidconf.engine.voice import Voice
from vidconf.resources import resource

pytest.importorskip("pywebrtc_audio")
RATE_HZ, BLOCK = 48_000, 960
OFF = SetVoice(echo_cancellation=False, noise_suppression=False, gain_control=False)


def speech(name: str, rms: float) -> np.ndarray:
    resampler = av.AudioResampler("s16", "mono", RATE_HZ)
    with av.open(str(resource("speech", f"{name}.flac"))) as container:
        parts = [m.to_ndarray()[0] for f in container.decode(audio=0) for m in resampler.resample(f)]
    samples = np.concatenate(parts).astype(float) / 32768
    return samples * rms / np.sqrt(np.mean(samples**2))


def noise(seconds: float, rms: float) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(round(seconds * RATE_HZ)) * rms


def keyboard(seconds: float) -> np.ndarray:
    chance, sound = np.random.default_rng(4), np.zeros(round(seconds * RATE_HZ))
    for at in chance.integers(0, len(sound) - 3000, round(6 * seconds)):
        sound[at : at + 2400] += 0.1 * chance.standard_normal(2400) * np.exp(-np.arange(2400) / 400)
    return sound


def loudness(samples: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(samples**2)) + 1e-9))


def s16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * 32767), -32768, 32767).astype(np.int16)


def processed(near: np.ndarray, settings: SetVoice, far: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """What leaves, and the share of blocks that were speech."""
    far_end, out, spoken = FarEnd(), [], 0
    voice, sent = Voice(far_end, settings), s16(near)
    for first in range(0, len(sent) - BLOCK, BLOCK):
        at = 10.0 + first / RATE_HZ
        if far is not None:
            far_end.played(s16(far[first : first + BLOCK]).tobytes(), at)
        out.append(np.frombuffer(voice.process(sent[first : first + BLOCK].tobytes(), at), np.int16) / 32767)
        spoken += voice.is_speech(float(np.sqrt(np.mean(out[-1] ** 2))))
    return np.concatenate(out), spoken / len(out)


def test_an_echo_is_taken_out_and_is_no_speech() -> None:
    far = np.resize(speech("hue", 0.08), 15 * RATE_HZ)
    near = np.concatenate([np.zeros(round(0.12 * RATE_HZ)), 0.4 * far])[: len(far)] + noise(15, 0.0005)
    left, spoken = processed(near, SetVoice(gain_control=False), far)
    assert loudness(near[5 * RATE_HZ : 14 * RATE_HZ]) - loudness(left[5 * RATE_HZ : 14 * RATE_HZ]) > 30
    assert spoken < 0.05
    kept, spoken = processed(near, OFF, far)
    assert abs(loudness(near[5 * RATE_HZ : 14 * RATE_HZ]) - loudness(kept[5 * RATE_HZ : 14 * RATE_HZ])) < 2
    assert spoken > 0.5


def test_a_fan_is_taken_out_and_a_voice_is_kept() -> None:
    fan = noise(10, 0.01)
    left, _ = processed(fan, SetVoice(gain_control=False))
    assert loudness(fan[3 * RATE_HZ :]) - loudness(left[3 * RATE_HZ :]) > 9
    said = speech("chair", 0.08)
    sent, spoken = processed(said, SetVoice(gain_control=False))
    assert abs(loudness(said) - loudness(sent)) < 2
    assert spoken > 0.6


def test_a_low_voice_is_raised_and_a_loud_one_is_not_clipped() -> None:
    low, _ = processed(np.resize(speech("chair", 0.008), 12 * RATE_HZ), SetVoice())
    assert loudness(low[8 * RATE_HZ :]) > loudness(np.full(2, 0.008)) + 10
    loud, _ = processed(speech("chair", 0.2), SetVoice())
    assert np.mean(np.abs(loud) > 0.99) < 0.001


@pytest.mark.parametrize("sound", [noise(8, 0.03), keyboard(8), 0.04 * np.sin(2 * np.pi * 440 * np.arange(8 * RATE_HZ) / RATE_HZ)])
@pytest.mark.parametrize("settings", [SetVoice(), OFF])
def test_noise_keys_and_tones_are_no_speech(sound: np.ndarray, settings: SetVoice) -> None:
    assert processed(sound, settings)[1] < 0.15


def test_each_part_can_be_switched_while_it_runs() -> None:
    voice, pcm = Voice(FarEnd(), OFF), s16(noise(0.02, 0.05)).tobytes()
    for k in range(64):
        voice.set(SetVoice(bool(k & 1), bool(k & 2), bool(k & 4)))
        assert len(voice.process(pcm, 10.0 + k * 0.02)) == len(pcm)


@pytest.mark.parametrize("name", ["numpy", "pywebrtc_audio"])
def test_what_is_missing_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    voice_module.missing.cache_clear()
    assert voice_module.missing() == ""
    voice_module.missing.cache_clear()
    real = importlib.import_module

    def broken(wanted: str) -> object:
        if wanted == name:
            raise OSError("wrong ELF class")
        return real(wanted)

    monkeypatch.setattr(importlib, "import_module", broken)
    assert voice_module.missing() == name
    voice_module.missing.cache_clear()
    assert "numpy" in sys.modules
