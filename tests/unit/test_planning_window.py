"""The window rule: closed slots only, at least three bars, inside retention."""

from __future__ import annotations

import pytest

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.window import oldest_kept, range_window, retention_fault, scan_window

HOUR = 3_600_000
MINUTE = 60_000
NOON = 1_767_268_800_000  # 2026-01-01T12:00:00Z


@pytest.mark.parametrize(
    ("timeframe", "now", "window_ms", "slots", "last_open"),
    [
        (Timeframe.M1, NOON + 15_000, 30 * MINUTE, 30, NOON - MINUTE),
        # within the grace the bar that just closed does not count yet
        (Timeframe.M1, NOON + 14_999, 30 * MINUTE, 30, NOON - 2 * MINUTE),
        (Timeframe.M5, NOON + 15_000, 30 * MINUTE, 6, NOON - 5 * MINUTE),
        # three bars, although the window is shorter than one
        (Timeframe.M30, NOON + 15_000, 30 * MINUTE, 3, NOON - 30 * MINUTE),
        (Timeframe.H4, NOON + 15_000, 30 * MINUTE, 3, NOON - 4 * HOUR),
        (Timeframe.D1, NOON + 15_000, 6 * HOUR, 3, NOON - 36 * HOUR),
        # a window that is not a multiple of the step keeps whole bars only
        (Timeframe.M15, NOON + 15_000, 50 * MINUTE, 3, NOON - 15 * MINUTE),
    ],
)
def test_scan_window_holds_closed_bars(timeframe, now, window_ms, slots, last_open):
    grid = scan_window(now, timeframe, window_ms, max_candles=1_000).grid(timeframe.step_ms)
    assert len(grid) == slots
    assert grid[-1] == last_open


def test_window_stops_at_what_the_cache_keeps():
    now = NOON + 30_000
    grid = scan_window(now, Timeframe.M1, 24 * HOUR, max_candles=1_000).grid(MINUTE)
    # 1,000 members: the forming bar at noon and 999 closed ones
    assert len(grid) == 999
    assert grid[0] == oldest_kept(now, Timeframe.M1, 1_000) == NOON - 999 * MINUTE


def test_unlimited_cache_keeps_the_whole_window():
    assert len(scan_window(NOON, Timeframe.M1, 24 * HOUR, max_candles=0).grid(MINUTE)) == 1_440


def test_range_is_cut_at_the_forming_bar_and_at_retention():
    asked = Interval(NOON - 48 * HOUR, NOON + 48 * HOUR)
    window = range_window(asked, NOON + 20_000, Timeframe.H1, max_candles=10)
    assert window == Interval(NOON - 9 * HOUR, NOON)


def test_range_in_the_future_is_empty():
    asked = Interval(NOON + HOUR, NOON + 2 * HOUR)
    assert len(range_window(asked, NOON, Timeframe.M1, max_candles=0).grid(MINUTE)) == 0


def test_range_before_retention_is_empty():
    asked = Interval(NOON - 48 * HOUR, NOON - 47 * HOUR)
    assert len(range_window(asked, NOON, Timeframe.M1, max_candles=100).grid(MINUTE)) == 0


def test_retention_fault_shows_the_arithmetic():
    fault = retention_fault("full_reconcile_window_ms", 24 * HOUR, Timeframe.M1, 1_000)
    assert fault is not None
    assert "full_reconcile_window_ms 86400000: 1m needs" in fault
    assert "= 1440 closed candles, but max_candles 1000 keeps 998" in fault


@pytest.mark.parametrize(("max_candles", "faulty"), [(0, False), (4, True), (5, False)])
def test_three_bars_must_fit(max_candles, faulty):
    assert (retention_fault("quick_scan_window_ms", MINUTE, Timeframe.D1, max_candles) is not None) is faulty


@pytest.mark.parametrize(
    ("timeframe", "window_ms", "oldest", "max_candles", "slots"),
    [
        # readers take the newest bars of each timeframe, long or short
        (Timeframe.D1, 6 * HOUR, None, 1_000, 300),
        (Timeframe.M1, 6 * HOUR, None, 1_000, 360),
        (Timeframe.M1, 6 * HOUR, 500, 1_000, 500),
        (Timeframe.M1, 6 * HOUR, 20, 1_000, 360),
        # slots that the cache drops again are not looked at
        (Timeframe.M1, 6 * HOUR, 2_000, 1_000, 999),
        (Timeframe.H4, 6 * HOUR, None, 100, 99),
        # a member of any age reaches ten times as far as the bars
        (Timeframe.M1, 6 * HOUR, 1_000_000, 0, 3_000),
    ],
)
def test_a_full_window_holds_so_many_bars_and_members(timeframe, window_ms, oldest, max_candles, slots):
    now = Timeframe.D1.floor(NOON) + 15_000
    member = None if oldest is None else timeframe.floor(now) - oldest * timeframe.step_ms + 1
    window = scan_window(now, timeframe, window_ms, max_candles=max_candles, bars=300, oldest_member=member)
    assert len(window.grid(timeframe.step_ms)) == slots
