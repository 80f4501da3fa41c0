"""Periodic checks beside the passes: the feeder's newest candles, and symbols that the exchange did not list."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from reconciler_engine.engine.scheduled_passes import ScheduledPasses
from reconciler_engine.errors import StoreError
from reconciler_engine.store.feeder_watch import FeederWatch
from reconciler_engine.store.turns import Turn

FEEDER_LOOK_S = 10
SYMBOLS_LOOK_S = 30
_logger = logging.getLogger(__name__)


async def look_often(look: Callable[[ScheduledPasses], Awaitable[None]], passes: ScheduledPasses, every_s: int) -> None:
    """Call `look` every `every_s` seconds until cancelled; an error of Redis is logged, and the next call is made."""
    while True:
        try:
            await look(passes)
        except StoreError as error:
            _logger.debug("no look beside the passes", extra={"error": str(error)})
        await trio.sleep(every_s)


async def look_at_feeder(passes: ScheduledPasses) -> None:
    """Note the newest live candle of every series, unless another engine has just done so.

    Raises:
        StoreError: Redis did not answer.
    """
    parts = passes.parts
    if await Turn(parts.client, parts.scope, "feeder").take(FEEDER_LOOK_S - 1):
        await FeederWatch(parts.client, parts.scope).look(list(passes.series), await parts.clock.now())


async def take_up_listed(passes: ScheduledPasses) -> None:
    """Add unknown symbols to the passes once the product list in Redis has them; workers refresh the list hourly.

    Raises:
        StoreError: Redis did not answer.
    """
    if not passes.unknown:
        return
    kept = await passes.parts.products.read()
    listed = {product.symbol for product in kept.products}.intersection(passes.unknown)
    if listed:
        passes.welcome(sorted(listed))
        _logger.info("symbols listed by now", extra={"symbols": ", ".join(sorted(listed))})
