"""Speaking while muted, and a microphone that gives nothing: told in time, and not too often."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from vidconf.engine.api import MicrophoneHint
from vidconf.engine.voice_hints import REST_S, SHOWN_S, SILENT_FIRST_S, SILENT_LATER_S, MutedSpeech, SilentMicrophone

BLOCK_S = 0.02


def told(note: Callable[[float], MicrophoneHint | None], begin: float, seconds: float) -> list[tuple[float, bool]]:
    """(after how many seconds, shown) of each hint."""
    found = []
    for k in range(round(seconds / BLOCK_S)):
        if (hint := note(begin + k * BLOCK_S)) is not None:
            found.append((round(k * BLOCK_S, 2), hint.shown))
    return found


def test_a_second_of_speech_while_muted_is_told_once_and_goes_away() -> None:
    hints = MutedSpeech()
    assert told(lambda at: hints.note(True, True, at), 100, 5) == [(1.0, True)]
    quiet = told(lambda at: hints.note(False, True, at), 105, 20)
    assert [shown for _, shown in quiet] == [False]
    assert abs(quiet[0][0] - SHOWN_S) < 0.1
    assert told(lambda at: hints.note(True, True, at), 125, 20) == [], "not again so soon"
    assert [shown for _, shown in told(lambda at: hints.note(True, True, at), 145, REST_S)] == [True]


def test_words_with_gaps_count_and_coughs_do_not() -> None:
    hints = MutedSpeech()
    assert told(lambda at: hints.note((at * 10) % 4 < 3, True, at), 100, 3) != [], "syllables"
    hints = MutedSpeech()
    assert told(lambda at: hints.note(at % 4 < 0.6, True, at), 100, 60) == [], "half a second every four"


def test_unmuting_takes_it_back_and_the_next_mute_begins_anew() -> None:
    hints = MutedSpeech()
    assert told(lambda at: hints.note(True, True, at), 100, 2) == [(1.0, True)]
    assert told(lambda at: hints.note(True, False, at), 102, 2) == [(0.0, False)]
    assert told(lambda at: hints.note(True, True, at), 104, 2) == [(0.98, True)]


def test_a_microphone_that_never_gives_a_sound_is_told_soon() -> None:
    hints = SilentMicrophone()
    assert told(lambda at: hints.note(0, False, at), 100, 20) == [(SILENT_FIRST_S, True)]
    assert told(lambda at: hints.note(200, False, at), 120, 5) == [(0.1, False)]
    assert told(lambda at: hints.note(1, False, at), 125, 60) == [(SILENT_LATER_S, True)], "one that did is given more time"


def test_muted_nobody_is_told_of_silence() -> None:
    hints = SilentMicrophone()
    assert told(lambda at: hints.note(0, True, at), 100, 60) == []
    assert told(lambda at: hints.note(0, False, at), 160, 1) == [(0.0, True)]
    assert told(lambda at: hints.note(0, True, at), 161, 1) == [(0.0, False)]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 100)), max_size=300))
def test_each_hint_is_a_change(steps: list[tuple[bool, bool, float]]) -> None:
    speech, silence, at, shown = MutedSpeech(), SilentMicrophone(), 0.0, {"speaking_muted": False, "silent": False}
    for spoken, muted, later in steps:
        at += later
        for hint in (speech.note(spoken, muted, at), silence.note(500 if spoken else 0, muted, at)):
            if hint is not None:
                assert hint.shown != shown[hint.hint]
                shown[hint.hint] = hint.shown
        assert not (shown["speaking_muted"] and not muted)
        assert not (shown["silent"] and muted)
