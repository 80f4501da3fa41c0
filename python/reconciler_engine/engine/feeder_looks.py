"""Look at the feeder's newest candles from time to time; of all running engines, one does it."""

from __future__ import annotations

import logging

import trio

from reconciler_engine.engine.scheduled_passes import ScheduledPasses
from reconciler_engine.errors import StoreError
from reconciler_engine.store.feeder_watch import FeederWatch
from reconciler_engine.store.turns import Turn

LOOK_S = 10
_logger = logging.getLogger(__name__)


async def watch_feeder(passes: ScheduledPasses) -> None:
    """Note the newest live candle of every series each `LOOK_S`, until cancelled."""
    while True:
        try:
            await look_at_feeder(passes)
        except StoreError as error:
            _logger.debug("no look at the feeder", extra={"error": str(error)})
        await trio.sleep(LOOK_S)


async def look_at_feeder(passes: ScheduledPasses) -> None:
    """Note the newest live candle of every series, unless another engine has just done so.

    Raises:
        StoreError: Redis did not answer.
    """
    parts = passes.parts
    if await Turn(parts.client, parts.scope, "feeder").take(LOOK_S - 1):
        await FeederWatch(parts.client, parts.scope).look(list(passes.series), await parts.clock.now())
