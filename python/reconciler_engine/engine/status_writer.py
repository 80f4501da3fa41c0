"""The writer of an engine's status: once a second, and at once when a run begins or ends."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import trio

from reconciler_engine.engine.assembly import Parts
from reconciler_engine.engine.counting import count_event
from reconciler_engine.engine.passes import Passes, totals
from reconciler_engine.engine.status import (
    BudgetStatus,
    EngineFacts,
    EngineStatus,
    JobStatus,
    ProcessStatus,
    StatusBoard,
)
from reconciler_engine.errors import StoreError
from reconciler_engine.limiting.shared import BucketStatistics
from reconciler_engine.scheduling.events import Event, JobStatistics
from reconciler_engine.scheduling.scheduler import Scheduler

WRITE_S = 1.0
USED_WINDOW_MS = 60_000
"""How far back the budget's `used` counts."""

_ERRORS_SHOWN = 10
_ANNOUNCE_EVERY_MS = 60_000
_LAST_WORD_S = 1.0
_logger = logging.getLogger(__name__)


class StatusWriter:
    """Writes what one engine knows of itself until cancelled, then takes it back.

    Redis going away is logged once and waited for.
    """

    def __init__(
        self,
        parts: Parts,
        facts: EngineFacts,
        scheduler: Scheduler,
        passes: Passes,
        processes: Callable[[], tuple[ProcessStatus, ...]],
        *,
        now: Callable[[], int],
    ) -> None:
        """Make a writer; `processes` tells who runs, `now` is the wall clock (ms UTC)."""
        self._parts = parts
        self._facts = facts
        self._scheduler = scheduler
        self._passes = passes
        self._processes = processes
        self._now = now
        self._board = StatusBoard(parts.client)
        self._started_at = now()
        self._granted: deque[tuple[int, int]] = deque(maxlen=USED_WINDOW_MS // 1_000 + 1)
        self._changed = trio.Event()

    async def run(self) -> None:
        """Write until cancelled."""
        unsubscribe = self._scheduler.subscribe(self._note)
        announced_at: int | None = None
        is_away = False
        try:
            while True:
                self._changed = trio.Event()
                try:
                    status = await self._status()
                    await self._board.write(status)
                    if announced_at is None or not 0 <= status.written_at - announced_at < _ANNOUNCE_EVERY_MS:
                        await self._board.announce(status)
                        announced_at = status.written_at
                    is_away = False
                except StoreError as error:
                    if not is_away:
                        _logger.warning("status not written", extra={"error": str(error)})
                    is_away = True
                    await trio.sleep(WRITE_S)
                with trio.move_on_after(WRITE_S):
                    await self._changed.wait()
        finally:
            unsubscribe()
            with trio.move_on_after(_LAST_WORD_S, shield=True):
                await self._take_back()

    def _note(self, event: Event) -> None:
        count_event(event)
        self._changed.set()

    async def _take_back(self) -> None:
        try:
            await self._board.remove(self._describe(None))
        except StoreError as error:
            _logger.debug("status not taken back; it ends by itself", extra={"error": str(error)})

    async def _status(self) -> EngineStatus:
        return self._describe(await self._parts.bucket.statistics())

    def _describe(self, bucket: BucketStatistics | None) -> EngineStatus:
        now, scope = self._now(), self._parts.scope
        return EngineStatus(
            node=self._parts.queue.consumer,
            command=self._facts.command,
            version=self._facts.version,
            simulated=self._facts.simulated,
            user_id=scope.user_id,
            exchange_id=scope.exchange_id,
            source=scope.source,
            started_at=self._started_at,
            written_at=now,
            processes=self._processes(),
            jobs=tuple(self._job(figures) for figures in self._scheduler.statistics().values()),
            budget=None if bucket is None else self._budget(bucket, now),
        )

    def _job(self, figures: JobStatistics) -> JobStatus:
        last = self._passes.last.get(figures.name)
        result = None
        if last is not None:
            result = {**totals(last.result), "errors": list(last.result.errors[:_ERRORS_SHOWN])}
        return JobStatus(
            name=figures.name,
            cron=self._passes.crons[figures.name],
            next_tick=figures.next_slot,
            is_running=figures.is_running,
            runs=figures.runs,
            skipped=figures.skipped,
            missed=figures.missed,
            failed=figures.failed,
            timed_out=figures.timed_out,
            last_error=figures.last_error,
            last_duration_ms=figures.last_duration_ms,
            last_finished_at=None if last is None else last.finished_at,
            last_result=result,
        )

    def _budget(self, bucket: BucketStatistics, now: int) -> BudgetStatus:
        while self._granted and now - self._granted[0][0] > USED_WINDOW_MS:
            self._granted.popleft()
        used = bucket.granted - self._granted[0][1] if self._granted else 0
        if not self._granted or now - self._granted[-1][0] >= WRITE_S * 1_000:
            self._granted.append((now, bucket.granted))
        return BudgetStatus(
            rate_per_s=bucket.rate_per_s,
            share=bucket.share,
            slowed_by=bucket.slowed_by,
            burst=bucket.burst,
            available=bucket.available,
            # A bucket that was lost and made anew counts from nothing.
            used=max(0, used),
            granted=bucket.granted,
            waiting=bucket.waiting,
            wait_ms=bucket.wait_ms,
            paused_ms=bucket.paused_ms,
            breaker=bucket.state,
            trouble=bucket.breaker.why,
            stopped_ms=bucket.stopped_ms,
        )
