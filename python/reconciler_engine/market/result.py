"""What a reconciliation pass did."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SeriesResult:
    """What a pass found and did in one series.

    Attributes:
        symbol: Product id.
        timeframe: Name of the timeframe, such as `5m`.
        start: First instant examined (ms UTC).
        stop: First instant after the examined window (ms UTC).
        expected: Closed slots examined; 0 where nothing is known of the series, which is then never complete.
        missing: Slots without a candle when the window was read, but for those then confirmed to have none.
        gaps: Maximal runs of those slots.
        filled: Slots that hold a candle now and did not before, those that were confirmed to have none among them.
        confirmed_empty: Slots of the window without a candle of which the exchange has shown that it has none: no
            trades, halted, not listed.
        unresolved: Slots that are still missing.
        mismatched: Closed candles of the cache with other values than the exchange's, in the pages asked for.
        repaired: Those of them that the exchange's took the place of.
        duplicates: Extra members that shared a slot with another.
        malformed: Members that are no candle of this series; their slots count as missing.
        requests: Requests sent to the exchange.
        errors: What went wrong in this series, oldest first; at most 10 are kept.
    """

    symbol: str
    timeframe: str
    start: int
    stop: int
    expected: int
    missing: int = 0
    gaps: int = 0
    filled: int = 0
    confirmed_empty: int = 0
    unresolved: int = 0
    mismatched: int = 0
    repaired: int = 0
    duplicates: int = 0
    malformed: int = 0
    requests: int = 0
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReconciliationResult:
    """What a pass found and did, over all series.

    `gaps_found` and `gaps_filled` count maximal runs of missing slots, the other counts are slots; a gap is
    filled when each of its slots holds a candle.
    """

    scanned_symbols: int = 0
    scanned_timeframes: int = 0
    gaps_found: int = 0
    gaps_filled: int = 0
    errors: tuple[str, ...] = ()
    duration_ms: int = 0
    missing: int = 0
    filled: int = 0
    confirmed_empty: int = 0
    unresolved: int = 0
    mismatched: int = 0
    repaired: int = 0
    requests: int = 0
    series: tuple[SeriesResult, ...] = field(default=(), repr=False)
