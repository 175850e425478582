"""The laboratory's network: what it loses, delays, queues and counts; and the same through real sockets."""

from __future__ import annotations

import itertools
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.network.impairment import Direction, LossPattern, Settings
from bench.network.path import UdpPath


def rtp(sequence: int, ssrc: int = 7, payload_type: int = 96, size: int = 100) -> bytes:
    head = bytes((0x80, payload_type)) + (sequence & 0xFFFF).to_bytes(2, "big") + bytes(4) + ssrc.to_bytes(4, "big")
    return head + bytes(size - len(head))


def run(direction: Direction, packets: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """(when it left, packet): every packet pushed at its time, popped at exactly the time it is due."""
    out: list[tuple[float, bytes]] = []

    def drain(until: float) -> None:
        while (at := direction.next_at()) is not None and at <= until:
            out.extend((due, data) for data, _, due in direction.pop(at))

    for at, data in packets:
        drain(at)
        direction.push(data, None, at)
    drain(float("inf"))
    return out


def begun(*settings: Settings, seed: int = 1) -> Direction:
    direction = Direction([(0.0, settings[0])], seed=seed)
    direction.begin(0.0)
    return direction


def losses(settings: Settings, count: int = 20_000, seed: int = 3) -> list[bool]:
    pattern = LossPattern(seed, "96/0")
    return [pattern.lost(n, settings) for n in range(count)]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_bernoulli_loses_its_share_and_has_no_memory(share: float) -> None:
    lost = losses(Settings(loss=share), 200_000)
    assert sum(lost) / len(lost) == pytest.approx(share, rel=0.12)
    after_a_loss = [b for a, b in itertools.pairwise(lost) if a]
    assert sum(after_a_loss) / len(after_a_loss) == pytest.approx(share, rel=0.3)


@pytest.mark.parametrize(("share", "burst"), [(0.05, 3.0), (0.1, 5.0)])
def test_gilbert_loses_its_share_in_bursts(share: float, burst: float) -> None:
    lost = losses(Settings(loss=share, burst=burst), 60_000)
    assert sum(lost) / len(lost) == pytest.approx(share, rel=0.2)
    runs = sum(1 for a, b in itertools.pairwise([False, *lost]) if b and not a)
    assert sum(lost) / runs == pytest.approx(burst, rel=0.15)


def test_elliott_lets_some_through_in_the_bad_state() -> None:
    lost = losses(Settings(loss=0.05, burst=10, bad_loss=0.5), 60_000)
    assert sum(lost) / len(lost) == pytest.approx(0.05, rel=0.25)


def test_everything_and_nothing_can_be_lost() -> None:
    assert all(losses(Settings(loss=1.0), 100))
    assert all(losses(Settings(loss=1.0, burst=4), 100))
    assert not any(losses(Settings(), 100))


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60))
def test_a_pattern_answers_alike_in_whatever_order_it_is_asked(numbers: list[int]) -> None:
    settings = Settings(loss=0.3, burst=2)
    straight = losses(settings, 501, seed=9)
    pattern = LossPattern(9, "96/0")
    assert [pattern.lost(n, settings) for n in numbers] == [straight[n] for n in numbers]


def test_two_receivers_lose_the_same_packets_whatever_their_ssrcs_numbers_and_repairs() -> None:
    def lost(ssrc: int, first: int, repeat: int) -> list[int]:
        direction = begun(Settings(loss=0.2))
        for n in range(300):
            direction.push(rtp(first + n, ssrc), None, 0.02 * n)
            for _ in range(repeat):
                direction.push(rtp(first + n, ssrc), None, 0.02 * n)
        stream = direction.streams[ssrc]
        return sorted(number - stream.first for number in stream.lost)

    one = lost(5, 10, 0)
    assert 30 < len(one) < 90
    assert lost(6, 65_400, 2) == one       # across the wrap too


def test_an_ssrc_knows_what_it_lost_and_what_was_repaired() -> None:
    direction = begun(Settings(loss=0.5))
    for n in range(40):
        direction.push(rtp(n), None, 0.0)
    stream = direction.streams[7]
    gone = sorted(stream.lost)
    assert stream.packets == 40
    assert direction.lost == len(gone)
    for _ in range(8):
        direction.push(rtp(gone[0]), None, 1.0)
    assert stream.repaired == {gone[0]}
    assert stream.repeated == 8
    assert stream.lost == set(gone)


def test_rtcp_and_stun_are_no_stream() -> None:
    direction = begun(Settings())
    direction.push(bytes((0x80, 200)) + bytes(30), None, 0.0)
    direction.push(bytes((0, 1)) + bytes(18), None, 0.0)
    direction.push(b"x", None, 0.0)
    assert direction.others == 3
    assert not direction.streams
    assert len(direction.pop(0.0)) == 3


@given(st.lists(st.floats(0, 0.05), max_size=80), st.floats(0, 60), st.floats(0, 40))
def test_order_holds_and_nobody_leaves_early(gaps: list[float], delay_ms: float, jitter_ms: float) -> None:
    direction = begun(Settings(delay_ms=delay_ms, jitter_ms=jitter_ms))
    now, packets = 0.0, []
    for n, gap in enumerate(gaps):
        now += gap
        packets.append((now, rtp(n)))
    out = run(direction, packets)
    assert [data for _, data in out] == [data for _, data in packets]
    assert all(left >= came + delay_ms / 1000 - 1e-9 for (left, _), (came, _) in zip(out, packets, strict=True))


