"""Verifies many series in one pass: the finest candles by request, longer ones by sums, the rest by request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from reconciler_engine.engine.passes.page_asking import PageAsking
from reconciler_engine.engine.passes.second_looks import SecondLooks
from reconciler_engine.engine.passes.tally import Tally
from reconciler_engine.market.interval import Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.observe.metrics import SUMS
from reconciler_engine.planning.sums import is_audited
from reconciler_engine.planning.verification import Look


@dataclass(slots=True)
class VerifyRound:
    """The verification of the series of a pass.

    Attributes:
        asking: Hands out the pages.
        second_looks: Compares candles with the sums of finer ones, and queues lasting differences.
        tally: Tally of the pass, with the candles to verify.
        run: Id of the run.
        now: Instant of the run (ms UTC).
        looks: State of the series at the scan.
        choose_due: Returns the candles of a look to ask for now; an empty set unless one is due.
        hurried: Series to ask for early, to even out the load.
        asked: Series whose pages were handed out because sums did not verify them.
        proved: Series whose due candles are equal to the sums of finer ones.
        audited: Series of `proved` that were asked for nevertheless, as a sample.
        unlike: Slots of candles that differ from their sums.
    """

    asking: PageAsking
    second_looks: SecondLooks
    tally: Tally
    run: str
    now: int
    looks: Mapping[Series, Look]
    choose_due: Callable[..., Intervals]
    hurried: frozenset[Series] = frozenset()
    asked: frozenset[Series] = frozenset()
    proved: frozenset[Series] = frozenset()
    audited: set[Series] = field(default_factory=set)
    unlike: dict[Series, Intervals] = field(default_factory=dict)

    async def verify(self, series: Sequence[Series], at_once: int) -> None:
        """Verify series in the order given, `at_once` symbols at a time, until the time is over.

        Raises:
            StoreError: Redis cannot be reached, or the run's record was lost.
        """
        for batch in _batches(series, at_once):
            if self.asking.has_time:
                await self._verify_batch(batch)

    async def _verify_batch(self, batch: Sequence[Series]) -> None:
        alone = [one for one in batch if self._needs_page(one) or await self._is_known_unlike(one)]
        await self._ask(alone)
        # Shorter timeframes first, since longer candles are proved by their sums, repaired candles included.
        others = sorted(set(batch).difference(alone), key=_step_of)
        for _, level in groupby(others, key=_step_of):
            same = [*level]
            for series in same:
                await self._prove(series)
            await self._ask([one for one in same if self.tally.to_audit(one)])

    def _needs_page(self, series: Series) -> bool:
        """Whether a series is asked for without a comparison with sums."""
        return (
            bool(self.looks[series].urgent) or series in self.hurried or self.second_looks.sums.finer_of(series) is None
        )

    async def _is_known_unlike(self, series: Series) -> bool:
        """Whether the oldest due candle differs from its sum already, so that it is asked for without delay."""
        step = series.timeframe.step_ms
        due = self.choose_due(self.looks[series], step=step)
        oldest = Intervals.of_slots([one.start for one in due[:1]], step)
        unlike = [
            slot for slot, one in (await self.second_looks.sums.compare(series, oldest)).items() if not one.agrees
        ]
        if unlike:
            self.unlike[series] = oldest
            SUMS.add(1, "differed")
        return bool(unlike)

    async def _ask(self, series: Sequence[Series]) -> None:
        """Ask for series; count wrong candles among audited ones, and queue candles that differ from their sums."""
        before = {one: self.tally.mismatched(one) for one in series}
        asked = await self.asking.ask(series)
        self.asked |= asked - self.proved
        for one in asked:
            if one in self.audited:
                self.tally.note_audit(one, self.tally.mismatched(one) - before[one])
            elif one in self.unlike:
                await self.second_looks.note(one, self.unlike[one], self.now)

    async def _prove(self, series: Series) -> None:
        """Record candles that equal the sums of finer ones as verified, unless their page is to be audited.

        The other candles are asked for once one of them is due; until then, their finer candles may still arrive.
        """
        wanted, step = self.tally.to_audit(series), series.timeframe.step_ms
        found = await self.second_looks.sums.compare(series, wanted)
        agreeing = {slot: one for slot, one in found.items() if one.agrees}
        if len(agreeing) < len(found):
            self.unlike[series] = Intervals.of_slots(sorted(found.keys() - agreeing.keys()), step)
        agreed = Intervals.of_slots(sorted(agreeing), step)
        rest = wanted - agreed
        needs_page = bool(self.choose_due(Look(rest, self.looks[series].changed & rest), step=step))
        if needs_page:
            SUMS.add(len(found) - len(agreeing), "differed")
        if agreed and not needs_page:
            self.proved |= {series}
            if is_audited(series, agreed):
                self.audited.add(series)
                SUMS.add(len(agreeing), "audited")
                return
        noted = await self.second_looks.sums.note(series, agreeing, self.run)
        SUMS.add(noted.size(step), "verified")
        self.tally.note_sums(series, noted, asks=needs_page)


def _batches(series: Sequence[Series], at_once: int) -> Iterator[list[Series]]:
    """Yield the series of `at_once` symbols at a time, symbols in the order of their first series."""
    symbols = list(dict.fromkeys(one.symbol for one in series))
    for start in range(0, len(symbols), max(at_once, 1)):
        batch = frozenset(symbols[start : start + at_once])
        yield [one for one in series if one.symbol in batch]


def _step_of(series: Series) -> int:
    return series.timeframe.step_ms
