"""The passes of an engine: as jobs of the scheduler, and on demand; one of each at a time, over all nodes."""

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
# Its pages wait where the exchange is silent, as those of the gap scan do.
_VERIFY_MAX_RUN_MS = 900_000
_POLL_S = 0.25
_MOST_REPEATS = 3
_FIRST_VERIFY_S = 60.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LastPass:
    """A job's last pass that came to its end, and when that was (ms UTC)."""

    result: ReconciliationResult
    finished_at: int


class ScheduledPasses:
    """Runs the gap scan, the full reconciliation and the verify run over given series.

    An engine holds the job's lease in Redis as long as its pass runs. A tick that finds the lease held is skipped. Each
    write of a pass carries the lease's epoch: once another engine has taken over, Redis refuses the write and the pass
    ends. An engine that takes over from a dead holder first sees the open run of that one to its end.

    `keep_leases` must run beside them. `last` has each job's last pass, `crons` each job's expression, `series` the
    series to look at, `parts` the stores and clients in use, `now` the wall clock, `verify_run` the parts of the verify
    run.
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
        """Make them.

        `now` is the wall clock (ms UTC), `lease_ms` the life of a lease nobody refreshes, `unknown` the symbols that
        wait for the exchange to list them.
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
        """Look at these series from the next pass on."""
        self.series = series

    def renew(self, parts: Parts, series: Sequence[Series], unknown: Sequence[str] = ()) -> None:
        """Go on with other parts of the same client, scope and consumer; a pass under way ends as it began."""
        self.parts = parts
        self.crons = crons_of(parts.config)
        self.series, self.unknown = series, tuple(unknown)

    def welcome(self, symbols: Sequence[str]) -> None:
        """Look at these symbols, too, from the next pass on: the exchange lists them now."""
        self.unknown = tuple(one for one in self.unknown if one not in symbols)
        self.series = [*self.series, *self.parts.config.with_symbols(tuple(symbols)).series()]

    def scrub_status(self) -> ScrubStatus | None:
        """Return how far kept candles are compared again; None where that is not known here."""
        per_minute = self.parts.reconciler.verify_per_minute
        return self.verify_run.scrubbed.status(self.parts.config.scrub_days, per_minute, self.now())

    def jobs(self) -> list[Job]:
        """Return them as the configuration schedules them. They run under `claim` alone."""
        config = self.parts.config
        zone = load_zone(config.timezone)
        # How late a slot may still run, how long a run may take, and the most that it waits after its slot (ms).
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
        """Hold the job's lease for a tick; give False where somebody else holds it, or another node ran that slot.

        Raises:
            StoreError: Redis did not answer.
        """
        # A slot is named once for all nodes; a caller out of turn wants a run of its own.
        name = None if tick.reason is TickReason.TRIGGER else f"{tick.slot}:{tick.era}"
        async with self._held.hold(tick.job, name) as held:
            yield held is not None

    async def perform(self, job: str) -> ReconciliationResult:
        """Run a pass now, or as soon as the open one of its kind is over; it never joins one that began before.

        Cancelled, the pass ends where it is: merged candles stay.

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
        """Trigger one full reconciliation at once, or as soon as the lease of one who died is free; then a verify run.

        The verify run finds the gaps closed; where that takes over a minute, the schedule has begun one.
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
        """Free leases and tasks of this machine's dead processes, or all of them where no other engine lives."""

        def is_dead(name: str) -> bool:
            return is_alone or is_gone(name)

        await self._leases.free(list(self.crons), is_dead)
        await self.parts.queue.redeliver_all(is_dead)

    async def keep_leases(self) -> None:
        """Refresh the leases of the passes under way, until cancelled; then give back those that are ours."""
        await self._held.keep()

    async def _run_tick(self, tick: Tick) -> Degraded | None:
        result = await self._run_through(tick)
        return None if result.degraded is None else Degraded(result.degraded)

    async def _run_through(self, tick: Tick) -> ReconciliationResult:
        """Run a tick's pass. One that Redis lost, or was away for, is made up for as soon as Redis is there.

        Raises:
            LeaseLost: Another engine has taken over.
            StoreError: Redis refuses something, or lost the pass again and again.
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
        """Take a job's lease anew, as soon as Redis is there; give None where another engine has it."""
        while True:
            try:
                return await self._held.take_again(job)
            except StoreUnavailable:
                await trio.sleep(_POLL_S)

    async def _run(self, held: HeldLease, *, slot: int | None = None) -> ReconciliationResult:
        """Run a pass under a lease, for as long as it is ours.

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
        """See to its end the run that the lease's holder before left open: its pages are asked for already."""
        _logger.info("run adopted", extra={"job": lease.job, "run": lease.open_run})
        queue = self.parts.queue.under(lease.epoch)
        # However long that takes: a deadline that ends it ends the run for good, and the next pass derives it anew.
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
    """Count a pass that is done, and log it; `slot` is that of its tick, None on demand."""
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