def test_order_may_be_given_up() -> None:
    packets = [(0.002 * n, rtp(n)) for n in range(200)]
    out = run(begun(Settings(jitter_ms=20, reorder=True)), packets)
    assert sorted(data for _, data in out) == sorted(data for _, data in packets)
    assert [data for _, data in out] != [data for _, data in packets]


def test_rate_and_queue() -> None:
    """1000 bytes at 80 kb/s take 0.1 s each; a queue of 3000 bytes holds three, the rest is lost and told apart."""
    direction = begun(Settings(rate_bps=80_000, queue_bytes=3000))
    out = run(direction, [(0.0, rtp(n, size=1000)) for n in range(10)])
    assert [left for left, _ in out] == pytest.approx([0.1, 0.2, 0.3])
    assert direction.overflowed == direction.streams[7].overflowed == 7
    assert direction.lost == 0
    direction.push(rtp(10, size=1000), None, 5.0)
    assert direction.next_at() == pytest.approx(5.1)


def test_a_timetable_changes_the_way() -> None:
    direction = Direction([(0.0, Settings()), (1.0, Settings(delay_ms=100)), (2.0, Settings(loss=1.0))], before=Settings(delay_ms=7))
    out = run(direction, [(5.0, rtp(0))])
    assert out[0][0] == pytest.approx(5.007)
    direction.begin(10.0)
    out = run(direction, [(10.5, rtp(1)), (11.5, rtp(2)), (12.5, rtp(3))])
    assert [left for left, _ in out] == pytest.approx([10.5, 11.6])
    assert direction.streams[7].lost


def test_what_is_held_leaves_all_at_once_in_order_and_before_what_comes_later() -> None:
    direction = Direction([(0.0, Settings(delay_ms=10)), (1.0, Settings(held=True)), (1.5, Settings(delay_ms=10))])
    direction.begin(0.0)
    packets = [(0.9, rtp(0)), (1.1, rtp(1)), (1.2, rtp(2)), (1.6, rtp(3))]
    out = run(direction, packets)
    assert [left for left, _ in out] == pytest.approx([0.91, 1.51, 1.51, 1.61])
    assert [data for _, data in out] == [data for _, data in packets]


@pytest.mark.parametrize("wrong", [{"loss": 1.1}, {"loss": -0.1}, {"burst": 0.5}, {"loss": 0.5, "bad_loss": 0.3}, {"delay_ms": -1}])
def test_settings_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"cannot be had|not negative"):
        Settings(**wrong)


def test_a_timetable_is_in_order() -> None:
    with pytest.raises(ValueError, match="in order"):
        Direction([(1.0, Settings()), (0.0, Settings())])


class Echo:
    """A server on one port that answers what it hears, and knows from where."""

    def __enter__(self) -> Echo:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(2)
        self.address = self.socket.getsockname()
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def client() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(2)
    return made


def test_two_clients_through_sockets_both_ways() -> None:
    with Echo() as server, client() as one, client() as two:
        path = UdpPath(delay_ms=20)
        try:
            front = path.address(*server.address)
            assert path.address(*server.address) == front
            seen = set()
            for who, word in ((one, b"one"), (two, b"two")):
                began = time.monotonic()
                who.sendto(word, front)
                heard, source = server.socket.recvfrom(100)
                assert heard == word
                seen.add(source)
                server.socket.sendto(word.upper(), source)
                assert who.recvfrom(100) == (word.upper(), front)
                assert time.monotonic() - began >= 0.04
            assert len(seen) == 2
            assert path.report()["flows"] == 2
        finally:
            path.close()


def test_losses_through_sockets_are_what_the_report_says() -> None:
    with Echo() as server, client() as one:
        path = UdpPath(down=[(0.0, Settings(loss=0.3))])
        try:
            one.sendto(b"hello", path.address(*server.address))
            _, source = server.socket.recvfrom(100)
            path.begin()
            for n in range(200):
                server.socket.sendto(rtp(n), source)
            server.socket.sendto(b"end", source)
            came = []
            while (data := one.recv(200)) != b"end":
                came.append(int.from_bytes(data[2:4], "big"))
            (stream,) = path.report()["down"]["streams"]
            assert came == sorted(came)
            assert stream["packets"] == 200
            assert stream["lost"] == 200 - len(came)
            assert 30 <= stream["lost"] <= 90
        finally:
            path.close()


def test_a_server_that_is_gone_stops_nothing() -> None:
    with Echo() as server, client() as one:
        path = UdpPath()
        try:
            front = path.address(*server.address)
            dead = path.address("127.0.0.1", 9)
            for _ in range(5):
                one.sendto(b"into the void", dead)
                time.sleep(0.01)
            one.sendto(b"still", front)
            assert server.socket.recvfrom(100)[0] == b"still"
        finally:
            path.close()
