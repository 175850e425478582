"""Keyframe requests, speakers, quality, permissions, buckets: the pure parts."""

from __future__ import annotations

import itertools
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import models

from vidconf.protocol.livekit import Grants
from vidconf.relay.keyframes import KeyframeRequests
from vidconf.relay.limits import Bucket
from vidconf.relay.permission import Permission
from vidconf.relay.quality import score
from vidconf.relay.speakers import Speakers


class Clock:
    """Timers fired by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[list[Any]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any) -> Any:
        entry = [when, callback, True]
        self.due.append(entry)

        class Handle:
            def cancel(self) -> None:
                entry[2] = False

        return Handle()

    def run(self, until: float) -> None:
        while ready := sorted((e for e in self.due if e[2] and e[0] <= until), key=lambda e: e[0]):
            self.due.remove(ready[0])
            self.now = max(self.now, ready[0][0])
            ready[0][1]()
        self.now = until


def test_a_request_goes_out_at_once_is_repeated_and_stops_with_the_keyframe() -> None:
    clock, sent = Clock(), []
    requests = KeyframeRequests(cast(Any, clock), lambda: sent.append(clock.now))
    requests.want()
    requests.want()
    assert sent == [0.0]
    clock.run(0.9)
    assert sent == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    requests.passed()
    clock.run(3)
    assert len(sent) == 5
    # One too early is put off, not dropped.
    requests.want()
    assert len(sent) == 6
    clock.run(3.05)
    requests.passed()
    requests.want()
    assert len(sent) == 6
    clock.run(3.36)
    assert sent[-1] == pytest.approx(3.35)
    clock.run(60)
    assert len(sent) < 80  # patient in the long run
    requests.close()
    clock.run(70)
    assert sent[-1] <= 60


@given(st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), max_size=40))
def test_requests_are_never_denser_than_agreed_and_never_lost(steps: list[tuple[float, bool]]) -> None:
    clock, sent = Clock(), []
    requests = KeyframeRequests(cast(Any, clock), lambda: sent.append(clock.now))
    for seconds, passes in steps:
        requests.want()
        clock.run(clock.now + seconds)
        if passes:
            requests.passed()
    assert all(b - a >= 0.199 for a, b in itertools.pairwise(sent))
    if requests.wanted:
        count = len(sent)
        clock.run(clock.now + 1.1)
        assert len(sent) > count


def test_who_speaks_is_told_when_it_changes() -> None:
    speakers = Speakers()
    loud, quiet = ("PA_a", 20, 20, 20 * 20), ("PA_a", 20, 2, 40)
    assert [(sid, active) for sid, _, active in speakers.heard([loud])] == [("PA_a", True)]
    told = sum(len(speakers.heard([loud])) for _ in range(20))
    assert told <= 2  # a steady voice is not told again and again
    assert speakers.active()[0][0] == "PA_a"
    changes = [c for _ in range(12) for c in speakers.heard([quiet])]
    assert changes[-1] == ("PA_a", 0.0, False)
    assert speakers.active() == []
    assert speakers.heard([("PA_b", 0, 0, 0)]) == []
    both = speakers.heard([("PA_b", 20, 20, 20 * 30), ("PA_a", 20, 20, 20 * 5)])
    assert [sid for sid, _, _ in both] == ["PA_a", "PA_b"]  # loudest first
    speakers.forget("PA_a")
    assert [sid for sid, _ in speakers.active()] == ["PA_b"]


def test_quality() -> None:
    q = models.ConnectionQuality
    assert score(0, 1)[0] == q.EXCELLENT
    assert score(0.05, 1)[0] == q.GOOD
    assert score(0.3, 1)[0] == q.POOR
    assert score(0, 9)[0] == q.LOST


def test_permission() -> None:
    assert Permission.from_grants(Grants()).permits(1)
    only = Permission.from_grants(Grants(can_publish_sources=("camera",)))
    assert (only.permits(1), only.permits(2), only.permits(0)) == (True, False, False)
    assert not Permission.from_grants(Grants(can_publish=False)).permits(1)
    strange = Permission.from_grants(Grants(can_publish_sources=("hologram",)))
    assert not any(strange.permits(s) for s in range(6))  # not: an empty list, which would mean all
    assert not any(Permission.from_grants(strange.to_grants(Grants(can_publish_sources=("hologram",)))).permits(s) for s in range(6))


@given(st.builds(Permission, st.booleans(), st.booleans(), st.booleans(), st.frozensets(st.integers(1, 4)), st.just(False), st.booleans()))
def test_permission_round_trips(permission: Permission) -> None:
    assert Permission.from_message(permission.to_message()) == permission
    assert Permission.from_grants(permission.to_grants(Grants(room="r"))) == permission


@given(st.lists(st.floats(0, 0.3), max_size=300))
def test_a_bucket_keeps_its_rate(pauses: list[float]) -> None:
    bucket, now, taken = Bucket(10, 5), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
    assert taken <= 5 + 10 * now + 1
