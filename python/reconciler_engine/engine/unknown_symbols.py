"""The look for configured symbols that the exchange did not list when the engine started."""

from __future__ import annotations

import logging

import trio

from reconciler_engine.engine.scheduled_passes import ScheduledPasses
from reconciler_engine.errors import StoreError

_LOOK_S = 30.0
_logger = logging.getLogger(__name__)


async def look_for_unknown(passes: ScheduledPasses) -> None:
    """Let passes take up unknown symbols that are in the product list by now; look until cancelled.

    The list in Redis is looked at. Workers ask the exchange for a new one each hour.
    """
    while True:
        await trio.sleep(_LOOK_S)
        try:
            await take_up_listed(passes)
        except StoreError as error:
            _logger.debug("no look for unknown symbols", extra={"error": str(error)})


async def take_up_listed(passes: ScheduledPasses) -> None:
    """Let passes take up the unknown symbols that the product list in Redis names.

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
