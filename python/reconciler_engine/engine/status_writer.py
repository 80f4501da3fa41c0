"""The writer of an engine's status: once a second, and at once when a run begins or ends."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import trio

from reconciler_engine.engine.parts import Parts
from reconciler_engine.engine.pass_metrics import count_event
from reconciler_engine.engine.pass_words import totals
from reconciler_engine.engine.scheduled_passes import ScheduledPasses
from reconciler_engine.engine.terms import terms_of
from reconciler_engine.errors import StoreError
from reconciler_engine.limiting.redis_bucket import BucketStatistics
from reconciler_engine.observe.status import BudgetStatus, EngineStatus, JobStatus, NodeStatus, ProcessStatus
from reconciler_engine.scheduling.events import Event, JobStatistics, Outcome, RunFinished, SlotSkipped
from reconciler_engine.scheduling.scheduler import Scheduler
from reconciler_engine.store.node_watch import NodeWatch
from reconciler_engine.store.protocol import PROTOCOL
from reconciler_engine.store.status_board import EngineFacts, StatusBoard, describe_own_outage

WRITE_S = 1.0
USED_WINDOW_MS = 60_000
"""Length of the window (ms) over which the budget's `used` counts requests."""

_LOOKS = (
    *("base_url", "user_id", "exchange_id", "layout", "allow_other_layout", "max_candles", "grace_ms"),
    *("audit_policy", "settle_ms", "max_unverified_ms", "verify_share", "batch_size", "batch_delay_ms"),
    *("full_reconcile_window_ms", "window_bars"),
)
_UNKNOWN_SHOWN = 100
_ANNOUNCE_EVERY_MS = 60_000
_LAST_WORD_S = 1.0
_logger = logging.getLogger(__name__)


