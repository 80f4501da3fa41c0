"""Settings of the simulator that are out of range, and its token bucket."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler_engine.simulator.rules.candle_endpoint import CandleRules
from reconciler_engine.simulator.rules.exchange import ExchangeRules
from reconciler_engine.simulator.rules.throttle import Penalty, Throttle
from reconciler_engine.simulator.simulation import SimulatorSettings


@pytest.mark.parametrize(
    ("make", "changes", "problem"),
    [
        (ExchangeRules, {"public_rate": -1}, "public_rate -1 is not a finite number >= 0"),
        (ExchangeRules, {"private_rate": float("nan")}, "private_rate nan"),
        (ExchangeRules, {"cache_s": float("inf")}, "cache_s inf"),
        (ExchangeRules, {"public_burst": 0}, "public_burst 0 is less than 1"),
        (CandleRules, {"span_limit": 0}, "span_limit 0 is less than 1"),
        (SimulatorSettings, {"rate": -2}, "clock rate -2"),
    ],
)
def test_rule_out_of_range_is_refused(make: Any, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make(**changes)


def test_bucket_is_full_at_first_and_fills_evenly_to_its_size() -> None:
    throttle = Throttle(2.0, 3)
    assert [throttle.take("a", 0.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert throttle.take("a", 0.25) == pytest.approx(0.25)
    assert throttle.take("a", 0.5) == 0
    assert [throttle.take("a", 100.0) for _ in range(4)] == [0, 0, 0, 0.5]


def test_identities_have_buckets_of_their_own_and_the_number_is_bounded() -> None:
    throttle = Throttle(1.0, 1)
    assert throttle.take("a", 0.0) == 0
    assert throttle.take("b", 0.0) == 0
    assert throttle.take("a", 0.0) == 1
    for number in range(4_096):
        throttle.take(f"other {number}", 0.0)
    assert throttle.take("b", 0.0) == 0


def test_rate_of_nothing_is_no_limit() -> None:
    throttle = Throttle(0.0, 1)
    assert [throttle.take("a", 0.0) for _ in range(100)] == [0] * 100


def test_penalty_begins_at_the_limit_and_ends_in_time() -> None:
    penalty = Penalty()
    penalty.add("a", 2, 10.0, 0.0)
    penalty.add("b", 2, 10.0, 0.0)
    assert not penalty.is_blocked(0.0)
    penalty.add("a", 2, 10.0, 5.0)
    assert penalty.is_blocked(14.9)
    assert not penalty.is_blocked(15.0)
