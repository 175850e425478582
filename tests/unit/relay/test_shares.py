"""What a narrow line is used for: each picture something, the important ones more, none where only sound fits."""

from __future__ import annotations

from hypothesis import assume, example, given
from hypothesis import strategies as st

from vidconf.relay.shares import PAUSED, RISES, SQUEEZED, STAYS, Want, next_step, share

CAMERA = (150_000.0, 450_000.0, 1_500_000.0)


def camera(most: int = 2, flows: int = PAUSED, height: int = 180) -> Want:
    return Want(CAMERA, most, flows, (0, height))


def test_all_that_is_wanted_where_it_fits() -> None:
    wants = [camera(), camera(0), camera(1)]
    assert share(wants, 10_000_000) == [2, 0, 1]
    assert next_step(wants, [2, 0, 1]) is None


def test_first_a_small_picture_of_each_then_the_larger_tile_first() -> None:
    wants = [camera(height=180), camera(height=720), camera(height=180)]
    assert share(wants, RISES * 450_000) == [0, 0, 0]
    assert share(wants, RISES * 1_050_000) == [1, 1, 0]
    assert share(wants, RISES * 1_800_000) == [0, 2, 0]


def test_priority_goes_before_size() -> None:
    wants = [Want(CAMERA, 2, PAUSED, (0, 720)), Want(CAMERA, 2, PAUSED, (5, 90))]
    assert share(wants, RISES * 650_000) == [0, 1]


def test_where_only_some_fit_the_least_important_is_paused_and_where_none_do_all_are() -> None:
    wants = [camera(height=h) for h in (90, 720, 180)]
    assert share(wants, RISES * 300_000) == [PAUSED, 0, 0]
    assert share(wants, RISES * 160_000) == [PAUSED, 0, PAUSED]
    assert share(wants, 0.9 * SQUEEZED * RISES * 150_000) == [PAUSED] * 3
    assert share(wants, -50_000) == [PAUSED] * 3
    assert next_step(wants, [PAUSED] * 3) == 150_000 * RISES * 1.02


def test_what_flows_is_not_given_up_for_a_trifle_nor_taken_up_for_one() -> None:
    assert share([camera(flows=1)], 430_000) == [1]
    assert share([camera(flows=1)], 430_000, cut=True) == [0], "but when it has just been found too much"
    assert share([camera(flows=0)], 460_000) == [0]


def test_layers_that_are_not_sent_are_not_given() -> None:
    want = Want((None, 450_000.0, None), 2, PAUSED)
    assert share([want], 600_000) == [1]
    assert share([Want((None, None, 900_000.0), 0, PAUSED)], 2_000_000) == [2], "there is nothing smaller"
    assert share([Want((None, None, None), 1, PAUSED)], 0) == [1], "nothing is sent: nothing is paused"


rates = st.lists(st.one_of(st.none(), st.floats(1000, 5_000_000)), min_size=1, max_size=3)
wants = st.lists(st.builds(lambda r, most, flows, height: Want(r, min(most, len(r) - 1), min(flows, len(r) - 1), (0, height)), rates, st.integers(0, 2), st.integers(-1, 2), st.integers(0, 1080)), max_size=12)


@given(wants, st.floats(-100_000, 20_000_000))
def test_it_fits_and_only_what_is_sent_and_wanted_is_given(all_wants: list[Want], budget_bps: float) -> None:
    given_to = share(all_wants, budget_bps)
    total, least = 0.0, 0.0
    for want, layer in zip(all_wants, given_to, strict=True):
        assert layer in (PAUSED, *(want.layers() or [want.most]))
        if want.layers():
            total += want.cost(layer)
            least = max(least, want.cost(want.layers()[0]))
    assert total <= max(0.0, budget_bps) + (1 - SQUEEZED) * least / SQUEEZED + 1 or total == 0


@example([Want([52_348.0], 0, 0, (0, 0)), Want([None, 20_266.0, 1_000.0], 2, 1, (0, 1))], 48_979.0)
@given(wants, st.floats(0, 5_000_000))
def test_with_what_the_next_step_needs_somebody_gets_more_and_nobody_less_than_the_smallest(all_wants: list[Want], budget_bps: float) -> None:
    before = share(all_wants, budget_bps)
    needed_bps = next_step(all_wants, before)
    assume(needed_bps is not None and needed_bps > budget_bps)
    after = share(all_wants, needed_bps or 0.0)
    assert after != before
    assert sum(layer != PAUSED for layer in after) >= sum(layer != PAUSED for layer in before)
    assert 0 < STAYS < RISES
