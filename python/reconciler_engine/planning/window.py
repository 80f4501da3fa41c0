"""Compute the slots of a series that a pass examines."""

from __future__ import annotations

from datetime import UTC, datetime

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.rounding import ceil_div, ceil_to
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.pages import PAGE_SLOTS

MINIMUM_STEPS = 3
"""Fewest bars in a window. A window of 30 minutes would otherwise never include a 30m, 1h, 4h or 1d bar."""

MEMBERS_REACH = 10
"""Limit on how far back the newest members are looked for: ten times their number, in slots. A key's members may have
any age."""

DEFAULT_GRACE_MS = 15_000
"""How long after its close a bar may still be on its way from the feeder."""


def closed_before(now: int, timeframe: Timeframe, grace_ms: int = DEFAULT_GRACE_MS) -> int:
    """Return the end of the slots whose bars closed at least `grace_ms` ago.

    The newest of these slots opens one step earlier. The forming bar opens at or after the returned instant.
    """
    return timeframe.floor(now - grace_ms)


def with_forming(slots: Interval, now: int, timeframe: Timeframe) -> Interval:
    """Add the forming bar to slots that end with the newest closed one at `now` (ms UTC), if a page has room for it."""
    step = timeframe.step_ms
    forming = timeframe.floor(now)
    has_room = slots.stop - slots.start < PAGE_SLOTS * step
    return Interval(slots.start, slots.stop + step) if slots.stop >= forming - step and has_room else slots


def oldest_kept(now: int, timeframe: Timeframe, max_candles: int) -> int | None:
    """Return the oldest open time in a cache of `max_candles` members at `now`; None for 0, which keeps all.

    The forming bar counts as one of the members.
    """
    if max_candles == 0:
        return None
    return timeframe.floor(now) - (max_candles - 1) * timeframe.step_ms


def scan_window(
    now: int,
    timeframe: Timeframe,
    window_ms: int,
    *,
    max_candles: int,
    grace_ms: int = DEFAULT_GRACE_MS,
    bars: int = MINIMUM_STEPS,
    oldest_member: int | None = None,
) -> Interval:
    """Return the closed slots to examine: the last `window_ms`, extended to `bars` and to `oldest_member`, if retained.

    Args:
        now: The pass's instant (ms UTC).
        timeframe: The series' bar length.
        window_ms: How far back to look.
        max_candles: Members that the cache keeps for a series; 0 keeps all.
        grace_ms: How long after its close a bar counts as still on its way.
        bars: Fewest slots, at least `MINIMUM_STEPS`.
        oldest_member: Open time (ms UTC) of the oldest member to examine, at most `MEMBERS_REACH` * `bars` slots back.
    """
    stop, step = closed_before(now, timeframe, grace_ms), timeframe.step_ms
    start = stop - max(window_ms, max(bars, MINIMUM_STEPS) * step)
    if oldest_member is not None:
        start = min(start, max(timeframe.floor(oldest_member), stop - MEMBERS_REACH * bars * step))
    return clamp_to_retention(Interval(start, stop), now, timeframe, max_candles)


def range_window(
    asked: Interval,
    now: int,
    timeframe: Timeframe,
    *,
    max_candles: int,
    grace_ms: int = DEFAULT_GRACE_MS,
) -> Interval:
    """Return the part of `asked` that is closed and retained by the cache; it may be empty."""
    stop = max(asked.start, min(asked.stop, closed_before(now, timeframe, grace_ms)))
    return clamp_to_retention(Interval(asked.start, stop), now, timeframe, max_candles)


def clamp_to_retention(window: Interval, now: int, timeframe: Timeframe, max_candles: int) -> Interval:
    """Return `window` without the slots that the cache no longer keeps; it is empty at its end if no slot is left."""
    oldest = oldest_kept(now, timeframe, max_candles)
    if oldest is None or oldest <= window.start:
        return window
    return Interval(min(oldest, window.stop), window.stop)


def retention_fault(field: str, window_ms: int, timeframe: Timeframe, max_candles: int) -> str | None:
    """Return why a window can never be complete in a cache of `max_candles` members, or None if it can.

    One member is the forming bar, and another may be a bar that closed within the grace.
    """
    if max_candles == 0:
        return None
    needed = max(ceil_div(window_ms, timeframe.step_ms), MINIMUM_STEPS)
    kept = max_candles - 2
    if needed <= kept:
        return None
    return (
        f"{field} {window_ms}: {timeframe} needs max({window_ms} / {timeframe.step_ms}, {MINIMUM_STEPS}) = {needed} "
        f"closed candles, but max_candles {max_candles} keeps {kept} beside the forming and the settling one; "
        f"allowed: at most {max(kept, 0) * timeframe.step_ms}, or a larger max_candles, or 0 for unlimited"
    )


def history_fault(series: str, asked: Interval, now: int, timeframe: Timeframe, max_candles: int) -> str | None:
    """Return why a range can never be complete in a cache of `max_candles` members, or None if it can."""
    oldest = oldest_kept(now, timeframe, max_candles)
    first = ceil_to(asked.start, timeframe.step_ms)
    if oldest is None or first >= oldest:
        return None
    needed = (timeframe.floor(now) - first) // timeframe.step_ms + 1
    return (
        f"{series} from {_iso(first)}: up to now these are {needed} candles, but max_candles {max_candles} keeps the "
        f"newest {max_candles} and drops the other {needed - max_candles}; allowed: --from {_iso(oldest)} or later, "
        f"--max-candles {needed} or more, or 0 for unlimited (for a cache whose feeder does not trim)"
    )


def _iso(instant: int) -> str:
    return datetime.fromtimestamp(instant / 1_000, UTC).strftime("%Y-%m-%dT%H:%MZ")
