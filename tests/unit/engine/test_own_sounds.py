"""The program's own sounds: there, soft, short, heard once over what is playing, and nothing else can be asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

import pytest
from unit.engine.hearing import read, until

from vidconf.engine import api
from vidconf.engine.local import LocalEngine
from vidconf.engine.own_sounds import own_sound
from vidconf.engine.playout import MAX_ONCE, Playout
from vidconf.engine.session import Options
from vidconf.engine.sound import level


@pytest.mark.parametrize("name", get_args(api.SoundName))
def test_each_is_soft_short_and_ends_in_silence(name: str) -> None:
    pcm = own_sound(name)
    assert 0.2 < len(pcm) / 96_000 < 1.0
    assert 0.01 < level(pcm) < 0.2
    assert level(pcm[-480:]) < 0.01


@pytest.mark.parametrize("name", ["", "../speech/hue", "knock.wav", "no such sound", "k" * 10_000])
def test_nothing_else_can_be_asked_for(name: str) -> None:
    with pytest.raises(ValueError, match="no sound"):
        own_sound(name)


async def test_it_is_heard_without_a_session_and_only_once(tmp_path: Path) -> None:
    engine = LocalEngine(Options(speaker="none"))
    await engine.start()
    engine.session.playout.start()
    engine.send(api.Record(str(tmp_path / "a.wav")))
    engine.send(api.PlaySound("knock"))
    knock = own_sound("knock")
    await asyncio.to_thread(until, lambda: len(read(tmp_path / "a.wav")) > 2 * len(knock) and knock in read(tmp_path / "a.wav"), 20)
    engine.send(api.Record(None))
    await engine.close()
    heard = read(tmp_path / "a.wav")
    assert knock in heard, "sample by sample"
    assert heard.count(knock[9_600:19_200]) == 1


def test_many_at_once_are_bounded() -> None:
    playout = Playout("none", lambda code, detail: None)
    for _ in range(10 * MAX_ONCE):
        playout.play_once(own_sound("knock"))
    assert len(playout._once) == MAX_ONCE
