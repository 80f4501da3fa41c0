"""The tally of a pass: collects outcomes of scans and pages, and adds them up to the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from reconciler_engine.engine.passes.series_row import SeriesRow
from reconciler_engine.engine.tasks.messages import PageOutcome, ScanOutcome, intervals_of
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.result import ReconciliationResult, SeriesResult
from reconciler_engine.market.series import Series
from reconciler_engine.observe.metrics import SUMS
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.observe.words import causes, counted
from reconciler_engine.planning.bridges import bridges
from reconciler_engine.planning.pages import Page
from reconciler_engine.planning.timely_bars import FoundBars
from reconciler_engine.planning.verification import Look
from reconciler_engine.planning.window import MINIMUM_STEPS
from reconciler_engine.store.coverage import Checked


class Absences(NamedTuple):
    """Slots without a candle after a pass, of a series that the scan could read.

    Attributes:
        series: The series.
        slots: The slots examined.
        confirmed: Slots that are confirmed to have no candle.
        missing: Slots still missing.
    """

    series: Series
    slots: Interval
    confirmed: Intervals
    missing: Intervals


class Tally:
    """Counts one pass over given windows. The state of a slot is that of the scan until a page reports a new one."""

    def __init__(self, windows: Sequence[tuple[Series, Interval]], *, digests: bool = False) -> None:
        """Make the tally of a pass; `digests` says whether the pass examines which candles are verified."""
        self._digests = digests
        self._rows = {series: SeriesRow(window, series.timeframe.step_ms) for series, window in windows}
        self._undone: Counter[str] = Counter()

    def add_scan(self, scanned: Sequence[Series], outcome: ScanOutcome) -> None:
        """Count the findings of a scan of these series; a series without a finding is complete.

        A series stays unexamined if its scan failed or its span could not be read.
        """
        if outcome.error is not None:
            self._undone[outcome.error] += 1
        for series in scanned:
            row = self._rows[series]
            row.examined = outcome.error is None
            row.note(outcome.error)
        for finding in outcome.findings:
            row = self._rows[finding.series]
            row.examined = not finding.unread
            row.missing_before = row.unresolved = intervals_of(finding.missing, row.step)
            row.confirmed_before = row.confirmed = intervals_of(finding.confirmed, row.step)
            row.due = intervals_of(finding.due, row.step)
            row.suspects = row.to_audit = intervals_of(finding.suspects, row.step)
            row.unverified = intervals_of(finding.unverified, row.step)
            row.changed = intervals_of(finding.changed, row.step)
            row.resting = intervals_of(finding.resting, row.step)
            row.unverified_before = row.unverified | row.resting | row.suspects
            row.again_at = finding.again_at
            row.duplicates = finding.duplicates
            row.malformed = finding.malformed
            row.note(finding.error)

    def join(self, late: Tally) -> None:
        """Take over the counts of the series that were put off, from their own tally."""
        self._rows |= late._rows
        self._undone += late._undone

    def looks(self, quick_ms: int = 0) -> dict[Series, Look]:
        """Return the state of the candles of every examined series, for the choice of pages.

        If `quick_ms` is set, due slots of the last `quick_ms`, and of the newest three slots, are left to the gap scan.
        """
        looks = {}
        for series, row in self._rows.items():
            if row.examined:
                # The window may be shorter than that.
                quick = Interval(row.slots.stop - max(quick_ms, MINIMUM_STEPS * row.step), row.slots.stop)
                urgent = row.suspects | (row.due - quick if quick_ms else row.due)
                looks[series] = Look(row.unverified, row.changed, urgent, row.again_at, row.slots.stop)
        return looks

    def candles(self) -> dict[Series, Intervals]:
        """Return the slots with a candle, by examined series, without those that wait for another answer."""
        return {
            series: row.slots - row.missing_before - row.confirmed_before - row.resting
            for series, row in self._rows.items()
            if row.examined
        }

    def choose(self, chosen: Mapping[Series, Intervals], *, alone: bool) -> None:
        """Choose candles to ask for; `alone` drops the due slots of all other series from this pass."""
        for series, row in self._rows.items():
            if series in chosen:
                row.to_audit = row.suspects | chosen[series]
            elif alone:
                row.due = row.to_audit = NOTHING

    def to_audit(self, series: Series) -> Intervals:
        """Return the slots of a series whose candles are to be audited."""
        return self._rows[series].to_audit

    def mismatched(self, series: Series) -> int:
        """Return the number of candles of a series that differed from the exchange's in this pass."""
        return self._rows[series].mismatched

    def note_sums(self, series: Series, verified: Intervals, *, asks: bool) -> None:
        """Count candles that sums of finer ones verified; unless the series `asks` for more, drop its due slots."""
        row = self._rows[series]
        row.by_sum += verified.size(row.step)
        row.newly_verified += (row.unverified & verified).size(row.step)
        row.unverified -= verified
        row.changed -= verified
        row.to_audit -= verified
        if not asks:
            row.to_audit = row.due = NOTHING

    def note_audit(self, series: Series, wrong: int) -> None:
        """Count candles that equal their sums but differ from the exchange's."""
        SUMS.add(wrong, "audit_differed")
        self._rows[series].wrong_sums += wrong

    def due(self, among: Iterable[Series] | None = None) -> Iterator[tuple[Series, Interval, Intervals]]:
        """Yield each series (of `among`, if given) with due slots, together with its examined and its due slots."""
        for series in self._rows if among is None else among:
            row = self._rows[series]
            if due := row.due | row.to_audit:
                yield series, row.slots, due

    def bridges(self, now: int) -> list[tuple[Series, Interval, Page]]:
        """Return pages for slots that earlier pages left unproven at their borders, each with its series and slots.

        `now` is the instant of the pass (ms UTC).
        """
        pages = [
            (series, Interval(page.interval.start + row.step, page.interval.stop - row.step), page)
            for series, row in self._rows.items()
            if row.examined and row.unresolved
            for page in bridges(row.unresolved, row.confirmed, row.answered, row.slots, now, row.step, asked=row.asked)
        ]
        for row in self._rows.values():
            row.reopened = NOTHING
        return pages

    def checked(self) -> Iterator[Checked]:
        """Yield the present findings on every series whose window has a slot."""
        for series, row in self._rows.items():
            grid = row.window.grid(series.timeframe.step_ms)
            if grid:
                window = Interval(grid.start, row.window.stop)
                yield Checked(
                    series,
                    window,
                    row.unresolved if row.examined else None,
                    confirmed=row.confirmed,
                    unverified=row.unverified | row.resting if self._digests else None,
                    has_doubts=bool(row.mismatched) or row.again_at is not None,
                )

    def found_bars(self, checked: Sequence[Checked]) -> list[FoundBars]:
        """Return the bars of every series as the scan found them, with the reasons known after the pass."""
        obstacles = {one.series: one.obstacles or {} for one in checked}
        return [_found_bars(series, row, obstacles.get(series, {})) for series, row in self._rows.items()]

    def absences(self) -> Iterator[Absences]:
        """Yield the slots without a candle, for every examined series."""
        for series, row in self._rows.items():
            if row.examined:
                yield Absences(series, row.slots, row.confirmed, row.unresolved)

    def add_page(self, span: Interval, outcome: PageOutcome, asked: Interval | None = None) -> None:
        """Count the outcome of a page; add each page once.

        Args:
            span: Slots that the page was responsible for.
            outcome: Outcome of its task.
            asked: Slots of the request, neighbours included; None for those of `span`.
        """
        row = self._rows[outcome.series]
        if outcome.unresolved is not None:
            if outcome.error is None:
                # Its slots, and one slot before and after them if the request included these.
                row.asked.append((asked or span) & Interval(span.start - row.step, span.stop + row.step))
                row.answered = row.answered | (span - intervals_of(outcome.undecided, row.step))
            row.reopened |= intervals_of(outcome.reopened, row.step)
            row.missing_before |= intervals_of(outcome.removed, row.step) & row.slots
            row.note_verified(intervals_of(outcome.verified, row.step), outcome.again_at)
            row.learn(span, intervals_of(outcome.unresolved, row.step), intervals_of(outcome.confirmed, row.step))
            if self._digests:
                row.unverified |= row.filled_in(span) - intervals_of(outcome.verified, row.step)
        if outcome.unanswered and outcome.error is not None:
            self._undone[outcome.error] += 1
        row.mismatched += outcome.mismatched
        row.repaired += outcome.repaired
        row.rewritten += outcome.rewritten
        row.requests += outcome.requests
        row.references += outcome.references
        row.note(outcome.error)
        row.note(outcome.fault)

    def result(
        self, *, duration_ms: int, delisted_at: Callable[[str], int | None] = lambda _: None
    ) -> ReconciliationResult:
        """Return rows and totals; `delisted_at` gives the instant of a product's delisting (ms UTC), if it was."""
        rows = [_series_result(series, row, delisted_at(series.symbol)) for series, row in self._rows.items()]
        gaps_filled = sum(row.gaps_filled for row in self._rows.values())
        degraded = None
        if self._undone:
            degraded = f"{counted(self._undone.total(), 'task')} not done: {causes(self._undone)}"
        return ReconciliationResult.of(rows, gaps_filled=gaps_filled, duration_ms=duration_ms, degraded=degraded)


