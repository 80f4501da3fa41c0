"""Results of reconciliation passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Self

ERRORS_KEPT: Final = 10
"""Limit on the error messages of one series; the oldest are kept."""

TOTAL_ERRORS_KEPT: Final = 100
"""Limit on the error messages in the result of all series together."""

_SUMMED: Final = (
    *("missing", "filled", "confirmed_empty", "unresolved", "mismatched", "repaired", "rewritten", "proved"),
    *("newly_verified", "by_sum", "wrong_sums", "unverified", "requests", "references"),
)
"""Fields of a pass's result that are sums over its series."""


@dataclass(frozen=True, slots=True)
class SeriesResult:
    """Findings and repairs of a pass in one series.

    Attributes:
        symbol: Product id.
        timeframe: Name of the timeframe, such as `5m`.
        start: First instant examined (ms UTC).
        stop: First instant after the examined window (ms UTC).
        expected: Closed slots examined; 0 for a series that could not be examined, which never counts as complete.
        missing: Slots without a candle when the window was read, except those already confirmed to have none.
        gaps: Maximal intervals of missing slots.
        filled: Slots that got a candle, including slots that had been confirmed to have none.
        confirmed_empty: Slots of the window that the exchange has shown to have no candle: no trades, halted or not
            listed.
        unresolved: Slots that are still missing.
        mismatched: Closed cached candles, in the requested pages, whose values differ from the exchange's.
        repaired: Mismatched candles that were replaced by the exchange's.
        rewritten: Repaired candles that had been verified before: the exchange changed them since.
        proved: Slots that this pass proved to have no candle.
        newly_verified: Candles that this pass verified; 0 for a pass that does not examine verification.
        by_sum: Candles that were verified by the sums of finer ones, without a request.
        wrong_sums: Mismatched candles that were equal to the sums of finer ones.
        unverified: Unverified candles, without resting ones; 0 for a pass that does not examine verification.
        unverified_since: Close of the oldest unverified candle (ms UTC); None if there is none.
        again_at: Earliest next request for slots that wait for another answer (ms UTC); None if no slot waits.
        duplicates: Surplus members in slots with several members.
        malformed: Members that are not candles of this series; their slots count as missing.
        requests: Requests sent to the exchange, without references.
        references: Requests sent for references on behalf of this series.
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

    `gaps_found` and `gaps_filled` count maximal intervals of missing slots; a gap is filled if each of its slots got a
    candle. The other sums are those of `SeriesResult`. `degraded` is the reason why the pass could not do its work
    (series were unreadable, or the exchange gave no answer), or None.
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
        """Delisted products with missing slots, by name. These slots cannot be filled any more."""
        return tuple(sorted({row.symbol for row in self.series if row.delisted_at is not None and row.unresolved}))

    @property
    def causes(self) -> tuple[str, ...]:
        """Each distinct error with its first series and the number of its other series, the most frequent first."""
        return causes_of((f"{row.symbol}:{row.timeframe}", error) for row in self.series for error in row.errors)

    @classmethod
    def of(
        cls, series: Sequence[SeriesResult], *, gaps_filled: int, duration_ms: int, degraded: str | None = None
    ) -> Self:
        """Return the result with the totals of all series. A series without examined slots counts as not scanned."""
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
    """Return each distinct error with its first series and the number of its other series, the most frequent first.

    `struck` holds pairs of a series' name and an error, or None for no error.
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
    """Add an error to the messages of a series, unless it is there already or they are `ERRORS_KEPT` already."""
    if error is None or error in kept or len(kept) >= ERRORS_KEPT:
        return kept
    return (*kept, error)
