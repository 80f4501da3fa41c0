"""The inspection of cached series: every slot from the oldest member on, the bars' values, and the ready gate."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reconciler_engine.engine.parts import Parts
from reconciler_engine.engine.ready import examine
from reconciler_engine.engine.tasks.scan import CONFIRM_MS, SpanScan, scan
from reconciler_engine.errors import StoreError, own_fault
from reconciler_engine.inspection.bar_scan import BarScan
from reconciler_engine.inspection.flaws import Flaw, Rule
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.audit import Copy
from reconciler_engine.planning.ledger import Reason, State
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.planning.states import slots_in, states_of
from reconciler_engine.planning.window import closed_before
from reconciler_engine.store.ready_question import Readiness

READY_BARS = 100
"""Greatest number of newest bars that the ready gate is asked about."""

AHEAD_MS = 600_000
"""How far a feeder's clock may be ahead of the exchange's (ms), as in the gate's script."""

_NO_SLOT = Interval(0, 0)
_WITH_CANDLE = (State.PRESENT, State.UNVERIFIED, State.SUSPECT)
_CONTESTED = "contested"
_KEPT = (State.MISSING, State.SUSPECT, _CONTESTED)
_ByState = defaultdict[str, list[Interval]]


@dataclass(slots=True)
class InspectedCache:
    """Findings of the inspection of one cached series.

    Attributes:
        series: The series.
        slots: Closed slots from the oldest member on; empty for a series without members.
        states: Number of slots in each state.
        missing: Slots without a candle and without a proof that they are empty.
        suspect: Slots of candles that the exchange disagrees with, without those in `contested`.
        contested: Slots of candles that repair leaves alone.
        duplicates: Number of slots that several candles share.
        malformed: Number of members that are not candles of the series.
        verified_since: Instant of the oldest verification (ms UTC); None if no candle is verified.
        readiness: Answer of the ready gate for the newest bars; None for a series without slots.
        flaws: Flaws of the series, errors first.
        error: Why the series could not be read to its end; the other fields then hold only the part read before.
    """

    series: Series
    slots: Interval = _NO_SLOT
    states: Counter[State] = field(default_factory=Counter)
    missing: Intervals = NOTHING
    suspect: Intervals = NOTHING
    contested: Intervals = NOTHING
    duplicates: int = 0
    malformed: int = 0
    verified_since: int | None = None
    readiness: Readiness | None = None
    flaws: Sequence[Flaw] = ()
    error: str | None = None

    @property
    def candles(self) -> int:
        """Number of slots that hold a candle."""
        return sum(self.states[state] for state in _WITH_CANDLE)


