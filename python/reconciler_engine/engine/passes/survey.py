"""Survey: the present state of every slot, and the requests that a pass would send. Sends and writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler_engine.engine.base_parts import BaseParts
from reconciler_engine.engine.passes.pass_plan import plan_pages, windows_of
from reconciler_engine.engine.tasks.references import ReferenceCount
from reconciler_engine.engine.tasks.scan import CONFIRM_MS, SpanScan, scan
from reconciler_engine.errors import NodeUnavailable, StoreError, own_fault
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.planning.audit import find_due_suspects
from reconciler_engine.planning.ledger import CONFIRMED, Knowledge, Ledger, State
from reconciler_engine.planning.listing import Listing
from reconciler_engine.planning.pages import shards
from reconciler_engine.planning.reference import may_want_reference
from reconciler_engine.planning.request_plan import RequestPlan, SeriesPlan
from reconciler_engine.planning.states import StateInterval, find_obstacles, slots_in, sort_absent, states_of
from reconciler_engine.planning.verification import Look, Verify, to_verify
from reconciler_engine.planning.window import range_window
from reconciler_engine.store.candle_reads import PIPELINE_MEMBERS
from reconciler_engine.store.evidence import LedgerRead
from reconciler_engine.store.findings import days_of
from reconciler_engine.store.listings import note_listing
from reconciler_engine.store.product_list import ProductList

_KNOWN = frozenset(State) - {State.UNKNOWN}
_NO_SLOT = Interval(0, 0)
_NO_LOOK = Look()


@dataclass(frozen=True, slots=True)
class SurveyedSeries:
    """The state of one series.

    Attributes:
        series: The series.
        asked: Interval of the closed slots that were surveyed; may be empty.
        examined: Slots of `asked` that the cache keeps.
        states: Slots of `asked` by state, ascending.
        due: Slots that are worth a request.
        known: Evidence on the slots.
        unverified: Slots of unverified candles that are not suspect.
        overdue: Slots of `unverified` whose candles have been unverified for longer than allowed.
        error: Why the candles or the evidence could not be read; None if they were.
        look: State of the candles for the verify run.
        is_delisted: Whether the exchange has delisted the product.
    """

    series: Series
    asked: Interval
    examined: Interval
    states: tuple[StateInterval, ...]
    due: Intervals
    known: Knowledge
    unverified: Intervals = NOTHING
    overdue: Intervals = NOTHING
    error: str | None = None
    look: Look = _NO_LOOK
    is_delisted: bool = False

    @property
    def candles(self) -> Intervals:
        """Slots that hold a candle."""
        return slots_in(self.states, State.PRESENT, State.UNVERIFIED, State.SUSPECT)

    @property
    def obstacles(self) -> dict[Obstacle, int]:
        """Number of slots that are not ready, by reason."""
        missing, suspect = (slots_in(self.states, one) for one in (State.MISSING, State.SUSPECT))
        found = find_obstacles(missing, suspect | missing, self.known.ledger, is_delisted=self.is_delisted)
        if self.overdue:
            found[Obstacle.UNVERIFIED] = self.overdue
        return {one: where.size(self.series.timeframe.step_ms) for one, where in found.items()}

    def slots(self, *states: State) -> int:
        """Return the number of slots in any of the given states."""
        return sum(one.stop - one.start for one in self.states if one.state in states) // self.series.timeframe.step_ms


@dataclass(frozen=True, slots=True)
class Survey:
    """States of series, and the requests of a pass over them.

    Attributes:
        at: The instant of the survey (ms UTC), by the earlier of the exchange's clock and Redis'.
        series: The surveyed series, in the order asked.
        plan: The requests of a pass, and their duration at the full rate of the configured budget.
    """

    at: int
    series: tuple[SurveyedSeries, ...]
    plan: RequestPlan


class Surveyor:
    """Surveys series of one scope; reads Redis, without requests to the exchange."""

    def __init__(self, parts: BaseParts) -> None:
        self._parts = parts

    async def survey(
        self,
        series: Sequence[Series],
        look_back: int | Interval,
        *,
        bars: int = 0,
        verify: Verify = Verify.SUSPECTS,
        horizon_ms: int = 0,
    ) -> Survey:
        """Return the states of series in the window that a pass would examine, read as a pass reads.

        Args:
            series: Series to survey.
            look_back: Milliseconds before now, or an explicit interval; only its closed slots are surveyed.
            bars: Number of the newest slots, and of the newest members, to which a window in milliseconds is extended.
            verify: Candles that the pass would ask for.
            horizon_ms: Time ahead (ms); candles that become due within it would be asked for, too.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        now = await self._parts.clock.now()
        listed = await self._parts.products.read()
        listings = listed.listings
        windows = await windows_of(self._parts, series, look_back, now, bars=bars)
        wanted = [(one, window.slots(one.timeframe.step_ms)) for one, window in windows]
        asked = [window for _, window in wanted]
        if isinstance(look_back, Interval):
            asked = [self._asked(one, look_back, now) for one in series]
        scans = await scan(self._parts.store, wanted, confirm_ms=CONFIRM_MS, digests=True)
        is_bound = not self._parts.config.allow_other_layout
        lacking = [one for one, found in zip(series, scans, strict=True) if found.gaps and is_bound]
        misplaced = dict(zip(lacking, await self._parts.store.find_misplaced(lacking), strict=True))
        surveyed = []
        for (one, examined), window, found, read in zip(wanted, asked, scans, await self._ledgers(wanted), strict=True):
            if found.error is not None:
                own_fault(found.error, waits=False)
            error = misplaced.get(one) or found.error or read.error
            listing = listings.by_symbol.get(one.symbol, Listing())
            surveyed.append(
                await self._judge(one, window, examined, found, read, listing, now, error, verify, horizon_ms)
            )
        return Survey(now, tuple(surveyed), self._plan(surveyed, listed, now))

    async def _judge(
        self,
        series: Series,
        asked: Interval,
        examined: Interval,
        found: SpanScan,
        read: LedgerRead,
        listing: Listing,
        now: int,
        error: StoreError | None,
        verify: Verify,
        horizon_ms: int,
    ) -> SurveyedSeries:
        step = series.timeframe.step_ms
        absent = Intervals.of_gaps(found.gaps, step)
        ledger = await note_listing(self._parts.evidence, series, absent, read.ledger, listing, now, None)
        doubted = ledger.in_state(examined, State.SUSPECT) - absent
        unverified = Intervals.of_slots(found.unverified, step) - doubted
        overdue = Interval(0, max(now - self._parts.config.max_unverified_ms - step, 0))
        urgent = sort_absent(absent, ledger, now).due
        if verify is not Verify.NONE:
            urgent |= find_due_suspects(ledger, examined, now, step, self._parts.config.audit_rules) - absent
        look = Look(
            unverified - ledger.waiting(examined, now),
            Intervals.of_slots(found.changed, step),
            urgent,
            ledger.next_check((absent - ledger.confirmed(examined)) | doubted | unverified, now),
            examined.stop,
        )
        rules = self._parts.config.verify_rules
        to_audit = NOTHING
        if verify is Verify.ALL:
            to_audit = rules.settled(look.unverified, now, step)
        elif verify is Verify.DUE:
            to_audit = to_verify(look, now, step, rules, horizon_ms=horizon_ms)
        return SurveyedSeries(
            series,
            asked,
            examined,
            tuple(states_of(asked, examined if found.error is None else _NO_SLOT, absent, ledger, unverified)),
            # As in a pass: without a readable ledger, a proof could not be stored.
            urgent | to_audit if error is None else NOTHING,
            read.known._replace(ledger=ledger),
            unverified,
            unverified & overdue,
            None if error is None else str(error),
            look,
            listing.delisted_at is not None,
        )

    def _asked(self, series: Series, asked: Interval, now: int) -> Interval:
        """Return the closed slots of a range, also those older than the retention."""
        window = range_window(asked, now, series.timeframe, max_candles=0, grace_ms=self._parts.config.grace_ms)
        return window.slots(series.timeframe.step_ms)

    async def _ledgers(self, wanted: Sequence[tuple[Series, Interval]]) -> list[LedgerRead]:
        days = (len(days_of(window)) for _, window in wanted)
        reads: list[LedgerRead] = []
        for shard in shards(days, PIPELINE_MEMBERS):
            part = wanted[shard.start : shard.stop]
            try:
                reads += await self._parts.evidence.read(part)
            except NodeUnavailable as error:
                reads += [LedgerRead(Ledger(), error)] * len(part)
        return reads

    def _plan(self, surveyed: Sequence[SurveyedSeries], listed: ProductList, now: int) -> RequestPlan:
        due = [(one.series, one.examined, one.due) for one in surveyed if one.due]
        pages = plan_pages(due, now, self._parts.config.grace_ms)
        requests = Counter(series for series, _, _ in pages)
        references = ReferenceCount(listed, now, self._parts.config.grace_ms)
        rows_of = {one.series: one for one in surveyed}
        for series, _, page in pages:
            known, candles, step = rows_of[series].known, rows_of[series].candles, series.timeframe.step_ms
            if may_want_reference(page.wanted - candles, candles & page.interval, known, now, step):
                references.add(series, page.interval)
        rows = tuple(_row(one, requests[one.series]) for one in surveyed)
        verifying = sum(bool(page.wanted & rows_of[series].candles) for series, _, page in pages)
        whole = self._parts.bucket.budget
        share = whole.share(self._parts.config.verify_share)
        return RequestPlan(
            requests=requests.total(),
            references=references.total,
            missing=sum(row.missing for row in rows),
            confirmed_empty=sum(row.confirmed_empty for row in rows),
            duration_ms=round(1_000 * max(requests.total() / whole.rate_per_s, verifying / share.rate_per_s)),
            series=rows,
            verifying=verifying,
        )


def _row(one: SurveyedSeries, requests: int) -> SeriesPlan:
    return SeriesPlan(
        symbol=one.series.symbol,
        timeframe=one.series.timeframe.value,
        start=one.examined.start,
        stop=one.examined.stop,
        expected=one.slots(*_KNOWN),
        missing=one.slots(State.MISSING),
        gaps=sum(each.state is State.MISSING for each in one.states),
        confirmed_empty=one.slots(*CONFIRMED),
        requests=requests,
        error=one.error,
    )
