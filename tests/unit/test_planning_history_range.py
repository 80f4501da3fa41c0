"""A range that retention would drop is refused with the arithmetic."""

from __future__ import annotations

import pytest

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.window import history_fault

MINUTE = 60_000
NOW = 1_767_225_600_000 + 30_000
"""2026-01-01T00:00:30Z: the forming bar of 1m opened at 00:00."""


def fault(minutes_back: int, max_candles: int) -> str | None:
    start = Timeframe.M1.floor(NOW) - minutes_back * MINUTE
    return history_fault("BTC-USD:1m", Interval(start, NOW), NOW, Timeframe.M1, max_candles)


@pytest.mark.parametrize(("minutes_back", "max_candles"), [(99, 100), (0, 1), (10**6, 0)])
def test_a_range_that_is_kept_has_no_fault(minutes_back, max_candles):
    assert fault(minutes_back, max_candles) is None


def test_the_message_holds_the_arithmetic_and_what_is_allowed():
    assert fault(100, 100) == (
        "BTC-USD:1m from 2025-12-31T22:20Z: up to now these are 101 candles, but max_candles 100 keeps the newest 100 "
        "and drops the other 1; allowed: --from 2025-12-31T22:21Z or later, --max-candles 101 or more, or 0 for "
        "unlimited (for a cache whose feeder does not trim)"
    )