class CacheInspector:
    """Inspects series of one scope: reads Redis, one page of slots at a time, and sends no requests."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def inspect(self, series: Series) -> InspectedCache:
        """Inspect a series; an error that concerns only this series is returned in `error`.

        Raises:
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        found, bars = InspectedCache(series), BarScan(series.timeframe.step_ms)
        slots: _ByState = defaultdict(list)
        try:
            found.slots = await self._slots(series)
            known = await self._parts.evidence.extent(series) or _NO_SLOT
            start = found.slots.start
            while start < found.slots.stop:
                candles = found.candles
                part = _page(found.slots, start, series.timeframe.step_ms)
                await self._look(found, bars, slots, part)
                start = part.stop
                if found.candles == candles:
                    start = await self._pass_hole(found, slots, start, known)
            await self._look_ahead(found, bars)
            found.readiness = await self._ask_gate(found)
        except StoreError as error:
            found.error = str(own_fault(error, waits=False))
        bars.finish()
        found.missing, found.suspect, found.contested = (
            Intervals.joined((one.start, one.stop) for one in slots[kind]) for kind in _KEPT
        )
        _note_slots(found, bars)
        found.flaws = bars.flaws.ranked()
        return found

    async def _slots(self, series: Series) -> Interval:
        config = self._parts.config
        stop = closed_before(await self._parts.clock.now(), series.timeframe, config.grace_ms)
        oldest = await self._parts.keys.next_member(series, 0)
        return Interval(stop if oldest is None else min(series.timeframe.floor(oldest), stop), stop)

    async def _pass_hole(self, found: InspectedCache, slots: _ByState, start: int, known: Interval) -> int:
        """Count the slots from `start` to the next member or evidence as missing; return the end of that hole.

        The hole can span decades: a member whose time is in seconds instead of milliseconds lies that far back.

        Raises:
            StoreError: The key cannot be read.
        """
        if start in known:
            return start
        member = await self._parts.keys.next_member(found.series, start)
        ends = [found.slots.stop]
        if member is not None:
            ends.append(found.series.timeframe.floor(member))
        if start < known.start:
            ends.append(known.start)
        hole = Interval(start, max(start, min(ends)))
        slots[State.MISSING].append(hole)
        found.states[State.MISSING] += hole.size(found.series.timeframe.step_ms)
        return hole.stop

    async def _look(self, found: InspectedCache, bars: BarScan, slots: _ByState, part: Interval) -> None:
        """Inspect the slots of `part` and add them to the findings.

        Raises:
            StoreError: The slots cannot be read.
        """
        series, step = found.series, found.series.timeframe.step_ms
        store, evidence = self._parts.store, self._parts.evidence
        # Only among the newest slots can a live writer leave a hole for a moment.
        confirm_ms = CONFIRM_MS if part.stop == found.slots.stop else 0
        (lacks,) = await scan(store, [(series, part)], confirm_ms=confirm_ms, digests=True)
        (known,) = await evidence.read([(series, part)])
        for error in (lacks.error, known.error):
            if error is not None:
                raise error
        absent = Intervals.of_gaps(lacks.gaps, step)
        unverified = Intervals.of_slots(lacks.unverified, step)
        states = states_of(part, part, absent, known.ledger, unverified)
        for one in states:
            found.states[one.state] += (one.stop - one.start) // step
        present, missing, suspect = (slots_in(states, one) for one in (State.PRESENT, State.MISSING, State.SUSPECT))
        contested = suspect & known.ledger.where(part, lambda one: one.reason is Reason.CONTESTED)
        for kind, where in zip(_KEPT, (missing, suspect - contested, contested), strict=True):
            slots[kind] += where
        _note_members(found, bars, lacks)
        _add_bars(bars, await store.copies(series, part))
        verified = await evidence.verified(series, part)
        instants = [one.at for slot, one in verified.items() if present.holds(slot)]
        found.verified_since = min(filter(None, (found.verified_since, *instants)), default=None)

    async def _look_ahead(self, found: InspectedCache, bars: BarScan) -> None:
        """Count members in the future as malformed: readers of the newest members would take them for candles.

        Raises:
            StoreError: The members cannot be read.
        """
        timeframe = found.series.timeframe
        start = found.slots.stop + timeframe.step_ms + AHEAD_MS
        for _ in range(PAGE_SLOTS):
            member = await self._parts.keys.next_member(found.series, start)
            if member is None:
                return
            found.malformed += 1
            # The cure is to remove it by hand, for which its own time is needed, not its slot's.
            bars.flaws.note(Rule.NOT_A_CANDLE, member, member, 1)
            start = member + 1

    async def _ask_gate(self, found: InspectedCache) -> Readiness | None:
        config, series = self._parts.config, found.series
        bars = min(READY_BARS, found.slots.size(series.timeframe.step_ms))
        if not bars:
            return None
        return await examine(
            self._parts.client,
            series.symbol,
            series.timeframe,
            bars,
            max_unverified_ms=config.max_unverified_ms,
            user_id=config.user_id,
            exchange_id=config.exchange_id,
            layout=config.layout,
            grace_ms=config.grace_ms,
        )


def _page(slots: Interval, start: int, step: int) -> Interval:
    """Return the slots from `start` to the next page border, which is also a border of digest blocks."""
    size = PAGE_SLOTS * step
    return Interval(start, min(start - start % size + size, slots.stop))


def _add_bars(bars: BarScan, copies: Mapping[int, Copy]) -> None:
    times = sorted(copies)
    bars.add(times, [*zip(*(copies[at].values for at in times), strict=True)] or [()] * 5)


def _note_members(found: InspectedCache, bars: BarScan, lacks: SpanScan) -> None:
    found.duplicates += len(lacks.duplicates)
    found.malformed += len(lacks.malformed)
    for rule, slots in ((Rule.SHARED_SLOT, lacks.duplicates), (Rule.NOT_A_CANDLE, lacks.malformed)):
        for slot in slots:
            bars.flaws.note(rule, slot, slot, 1)


def _note_slots(found: InspectedCache, bars: BarScan) -> None:
    step = found.series.timeframe.step_ms
    by_rule = {Rule.SUSPECT: found.suspect, Rule.CONTESTED: found.contested, Rule.MISSING: found.missing}
    for rule, slots in by_rule.items():
        for one in slots:
            bars.flaws.note(rule, one.start, one.stop - step, one.size(step))
    readiness = found.readiness
    if readiness is not None and not readiness.is_ready:
        first = readiness.ready_until
        bars.flaws.note(Rule.NOT_READY, first, first, readiness.in_the_way, readiness.reason or "")
