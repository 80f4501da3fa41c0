"""A pass, from its windows to its result: scan, plan, fetch. The workers do the work; this directs it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import trio
from pydantic import ValidationError

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.clock import SharedClock
from reconciler_engine.engine.passes.agenda import Agenda
from reconciler_engine.engine.passes.halt_marking import note_halts
from reconciler_engine.engine.passes.tally import Tally
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
from reconciler_engine.engine.tasks.scan import CONFIRM_MS
from reconciler_engine.engine.tasks.work_rules import WorkRules
from reconciler_engine.errors import PermitRefused, StoreError
from reconciler_engine.limiting.redis_bucket import TokenBucket
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.observe import logs
from reconciler_engine.planning.pages import ROOMY_SLOTS, Page, cover, shards, shares, with_margins
from reconciler_engine.planning.states import find_obstacles
from reconciler_engine.planning.verification import Verify, to_verify
from reconciler_engine.planning.window import closed_before, range_window, scan_window
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

_KEEP_RUN_S = 30.0
_LOST = "the outcome of its task was lost; nothing is known until the next pass"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PassRequest:
    """What a pass examines and what it may do.

    Attributes:
        job: Name in logs and records.
        series: Every series to examine.
        look_back: Window in milliseconds before now, or an explicit interval (clamped to closed slots), of all or by
            series.
        repair: Whether anything is written or asked; False only reports.
        lane: The stream its pages go on.
        verify: Which candles that are there are asked for.
        horizon_ms: How far ahead to look for candles that become due.
        agenda: Chooses among the series whom to ask for in this run; None for all.
        ask_s: How long pages are handed out, at most; None without a limit.
        pauses: Whether a series of which an answer lacked candles waits for the next pass.
        bars: Number of the newest slots, and of the newest members, that a window of milliseconds reaches back to.
    """

    job: str
    series: Sequence[Series]
    look_back: int | Interval | Mapping[Series, Interval]
    repair: bool = True
    lane: Lane = Lane.DEEP
    verify: Verify = Verify.NONE
    horizon_ms: int = 0
    agenda: Agenda | None = None
    ask_s: float | None = None
    pauses: bool = False
    bars: int = 0


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
        share: TokenBucket,
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
            self._config,
            self._retention,
        )

    @property
    def verify_per_minute(self) -> float:
        """How many requests of verification may go out a minute."""
        return 60 * self._share.budget.rate_per_s

    async def run_pass(self, request: PassRequest) -> ReconciliationResult:
        """Scan, and where the request says so, repair; return when every page has its outcome.

        Cancelled, the run's record is closed: tasks still about become void, what was merged stays.

        Raises:
            StoreError: Redis cannot be reached, or the run's record was lost; the next pass derives the work anew.
        """
        started = trio.current_time()
        now = await self._clock.now()
        if request.repair and request.bars:
            await self._keys.prolong(request.series, self._retention.ttl_s)
        windows = await windows_of(self._keys, self._config, request.series, request.look_back, now, bars=request.bars)
        tally = Tally(windows, digests=request.verify.looks_at_digests)
        listings = await self._products.listings()
        # Not to be cancelled in the middle: whether there is a record to close would be unknown. Bounded by the client.
        with trio.CancelScope(shield=True):
            run = await self._queue.open_run(request.job, now)
        logs.note(run=run)
        async with closed_after(self._queue, run):
            await self._scan(run, windows, request, tally, listings, now)
            if request.repair:
                await self._fetch(run, tally, request, now)
                await note_halts(self._evidence, list(tally.absences()), listings.books, self._retention)
        if isinstance(request.look_back, int):
            # A range somewhere in the past says nothing about how the series stands.
            explains_all = request.verify is not Verify.NONE and request.agenda is None
            checked = await self._explain(list(tally.checked()), whole=explains_all)
            await self._coverage.record(
                checked,
                now,
                max_unverified_ms=self._config.max_unverified_ms,
                job=request.job,
                epoch=self._queue.epoch,
            )
        result = tally.result(duration_ms=round((trio.current_time() - started) * 1_000))
        await self._records.note(run, request.job, now, result, node=node_of(self._queue.consumer))
        return result

    async def _explain(self, checked: Sequence[Checked], *, whole: bool) -> list[Checked]:
        """Add why slots are not ready: of series with missing or doubtful ones, or of all. Not where Redis is away."""
        asked = [one for one in checked if one.unresolved is not None and (whole or one.unresolved or one.has_doubts)]
        explained = {}
        try:
            for shard in shards((len(days_of(one.window)) for one in asked), PIPELINE_MEMBERS):
                part = asked[shard.start : shard.stop]
                reads = await self._evidence.read([(one.series, one.window) for one in part])
                for one, read in zip(part, reads, strict=True):
                    if one.unresolved is not None and read.error is None:
                        explained[one.series] = find_obstacles(one.unresolved, one.window, read.ledger)
        except StoreError as error:
            _logger.warning("the reasons of missing slots not read", extra={"error": str(error)})
        return [one._replace(obstacles=explained.get(one.series)) for one in checked]

    async def _scan(
        self,
        run: str,
        windows: Sequence[tuple[Series, Interval]],
        request: PassRequest,
        tally: Tally,
        listings: Listings,
        now: int,
    ) -> None:
        spans = [(series, window) for series, window in windows if window.grid(series.timeframe.step_ms)]
        sizes = (len(window.grid(series.timeframe.step_ms)) for series, window in spans)
        tasks = {
            f"scan-{number}": spans[shard.start : shard.stop]
            for number, shard in enumerate(shards(sizes, PIPELINE_MEMBERS))
        }
        await self._do(
            run,
            Lane.SCAN,
            [
                ScanTask(
                    run=run,
                    id=task_id,
                    now=now,
                    spans=tuple(
                        SeriesSpan.of(series, window, listings.by_symbol.get(series.symbol)) for series, window in shard
                    ),
                    confirm_ms=CONFIRM_MS,
                    repair=request.repair,
                    audit=None if request.verify is Verify.NONE else self._config.audit_rules,
                    digests=request.verify.looks_at_digests,
                    allow_other_layout=self._config.allow_other_layout,
                    keeping=self._retention,
                )
                for task_id, shard in tasks.items()
            ],
        )
        outcomes = await self._outcomes(run)
        for task_id, shard in tasks.items():
            outcome = outcomes.get(task_id)
            scanned = [series for series, _ in shard]
            if not isinstance(outcome, ScanOutcome) or not outcome.series.issubset(scanned):
                outcome = ScanOutcome(id=task_id, error=_LOST)
            tally.add_scan(scanned, outcome)

    async def _fetch(self, run: str, tally: Tally, request: PassRequest, now: int) -> None:
        chosen = self._choose(tally, request, now)
        tally.choose(chosen, alone=request.agenda is not None)
        planned = plan_pages(tally.due(), now, self._config.grace_ms)
        if request.agenda is not None:
            order = {series: place for place, series in enumerate(chosen)}
            planned.sort(key=lambda each: order[each[0]])
        tasks = [
            self._page_task(request, run, f"page-{number}", series, span, page, tally.to_audit(series))
            for number, (series, span, page) in enumerate(planned)
        ]
        asked = await self._ask(run, tally, request, tasks)
        if request.agenda is not None:
            after = tally.looks()
            looks = {series: after[series]._replace(urgent=NOTHING) for series in asked}
            request.agenda.note_asked(looks, now, self._config.verify_rules)
            return
        bridges = [
            self._page_task(request, run, f"bridge-{number}", series, span, page, NOTHING, bridge=True)
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
        """Have pages asked for and count what became of them; return the series of those that were handed out."""
        if request.verify is Verify.DUE:
            tasks = await self._hand_out(run, request, tasks)
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

    async def _hand_out(self, run: str, request: PassRequest, tasks: Sequence[PageTask]) -> list[PageTask]:
        """Hand out pages one by one, those of candles as the share of the budget allows; return those handed out."""
        handed: list[PageTask] = []
        deadline = trio.current_time() + (inf if request.ask_s is None else request.ask_s)
        for task in tasks:
            if task.to_audit and not await self._wait_share(run, deadline):
                break
            await self._queue.enqueue(run, request.lane, [(task.id, task.model_dump_json())])
            handed.append(task)
        return handed

    async def _wait_share(self, run: str, deadline: float) -> bool:
        """Wait for a permit of the share; return False where none comes before `deadline` (trio's clock, s)."""
        while (left := deadline - trio.current_time()) > 0:
            try:
                await self._share.wait_permit(min(left, _KEEP_RUN_S))
            except PermitRefused as refused:
                if refused.wait_ms > left * 1_000:
                    return False
                await trio.sleep(min(refused.wait_ms / 1_000, _KEEP_RUN_S))
                await self._queue.keep_run(run)
            else:
                return True
        return False

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
        """Return what the workers recorded, by task id. What is no outcome is logged, and its task counts as lost."""
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


async def windows_of(
    keys: CandleKeys,
    config: ReconciliationConfig,
    series: Sequence[Series],
    look_back: int | Interval | Mapping[Series, Interval],
    now: int,
    *,
    bars: int = 0,
) -> list[tuple[Series, Interval]]:
    """Return the closed slots of each series that a pass at `now` (ms UTC) examines, inside retention.

    Raises:
        StoreError: The newest `bars` members could not be looked for.
    """
    limits = {"max_candles": config.max_candles, "grace_ms": config.grace_ms}
    if isinstance(look_back, Interval):
        return [(one, range_window(look_back, now, one.timeframe, **limits)) for one in series]
    if isinstance(look_back, Mapping):
        return [(one, range_window(look_back[one], now, one.timeframe, **limits)) for one in series]
    oldest = await keys.oldest_of(series, bars) if bars else [None] * len(series)
    return [
        (one, scan_window(now, one.timeframe, look_back, **limits, bars=bars, oldest_member=member))
        for one, member in zip(series, oldest, strict=True)
    ]


def plan_pages(
    wanted: Iterable[tuple[Series, Interval, Intervals]], now: int, grace_ms: int
) -> list[tuple[Series, Interval, Page]]:
    """Return the fewest pages that cover what of every series is worth a request, newest first over all series.

    Each asks for neighbours too, as far as they had closed at `now` (ms UTC): candles among them prove more. With it
    come its slots that the pass looks after; no slot is in two of these spans.

    Args:
        wanted: Series, its slots that are looked after, and those worth a request.
        now: The instant of the pass.
        grace_ms: How long after its close a bar may still be on its way.
    """
    pages: list[tuple[Series, Interval, Page]] = []
    for series, slots, due in wanted:
        step = series.timeframe.step_ms
        closed = closed_before(now, series.timeframe, grace_ms)
        cheapest = cover(due, step)
        owned = shares(cheapest, step, closed)
        for page, own in zip(with_margins(cheapest, step, closed, limit=ROOMY_SLOTS), owned, strict=True):
            pages.append((series, page.interval & own & slots, page))
    return sorted(pages, key=lambda planned: planned[2].wanted.hull.stop, reverse=True)
