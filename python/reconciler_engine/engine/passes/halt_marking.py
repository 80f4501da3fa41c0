"""Halts: what the series of a pass show together about the venue."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

from reconciler_engine.engine.passes.tally import Confirmed
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.halts import apply_halts, find_halts
from reconciler_engine.planning.intervals import common
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.retention import Retention

_logger = logging.getLogger(__name__)


async def note_halts(
    evidence: EvidenceStore, rows: Sequence[Confirmed], books: Mapping[str, str], retention: Retention
) -> None:
    """Write `halted` over empty slots in which the venue stood still.

    Those that were confirmed by earlier passes count: what lies around a halt of hours is seen after it only. Products
    that show one book are one witness.

    Raises:
        StoreError: A ledger cannot be written; those before it are.
    """
    groups: defaultdict[tuple[Timeframe, Interval], list[Confirmed]] = defaultdict(list)
    for row in rows:
        groups[row.series.timeframe, row.slots].append(row)
    for (timeframe, slots), group in groups.items():
        absences = {books.get(row.series.symbol, row.series.symbol): row.confirmed for row in group if row.is_whole}
        halts = find_halts(absences, slots, timeframe.step_ms)
        if not halts:
            continue
        marked = 0
        for row in group:
            inside = common(row.confirmed, halts)
            if inside:
                reach = Interval(inside[0].start, inside[-1].stop)
                (read,) = await evidence.read([(row.series, reach)])
                if apply_halts(read.ledger, halts) != read.ledger:
                    await evidence.change(row.series, reach, retention, partial(apply_halts, halts=halts))
                    marked += 1
        if marked:
            facts = {"timeframe": timeframe.value, "from": halts[0].start, "to": halts[-1].stop, "series": marked}
            _logger.info("the venue stood still", extra=facts)
