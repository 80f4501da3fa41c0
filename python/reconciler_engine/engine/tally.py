"""The tally of a pass: findings and pages come in, rows and totals come out."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from reconciler_engine.engine.coverage import Checked
from reconciler_engine.engine.messages import PageOutcome, ScanOutcome, gaps_of
from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult, SeriesResult
from reconciler_engine.market.series import Series

ERRORS_KEPT = 10
"""Messages kept a series and a pass, the oldest; the counts of slots say how much they concern."""

TOTAL_ERRORS_KEPT = 100
"""Messages kept a pass; each series' row has its own."""


@dataclass(slots=True)
class _Row:
    """What is known of one series so far. `left` is None until a page of it has come back.

    `examined` says whether a scan examined it whole.
    """

    window: Interval
    examined: bool = False
    gaps: tuple[Gap, ...] = ()
    left: list[Gap] | None = None
    duplicates: int = 0
    malformed: int = 0
    filled: int = 0
    mismatched: int = 0
    requests: int = 0
    errors: list[str] = field(default_factory=list)

    def note(self, error: str | None) -> None:
        if error is not None and len(self.errors) < ERRORS_KEPT and error not in self.errors:
            self.errors.append(error)

    @property
    def unresolved(self) -> list[Gap]:
        """Runs of slots that are missing still, ascending; without a page, all that were missing."""
        return list(self.gaps) if self.left is None else sorted(self.left)

    @property
    def gaps_filled(self) -> int:
        """How many gaps have no missing slot any more."""
        left = self.unresolved
        starts = [gap.start for gap in left]
        # The last unresolved run that begins inside or before a gap is the only one that can reach into its end.
        at = ((gap, bisect_right(starts, gap.end) - 1) for gap in self.gaps)
        return sum(index < 0 or left[index].end < gap.start for gap, index in at)


class Tally:
    """Counts one pass over given windows. A slot is unresolved until a page says it is filled."""

    def __init__(self, windows: Sequence[tuple[Series, Interval]]) -> None:
        self._rows = {series: _Row(window) for series, window in windows}

    def add_scan(self, scanned: Sequence[Series], outcome: ScanOutcome) -> None:
        """Count what a scan of these series found; a series without a finding is complete.

        A scan that failed, and a span that could not be read, leave their series unexamined.
        """
        for series in scanned:
            row = self._rows[series]
            row.examined = outcome.error is None
            row.note(outcome.error)
        for finding in outcome.findings:
            row = self._rows[Series(finding.symbol, finding.timeframe)]
            row.examined = not finding.unread
            row.gaps = gaps_of(finding.gaps, finding.timeframe.step_ms)
            row.duplicates = finding.duplicates
            row.malformed = finding.malformed
            row.note(finding.error)

    def missing(self) -> Iterator[tuple[Series, tuple[Gap, ...]]]:
        """Return every series with missing slots, and its gaps, ascending."""
        return ((series, row.gaps) for series, row in self._rows.items() if row.gaps)

    def checked(self) -> Iterator[Checked]:
        """Return what is known of every series with a slot in reach, as of now."""
        for series, row in self._rows.items():
            grid = row.window.grid(series.timeframe.step_ms)
            if grid:
                window = Interval(grid.start, row.window.stop)
                yield Checked(series, window, tuple(row.unresolved) if row.examined else None)

    def add_page(self, outcome: PageOutcome) -> None:
        """Count what became of one page; each page of the pass is to be added once."""
        row = self._rows[Series(outcome.symbol, outcome.timeframe)]
        row.left = [*(row.left or ()), *gaps_of(outcome.unresolved, outcome.timeframe.step_ms)]
        row.filled += outcome.filled
        row.mismatched += outcome.mismatched
        row.requests += outcome.requests
        row.note(outcome.error)

    def result(self, *, duration_ms: int) -> ReconciliationResult:
        """Return rows and totals; a series of which no slot was examined has `expected` 0 and counts as not scanned."""
        rows = [(series, row, _series_result(series, row)) for series, row in self._rows.items()]
        examined = [done for _, _, done in rows if done.expected]
        return ReconciliationResult(
            scanned_symbols=len({done.symbol for done in examined}),
            scanned_timeframes=len({done.timeframe for done in examined}),
            gaps_found=sum(done.gaps for done in examined),
            gaps_filled=sum(row.gaps_filled for _, row, _ in rows),
            errors=tuple(f"{series}: {error}" for series, row, _ in rows for error in row.errors)[:TOTAL_ERRORS_KEPT],
            duration_ms=duration_ms,
            missing=sum(done.missing for done in examined),
            filled=sum(done.filled for done in examined),
            unresolved=sum(done.unresolved for done in examined),
            mismatched=sum(done.mismatched for done in examined),
            requests=sum(done.requests for done in examined),
            series=tuple(done for _, _, done in rows),
        )


def _series_result(series: Series, row: _Row) -> SeriesResult:
    return SeriesResult(
        symbol=series.symbol,
        timeframe=series.timeframe.value,
        start=row.window.start,
        stop=row.window.stop,
        expected=len(row.window.grid(series.timeframe.step_ms)) if row.examined else 0,
        missing=sum(gap.count for gap in row.gaps),
        gaps=len(row.gaps),
        filled=row.filled,
        unresolved=sum(gap.count for gap in row.unresolved),
        mismatched=row.mismatched,
        duplicates=row.duplicates,
        malformed=row.malformed,
        requests=row.requests,
        errors=tuple(row.errors),
    )
