"""Directs backfills of long ranges: resumable, in bounded memory, with the fewest requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from reconciler_engine.engine.backfill.mark import Mark
from reconciler_engine.engine.backfill.progress import SeriesProgress
from reconciler_engine.engine.backfill.reader import RangeReader, SecondLook, SlotCounts
from reconciler_engine.engine.backfill.run import BackfillRun
from reconciler_engine.engine.base_parts import BaseParts
from reconciler_engine.engine.passes.run_tasks import closed_after
from reconciler_engine.engine.tasks.consumer_name import node_of
from reconciler_engine.engine.tasks.references import ReferenceCount
from reconciler_engine.errors import ConfigError, NodeUnavailable, StoreError, own_fault
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.planning.listing import Listing
from reconciler_engine.planning.pages import Page
from reconciler_engine.planning.request_plan import RequestPlan, SeriesPlan
from reconciler_engine.planning.window import closed_before, history_fault, range_window
from reconciler_engine.store.marks import Marks

_JOB, _AGAIN = "backfill", "verify_range"


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """Progress of a backfill over all its series.

    Attributes:
        slots: Closed slots of all ranges.
        slots_done: Slots that hold a candle or were asked for, before an interruption included.
        requests: Requests that this process sent for finished pages.
        series: Series being read.
    """

    slots: int
    slots_done: int
    requests: int
    series: str


class BackfillDirector:
    """Directs backfills of one scope. All lasting state is in Redis: candles, tasks and marks."""

    def __init__(self, parts: BaseParts) -> None:
        self._parts = parts

    async def plan(
        self, series: Sequence[Series], asked: Interval | None, *, verify: bool = True, again: bool = False
    ) -> RequestPlan:
        """Return the requests that `backfill` would send, without sending or writing anything.

        Every slot is read, as in the backfill itself; memory stays bounded.

        Raises:
            ConfigError: Retention would drop a range. The error names every such range.
            StoreUnavailable: Redis cannot be reached.
        """
        now = await self._parts.clock.now()
        references = ReferenceCount(await self._parts.products.read(), now, self._parts.config.grace_ms)
        settle_ms = self._parts.config.settle_ms if verify else None
        marks = self._marks_of(again)
        opened = await self._open("", series, asked, now, marks)
        rows = [await self._plan(progress, now, references, settle_ms, is_again=again) for progress in opened]
        requests = sum(row.requests for row in rows)
        return RequestPlan(
            requests=requests,
            references=references.total,
            missing=sum(row.missing for row in rows),
            confirmed_empty=sum(row.confirmed_empty for row in rows),
            duration_ms=round(requests * 1_000 / self._parts.bucket.budget.rate_per_s),
            series=tuple(rows),
        )

    async def backfill(
        self,
        series: Sequence[Series],
        asked: Interval | None,
        report: Callable[[BackfillProgress], None],
        *,
        verify: bool = True,
        again: bool = False,
    ) -> ReconciliationResult:
        """Fill ranges from the exchange, one series after the other, each from its oldest slot on.

        An interrupted backfill of a series with the same start is continued from its mark, with its counts of slots,
        unless candles that it verified are gone. A backfill that still runs is taken over and ends with `RunClosed`. A
        cancellation keeps the marks and discards unfinished tasks.

        Args:
            series: Series to fill.
            asked: The range of each series, clamped to closed slots; None for the configured full window.
            report: Called about once a second, and at the end.
            verify: Whether to ask for unverified candles, too.
            again: Whether to ask for verified candles as well, since the exchange may have changed them.

        Raises:
            ConfigError: Retention would drop a range; no request was sent. The error names every such range.
            StoreError: Redis cannot be reached or lost the run; possibly in a group. The marks stay.
        """
        # From here on Redis refuses writes of an older run of the same job.
        started = trio.current_time()
        now = await self._parts.clock.now()
        job, marks = _AGAIN if again else _JOB, self._marks_of(again)
        run = await self._parts.queue.open_run(job, now)
        async with closed_after(self._parts.queue, run):
            rows = await self._open(run, series, asked, now, marks)

            def tell() -> None:
                report(_progress(rows))

            settle_ms = self._parts.config.settle_ms if verify else None
            await BackfillRun(run, now, rows, self._parts, marks, settle_ms, tell, is_again=again).carry_out()
        report(_progress(rows))
        result = ReconciliationResult.of(
            [row.result() for row in rows],
            gaps_filled=sum(row.gaps_filled for row in rows),
            duration_ms=round((trio.current_time() - started) * 1_000),
        )
        await self._parts.records.note(run, job, now, result, node=node_of(self._parts.queue.consumer))
        return result

    def _marks_of(self, again: bool) -> Marks:
        return Marks(self._parts.client, self._parts.scope, _AGAIN if again else _JOB)

    async def _open(
        self, run: str, series: Sequence[Series], asked: Interval | None, now: int, marks: Marks
    ) -> list[SeriesProgress]:
        """Return the progress of each series, by its mark; with a run, close the runs that left the marks."""
        windows = [(one, self._window(one, asked, now)) for one in series]
        faults = (
            history_fault(str(one), window, now, one.timeframe, self._parts.config.max_candles)
            for one, window in windows
            if window
        )
        if known := [fault for fault in faults if fault is not None]:
            raise ConfigError(known)
        listings = (await self._parts.products.listings()).by_symbol
        return [
            await self._resume(run, one, window, now, listings.get(one.symbol, Listing()), marks)
            for one, window in windows
        ]

    def _window(self, series: Series, asked: Interval | None, now: int) -> Interval:
        """Return the closed slots of a range, by default of the full window, as one interval of whole slots."""
        timeframe = series.timeframe
        if asked is None:
            asked = Interval(max(0, now - self._parts.config.full_reconcile_window_ms), now)
        window = range_window(asked, now, timeframe, max_candles=0, grace_ms=self._parts.config.grace_ms)
        return window.slots(timeframe.step_ms) or Interval(window.start, window.start)

    async def _resume(
        self, run: str, series: Series, window: Interval, now: int, listing: Listing, marks: Marks
    ) -> SeriesProgress:
        closed = closed_before(now, series.timeframe, self._parts.config.grace_ms)
        mark = Mark(run=run, verified_to=window.start)
        fresh = SeriesProgress(series, window, mark, resumed=False, closed=closed, listing=listing)
        try:
            left = Mark.read(await marks.load(series, window.start))
        except NodeUnavailable:
            # The candles are on the same node, so reading them will report the error.
            return fresh
        if left is None:
            return fresh
        if run:
            await self._parts.queue.close_run(left.run)
        step = series.timeframe.step_ms
        if not window.start < left.verified_to <= window.stop or left.verified_to % step:
            return fresh
        verified = Interval(window.start, left.verified_to)
        try:
            present = await self._parts.outages.count(series, verified)
        except StoreError as error:
            own_fault(error, waits=False)
            return fresh
        # Some verified candles are gone, and it is unknown which, so the range is read anew.
        if present < verified.size(step) - left.unresolved - left.confirmed_empty:
            return fresh
        return SeriesProgress(
            series, window, left.model_copy(update={"run": run}), resumed=True, closed=closed, listing=listing
        )

    async def _plan(
        self,
        progress: SeriesProgress,
        now: int,
        references: ReferenceCount,
        settle_ms: int | None,
        *,
        is_again: bool,
    ) -> SeriesPlan:
        rest = Interval(progress.mark.verified_to, progress.window.stop)
        reader = self._reader(progress, rest, now, settle_ms, is_again=is_again)
        step = progress.series.timeframe.step_ms
        counts = SlotCounts()
        gaps = requests = 0

        def count(pages: Sequence[Page]) -> int:
            for page in pages:
                references.add(progress.series, page.interval)
            return len(pages)

        is_unproven = progress.mark.unresolved > 0
        end: int | None = None
        error: str | None = None
        try:
            while (reading := await reader.read_next()) is not None:
                requests += count(progress.lay(reading))
                counts += reading.counts(step)
                is_unproven = is_unproven or bool(reading.resting)
                # An interval that continues the last one of the reading before is the same gap.
                gaps += len(reading.resting) + len(reading.due)
                if reading.due:
                    gaps -= end == reading.due[0].start
                    end = reading.due[-1].stop
            requests += count(progress.pages.finish())
            if is_unproven:
                look = SecondLook(self._reader(progress, progress.window, now), now, progress.closed, step)
                while (pages := await look.read_next()) is not None:
                    requests += count(pages)
        except StoreError as refused:
            error = str(own_fault(refused, waits=False))
        return SeriesPlan(
            symbol=progress.series.symbol,
            timeframe=progress.series.timeframe.value,
            start=rest.start,
            stop=rest.stop,
            expected=rest.size(step),
            missing=counts.unresolved,
            gaps=gaps,
            confirmed_empty=counts.confirmed,
            requests=requests,
            error=error,
        )

    def _reader(
        self,
        progress: SeriesProgress,
        interval: Interval,
        now: int,
        settle_ms: int | None = None,
        *,
        is_again: bool = False,
    ) -> RangeReader:
        """Return a reader that does not write to the ledger."""
        return RangeReader(
            self._parts, progress.series, interval, now, progress.listing, settle_ms, writes=False, is_again=is_again
        )


def _progress(rows: Sequence[SeriesProgress]) -> BackfillProgress:
    reading = next((row for row in rows if not row.is_asked), None)
    return BackfillProgress(
        slots=sum(row.slots for row in rows),
        slots_done=sum(row.slots_done for row in rows),
        requests=sum(row.requests for row in rows),
        series="" if reading is None else str(reading.series),
    )
