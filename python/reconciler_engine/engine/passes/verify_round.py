"""Verification of many series in one pass: finest candles by request, coarser ones by sums, the rest by request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from reconciler_engine.engine.passes.page_asking import PageAsking
from reconciler_engine.engine.passes.sum_proofs import SumProofs
from reconciler_engine.engine.passes.tally import Tally
from reconciler_engine.market.interval import Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.observe.metrics import SUMS
from reconciler_engine.planning.sums import is_audited


@dataclass(slots=True)
class VerifyRound:
    """The verification of the series of a pass.

    Attributes:
        asking: Asks for their pages.
        sums: Proves candles without a request.
        tally: The candles that are to be verified.
        run: Id of the run.
        asked: Series of which pages were handed out because sums did not settle them, or could not.
        proved: Series whose candles all followed from finer ones.
        audited: Those of them that were asked for all the same.
    """

    asking: PageAsking
    sums: SumProofs
    tally: Tally
    run: str
    asked: frozenset[Series] = frozenset()
    proved: frozenset[Series] = frozenset()
    audited: set[Series] = field(default_factory=set)

    async def verify(self, series: Sequence[Series], at_once: int) -> None:
        """Verify so many symbols at once, in the order given, as long as there is time.

        Raises:
            StoreError: Redis cannot be reached, or the run's record was lost.
        """
        for batch in _batches(series, at_once):
            if self.asking.has_time:
                await self._verify_batch(batch)

    async def _verify_batch(self, batch: Sequence[Series]) -> None:
        alone = [one for one in batch if self.tally.needs_answer(one) or self.sums.finer_of(one) is None]
        self.asked |= await self.asking.ask(alone)
        # Shorter ones first: longer ones follow from them, also from those that an answer has just repaired.
        others = sorted(set(batch).difference(alone), key=_step_of)
        for _, level in groupby(others, key=_step_of):
            await self._verify_level([*level])

    async def _verify_level(self, level: Sequence[Series]) -> None:
        """Verify series of one timeframe whose finer ones were verified as far as they can be."""
        for series in level:
            await self._prove(series)
        left = [one for one in level if self.tally.to_audit(one)]
        unlike = {one: self.tally.mismatched(one) for one in self.audited.intersection(left)}
        asked = await self.asking.ask(left)
        self.asked |= asked - self.proved
        for one in asked.intersection(unlike):
            SUMS.add(self.tally.mismatched(one) - unlike[one], "audit_differed")

    async def _prove(self, series: Series) -> None:
        """Note the candles that follow from finer ones, unless their whole page is to be audited."""
        wanted = self.tally.to_audit(series)
        found = await self.sums.compare(series, wanted)
        agreeing = {slot: one for slot, one in found.items() if one.agrees}
        SUMS.add(len(found) - len(agreeing), "differed")
        step = series.timeframe.step_ms
        is_whole = Intervals.of_slots(sorted(agreeing), step) == wanted
        if is_whole and is_audited(series, wanted):
            self.audited.add(series)
            SUMS.add(len(agreeing), "audited")
        elif agreeing:
            noted = await self.sums.note(series, agreeing, self.run)
            self.tally.note_sums(series, noted)
            SUMS.add(noted.size(step), "verified")
        if is_whole:
            self.proved |= {series}


def _batches(series: Sequence[Series], at_once: int) -> Iterator[list[Series]]:
    """Yield the series of so many symbols at a time, symbols in the order of their first series."""
    symbols = list(dict.fromkeys(one.symbol for one in series))
    for start in range(0, len(symbols), max(at_once, 1)):
        batch = frozenset(symbols[start : start + at_once])
        yield [one for one in series if one.symbol in batch]


def _step_of(series: Series) -> int:
    return series.timeframe.step_ms
