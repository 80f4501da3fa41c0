"""The arithmetic of the budget, by example."""

from __future__ import annotations

import pytest
from tests.limiter_model.token_bucket import (
    Bucket,
    Early,
    Granted,
    Refusal,
    Reservation,
    Void,
    confirm,
    push_back,
    reserve,
)

from reconciler_engine.limiting.budget import Budget, Limit

NOW = 1_764_000_000_000_000
SECOND = 1_000_000
FIVE = Budget(burst=5, period_ms=1000)
ONE = Budget(burst=1, period_ms=100)


def slots(bucket: Bucket | None, now_us: int, budget: Budget, count: int) -> tuple[Bucket, list[int]]:
    """Take `count` slots at one instant; return them relative to NOW."""
    taken = []
    for _ in range(count):
        bucket, answer = reserve(bucket, now_us, budget.limits, 3600 * SECOND)
        assert isinstance(answer, Reservation)
        taken.append(answer.slot - NOW)
    assert bucket is not None
    return bucket, taken


def test_a_bucket_nobody_remembers_is_empty() -> None:
    _, taken = slots(None, NOW, FIVE, 3)
    assert taken == [200_000, 400_000, 600_000]


def test_a_rested_bucket_holds_its_burst_less_the_lateness_allowed() -> None:
    bucket, _ = slots(None, NOW, FIVE, 1)
    _, taken = slots(bucket, NOW + 60 * SECOND, FIVE, 7)
    # 250 ms late are 50 ms more than one interval: the fifth permit waits for them.
    assert [slot - 60 * SECOND for slot in taken] == [0, 0, 0, 0, 50_000, 250_000, 450_000]


def test_the_original_defaults_are_five_a_second() -> None:
    assert FIVE.limits == (Limit(interval_us=200_000, tolerance_us=750_000),)
    assert FIVE.rate_per_s == 5
    assert FIVE.lateness_us == 250_000


def test_a_bucket_that_fills_quickly_allows_less_lateness() -> None:
    assert ONE.lateness_us == 100_000
    assert ONE.limits == (Limit(100_000, 0),)


def test_an_interval_is_rounded_to_the_slower_side() -> None:
    assert Budget(burst=3, period_ms=1000).limits[0].interval_us == 333_334


def test_ten_thousand_an_hour_keep_their_arithmetic() -> None:
    _, hour = Budget(burst=5, period_ms=1000, hourly=10_000).limits
    assert hour == Limit(interval_us=396_065, tolerance_us=360 * SECOND)
    most = -(-(3600 * SECOND + hour.tolerance_us + 250_000) // hour.interval_us)
    assert most == 9_999


def test_a_wait_beyond_the_callers_is_refused_and_costs_nothing() -> None:
    bucket, _ = slots(None, NOW, FIVE, 4)
    after, answer = reserve(bucket, NOW, FIVE.limits, 999_999)
    assert answer == Refusal(wait_us=1_000_000)
    assert after == bucket
    assert isinstance(reserve(bucket, NOW, FIVE.limits, 1_000_000)[1], Reservation)


def test_both_limits_or_none() -> None:
    budget = Budget(burst=5, period_ms=1000, hourly=100)
    bucket, _ = slots(None, NOW, budget, 1)
    before = bucket.tats
    bucket, answer = reserve(bucket, NOW, budget.limits, 10 * SECOND)
    assert isinstance(answer, Refusal)
    assert bucket.tats == before


@pytest.mark.parametrize(
    ("after_us", "verdict"),
    [
        (199_999, Early(1)),
        (200_000, Granted(0)),
        (450_000, Granted(250_000)),
        (450_001, Void()),
    ],
)
def test_a_reservation_counts_from_its_slot_for_250_ms(after_us: int, verdict: object) -> None:
    bucket, answer = reserve(None, NOW, FIVE.limits, SECOND)
    assert isinstance(answer, Reservation)
    assert confirm(bucket, NOW + after_us, answer, FIVE.lateness_us)[1] == verdict


def test_a_reservation_of_a_lost_bucket_is_void() -> None:
    _, answer = reserve(None, NOW, FIVE.limits, SECOND)
    assert isinstance(answer, Reservation)
    assert confirm(None, NOW + 200_000, answer, FIVE.lateness_us)[1] == Void()
    reborn, _ = reserve(None, NOW + 1, FIVE.limits, SECOND)
    assert confirm(reborn, NOW + 200_000, answer, FIVE.lateness_us)[1] == Void()


def test_a_pause_delays_everybody_and_is_never_shortened() -> None:
    bucket, answer = reserve(None, NOW, FIVE.limits, SECOND)
    assert isinstance(answer, Reservation)
    bucket = push_back(bucket, NOW, FIVE.limits, 10 * SECOND)
    bucket = push_back(bucket, NOW, FIVE.limits, 2 * SECOND)
    assert confirm(bucket, NOW + 200_000, answer, FIVE.lateness_us)[1] == Void()
    _, taken = slots(bucket, NOW + SECOND, FIVE, 3)
    assert taken == [10_000_000, 10_200_000, 10_400_000]


def test_a_clock_set_back_neither_locks_nor_frees_the_bucket() -> None:
    bucket, answer = reserve(None, NOW, FIVE.limits, SECOND)
    assert isinstance(answer, Reservation)
    an_hour_ago = NOW - 3600 * SECOND
    bucket, following = reserve(bucket, an_hour_ago, FIVE.limits, SECOND)
    assert following == Reservation(wait_us=400_000, slot=NOW + 400_000, born=NOW)
    # The earlier promise holds too: 200 ms later on the clock as it is now.
    assert confirm(bucket, an_hour_ago + 200_000, answer, FIVE.lateness_us)[1] == Granted(0)


def test_damage_is_started_anew_and_empty() -> None:
    bucket = Bucket(born=NOW, seen=NOW, offset=0, until=0, granted=7, tats=(NOW + 10**15,))
    after, answer = reserve(bucket, NOW + 5, FIVE.limits, SECOND)
    assert answer == Reservation(wait_us=200_000, slot=NOW + 200_005, born=NOW + 5)
    assert after.granted == 7


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"burst": 0, "period_ms": 1}, "burst 0"),
        ({"burst": 1, "period_ms": 0}, "period_ms 0"),
        ({"burst": 1, "period_ms": 1, "hourly": 1}, "hourly 1"),
    ],
)
def test_a_budget_without_sense_is_refused(arguments: dict[str, int], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Budget(**arguments)
