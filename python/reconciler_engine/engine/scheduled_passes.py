"""The passes of an engine, scheduled and on demand; among all engines of a scope one pass of a job runs at a time."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.held_leases import HeldLease, HeldLeases
from reconciler_engine.engine.parts import Parts
from reconciler_engine.engine.pass_metrics import count_pass
from reconciler_engine.engine.pass_words import in_words, totals
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.engine.passes.run_tasks import closed_after
from reconciler_engine.engine.tasks.consumer_name import is_gone
from reconciler_engine.engine.verify_run import VerifyRun
from reconciler_engine.errors import LeaseLost, RunClosed, StoreError, StoreUnavailable
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.observe import logs
from reconciler_engine.observe.status import ScrubStatus
from reconciler_engine.planning.verification import Verify
from reconciler_engine.scheduling.cron import CronExpression
from reconciler_engine.scheduling.events import Degraded
from reconciler_engine.scheduling.job import Job
from reconciler_engine.scheduling.scheduler import Scheduler
from reconciler_engine.scheduling.ticks import Tick, TickReason
from reconciler_engine.scheduling.zones import load_zone
from reconciler_engine.store.leases import LEASE_MS, JobLeases, Lease
from reconciler_engine.store.objective_counts import ObjectiveCounts
from reconciler_engine.store.task_streams import Lane

GAP_SCAN = "gap_scan"
FULL_RECONCILE = "full_reconcile"
VERIFY = "verify"

_LANES = {GAP_SCAN: Lane.LIVE, FULL_RECONCILE: Lane.DEEP, VERIFY: Lane.VERIFY}
# The pages of the verify run wait while the exchange does not answer, like those of the gap scan.
_VERIFY_MAX_RUN_MS = 900_000
_POLL_S = 0.25
_MOST_REPEATS = 3
_FIRST_VERIFY_S = 60.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LastPass:
    """A job's last finished pass, and the instant of its end (ms UTC)."""

    result: ReconciliationResult
    finished_at: int


