"""Who is asked to slow down: failures only, by visitor and kind, for as long as it says; commands by a bucket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vidconf.server.limits import ADDRESSES, LENIENT, WINDOW_S, Bucket, Buckets, FailureLimiter, network_of


def test_who_never_fails_never_waits() -> None:
    limiter = FailureLimiter(2)
    assert all(limiter.wait_s("chair", "10.0.0.1", now) == 0 for now in range(1000))


def test_after_so_many_failures_one_waits_as_long_as_it_says() -> None:
    limiter = FailureLimiter(3)
    for now in (0.0, 10.0, 20.0):
        assert limiter.wait_s("chair", "10.0.0.1", now) == 0
        limiter.failed("chair", "10.0.0.1", now)
    wait_s = limiter.wait_s("chair", "10.0.0.1", 25.0)
    assert wait_s == 35.0
    assert limiter.wait_s("chair", "10.0.0.1", 25.0 + wait_s - 0.5) > 0
    assert limiter.wait_s("chair", "10.0.0.1", 25.0 + wait_s + 0.01) == 0


def test_what_was_no_failure_is_taken_back() -> None:
    limiter = FailureLimiter(2)
    limiter.forgive("login An", "10.0.0.1")
    for now in (0.0, 1.0):
        limiter.failed("login An", "10.0.0.1", now)
    assert limiter.wait_s("login An", "10.0.0.1", 2.0) > 0
    limiter.forgive("login An", "10.0.0.1")
    assert limiter.wait_s("login An", "10.0.0.1", 2.0) == 0
    limiter.failed("login An", "10.0.0.1", 2.0)
    assert limiter.wait_s("login An", "10.0.0.1", 3.0) == 57.0, "the first one stayed"


def test_one_visitor_or_kind_does_not_slow_another() -> None:
    limiter = FailureLimiter(1)
    limiter.failed("chair", "10.0.0.1", 0.0)
    assert limiter.wait_s("chair", "10.0.0.1", 1.0) > 0
    assert limiter.wait_s("chair", "10.0.0.2", 1.0) == 0
    assert limiter.wait_s("code", "10.0.0.1", 1.0) == 0


def test_what_fails_innocently_may_fail_more_often() -> None:
    for kind, times in LENIENT.items():
        limiter = FailureLimiter(2)
        for n in range(2 * times):
            assert limiter.wait_s(kind, "10.0.0.1", n / 1000) == 0
            limiter.failed(kind, "10.0.0.1", n / 1000)
        assert limiter.wait_s(kind, "10.0.0.1", 1.0) > 0


def test_a_visitor_is_an_ipv4_address_or_an_ipv6_network() -> None:
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2:ffff::1")
    assert network_of("2001:db8:1:2::1") != network_of("2001:db8:1:3::1")
    assert network_of("::ffff:10.1.2.3") == network_of("10.1.2.3") == "10.1.2.3"
    assert network_of("10.1.2.3") != network_of("10.1.2.4")
    assert network_of("fe80::1%eth0") == network_of("fe80::2%eth0")


def test_a_front_that_writes_ports_behind_addresses_does_not_make_each_connection_another_visitor() -> None:
    assert network_of("10.1.2.3:50000") == network_of("10.1.2.3:50001") == "10.1.2.3"
    assert network_of("[2001:db8:1:2::1]:50000") == network_of("[2001:db8:1:2::7]:50001") == network_of("2001:db8:1:2::1")
    assert network_of("[2001:db8:1:2::1]") == network_of("2001:db8:1:2::1")


@given(st.text(max_size=200))
def test_any_address_is_some_visitor(address: str) -> None:
    assert len(network_of(address)) <= 64


def test_many_visitors_do_not_fill_the_memory() -> None:
    limiter = FailureLimiter(1)
    for n in range(ADDRESSES + 500):
        limiter.failed("chair", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", float(n) / 1000)
    assert len(limiter._failures) == ADDRESSES
    assert limiter.wait_s("chair", f"10.0.{(ADDRESSES + 499) >> 8 & 255}.{(ADDRESSES + 499) & 255}", 21.0) > 0


@given(st.integers(1, 4), st.lists(st.tuples(st.floats(0.0, 40.0), st.booleans()), max_size=40))
def test_the_limiter_counts_what_failed_in_the_last_minute(most: int, steps: list[tuple[float, bool]]) -> None:
    limiter = FailureLimiter(most)
    failures: list[float] = []
    now = 0.0
    for later, fails in steps:
        now += later
        recent = [at for at in failures if now - at <= WINDOW_S]
        wait_s = limiter.wait_s("chair", "10.0.0.1", now)
        assert (wait_s > 0) == (len(recent) >= most)
        if fails:
            limiter.failed("chair", "10.0.0.1", now)
            failures.append(now)


@given(st.floats(0.5, 50.0), st.floats(1.0, 100.0), st.lists(st.floats(0.0, 3.0), min_size=1, max_size=200))
def test_a_bucket_gives_its_rate_and_its_burst_and_no_more(rate: float, burst: float, steps: list[float]) -> None:
    bucket, now, taken = Bucket(rate, burst, 0.0), 0.0, 0
    for later in steps:
        now += later
        taken += bucket.take(now)
        assert taken <= burst + rate * now + 1e-6
    assert bucket.take(now + burst / rate + 1.0 / rate)


def test_a_bucket_lets_the_burst_through_at_once() -> None:
    bucket = Bucket(2.0, 10.0, 5.0)
    assert [bucket.take(5.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert not bucket.take(5.4)
    assert bucket.take(5.6)


@given(st.floats(0.1, 50.0), st.floats(1.0, 20.0), st.lists(st.floats(0.0, 3.0), max_size=60))
def test_who_waits_as_long_as_it_is_told_need_not_wait_again(rate: float, burst: float, steps: list[float]) -> None:
    buckets, now = Buckets(rate, burst), 0.0
    for later in steps:
        now += later
        wait_s = buckets.take_or_wait("An", now)
        assert 0 <= wait_s <= 1 / rate + 0.001
        if wait_s:
            assert not buckets.take("An", now + wait_s * 0.9 - 0.001) or wait_s <= 0.001
            now += wait_s + 1e-6
            assert buckets.take("An", now)


def test_one_name_does_not_empty_anothers_bucket() -> None:
    buckets = Buckets(1.0, 2.0)
    assert [buckets.take("An", 0.0) for _ in range(3)] == [True, True, False]
    assert buckets.take("Bình", 0.0)
