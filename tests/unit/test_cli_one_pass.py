"""Words of a command that made one pass about the time after it."""

from __future__ import annotations

import pytest

from reconciler_engine.cli.one_pass import ready_until
from reconciler_engine.market.result import ReconciliationResult, SeriesResult

MINUTE = 60_000
DAY = 1_440 * MINUTE


def row(timeframe: str, stop: int, since: int | None = None) -> SeriesResult:
    return SeriesResult(
        "BTC-USD", timeframe, DAY, DAY + stop * MINUTE, 10, unverified_since=since and DAY + since * MINUTE
    )


@pytest.mark.parametrize(
    ("rows", "minutes"),
    [
        ([], None),
        # the next bar to close
        ([row("1m", 60)], 61 + 30),
        ([row("5m", 63)], 65 + 30),
        ([row("1h", 60), row("5m", 60)], 65 + 30),
        # an unverified one that closed before
        ([row("5m", 60, 52), row("1m", 60)], 52 + 30),
    ],
)
def test_a_yes_can_hold_until_the_first_candle_is_unverified_for_too_long(rows, minutes):
    result = ReconciliationResult.of(rows, gaps_filled=0, duration_ms=1)
    assert ready_until(result, 30 * MINUTE) == (None if minutes is None else DAY + minutes * MINUTE)
