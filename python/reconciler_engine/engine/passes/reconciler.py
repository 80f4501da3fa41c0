"""Directs a pass from its windows to its result: scan, plan, fetch. Workers carry out its tasks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil

import trio

from reconciler_engine.engine.base_parts import BaseParts
from reconciler_engine.engine.passes.halt_marking import note_halts
from reconciler_engine.engine.passes.page_asking import PageAsking
from reconciler_engine.engine.passes.pass_plan import PassRequest, Windows, scan_shards, scan_task, windows_of
from reconciler_engine.engine.passes.reach import Reach
from reconciler_engine.engine.passes.run_tasks import LOST, RunTasks, VerifyShare, closed_after
from reconciler_engine.engine.passes.second_looks import SecondLooks
from reconciler_engine.engine.passes.tally import Tally
from reconciler_engine.engine.passes.verify_round import VerifyRound
from reconciler_engine.engine.tasks.consumer_name import node_of
from reconciler_engine.engine.tasks.messages import ScanOutcome
from reconciler_engine.errors import StoreError
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.observe import logs
from reconciler_engine.planning.pages import shards
from reconciler_engine.planning.states import find_obstacles
from reconciler_engine.planning.verification import Verify, to_verify
from reconciler_engine.store.candle_reads import PIPELINE_MEMBERS
from reconciler_engine.store.coverage import Checked
from reconciler_engine.store.findings import days_of
from reconciler_engine.store.listings import Listings
from reconciler_engine.store.task_streams import Lane

_LATE = "late-"
"""Prefix of the names of tasks for series that were put off."""

_BATCH_MIN = 1 / 6
"""Minutes of the verification share that one batch of symbols takes, at one request a symbol."""

_logger = logging.getLogger(__name__)


class Reconciler:
    """Directs passes of one scope. The state of a pass is in Redis; any number of reconcilers may work at once."""

    def __init__(self, parts: BaseParts, second_looks: SecondLooks) -> None:
        """Make a reconciler; `second_looks` proves candles by sums and keeps bars that differ from theirs."""
        self._parts = parts
        self._second_looks = second_looks
        self._share = VerifyShare(parts.share)

    def under(self, epoch: int) -> Reconciler:
        """Return a reconciler whose writes carry the epoch of a lease."""
        return Reconciler(replace(self._parts, queue=self._parts.queue.under(epoch)), self._second_looks)

    @property
    def verify_per_minute(self) -> float:
        """Rate of verification requests (per minute)."""
        return self._share.per_minute

    async def run_pass(self, request: PassRequest) -> ReconciliationResult:
        """Scan and, if the request says so, repair; return once every page has its outcome.

        A cancellation closes the run's record: unfinished tasks are discarded, merged candles stay.

        Raises:
            StoreError: Redis cannot be reached, or the run's record was lost. The next pass plans the work again.
        """
        started, since = trio.current_time(), self._parts.coverage.records
        now = await self._parts.clock.now()
        if request.repair and request.bars:
            await self._parts.keys.prolong(request.series, self._parts.retention.ttl_s)
        windows = await windows_of(self._parts, request.series, request.look_back, now, bars=request.bars)
        listings = await self._parts.products.listings()
        # Shielded: after a cancelled call it would be unknown whether to close a record. The client's timeout ends it.
        with trio.CancelScope(shield=True):
            run = await self._parts.queue.open_run(request.job, now)
        logs.note(run=run)
        async with closed_after(self._parts.queue, run):
            tally = await self._carry_out(RunTasks(self._parts.queue, run), windows, request, listings, now)
            if request.repair:
                await note_halts(self._parts.evidence, list(tally.absences()), listings.books, self._parts.retention)
        if isinstance(request.look_back, int):
            # Coverage describes the newest slots, so a pass over an explicit range does not record it.
            explains_all = request.verify is not Verify.NONE and request.agenda is None
            checked = await self._explain(list(tally.checked()), listings, whole=explains_all)
            await self._parts.coverage.record(
                checked,
                now,
                max_unverified_ms=self._parts.config.max_unverified_ms,
                job=request.job,
                epoch=self._parts.queue.epoch,
                look_back=Reach(self._parts).find,
                afresh=bool(request.bars) and request.agenda is None,
                since=since,
            )
            if request.timely is not None:
                request.timely.look(tally.found_bars(checked), now)
        result = tally.result(
            duration_ms=round((trio.current_time() - started) * 1_000), delisted_at=listings.delisted_at
        )
        await self._parts.records.note(run, request.job, now, result, node=node_of(self._parts.queue.consumer))
        return result

    async def _explain(self, checked: Sequence[Checked], listings: Listings, *, whole: bool) -> list[Checked]:
        """Add the reasons of unready slots: for all series if `whole`, else for series with missing or doubtful ones.

        If Redis is away, the reasons are left out.
        """
        asked = [one for one in checked if one.unresolved is not None and (whole or one.unresolved or one.has_doubts)]
        explained = {}
        try:
            for shard in shards((len(days_of(one.window)) for one in asked), PIPELINE_MEMBERS):
                part = asked[shard.start : shard.stop]
                reads = await self._parts.evidence.read([(one.series, one.window) for one in part])
                for one, read in zip(part, reads, strict=True):
                    if one.unresolved is not None and read.error is None:
                        explained[one.series] = find_obstacles(
                            one.unresolved,
                            one.window,
                            read.ledger,
                            is_delisted=listings.delisted_at(one.series.symbol) is not None,
                        )
        except StoreError as error:
            _logger.info("the reasons of missing slots not read", extra={"error": str(error)})
        return [one._replace(obstacles=explained.get(one.series)) for one in checked]

    async def _carry_out(
        self, tasks: RunTasks, windows: Windows, request: PassRequest, listings: Listings, now: int
    ) -> Tally:
        """Scan series, and fetch missing slots; return the tally.

        If a node of a cluster is away, its series are done last, in a second part of the run. That part waits until
        the node serves again or has been away too long.
        """
        tally = Tally(windows, digests=request.verify.looks_at_digests)
        put_off = await self._scan(tasks, windows, request, tally, listings, now)
        if request.repair:
            await self._fetch(tasks, tally, request, now)
        if put_off:
            late = RunTasks(self._parts.queue, tasks.run, part=_LATE)
            tally.join(await self._carry_out(late, put_off, request, listings, now))
        return tally

    async def _scan(
        self,
        tasks: RunTasks,
        windows: Windows,
        request: PassRequest,
        tally: Tally,
        listings: Listings,
        now: int,
    ) -> list[tuple[Series, Interval]]:
        """Have series scanned and count the findings; return the windows that were put off."""
        ordered = await self._parts.keys.by_node(windows)
        named = {f"{tasks.part}scan-{number}": shard for number, shard in enumerate(scan_shards(ordered))}
        facts = (request, listings, now, self._parts.config, self._parts.retention)
        # A generator, so that the messages of thousands of series are not all in memory at once.
        scans = (scan_task(tasks.run, name, shard, *facts, waits=bool(tasks.part)) for name, shard in named.items())
        await tasks.do(Lane.SCAN, scans)
        outcomes = await tasks.outcomes()
        put_off = []
        for name, shard in named.items():
            outcome, scanned = outcomes.get(name), [series for series, _ in shard]
            if not isinstance(outcome, ScanOutcome) or not outcome.series.issubset(scanned):
                outcome = ScanOutcome(id=name, error=LOST)
            left = frozenset(outcome.put_off)
            tally.add_scan([series for index, series in enumerate(scanned) if index not in left], outcome)
            put_off += [window for index, window in enumerate(shard) if index in left]
        return put_off

    async def _fetch(self, tasks: RunTasks, tally: Tally, request: PassRequest, now: int) -> None:
        asking = PageAsking(tasks, tally, request, now, self._share, self._parts)
        if request.verify is Verify.DUE:
            await self._verify(asking, tasks.run, tally, request, now)
        else:
            if request.verify is Verify.ALL:
                tally.choose(
                    self._settled({one: look.unverified for one, look in tally.looks().items()}, now), alone=False
                )
            elif request.verify is Verify.AGAIN:
                tally.choose(self._settled(tally.candles(), now), alone=False)
            await asking.ask([series for series, _, _ in tally.due()])
        if request.agenda is None:
            await asking.ask_bridges()

    async def _verify(self, asking: PageAsking, run: str, tally: Tally, request: PassRequest, now: int) -> None:
        """Verify the due candles within the share of the budget: by sums of finer ones if possible, else by request."""
        agenda, rules = request.agenda, self._parts.config.verify_rules
        looks = tally.looks(0 if agenda is None else self._parts.config.quick_scan_window_ms)
        is_due = partial(to_verify, now=now, rules=rules, horizon_ms=request.horizon_ms)
        done = VerifyRound(asking, self._second_looks, tally, run, now, looks, is_due)
        if agenda is None:
            tally.choose({one: is_due(look, step=one.timeframe.step_ms) for one, look in looks.items()}, alone=False)
            await done.verify([series for series, _, _ in tally.due(looks)], len(looks))
            return
        chosen = agenda.choose(looks, now, self.verify_per_minute, rules)
        done.hurried = agenda.hurried(chosen, now)
        others = [
            one
            for one in agenda.companions(frozenset(chosen), now)
            if one in looks and self._second_looks.sums.finer_of(one)
        ]
        order = [*chosen, *(one for one in others if not looks[one].urgent)]
        tally.choose(self._settled({one: looks[one].unverified for one in order}, now), alone=True)
        due = [series for series, _, _ in tally.due(order)]
        await done.verify(due, ceil(_BATCH_MIN * self.verify_per_minute))
        after = tally.looks()
        settled = {series: after[series]._replace(urgent=NOTHING) for series in done.asked | done.proved}
        agenda.note_asked(settled, now, rules)
        agenda.note_sums(done.proved, done.asked | done.unlike.keys())

    def _settled(self, slots: Mapping[Series, Intervals], now: int) -> dict[Series, Intervals]:
        """Return the slots whose bars are settled, by series."""
        rules = self._parts.config.verify_rules
        return {one: rules.settled(where, now, one.timeframe.step_ms) for one, where in slots.items()}
