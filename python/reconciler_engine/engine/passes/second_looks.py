"""Asks again, after an hour, for bars that differed from the sum of their finer bars in the exchange's own answers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import dataclass

from reconciler_engine.engine.passes.sum_proofs import SumBeside, SumProofs
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.observe.metrics import SUMS
from reconciler_engine.store.disagreements import Disagreement, Disagreements
from reconciler_engine.store.journal import Why
from reconciler_engine.store.members import member_of
from reconciler_engine.store.merge_script import ChangeByHand

_AT_ONCE = 8
_RETRY_MS = 300_000
_GIVEN_UP_MS = 86_400_000
_logger = logging.getLogger(__name__)

Ask = Callable[[Mapping[Series, Interval], int], Awaitable[None]]
"""Asks the exchange for the candles of slots whose last verification is older than an instant (ms UTC)."""


@dataclass(frozen=True, slots=True)
class SecondLooks:
    """Asks again for bars that differed from the sum of their finer bars in answers of the exchange.

    The cache keeps the bar as the exchange sent it. If bar and sum still differ after both were asked for again, that
    is reported once.

    Attributes:
        sums: Compares bars with their sums.
        disagreements: Queue of the bars to ask for again.
    """

    sums: SumProofs
    disagreements: Disagreements

    async def note(self, series: Series, slots: Intervals, now: int) -> None:
        """Queue the bars of `slots`, which differ from the sums of their finer bars, for a second look.

        Raises:
            StoreError: Redis did not answer.
        """
        found = await self.sums.answered(series, slots)
        await self.disagreements.add(series, [slot for slot, one in found.items() if one.disagrees], now)

    async def look(self, ask: Ask, kept: Container[Series], now: int, by: str) -> None:
        """Ask again for queued bars that are due at `now` (ms UTC), and their finer ones; report lasting differences.

        Args:
            ask: Asks the exchange for candles.
            kept: All series of the engine.
            now: The instant.
            by: Author of the changes, for the journal.

        Raises:
            StoreError: Redis did not answer.
        """
        for one in await self.disagreements.due(now, _AT_ONCE):
            finer = self.sums.finer_of(one.series)
            if finer is None or one.series not in kept or finer not in kept or now - one.due > _GIVEN_UP_MS:
                await self.disagreements.drop(one)
                continue
            slots = Interval(one.slot, one.slot + one.series.timeframe.step_ms)
            await ask({one.series: slots, finer: slots}, one.due)
            await self._settle(one, slots, now, by)

    async def _settle(self, one: Disagreement, slots: Interval, now: int, by: str) -> None:
        beside = (await self.sums.answered(one.series, Intervals([slots]), since=one.due)).get(one.slot)
        if beside is None:
            # An answer is missing, or a changed bar waits for its second answer.
            await self.disagreements.put_off(one, now + _RETRY_MS)
            return
        if beside.disagrees:
            await self._tell(one, slots, beside, by)
        await self.disagreements.drop(one)

    async def _tell(self, one: Disagreement, slots: Interval, beside: SumBeside, by: str) -> None:
        open_, high, low, close, volume = beside.expected
        expected = member_of(one.series, Candle(one.slot, open_, high, low, close, volume))
        told = ChangeByHand(slots, beside.copy.member.decode("utf-8", "replace"), expected, Why.DISAGREES)
        await self.sums.evidence.tell(one.series, told, self.sums.retention, by=by)
        SUMS.add(1, "disagreed")
        facts = {"series": str(one.series), "slot": one.slot, "sum": expected}
        _logger.warning("the exchange disagrees with itself: a bar is not the sum of its finer ones", extra=facts)
