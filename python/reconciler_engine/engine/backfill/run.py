"""One run of a backfill: reads ranges ahead, hands pages to workers, and moves the marks by their outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio
from pydantic import ValidationError

from reconciler_engine.engine.backfill.progress import SeriesProgress
from reconciler_engine.engine.backfill.reader import RangeReader, SecondLook
from reconciler_engine.engine.base_parts import BaseParts
from reconciler_engine.engine.tasks.messages import PageOutcome, PageTask, SeriesSpan, outcome_of, wire_of
from reconciler_engine.engine.tasks.scan import CONFIRM_MS
from reconciler_engine.engine.tasks.work_rules import WorkRules
from reconciler_engine.errors import NodeUnavailable, StoreError, own_fault
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.pages import Page
from reconciler_engine.store.marks import Marks
from reconciler_engine.store.task_streams import Lane

PAGES_AHEAD = 64
"""Most pages that are planned but not handed out; reading waits while there are so many."""

_FEWEST_OUT, _MOST_OUT = 16, 128
"""Bounds of the number of pages handed out at a time. It is what the budget allows in 4 s, so that the pages of other
runs on the same lane wait no longer than that."""

_OUT_S = 4
_UNPROVEN_PAGES = 4
_ENQUEUE_PAGES = 32
_BEAT_S = 1.0


@dataclass(frozen=True, slots=True)
class _Planned:
    """A page of a series, the slots to ask for, and the candles among them to verify.

    Do not hand it out before `ready_at` (trio's clock, s).
    """

    row: SeriesProgress
    name: str
    page: Page
    asked: Interval
    candles: Intervals
    ready_at: float
    is_bridge: bool


class BackfillRun:
    """Carries out one run; used once.

    At most `PAGES_AHEAD` pages are planned and 128 handed out at a time.

    Args:
        run: Id of an open run.
        now: The instant (ms UTC) for which it is judged whether slots are worth a request.
        rows: Progress of each series.
        parts: Stores and settings.
        marks: Store of the marks.
        settle_ms: Age after its close from which a candle is compared with the exchange's; None compares none.
        tell: Called once a second, to show progress.
        is_again: Whether verified candles are compared again.
    """

    def __init__(
        self,
        run: str,
        now: int,
        rows: Sequence[SeriesProgress],
        parts: BaseParts,
        marks: Marks,
        settle_ms: int | None,
        tell: Callable[[], None],
        *,
        is_again: bool = False,
    ) -> None:
        self._run = run
        self._now = now
        self._rows = rows
        self._parts = parts
        self._marks = marks
        self._rules = WorkRules.of(parts.config)
        out = max(_FEWEST_OUT, min(_MOST_OUT, int(parts.bucket.budget.rate_per_s * _OUT_S)))
        self._out = trio.Semaphore(out, max_value=out)
        self._settle_ms = settle_ms
        self._is_again = is_again
        # Verifications are noted in whole seconds; rounded up, so that earlier ones in this second are stale, too.
        self._stale_before = (now // 1_000 + 1) * 1_000 if is_again else 0
        self._tell = tell
        self._under_way: dict[str, SeriesProgress] = {}
        self._handed_out: set[str] = set()
        self._changed = trio.Event()
        self._ended = trio.Event()
        self._all_read = False
        self._proven = {row.series: trio.Event() for row in rows}
        self._handed: Counter[Series] = Counter()

    async def carry_out(self) -> None:
        """Carry out the run; return once every page has its outcome.

        After a cancellation or an error the marks are saved, too, if Redis can be reached.

        Raises:
            StoreError: Redis cannot be reached or lost the run; possibly in a group.
        """
        try:
            async with trio.open_nursery() as nursery:
                send, receive = trio.open_memory_channel[_Planned](PAGES_AHEAD)
                nursery.start_soon(self._beat)
                nursery.start_soon(self._read_all, send)
                nursery.start_soon(self._hand_out, receive)
                await self._collect()
                nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(_BEAT_S, shield=True):
                await self._save()

    async def _read_all(self, send: trio.MemorySendChannel[_Planned]) -> None:
        async with send:
            # All ranges first, since a second look needs the answers of the first.
            for step in (self._read, self._look_again):
                for row in self._rows:
                    try:
                        await step(row, send)
                    except StoreError as error:
                        row.stop(str(own_fault(error, waits=False)))
                        self._proven[row.series].set()
        self._all_read = True
        self._changed.set()

    async def _read(self, row: SeriesProgress, send: trio.MemorySendChannel[_Planned]) -> None:
        """Read a series to its end and plan its pages."""
        reader = self._reader(row, Interval(row.mark.verified_to, row.window.stop), self._settle_ms)
        while not row.is_stopped and (reading := await reader.read_next()) is not None:
            # The feeder's remove-then-add leaves holes that last one round trip. A worker reads a page again before
            # it asks, so the page is held back until such a hole is closed.
            ready_at = trio.current_time() + CONFIRM_MS / 1_000
            if unclean := sorted({*reading.duplicates, *reading.malformed}):
                # Leaves one candle in each of these slots, without a request.
                await self._parts.store.merge(row.series, (), self._parts.retention, duplicated=unclean, by="backfill")
            pages = [self._add(row, page, ready_at) for page in row.lay(reading)]
            row.note_reading(reading)
            for planned in pages:
                await send.send(planned)
        if not row.is_stopped:
            for page in row.pages.finish():
                await send.send(self._add(row, page, trio.current_time() + CONFIRM_MS / 1_000))
            row.is_read = True

    async def _look_again(self, row: SeriesProgress, send: trio.MemorySendChannel[_Planned]) -> None:
        """Read a series again if answers left slots unresolved, and plan pages that can prove them."""
        while not row.is_asked:
            await self._ended.wait()
        if row.wants_second_look:
            before = row.counts
            look = SecondLook(self._reader(row, row.window), self._now, row.closed, row.series.timeframe.step_ms)
            while (pages := await look.read_next()) is not None:
                for page in pages:
                    await send.send(self._add(row, page, trio.current_time(), is_bridge=True))
                if row.is_stopped:
                    return
            row.end_second_look(before, look.counts)

    def _reader(self, row: SeriesProgress, interval: Interval, settle_ms: int | None = None) -> RangeReader:
        return RangeReader(
            self._parts, row.series, interval, self._now, row.listing, settle_ms, is_again=self._is_again
        )

    def _add(self, row: SeriesProgress, page: Page, ready_at: float, *, is_bridge: bool = False) -> _Planned:
        name, asked, candles = row.add_bridge(page) if is_bridge else row.add_page(page)
        self._under_way[name] = row
        self._changed.set()
        return _Planned(row, name, page, asked, candles, ready_at, is_bridge)

    async def _hand_out(self, receive: trio.MemoryReceiveChannel[_Planned]) -> None:
        async for planned in receive:
            following: _Planned | None = planned
            while following is not None:
                batch = [following]
                await self._wait_proof(following.row)
                await self._out.acquire()
                following = self._fill_up(batch, receive)
                await trio.sleep_until(batch[-1].ready_at)
                await self._enqueue(batch)

    def _fill_up(self, batch: list[_Planned], receive: trio.MemoryReceiveChannel[_Planned]) -> _Planned | None:
        """Add pages to a batch until one has to wait; return that one, None if there is none."""
        while len(batch) < _ENQUEUE_PAGES:
            try:
                following = receive.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                return None
            if following.row is not batch[0].row or not self._may_go(following.row, len(batch)):
                return following
            try:
                self._out.acquire_nowait()
            except trio.WouldBlock:
                return following
            batch.append(following)
        return None

    def _may_go(self, row: SeriesProgress, ahead: int = 0) -> bool:
        return row.is_stopped or self._proven[row.series].is_set() or self._handed[row.series] + ahead < _UNPROVEN_PAGES

    async def _wait_proof(self, row: SeriesProgress) -> None:
        """Wait for the first outcome of a series before handing out many pages: its product may not exist."""
        if not self._may_go(row):
            await self._proven[row.series].wait()

    async def _enqueue(self, batch: Sequence[_Planned]) -> None:
        """Hand out pages of one series, or drop them if the series was stopped."""
        wanted = []
        for planned in batch:
            if planned.row.is_stopped:
                planned.row.abandon(planned.name)
                self._end(planned.name)
            else:
                wanted.append(planned)
        if wanted:
            self._handed[wanted[0].row.series] += len(wanted)
            tasks = [(one.name, self._task(one).model_dump_json()) for one in wanted]
            await self._parts.queue.enqueue(self._run, Lane.DEEP, tasks)
            # Some pages may have ended meanwhile.
            self._handed_out.update(name for name, _ in tasks if name in self._under_way)

    def _task(self, planned: _Planned) -> PageTask:
        step = planned.row.series.timeframe.step_ms
        return PageTask(
            run=self._run,
            id=planned.name,
            span=SeriesSpan.of(planned.row.series, planned.asked & planned.row.window),
            asked=(planned.asked.start, planned.asked.stop),
            gaps=wire_of(planned.page.wanted - planned.candles, step),
            to_audit=wire_of(planned.candles, step),
            bridge=planned.is_bridge,
            stale_before=self._stale_before,
            rules=self._rules,
            keeping=self._parts.retention,
        )

    def _end(self, name: str) -> None:
        del self._under_way[name]
        self._handed_out.discard(name)
        self._out.release()
        self._changed.set()
        self._ended.set()
        self._ended = trio.Event()

    async def _collect(self) -> None:
        while True:
            if self._under_way:
                handed_out = bool(self._handed_out)
                bodies = await self._parts.queue.wait_outcomes(self._run)
                for body in bodies:
                    self._settle(body)
                if handed_out and not bodies:
                    await self._parts.queue.ensure_awaited(self._run, Lane.DEEP)
            elif self._all_read:
                return
            else:
                await self._changed.wait()
                self._changed = trio.Event()

    def _settle(self, body: bytes) -> None:
        try:
            outcome = outcome_of.validate_json(body)
        except ValidationError as error:
            raise StoreError(f"an outcome of run {self._run} is none: {error.error_count()} faults") from error
        if isinstance(outcome, PageOutcome):
            row = self._under_way.get(outcome.id)
            if row is not None and row.settle(outcome):
                self._proven[row.series].set()
                self._end(outcome.id)

    async def _beat(self) -> None:
        """Keep the run alive, save the marks and show progress, once a second."""
        while True:
            await self._parts.queue.keep_run(self._run)
            await self._save()
            self._tell()
            await trio.sleep(_BEAT_S)

    async def _save(self) -> None:
        """Save marks that moved; delete the mark of a finished range, so that the next backfill reads it anew."""
        for row in self._rows:
            mark = row.mark
            if mark is row.saved:
                continue
            try:
                if row.is_over and row.is_verified:
                    await self._marks.clear(row.series, row.window.start)
                else:
                    await self._marks.save(row.series, row.window.start, mark.model_dump_json())
            except NodeUnavailable:
                # The mark is on the same node as the candles; a later call saves it.
                continue
            row.saved = mark
