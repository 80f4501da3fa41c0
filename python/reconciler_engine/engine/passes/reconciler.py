"""A pass, from its windows to its result: scan, plan, fetch. The workers do the work; this directs it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import trio
from pydantic import ValidationError

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.clock import SharedClock
from reconciler_engine.engine.passes.halt_marking import note_halts
from reconciler_engine.engine.passes.pass_plan import PassRequest, Windows, plan_pages, plan_scans, windows_of
from reconciler_engine.engine.passes.reach import Reach
from reconciler_engine.engine.passes.tally import Tally
from reconciler_engine.engine.passes.verify_share import VerifyShare
from reconciler_engine.engine.tasks.consumer_name import node_of
from reconciler_engine.engine.tasks.messages import (
    PageOutcome,
    PageTask,
    ScanOutcome,
    ScanTask,
    SeriesSpan,
    outcome_of,
    page_outcome,
    wire_of,
)
from reconciler_engine.engine.tasks.run_record import closed_after
from reconciler_engine.engine.tasks.work_rules import WorkRules
from reconciler_engine.errors import StoreError
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.observe import logs
from reconciler_engine.planning.pages import Page, shards
from reconciler_engine.planning.states import find_obstacles
from reconciler_engine.planning.verification import Verify, to_verify
from reconciler_engine.store.candle_keys import CandleKeys
from reconciler_engine.store.candle_reads import PIPELINE_MEMBERS
from reconciler_engine.store.coverage import Checked, Coverage
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.findings import days_of
from reconciler_engine.store.listings import Listings
from reconciler_engine.store.pass_records import PassRecords
from reconciler_engine.store.product_list import ProductListStore
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.tasks import Lane, TaskQueue

_LATE = "late-"
"""Begins the names of tasks for series that were put off."""

_LOST = "the outcome of its task was lost; nothing is known until the next pass"
_logger = logging.getLogger(__name__)


class Reconciler:
    """Directs passes of one scope. Its state is in Redis; any number of them may direct passes at once."""

    def __init__(
        self,
        queue: TaskQueue,
        keys: CandleKeys,
        evidence: EvidenceStore,
        products: ProductListStore,
        clock: SharedClock,
        coverage: Coverage,
        records: PassRecords,
        share: VerifyShare,
        reach: Reach,
        config: ReconciliationConfig,
        retention: Retention,
    ) -> None:
        """Make a director; `share` is the part of the budget that pages of verification wait for."""
        self._queue = queue
        self._keys = keys
        self._evidence = evidence
        self._products = products
        self._clock = clock
        self._coverage = coverage
        self._records = records
        self._share = share
        self._reach = reach
        self._config = config
        self._retention = retention

    def under(self, epoch: int) -> Reconciler:
        """Return this director for passes under the lease of that epoch."""
        queue = self._queue.under(epoch)
        return Reconciler(
            queue,
            self._keys,
            self._evidence,
            self._products,
            self._clock,
            self._coverage,
            self._records,
            self._share,
            self._reach,
            self._config,
            self._retention,
        )

    @property
    def verify_per_minute(self) -> float:
        """How many requests of verification may go out a minute."""
        return self._share.per_minute

    async def run_pass(self, request: PassRequest) -> ReconciliationResult:
        """Scan, and where the request says so, repair; return when every page has its outcome.

        Cancelled, the run's record is closed: tasks still about become void, merged candles stay.

        Raises:
            StoreError: Redis cannot be reached, or the run's record was lost; the next pass derives the work anew.
        """
        started = trio.current_time()
        now = await self._clock.now()
        if request.repair and request.bars:
            await self._keys.prolong(request.series, self._retention.ttl_s)
        windows = await windows_of(self._keys, self._config, request.series, request.look_back, now, bars=request.bars)
        listings = await self._products.listings()
        # Not to be cancelled in the middle: whether there is a record to close would be unknown. Bounded by the client.
        with trio.CancelScope(shield=True):
            run = await self._queue.open_run(request.job, now)
        logs.note(run=run)
        async with closed_after(self._queue, run):
            tally = await self._carry_out(run, windows, request, listings, now)
            if request.repair:
                await note_halts(self._evidence, list(tally.absences()), listings.books, self._retention)
        if isinstance(request.look_back, int):
            # A range somewhere in the past says nothing about how the series stands.
            explains_all = request.verify is not Verify.NONE and request.agenda is None
            checked = await self._explain(list(tally.checked()), listings, whole=explains_all)
            await self._coverage.record(
                checked,
                now,
                max_unverified_ms=self._config.max_unverified_ms,
                job=request.job,
                epoch=self._queue.epoch,
                look_back=self._reach.find,
                afresh=bool(request.bars) and request.agenda is None,
            )
            if request.timely is not None:
                request.timely.look(tally.found_bars(checked), now)
        result = tally.result(
            duration_ms=round((trio.current_time() - started) * 1_000), delisted_at=listings.delisted_at
        )
        await self._records.note(run, request.job, now, result, node=node_of(self._queue.consumer))
        return result

    async def _explain(self, checked: Sequence[Checked], listings: Listings, *, whole: bool) -> list[Checked]:
        """Add why slots are not ready: of series with missing or doubtful ones, or of all. Not where Redis is away."""
        asked = [one for one in checked if one.unresolved is not None and (whole or one.unresolved or one.has_doubts)]
        explained = {}
        try:
            for shard in shards((len(days_of(one.window)) for one in asked), PIPELINE_MEMBERS):
                part = asked[shard.start : shard.stop]
                reads = await self._evidence.read([(one.series, one.window) for one in part])
                for one, read in zip(part, reads, strict=True):
                    if one.unresolved is not None and read.error is None:
                        explained[one.series] = find_obstacles(
                            one.unresolved,
                            one.window,
                            read.ledger,
                            is_delisted=listings.delisted_at(one.series.symbol) is not None,
                        )
        except StoreError as error:
            _logger.warning("the reasons of missing slots not read", extra={"error": str(error)})
        return [one._replace(obstacles=explained.get(one.series)) for one in checked]

    async def _carry_out(
        self, run: str, windows: Windows, request: PassRequest, listings: Listings, now: int, part: str = ""
    ) -> Tally:
        """Scan series, and fetch what they lack; return the tally.

        Series of a node of a cluster that does not serve are put off until all others are done. They are the second
        `part`, which waits until the node serves again, or has been away for long.
        """
        tally = Tally(windows, digests=request.verify.looks_at_digests)
        put_off = await self._scan(run, windows, request, tally, listings, now, part)
        if request.repair:
            await self._fetch(run, tally, request, now, part)
        if put_off:
            tally.join(await self._carry_out(run, put_off, request, listings, now, _LATE))
        return tally

    async def _scan(
        self,
        run: str,
        windows: Windows,
        request: PassRequest,
        tally: Tally,
        listings: Listings,
        now: int,
        part: str,
    ) -> list[tuple[Series, Interval]]:
        """Have series scanned and count the findings; return the series that were put off."""
        tasks = plan_scans(run, windows, request, listings, now, self._config, self._retention, part=part)
        await self._do(run, Lane.SCAN, tasks)
        outcomes = await self._outcomes(run)
        put_off = []
        for task in tasks:
            outcome = outcomes.get(task.id)
            scanned = [span.series for span in task.spans]
            if not isinstance(outcome, ScanOutcome) or not outcome.series.issubset(scanned):
                outcome = ScanOutcome(id=task.id, error=_LOST)
            left = [span for index, span in enumerate(task.spans) if index in outcome.put_off]
            tally.add_scan([span.series for span in task.spans if span not in left], outcome)
            put_off += [(span.series, span.interval) for span in left]
        return put_off

    async def _fetch(self, run: str, tally: Tally, request: PassRequest, now: int, part: str) -> None:
        chosen = self._choose(tally, request, now)
        tally.choose(chosen, alone=request.agenda is not None)
        planned = plan_pages(tally.due(), now, self._config.grace_ms)
        if request.agenda is not None:
            order = {series: place for place, series in enumerate(chosen)}
            planned.sort(key=lambda each: order[each[0]])
        tasks = [
            self._page_task(request, run, f"{part}page-{number}", series, span, page, tally.to_audit(series))
            for number, (series, span, page) in enumerate(planned)
        ]
        asked = await self._ask(run, tally, request, tasks)
        if request.agenda is not None:
            after = tally.looks()
            looks = {series: after[series]._replace(urgent=NOTHING) for series in asked}
            request.agenda.note_asked(looks, now, self._config.verify_rules)
            return
        bridges = [
            self._page_task(request, run, f"{part}bridge-{number}", series, span, page, NOTHING, bridge=True)
            for number, (series, span, page) in enumerate(tally.bridges(now))
        ]
        await self._ask(run, tally, request, bridges)

    def _choose(self, tally: Tally, request: PassRequest, now: int) -> dict[Series, Intervals]:
        """Return the candles to ask for, by series, the most urgent first."""
        if not request.verify.looks_at_digests:
            return {}
        rules = self._config.verify_rules
        looks = tally.looks(0 if request.agenda is None else self._config.quick_scan_window_ms)
        if request.agenda is not None:
            chosen = request.agenda.choose(looks, now, self.verify_per_minute, rules)
        else:
            chosen = [*looks]
        slots = {}
        for series in chosen:
            look, step = looks[series], series.timeframe.step_ms
            if request.agenda is not None or request.verify is Verify.ALL:
                slots[series] = rules.settled(look.unverified, now, step)
            else:
                slots[series] = to_verify(look, now, step, rules, horizon_ms=request.horizon_ms)
        return slots

    async def _ask(self, run: str, tally: Tally, request: PassRequest, tasks: Sequence[PageTask]) -> frozenset[Series]:
        """Have pages asked for and count their outcomes; return the series of those that were handed out."""
        if request.verify is Verify.DUE:
            queue = partial(self._queue.enqueue, run, request.lane)
            tasks = await self._share.hand_out(tasks, queue, partial(self._queue.keep_run, run), request.ask_s)
            if tasks:
                await self._queue.wait_finished(run, request.lane)
        else:
            await self._do(run, request.lane, tasks)
        outcomes = await self._outcomes(run) if tasks else {}
        for task in tasks:
            outcome = outcomes.get(task.id)
            if not isinstance(outcome, PageOutcome) or outcome.series != task.span.series:
                outcome = page_outcome(task, None, unanswered=True, error=_LOST)
            tally.add_page(task.span.interval, outcome, task.asked_slots)
        return frozenset(task.span.series for task in tasks)

    def _page_task(
        self,
        request: PassRequest,
        run: str,
        name: str,
        series: Series,
        span: Interval,
        page: Page,
        to_audit: Intervals,
        *,
        bridge: bool = False,
    ) -> PageTask:
        step = series.timeframe.step_ms
        return PageTask(
            run=run,
            id=name,
            span=SeriesSpan.of(series, span),
            asked=(page.interval.start, page.interval.stop),
            gaps=wire_of(page.wanted - to_audit, step),
            to_audit=wire_of(page.wanted & to_audit, step),
            bridge=bridge,
            pauses=request.pauses,
            rules=WorkRules.of(self._config),
            keeping=self._retention,
        )

    async def _outcomes(self, run: str) -> dict[str, ScanOutcome | PageOutcome]:
        """Return the workers' outcomes by task id. Anything else is logged, and its task counts as lost."""
        outcomes: dict[str, ScanOutcome | PageOutcome] = {}
        for body in await self._queue.outcomes(run):
            try:
                outcome = outcome_of.validate_json(body)
            except ValidationError as error:
                _logger.error("a record of a run is no outcome", extra={"run": run, "faults": error.error_count()})
            else:
                outcomes[outcome.id] = outcome
        return outcomes

    async def _do(self, run: str, lane: Lane, tasks: Sequence[ScanTask | PageTask]) -> None:
        if tasks:
            await self._queue.enqueue(run, lane, [(task.id, task.model_dump_json()) for task in tasks])
            await self._queue.wait_finished(run, lane)
