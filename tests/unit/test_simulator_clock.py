"""The exchange's clock."""

from __future__ import annotations

import pytest

from reconciler_engine.simulator.simulated_clock import LAST, SimulatedClock


class Real:
    """The machine's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 5_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("rate", "shown"), [(0, 1_000), (1, 1_250), (60, 16_000), (0.5, 1_125)])
def test_clock_runs_at_its_rate_from_its_start(rate: float, shown: int) -> None:
    real = Real()
    clock = SimulatedClock(1_000, rate=rate, read_real_ms=real)
    assert clock.now() == 1_000
    real.now += 250
    assert clock.now() == shown
    clock.set(50)
    assert clock.now() == 50
    real.now += 2
    assert clock.now() == 50 + int(2 * rate)


def test_clock_without_a_start_is_the_machines() -> None:
    real = Real()
    clock = SimulatedClock(read_real_ms=real)
    real.now += 7
    assert clock.now() == 5_007


def test_two_clocks_of_one_origin_agree() -> None:
    real = Real()
    first = SimulatedClock(1_000, rate=10, origin=4_000, read_real_ms=real)
    real.now += 100
    second = SimulatedClock(1_000, rate=10, origin=4_000, read_real_ms=real)
    assert first.now() == second.now() == 12_000


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf")])
def test_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="clock rate"):
        SimulatedClock(0, rate=rate)


@pytest.mark.parametrize(
    ("start", "rate", "shown"), [(LAST - 1, 1, LAST), (0, 1e308, LAST), (10**15, 0, LAST), (0, 1, 2)]
)
def test_clock_stops_where_calendars_do(start: int, rate: float, shown: int) -> None:
    real = Real()
    clock = SimulatedClock(start, rate=rate, read_real_ms=real)
    real.now += 2
    assert clock.now() == shown
    real.now = -1e300
    assert clock.now() in (0, LAST)
