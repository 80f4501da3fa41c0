"""Marks halts: hours without trades on the whole venue, found by comparing all series of a pass."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

from reconciler_engine.engine.passes.tally import Absences
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.halts import WITNESSES, apply_halts, can_be_halted, find_halts
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.retention import Retention

_logger = logging.getLogger(__name__)


async def note_halts(
    evidence: EvidenceStore, rows: Sequence[Absences], books: Mapping[str, str], retention: Retention
) -> None:
    """Record `halted` for slots in which the venue stood still.

    Findings of earlier passes are used too, since a halt of hours can be recognised only after its end. Products that
    share an order book are one witness.

    Raises:
        StoreError: A ledger could not be written. Ledgers before it have been.
    """
    groups: defaultdict[tuple[Timeframe, Interval], list[Absences]] = defaultdict(list)
    for row in rows:
        if row.confirmed or row.missing:
            groups[row.series.timeframe, row.slots].append(row)
    for (timeframe, slots), group in groups.items():
        # Too few products cannot prove a halt.
        if len(group) < WITNESSES:
            continue
        reads = await evidence.read([(row.series, slots) for row in group])
        halting = {row.series: read.ledger.where(slots, can_be_halted) for row, read in zip(group, reads, strict=True)}
        absences = {
            books.get(row.series.symbol, row.series.symbol): halting[row.series]
            for row in group
            if not row.missing - halting[row.series]
        }
        halts = find_halts(absences, slots, timeframe.step_ms)
        marked = [series for series, found in halting.items() if found & halts]
        for series in marked:
            await evidence.change(series, halts.hull, retention, partial(apply_halts, halts=halts))
        if marked:
            hull = halts.hull
            facts = {"timeframe": timeframe.value, "from": hull.start, "to": hull.stop, "series": len(marked)}
            _logger.info("the venue stood still", extra=facts)
