"""Verification of many series in one pass: finest candles by request, coarser ones by sums, the rest by request."""

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
        asking: Asks for their pages.
        second_looks: Keeps bars of the exchange that are unlike their sums; proves others by these.
        tally: The candles that are to be verified.
        run: Id of the run.
        now: Its instant (ms UTC).
        looks: How the series stood when they were scanned.
        choose_due: Gives the candles to ask for by now of a look, which are none as long as none is due.
        hurried: Series to ask for before they are due, because later all could not go in time.
        asked: Series of which pages were handed out because sums did not settle them, or could not.
        proved: Series whose candles followed from finer ones, as far as they were due.
        audited: Those of them that were asked for all the same.
        unlike: Slots of candles that are unlike their sums.
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
        """Verify so many symbols at once, in the order given, as long as there is time.

        Raises:
            StoreError: Redis cannot be reached, or the run's record was lost.
        """
        for batch in _batches(series, at_once):
            if self.asking.has_time:
                await self._verify_batch(batch)

    async def _verify_batch(self, batch: Sequence[Series]) -> None:
        alone = [one for one in batch if self._needs_page(one) or await self._is_known_unlike(one)]
        await self._ask(alone)
        # Shorter ones first: longer ones follow from them, also from those that an answer has just repaired.
        others = sorted(set(batch).difference(alone), key=_step_of)
        for _, level in groupby(others, key=_step_of):
            same = [*level]
            for series in same:
                await self._prove(series)
            await self._ask([one for one in same if self.tally.to_audit(one)])

    def _needs_page(self, series: Series) -> bool:
        """Whether a series is asked for without a look at sums."""
        return (
            bool(self.looks[series].urgent) or series in self.hurried or self.second_looks.sums.finer_of(series) is None
        )

    async def _is_known_unlike(self, series: Series) -> bool:
        """Whether the oldest candle that is due is unlike its sum: then no answer about finer ones is waited for."""
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
        """Have series asked for, and take note of answers to audits, and of those about candles unlike their sums."""
        before = {one: self.tally.mismatched(one) for one in series}
        asked = await self.asking.ask(series)
        self.asked |= asked - self.proved
        for one in asked:
            if one in self.audited:
                self.tally.note_audit(one, self.tally.mismatched(one) - before[one])
            elif one in self.unlike:
                await self.second_looks.note(one, self.unlike[one], self.now)

    async def _prove(self, series: Series) -> None:
        """Note the candles that follow from finer ones, unless their whole page is to be audited.

        Others are asked for once one of them is due: until then their finer ones may come.
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
    """Yield the series of so many symbols at a time, symbols in the order of their first series."""
    symbols = list(dict.fromkeys(one.symbol for one in series))
    for start in range(0, len(symbols), max(at_once, 1)):
        batch = frozenset(symbols[start : start + at_once])
        yield [one for one in series if one.symbol in batch]


def _step_of(series: Series) -> int:
    return series.timeframe.step_ms