class ScheduledPasses:
    """Runs the gap scan, the full reconciliation and the verify run over given series.

    An engine holds the job's lease in Redis as long as its pass runs. A tick that finds the lease held is skipped. Each
    write of a pass carries the lease's epoch: once another engine has taken over, Redis refuses the write and the pass
    ends. An engine that takes over from a dead one first waits for the dead engine's open run to end.

    `keep_leases` must run as long as passes do. `last` has each job's last pass, `crons` each job's cron expression,
    `series` the series to examine, `parts` the stores and clients in use, `now` the wall clock, `verify_run` the state
    of the verify run.
    """

    def __init__(
        self,
        parts: Parts,
        series: Sequence[Series],
        *,
        now: Callable[[], int],
        lease_ms: int = LEASE_MS,
        unknown: Sequence[str] = (),
    ) -> None:
        """Make the passes of an engine.

        `now` is the wall clock (ms UTC), `lease_ms` the life of a lease without a refresh, `unknown` the symbols that
        the exchange does not list yet.
        """
        self.now = now
        self.parts = parts
        self._leases = JobLeases(parts.client, parts.scope, parts.queue.consumer, life_ms=lease_ms)
        self.crons = crons_of(parts.config)
        self._held = HeldLeases(self._leases, list(self.crons), refresh_s=lease_ms / 4_000)
        self.series: Sequence[Series] = series
        self.unknown = tuple(unknown)
        self.last: dict[str, LastPass] = {}
        self.verify_run = VerifyRun(VERIFY, tell)

    def watch(self, series: Sequence[Series]) -> None:
        """Replace the series, from the next pass on."""
        self.series = series

    def renew(self, parts: Parts, series: Sequence[Series], unknown: Sequence[str] = ()) -> None:
        """Replace the parts (for the same client, scope and consumer) and the series, from the next pass on."""
        self.parts = parts
        self.crons = crons_of(parts.config)
        self.series, self.unknown = series, tuple(unknown)

    def welcome(self, symbols: Sequence[str]) -> None:
        """Add symbols that the exchange lists now, from the next pass on."""
        self.unknown = tuple(one for one in self.unknown if one not in symbols)
        self.series = [*self.series, *self.parts.config.with_symbols(tuple(symbols)).series()]

    def scrub_status(self) -> ScrubStatus | None:
        """Return the progress of the scrub; None if this engine does not know it."""
        per_minute = self.parts.reconciler.verify_per_minute
        return self.verify_run.scrubbed.status(self.parts.config.scrub_days, per_minute, self.now())

    def jobs(self) -> list[Job]:
        """Return the scheduler's jobs by the configuration; each run needs `claim` around it."""
        config = self.parts.config
        zone = load_zone(config.timezone)
        # Longest delay of a late run, longest duration of a run, and longest random delay (jitter), each in ms.
        bounds = {
            GAP_SCAN: (config.gap_scan_misfire_grace_ms, config.gap_scan_max_run_ms, config.gap_scan_jitter_ms),
            FULL_RECONCILE: (
                *(config.full_reconcile_misfire_grace_ms, config.full_reconcile_max_run_ms),
                config.full_reconcile_jitter_ms,
            ),
            VERIFY: (None, _VERIFY_MAX_RUN_MS, 0),
        }
        return [
            Job(job, CronExpression.parse(cron), self._run_tick, zone, *bounds[job])
            for job, cron in crons_of(config).items()
        ]

    @asynccontextmanager
    async def claim(self, tick: Tick) -> AsyncIterator[bool]:
        """Hold the job's lease for a tick; give False if another run holds it, or another engine has run that tick.

        Raises:
            StoreError: Redis did not answer.
        """
        # A scheduled tick has the same name on all engines; a triggered one is nameless, so that it always runs.
        name = None if tick.reason is TickReason.TRIGGER else f"{tick.slot}:{tick.era}"
        async with self._held.hold(tick.job, name) as held:
            yield held is not None

    async def perform(self, job: str) -> ReconciliationResult:
        """Run a pass of a job, after the end of an open one if there is one.

        A cancellation ends the pass at once; merged candles stay.

        Raises:
            LeaseLost: Redis was away for so long that another engine took over.
            StoreError: Redis cannot be reached, or the run's record was lost.
        """
        while True:
            async with self._held.hold(job, None) as held:
                if held is not None:
                    return await self._run(held)
            await trio.sleep(_POLL_S)

    async def begin(self, scheduler: Scheduler) -> None:
        """Trigger one full reconciliation, as soon as no other engine has its lease; then a verify run.

        The verify run waits up to a minute for the reconciliation, so that gaps are closed before.
        """
        try:
            while True:
                if not await self._leases.is_held(FULL_RECONCILE):
                    break
                await trio.sleep(_POLL_S)
        except StoreError as error:
            _logger.info("whether a full pass runs already is unknown", extra={"error": str(error)})
        before = self.last.get(FULL_RECONCILE)
        if scheduler.is_running:
            scheduler.trigger_now(FULL_RECONCILE)
        with trio.move_on_after(_FIRST_VERIFY_S):
            while True:
                if self.last.get(FULL_RECONCILE) is not before:
                    break
                await trio.sleep(_POLL_S)
            if scheduler.is_running:
                scheduler.trigger_now(VERIFY)

    async def inherit(self, *, is_alone: bool) -> None:
        """Free the leases and tasks of this machine's dead processes; if `is_alone`, those of all processes."""

        def is_dead(name: str) -> bool:
            return is_alone or is_gone(name)

        await self._leases.free(list(self.crons), is_dead)
        await self.parts.queue.redeliver_all(is_dead)

    async def keep_leases(self) -> None:
        """Refresh the leases of running passes until cancelled; then release them."""
        await self._held.keep()

    async def _run_tick(self, tick: Tick) -> Degraded | None:
        result = await self._run_through(tick)
        return None if result.degraded is None else Degraded(result.degraded)

    async def _run_through(self, tick: Tick) -> ReconciliationResult:
        """Run a tick's pass; if Redis was away or lost its record, run it again as soon as Redis is back.

        Raises:
            LeaseLost: Another engine has taken over.
            StoreError: Redis refused a command, or the repeated pass failed several times.
        """
        held = self._held.of(tick.job)
        for _ in range(_MOST_REPEATS):
            try:
                return await self._run(held, slot=tick.slot)
            except (LeaseLost, RunClosed, StoreUnavailable) as error:
                again = await self._take_again(tick.job)
                if again is None:
                    raise
                held = again
                _logger.warning("pass repeated", extra={"job": tick.job, "slot": tick.slot, "error": str(error)})
        return await self._run(held, slot=tick.slot)

    async def _take_again(self, job: str) -> HeldLease | None:
        """Take a job's lease again, as soon as Redis is back; return None if another engine has it."""
        while True:
            try:
                return await self._held.take_again(job)
            except StoreUnavailable:
                await trio.sleep(_POLL_S)

    async def _run(self, held: HeldLease, *, slot: int | None = None) -> ReconciliationResult:
        """Run a pass under a lease; end it once the lease is lost.

        Raises:
            LeaseLost: Another engine has taken over.
            StoreError: Redis cannot be reached, or the run's record was lost.
        """
        lease = held.lease
        with logs.about(job=lease.job), held.scope:
            reconciler = self.parts.reconciler.under(lease.epoch)
            if lease.open_run:
                await self._adopt(lease)
            result = await reconciler.run_pass(await self._request(lease.job))
            if lease.job == VERIFY:
                counts = ObjectiveCounts(self.parts.client, self.parts.scope)
                limit_ms = self.parts.config.max_unverified_ms
                await counts.judge(self.verify_run.timely, limit_ms, self.now(), job=VERIFY, epoch=lease.epoch)
                await self.verify_run.go_on(self.parts, self.series, reconciler)
            self.last[lease.job] = LastPass(result, self.now())
            tell(lease.job, result, slot)
            return result
        raise LeaseLost(lease.job)

    async def _adopt(self, lease: Lease) -> None:
        """Wait for the end of the run that the previous holder of the lease left open: workers already do its tasks."""
        _logger.info("run adopted", extra={"job": lease.job, "run": lease.open_run})
        queue = self.parts.queue.under(lease.epoch)
        # The wait has no limit of its own. If a deadline of the job cuts it off, the run is closed for good, and the
        # next pass plans the remaining work again.
        async with closed_after(queue, lease.open_run):
            try:
                await queue.wait_finished(lease.open_run, Lane.SCAN, _LANES[lease.job])
            except RunClosed:
                _logger.info("an adopted run was lost", extra={"job": lease.job, "run": lease.open_run})

    async def _request(self, job: str) -> PassRequest:
        config = self.parts.config
        if job == GAP_SCAN:
            return PassRequest(job, self.series, config.quick_scan_window_ms, lane=_LANES[job], pauses=True)
        if job == VERIFY:
            return await self.verify_run.request(self.parts, self.series)
        return PassRequest(
            job,
            self.series,
            config.full_reconcile_window_ms,
            lane=_LANES[job],
            verify=Verify.ALL if config.full_reconcile_verify == "all" else Verify.SUSPECTS,
            pauses=True,
            bars=config.window_bars,
        )


def tell(job: str, result: ReconciliationResult, slot: int | None = None) -> None:
    """Count a finished pass in the metrics and log it; `slot` is the scheduled slot of its tick, None on demand."""
    count_pass(job, result)
    facts = {} if slot is None else {"slot": slot}
    extra: dict[str, object] = {"job": job, **facts, **totals(result), "summary": f"{job:<14}  {in_words(result)}"}
    if result.degraded is not None:
        extra["routine"] = f"{job} degraded"
        _logger.warning("pass degraded", extra=extra)
        return
    if not (result.missing or result.filled or result.mismatched or result.errors):
        extra["routine"] = job
    _logger.info("pass done", extra=extra)


def crons_of(config: ReconciliationConfig) -> dict[str, str]:
    """Return the cron expression of each job."""
    return {GAP_SCAN: config.gap_scan_cron, FULL_RECONCILE: config.full_reconcile_cron, VERIFY: config.verify_cron}
