"""Verifies candles that equal the sums of verified finer ones, without a request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reconciler_engine.errors import StoreError, own_fault
from reconciler_engine.market.interval import Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.audit import Copy, is_equal
from reconciler_engine.planning.ledger import State
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.planning.sums import Values, covered, is_settled_empty, is_sum, nearest_finer, sums_of
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.verified_fields import Verified, digest_of


class SumBeside(NamedTuple):
    """A candle beside the sum of the finer candles of its slot.

    Attributes:
        copy: The candle in the cache.
        expected: The values of the sum.
        first: Oldest verification among the finer candles (ms UTC).
        at: Newest verification among the finer candles (ms UTC).
    """

    copy: Copy
    expected: Values
    first: int
    at: int

    @property
    def agrees(self) -> bool:
        """Whether the sum verifies the candle."""
        return is_sum(self.copy.values, self.expected)

    @property
    def disagrees(self) -> bool:
        """Whether candle and sum differ by more than the rounding allowed between the cache and the exchange."""
        return not is_equal(self.copy.values, tuple(self.expected))


@dataclass(frozen=True, slots=True)
class SumProofs:
    """Proves candles of one scope by sums.

    Attributes:
        store: The candles.
        evidence: Findings on them.
        timeframes: The timeframes kept for each symbol.
        retention: Bounds on the candles that the cache keeps.
    """

    store: CandleStore
    evidence: EvidenceStore
    timeframes: Sequence[Timeframe]
    retention: Retention

    def finer_of(self, series: Series) -> Series | None:
        """Return the nearest finer series, whose candles add up to those of `series`; None if it has no finer one."""
        finer = nearest_finer(series.timeframe, self.timeframes)
        return None if finer is None else Series(series.symbol, finer)

    async def compare(self, series: Series, slots: Intervals) -> dict[int, SumBeside]:
        """Return the candles of slots that have a sum, by open time.

        A slot has a sum if each of its finer slots holds a verified candle that is not suspect, or is settled without
        a candle. An unreadable series has no sums.

        Raises:
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        finer = self.finer_of(series)
        found: dict[int, SumBeside] = {}
        if finer is None:
            return found
        for part in _parts(slots, series, finer):
            try:
                found.update(await self._compare_part(series, finer, part))
            except StoreError as error:
                # The scan reports it.
                own_fault(error, waits=False)
        return found

    async def answered(self, series: Series, slots: Intervals, *, since: int = 0) -> dict[int, SumBeside]:
        """Return the verified candles of slots that have a sum, by open time.

        Only candles are returned that, like their finer ones, were verified at `since` (ms UTC) or later.

        Raises:
            StoreError: The digests could not be read.
        """
        found = await self.compare(series, slots)
        noted = await self.evidence.verified(series, slots.hull) if found else {}
        return {
            slot: one
            for slot, one in found.items()
            if slot in noted and _is_noted(one.copy, noted[slot]) and min(one.first, noted[slot].at) >= since
        }

    async def note(self, series: Series, sums: dict[int, SumBeside], by: str) -> Intervals:
        """Record candles as verified; return the slots whose candle has not changed since it was read.

        Raises:
            StoreError: Redis is away, or refuses to write.
        """
        noted: list[int] = []
        instants: defaultdict[int, dict[int, bytes]] = defaultdict(dict)
        for slot, one in sums.items():
            instants[one.at][slot] = one.copy.member
        for at, members in instants.items():
            noted += await self.evidence.note_sums(series, members, self.retention, at=at, by=by)
        return Intervals.of_slots(sorted(noted), series.timeframe.step_ms)

    async def _compare_part(self, series: Series, finer: Series, slots: Intervals) -> dict[int, SumBeside]:
        step, short = series.timeframe.step_ms, finer.timeframe.step_ms
        noted = await self.evidence.verified(finer, slots.hull)
        (read,) = await self.evidence.read([(finer, slots.hull)])
        if read.error is not None:
            raise read.error
        verified = Intervals.of_slots(sorted(noted), short) - read.ledger.in_state(slots.hull, State.SUSPECT)
        empty = read.ledger.where(slots.hull, is_settled_empty) - verified
        slots = covered(slots, verified | empty, step)
        if not slots:
            return {}
        there = await self.store.copies(finer, slots.hull)
        bars = {at: one.values for at, one in there.items() if verified.holds(at) and _is_noted(one, noted[at])}
        expected = sums_of(slots, bars, empty, step, short)
        copies = await self.store.copies(series, slots.hull) if expected else {}
        found = {}
        for slot in expected.keys() & copies.keys():
            times = [noted[at].at for at in range(slot, slot + step, short) if at in bars]
            found[slot] = SumBeside(copies[slot], expected[slot], min(times), max(times))
        return found


def _is_noted(copy: Copy, noted: Verified) -> bool:
    return digest_of(copy.member) == noted.digest


def _parts(slots: Intervals, series: Series, finer: Series) -> Iterator[Intervals]:
    """Cut slots into parts of at most a page of finer slots, but at least one slot."""
    step = series.timeframe.step_ms
    length = max(PAGE_SLOTS * finer.timeframe.step_ms // step, 1) * step
    for one in slots:
        yield from (Intervals([part]) for part in one.parts(length))
