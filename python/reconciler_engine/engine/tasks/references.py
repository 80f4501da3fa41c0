"""References: answers about the exchange's most traded product, which help to prove that slots of others are empty."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache, partial

import trio

from reconciler_engine.coinbase.symbol_selectors import most_traded_beside
from reconciler_engine.engine.clock import SharedClock
from reconciler_engine.engine.tasks.drain import Drained
from reconciler_engine.engine.tasks.messages import PageTask
from reconciler_engine.engine.tasks.page_cache import PageCache, answer_of
from reconciler_engine.engine.tasks.page_request import PageRequester
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.planning.answers import Venue
from reconciler_engine.planning.reference import Reference, note_reference, reference_slots
from reconciler_engine.planning.window import closed_before
from reconciler_engine.store.product_list import ProductList, ProductListStore
from reconciler_engine.store.venue import VenueStore

_TURN_S = 5
"""Length of a worker's turn to ask for a reference (s). A worker that died delays the others by no more than that. If a
worker waits longer for its permit, another may ask as well, which costs a request."""

_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Reached:
    """The result of obtaining a reference.

    Attributes:
        reference: The reference; None if it could not be obtained.
        is_possible: Whether the product list has a product for it.
        requests: Number of requests sent for it.
    """

    reference: Reference | None
    is_possible: bool = True
    requests: int = 0

    def facts(self, venue: Venue, slots: Interval) -> Venue:
        """Return the facts about the exchange, supplemented by this reference, for an answer about these slots."""
        if self.reference is None:
            return venue._replace(is_hopeless=not self.is_possible)
        has = self.reference.is_whole and self.reference.covers(slots)
        return venue._replace(has_reference=has, is_hopeless=self.reference.is_hopeless)


class ReferenceCount:
    """Counts the references that pages may need; pages of one timeframe can share a reference."""

    def __init__(self, listed: ProductList, now: int, grace_ms: int) -> None:
        """Make a counter for pages requested at `now` (ms UTC); `listed` is the list to choose products from."""
        self._now = now
        self._grace_ms = grace_ms
        self._product_of = cache(partial(_product_for, listed))
        self._slots: set[tuple[Series, Interval]] = set()

    def add(self, series: Series, slots: Interval) -> None:
        """Count the reference of a page over these slots, if the list has a product for it."""
        symbol = self._product_of(series.symbol)
        if symbol is not None:
            closed = closed_before(self._now, series.timeframe, self._grace_ms)
            step = series.timeframe.step_ms
            self._slots.add((Series(symbol, series.timeframe), reference_slots(slots, closed, step)))

    @property
    def total(self) -> int:
        """Number of references."""
        return len(self._slots)


def _product_for(listed: ProductList, symbol: str) -> str | None:
    return most_traded_beside(symbol, listed.products, listed.listings.books)


class References:
    """Obtains references, which all workers share: one request in five minutes for a timeframe's newest slots.

    The answer is judged like any other, so that empty slots are settled for its product, too. Its candles are not
    written, since the engine may not keep that product.
    """

    def __init__(
        self,
        venue: VenueStore,
        products: ProductListStore,
        cache: PageCache,
        requester: PageRequester,
        clock: SharedClock,
    ) -> None:
        self._venue = venue
        self._products = products
        self._cache = cache
        self._requester = requester
        self._clock = clock
        self._asking: defaultdict[Series, trio.Lock] = defaultdict(trio.Lock)

    async def obtain(self, task: PageTask, slots: Interval, keep: Callable[[], Awaitable[None]]) -> Reached:
        """Return the reference for slots of a page: a current one from Redis, or a new one from the exchange.

        Args:
            task: The page that needs a reference.
            slots: Slots of its series, at most a page.
            keep: Renews the page's claim.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        series = task.span.series
        symbol = _product_for(await self._products.read(), series.symbol)
        if symbol is None:
            return Reached(None, is_possible=False)
        product = Series(symbol, series.timeframe)
        async with self._asking[product]:
            return await self._obtain(product, slots, task, keep)

    async def _obtain(
        self, product: Series, slots: Interval, task: PageTask, keep: Callable[[], Awaitable[None]]
    ) -> Reached:
        step = product.timeframe.step_ms
        turn = self._venue.reference_turn(product)
        while True:
            now = await self._clock.now()
            closed = closed_before(now, product.timeframe, task.rules.grace_ms)
            asked = reference_slots(slots, closed, step)
            is_newest = asked.stop == closed
            kept = await self._venue.read_reference(product, asked, is_newest=is_newest)
            if kept is not None and kept.is_current(now) and (kept.covers(slots) or not kept.is_whole):
                return Reached(kept)
            if await turn.take(_TURN_S):
                break
            await trio.sleep(_LOOK_S)

        async def keep_both() -> None:
            await keep()
            await turn.extend(_TURN_S)

        try:
            return await self._ask(product, asked, kept, task, keep_both, is_newest=is_newest)
        finally:
            with trio.CancelScope(shield=True):
                await turn.end()

    async def _ask(
        self,
        product: Series,
        asked: Interval,
        before: Reference | None,
        task: PageTask,
        keep: Callable[[], Awaitable[None]],
        *,
        is_newest: bool,
    ) -> Reached:
        try:
            reply = await self._requester.ask(product, asked, keep, trio.Event())
        except Drained:
            # The page already has its answer, which is merged without a reference.
            return Reached(None)
        if reply.page is None:
            return Reached(None, requests=reply.requests)
        step = product.timeframe.step_ms
        answer = answer_of(reply.page, asked, reply.at, step)
        venue = await self._venue.note_newest(product.timeframe, answer.newest(step), reply.at)
        is_hopeless = before is not None and before.is_hopeless
        venue = venue._replace(is_hopeless=is_hopeless)
        settled = await self._cache.note_answer(product, answer, venue, task.keeping, grace_ms=task.rules.grace_ms)
        reference = note_reference(before, asked, reply.at, answer.rows, settled)
        await self._venue.keep_reference(product, reference, is_newest=is_newest)
        return Reached(reference, requests=reply.requests)
