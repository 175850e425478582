"""What a sender did, from counts of its way that are known."""

from __future__ import annotations

import pytest

from bench.network.sending import rows
from bench.network.sending_figures import VIDEO, Sent, of_cut, of_free, of_loss, of_narrow

NONE = {"overflowed": 0, "repeated": 0, "padding": 0}


def counts(since: float, until: float, bps: float, start: float = 0.0, lost: int = 0) -> list[tuple[float, dict[int, dict[str, int]]]]:
    """Each tenth of a second what had gone up at that rate, with repairs of a tenth of it."""
    found = []
    for k in range(int((until - since) * 10) + 1):
        octets = int(start + bps / 8 * k / 10)
        packets = octets // 1000
        streams = {
            1: {"ssrc": 1, "payload_type": VIDEO, "octets": octets, "packets": packets, "lost": lost * packets // 100, **NONE},
            2: {"ssrc": 2, "payload_type": 97, "octets": octets // 10, "packets": packets, "lost": 0, **NONE},
        }
        found.append((since + k / 10, streams))
    return found


def sent(before: float, after: float, targets: list[tuple[float, float]], lost: int = 0) -> Sent:
    seen = [(t / 30, 50.0) for t in range(60 * 30)]
    return Sent("ours", 5.0, 35.0, counts(0, 5, before), counts(5, 35, after, lost=lost), targets, seen, 20.0, 1.0)


def test_the_first_seconds() -> None:
    found = of_free(sent(2_000_000, 2_000_000, [(0.05, 500_000), (0.5, 1_200_000), (1.1, 2_500_000)]))
    assert found["target 1 Mb/s after, s"] == pytest.approx(0.4)
    assert found["target 2 Mb/s after, s"] == pytest.approx(1.0)
    assert found["pictures of 1.8 Mb/s after, s"] == pytest.approx(0.4)
    assert found["sent at the end, Mb/s"] == pytest.approx(2.0, rel=0.02)


def test_what_is_held_where_packets_are_lost() -> None:
    found = of_loss(sent(0, 1_500_000, [(5 + k / 10, 1_600_000) for k in range(300)], lost=10))
    assert found["pictures, Mb/s"] == pytest.approx(1.5, rel=0.02)
    assert found["repairs and padding, Mb/s"] == pytest.approx(0.15, rel=0.02)
    assert found["target, Mb/s"] == pytest.approx(1.6)
    assert (found["freezes"], found["latency p95, ms"]) == (0, 50)


def test_what_is_sent_again_under_its_own_ssrc_is_no_new_picture() -> None:
    found = sent(0, 1_000_000, [])
    for _, streams in found.after:
        streams[1]["repeated"] = streams[1]["packets"] // 10
    assert found.sent_bps(5, 30) == pytest.approx(900_000, rel=0.02)
    assert found.again_bps(5, 30) == pytest.approx(200_000, rel=0.05)


def test_what_arrives_of_a_narrow_way_is_without_what_was_lost() -> None:
    found = of_narrow(sent(0, 1_000_000, [], lost=10))
    assert found["used, Mb/s"] == pytest.approx(0.9 + 0.1, rel=0.03)
    assert found["target, Mb/s"] is None


def test_how_soon_it_is_back() -> None:
    after = counts(5, 15, 2_000_000)
    after += counts(15, 25, 500_000, start=after[-1][1][1]["octets"])[1:]
    after += counts(25, 29, 500_000, start=after[-1][1][1]["octets"])[1:]
    after += counts(29, 35, 2_000_000, start=after[-1][1][1]["octets"])[1:]
    run = Sent("ours", 5.0, 35.0, counts(0, 5, 1e6), after, [], [(t / 30, 50.0) for t in range(1800)], 20.0, 1.0)
    found = of_cut(run, 10.0, 20.0)
    assert found["before, Mb/s"] == pytest.approx(2.0, rel=0.02)
    assert found["while narrow, Mb/s"] == pytest.approx(0.55, rel=0.03)
    assert found["back to 90 % after, s"] == pytest.approx(4.5, abs=0.2)


def test_rows_by_name() -> None:
    assert [row.words for row in rows(["loss", "cut"], 20, [0.02, 0.1])] == ["2 % lost", "10 % lost", "2.5 Mb/s, 0.5 for 30 s, 2.5 again"]
    with pytest.raises(KeyError):
        rows(["wide"], 20, [])