class StatusWriter:
    """Writes the status of one engine until cancelled, then removes it.

    While Redis is unreachable, the writer logs that once and waits. `redis_error` is the error of the last write; None
    if it succeeded.
    """

    def __init__(
        self,
        facts: EngineFacts,
        scheduler: Scheduler,
        passes: ScheduledPasses,
        processes: Callable[[], tuple[ProcessStatus, ...]],
    ) -> None:
        """Make a writer; `processes` returns the running processes."""
        self._facts = facts
        self._scheduler = scheduler
        self._passes = passes
        self._processes = processes
        self._board = StatusBoard(passes.parts.client)
        self._started_at = passes.now()
        self._granted: deque[tuple[int, int]] = deque(maxlen=USED_WINDOW_MS // 1_000 + 1)
        self._changed = trio.Event()
        self._outcomes: dict[str, str] = {}
        self._failures: dict[str, str] = {}
        self._degraded: dict[str, str] = {}
        self._successes: dict[str, int] = {}
        self._budget: BudgetStatus | None = None
        self._queued: dict[str, int] | None = None
        self._skew_ms: int | None = None
        self._nodes = NodeWatch(passes.parts.client, passes.parts.scope)
        self._nodes_away: tuple[NodeStatus, ...] = ()
        self._written: float | None = None
        self.redis_error: str | None = None

    @property
    def status(self) -> EngineStatus:
        """State of the engine as of now; figures that only Redis has are None while Redis is away."""
        return self._describe(self._budget, self._queued)

    @property
    def settings(self) -> dict[str, str | int | float | bool]:
        """Settings that decide how passes judge series, for the web pages."""
        return shown_settings(self._passes.parts)

    @property
    def redis_silent_ms(self) -> int | None:
        """Time since the last successful write of the status (ms); None before the first."""
        return None if self._written is None else round((trio.current_time() - self._written) * 1_000)

    async def run(self) -> None:
        """Write until cancelled."""
        unsubscribe = self._scheduler.subscribe(self._note)
        announced_at: int | None = None
        try:
            while True:
                self._changed = trio.Event()
                try:
                    status = await self._look()
                    await self._board.write(status)
                    self._written, self.redis_error = trio.current_time(), None
                    if announced_at is None or not 0 <= status.written_at - announced_at < _ANNOUNCE_EVERY_MS:
                        announced_at = status.written_at
                        await self._announce(status)
                except StoreError as error:
                    # In a cluster, a single node has all keys that the engine needs.
                    told = describe_own_outage(error) if self._passes.parts.client.is_cluster else str(error)
                    if self.redis_error is None:
                        _logger.warning("status not written", extra={"error": told})
                    self._budget, self._queued, self.redis_error = None, None, told
                    await trio.sleep(WRITE_S)
                with trio.move_on_after(WRITE_S):
                    await self._changed.wait()
        finally:
            unsubscribe()
            with trio.move_on_after(_LAST_WORD_S, shield=True):
                await self._take_back()

    async def _announce(self, status: EngineStatus) -> None:
        """Add the engine to the list of all engines; a cluster may keep that list on a node that is away."""
        try:
            await self._board.announce(status)
        except StoreError as error:
            _logger.info("not listed among the engines", extra={"error": str(error)})

    def _note(self, event: Event) -> None:
        ending = count_event(event)
        if ending is not None:
            self._outcomes[ending.job] = ending.outcome
            if isinstance(event, RunFinished) and event.outcome in {Outcome.DONE, Outcome.DEGRADED}:
                self._failures.pop(ending.job, None)
                self._degraded.pop(ending.job, None)
            if ending.outcome == Outcome.DONE.value:
                self._successes[ending.job] = self._passes.now()
                last = self._passes.last.get(ending.job)
                if last is not None and last.result.requests:
                    # The exchange answers again, so the next passes will do the work that failed before.
                    self._degraded.clear()
            elif isinstance(event, RunFinished) and event.outcome is Outcome.DEGRADED:
                self._degraded[ending.job] = str(event.error)
            elif isinstance(event, RunFinished) and event.error is not None:
                self._failures[ending.job] = f"{event.outcome.value}: {event.error}"
            elif isinstance(event, SlotSkipped) and event.elsewhere:
                self._failures.pop(ending.job, None)
                self._degraded.pop(ending.job, None)
        self._changed.set()

    async def _take_back(self) -> None:
        try:
            await self._board.remove(self._describe(None, None))
        except StoreError as error:
            _logger.debug("status not taken back; it ends by itself", extra={"error": str(error)})

    async def _look(self) -> EngineStatus:
        """Read the figures that only Redis has; return the complete status."""
        parts = self._passes.parts
        self._nodes_away = await self._nodes.look(self._passes.series)
        self._queued, self._skew_ms = await parts.queue.lengths(), await parts.clock.skew_ms()
        self._budget = self._describe_budget(await parts.bucket.statistics(), self._passes.now())
        return self.status

    def _describe(self, budget: BudgetStatus | None, queued: dict[str, int] | None) -> EngineStatus:
        now, scope = self._passes.now(), self._passes.parts.scope
        return EngineStatus(
            node=self._passes.parts.queue.consumer,
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
            budget=budget,
            queued=queued,
            protocol=PROTOCOL,
            layout=scope.layout.value,
            grace_ms=self._passes.parts.config.grace_ms,
            max_unverified_ms=self._passes.parts.config.max_unverified_ms,
            completeness_slo=self._passes.parts.config.completeness_slo,
            terms=terms_of(self._passes.parts),
            skew_ms=self._skew_ms,
            scrub=self._passes.scrub_status(),
            unknown_symbols=self._passes.unknown[:_UNKNOWN_SHOWN],
            nodes_away=self._nodes_away,
        )

    def _job(self, figures: JobStatistics) -> JobStatus:
        last = self._passes.last.get(figures.name)
        result = None if last is None else totals(last.result)
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
            last_outcome=self._outcomes.get(figures.name),
            failure=self._failures.get(figures.name),
            degraded=self._degraded.get(figures.name),
            last_success_at=self._successes.get(figures.name),
        )

    def _describe_budget(self, bucket: BucketStatistics, now: int) -> BudgetStatus:
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
            # If Redis lost the bucket, its count began again at zero.
            used=max(0, used),
            granted=bucket.granted,
            waiting=bucket.waiting,
            wait_ms=bucket.wait_ms,
            paused_ms=bucket.paused_ms,
            breaker=bucket.state,
            trouble=bucket.breaker.why,
            stopped_ms=bucket.stopped_ms,
        )


def shown_settings(parts: Parts) -> dict[str, str | int | float | bool]:
    """Return the settings that decide how passes judge series, for the web pages; they contain no secret."""
    return {**parts.config.model_dump(include=set(_LOOKS)), "hourly_limit": parts.bucket.budget.hourly or 0}
