"""The counting of closed bars that were complete and verified in time, after a look at all series."""

from __future__ import annotations

import logging

from reconciler_engine.engine.parts import Parts
from reconciler_engine.errors import StoreError
from reconciler_engine.planning.timely_bars import Reached, TimelyBars
from reconciler_engine.store.objective_counts import ObjectiveCounts

_logger = logging.getLogger(__name__)


async def count_bars(parts: Parts, bars: TimelyBars, now: int, *, job: str, epoch: int) -> None:
    """Add the bars of the last look, if there was one, to the counts that are kept; where Redis is away, next time."""
    counts = ObjectiveCounts(parts.client, parts.scope)
    try:
        kept = await counts.read()
    except StoreError as error:
        _logger.info("counts of bars not read", extra={"error": str(error)})
        return
    reached = {frame: Reached(one.complete, one.verified) for frame, one in kept.items()}
    judged = bars.judge(reached, parts.config.max_unverified_ms)
    if judged is not None:
        await counts.add(kept, judged, now, job=job, epoch=epoch)
