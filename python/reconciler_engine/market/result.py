"""Results of reconciliation passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Self

ERRORS_KEPT: Final = 10
"""Messages kept of a series, the oldest; the counts of slots say how much they concern."""

TOTAL_ERRORS_KEPT: Final = 100
"""Messages kept of all series together; each series has its own."""

_SUMMED: Final = (
    *("missing", "filled", "confirmed_empty", "unresolved", "mismatched", "repaired", "rewritten", "proved"),
    *("newly_verified", "by_sum", "wrong_sums", "unverified", "requests", "references"),
)
"""Counts of a pass that are the sums of its series'."""


@dataclass(frozen=True, slots=True)
class SeriesResult:
    """Findings and repairs of a pass in one series.

    Attributes:
        symbol: Product id.
        timeframe: Name of the timeframe, such as `5m`.
        start: First instant examined (ms UTC).
        stop: First instant after the examined window (ms UTC).
        expected: Closed slots examined; 0 for a series that could not be examined, which is then never complete.
        missing: Slots without a candle when the window was read, without those already confirmed to have none.
        gaps: Maximal intervals of those slots.
        filled: Slots that got a candle, also those that were confirmed to have none.
        confirmed_empty: Slots of the window without a candle, as the exchange has shown: no trades, halted, not
            listed.
        unresolved: Slots that are still missing.
        mismatched: Closed candles of the cache with other values than the exchange's, in the pages asked for.
        repaired: The mismatched candles that the exchange's replaced.
        rewritten: The repaired candles that had been verified: the exchange has changed them since.
        proved: Slots that the pass has proved to have no candle.
        newly_verified: Candles that the pass has verified; 0 for a pass that does not look for unverified ones.
        by_sum: The newly verified candles that the sums of finer ones verified, without a request.
        unverified: Candles that are not verified, without resting ones; 0 for a pass that does not look at that.
        unverified_since: Close of the oldest unverified candle (ms UTC); None without any.
        again_at: Earliest next request for slots that wait for another answer (ms UTC); None if none waits.
        duplicates: Extra members that shared a slot with another.
        malformed: Members that are not candles of this series; their slots count as missing.
        requests: Requests sent to the exchange.
        references: Requests sent beside them for references, on behalf of this series.
        errors: Failures in this series, oldest first; at most `ERRORS_KEPT`.
        delisted_at: Instant at which the product was first known to be delisted (ms UTC); None for a listed product.
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
    rewritten: int = 0
    proved: int = 0
    newly_verified: int = 0
    by_sum: int = 0
    wrong_sums: int = 0
    unverified: int = 0
    unverified_since: int | None = None
    again_at: int | None = None
    duplicates: int = 0
    malformed: int = 0
    requests: int = 0
    references: int = 0
    errors: tuple[str, ...] = ()
    delisted_at: int | None = None


@dataclass(frozen=True, slots=True)
class ReconciliationResult:
    """Findings and repairs of a pass, over all series.

    `gaps_found` and `gaps_filled` count maximal intervals of missing slots, the other counts are slots; a gap is
    filled when each of its slots holds a candle. `degraded` is the reason why a pass could not do its work: it could
    not read series, or the exchange gave no answer. It is None after a pass that could.
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
    rewritten: int = 0
    proved: int = 0
    newly_verified: int = 0
    by_sum: int = 0
    wrong_sums: int = 0
    unverified: int = 0
    requests: int = 0
    references: int = 0
    degraded: str | None = None
    series: tuple[SeriesResult, ...] = field(default=(), repr=False)

    @property
    def delisted(self) -> tuple[str, ...]:
        """Delisted products of which slots are missing, by name: nothing of them can be had."""
        return tuple(sorted({row.symbol for row in self.series if row.delisted_at is not None and row.unresolved}))

    @property
    def causes(self) -> tuple[str, ...]:
        """Each error once, with the first series that it struck and the number of the others; most frequent first."""
        return causes_of((f"{row.symbol}:{row.timeframe}", error) for row in self.series for error in row.errors)

    @classmethod
    def of(
        cls, series: Sequence[SeriesResult], *, gaps_filled: int, duration_ms: int, degraded: str | None = None
    ) -> Self:
        """Return the rows of all series with their totals; one with no slot examined counts as not scanned."""
        scanned = [row for row in series if row.expected]
        errors = (f"{row.symbol}:{row.timeframe}: {error}" for row in series for error in row.errors)
        return cls(
            scanned_symbols=len({row.symbol for row in scanned}),
            scanned_timeframes=len({row.timeframe for row in scanned}),
            gaps_found=sum(row.gaps for row in series),
            gaps_filled=gaps_filled,
            errors=tuple(islice(errors, TOTAL_ERRORS_KEPT)),
            duration_ms=duration_ms,
            degraded=degraded,
            series=tuple(series),
            **{name: sum(getattr(row, name) for row in series) for name in _SUMMED},
        )


def causes_of(struck: Iterable[tuple[str, str | None]]) -> tuple[str, ...]:
    """Return each error once, with the first series that it struck and the number of the others; most frequent first.

    `struck` are names of series with an error of each, or None.
    """
    names: dict[str, list[str]] = {}
    for name, error in struck:
        if error is not None:
            names.setdefault(error, []).append(name)
    ranked = sorted(names.items(), key=lambda item: -len(item[1]))
    return tuple(
        f"{first}{f' and {len(others)} more' if others else ''}: {error}" for error, (first, *others) in ranked
    )


def with_error(kept: tuple[str, ...], error: str | None) -> tuple[str, ...]:
    """Return the messages of a series with one more: once, and if there is room."""
    if error is None or error in kept or len(kept) >= ERRORS_KEPT:
        return kept
    return (*kept, error)
