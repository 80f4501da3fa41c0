"""Halts: what the series of a pass show together about the venue."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

from reconciler_engine.engine.passes.tally import ConfirmedSlots
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.halts import apply_halts, find_halts
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.retention import Retention

_logger = logging.getLogger(__name__)


async def note_halts(
    evidence: EvidenceStore, rows: Sequence[ConfirmedSlots], books: Mapping[str, str], retention: Retention
) -> None:
    """Write `halted` over empty slots in which the venue stood still.

    Those that were confirmed by earlier passes count: what lies around a halt of hours is seen after it only. Products
    that show one book are one witness.

    Raises:
        StoreError: A ledger cannot be written; those before it are.
    """
    groups: defaultdict[tuple[Timeframe, Interval], list[ConfirmedSlots]] = defaultdict(list)
    for row in rows:
        groups[row.series.timeframe, row.slots].append(row)
    for (timeframe, slots), group in groups.items():
        absences = {books.get(row.series.symbol, row.series.symbol): row.confirmed for row in group if row.is_whole}
        halts = find_halts(absences, slots, timeframe.step_ms)
        if not halts:
            continue
        marked = 0
        for row in group:
            inside = row.confirmed & halts
            if inside:
                (read,) = await evidence.read([(row.series, inside.hull)])
                if apply_halts(read.ledger, halts) != read.ledger:
                    await evidence.change(row.series, inside.hull, retention, partial(apply_halts, halts=halts))
                    marked += 1
        if marked:
            facts = {"timeframe": timeframe.value, "from": halts.hull.start, "to": halts.hull.stop, "series": marked}
            _logger.info("the venue stood still", extra=facts)