_WAITING = (Obstacle.SECOND_SIGHTING, Obstacle.REFERENCE, Obstacle.DELISTED)


def _found_bars(series: Series, row: SeriesRow, obstacles: Mapping[Obstacle, Intervals]) -> FoundBars:
    if not row.examined:
        return FoundBars(series, row.slots, Intervals([row.slots]))
    waiting = Intervals(one for obstacle in _WAITING for one in obstacles.get(obstacle, NOTHING))
    suspect = Intervals(one for obstacle, where in obstacles.items() if obstacle.state == "suspect" for one in where)
    return FoundBars(
        series,
        row.slots,
        row.missing_before,
        row.missing_before & (waiting | row.confirmed),
        row.unverified_before | suspect,
    )


def _series_result(series: Series, row: SeriesRow, delisted_at: int | None) -> SeriesResult:
    return SeriesResult(
        symbol=series.symbol,
        timeframe=series.timeframe.value,
        start=row.window.start,
        stop=row.window.stop,
        expected=len(row.window.grid(row.step)) if row.examined else 0,
        missing=row.missing_before.size(row.step),
        gaps=len(row.missing_before),
        filled=row.filled,
        confirmed_empty=row.confirmed.size(row.step),
        unresolved=row.unresolved.size(row.step),
        mismatched=row.mismatched,
        repaired=row.repaired,
        rewritten=row.rewritten,
        proved=row.proved,
        newly_verified=row.newly_verified,
        by_sum=row.by_sum,
        wrong_sums=row.wrong_sums,
        unverified=row.unverified.size(row.step),
        unverified_since=row.unverified[0].start + row.step if row.unverified else None,
        again_at=row.again_at,
        duplicates=row.duplicates,
        malformed=row.malformed,
        requests=row.requests,
        references=row.references,
        errors=row.errors,
        delisted_at=delisted_at,
    )
