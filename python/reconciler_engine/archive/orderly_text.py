"""Long text files whose rows are all good and in order: pyarrow reads them, some ten times faster than `read_parts`."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from reconciler_engine.archive.arrow_times import ArrowTimes
from reconciler_engine.archive.candle_rows import CandleRows
from reconciler_engine.archive.clocks import NumberClock
from reconciler_engine.archive.dialect import Dialect
from reconciler_engine.archive.found_files import FoundFile
from reconciler_engine.archive.hints import VALUES, Hints
from reconciler_engine.archive.opened_file import Unreadable, open_text
from reconciler_engine.detection.summary import GapSummary
from reconciler_engine.market.series import Series

# Below this pyarrow takes longer to load than to read.
_LEAST_BYTES = 4_000_000
_BYTES_AT_ONCE = 1 << 20
_LARGEST = sys.float_info.max


def summarise_orderly(
    file: FoundFile, hints: Hints, advance: Callable[[int], None]
) -> tuple[Series, GapSummary, str] | None:
    """Return series, summary and how the file is written, if its rows are good, of one series, and none comes twice.

    Return None for every other file, for a short one, and without pyarrow: `read_parts` reads those, and says what is
    wrong with them. Memory is that of a block and of the gaps.
    """
    if file.size < _LEAST_BYTES or file.naming.fault:
        return None
    try:
        arrow, compute, csv = map(importlib.import_module, ("pyarrow", "pyarrow.compute", "pyarrow.csv"))
    except ImportError:
        return None
    rows = CandleRows(file.path, file.naming, on_grid=False)
    try:
        with open_text(file.path) as opened:
            rows.begin(opened, hints, ())
        clock = rows.dialect.clock
        if not isinstance(clock, NumberClock) or not rows.dialect.places.keys().isdisjoint(("symbol", "timeframe")):
            return None
        series = file.naming.series()
        parts: list[GapSummary] = []
        known = replace(hints, unit=clock.unit)
        with open_text(file.path) as opened, _open_csv(arrow, csv, opened, rows.dialect) as batches:
            times: ArrowTimes | None = None
            for batch in batches:
                times = times or ArrowTimes(arrow, rows.dialect.name("time"), batch["time"], known)
                instants = times.to_ms(batch["time"])
                part = GapSummary.of(instants, series.timeframe.step_ms)
                is_misleading = not parts and times.find_misleading(instants, series.timeframe) is not None
                if is_misleading or opened.is_bomb() or part.count != part.present or not _are_candles(compute, batch):
                    return None
                parts.append(part)
                advance(opened.bytes_read())
        # Parts that overlap may repeat a row, and are an error of their sum.
        return (series, GapSummary.join(parts), str(rows.dialect)) if parts and not opened.is_bomb() else None
    except (Unreadable, ValueError, arrow.ArrowException):
        return None


def _open_csv(arrow: Any, csv: Any, file: Any, dialect: Dialect) -> Any:
    """Return the batches of times and values in a text file; what is no number in these columns is an error."""
    kinds = {dialect.places[kind]: kind for kind in ("time", *VALUES) if kind in dialect.places}
    values = {kind: arrow.float64() for kind in kinds.values()}
    return csv.open_csv(
        file,
        read_options=csv.ReadOptions(
            skip_rows=dialect.first,
            column_names=[kinds.get(index, str(index)) for index in range(len(dialect.names))],
            block_size=_BYTES_AT_ONCE,
        ),
        parse_options=csv.ParseOptions(delimiter=dialect.separator),
        convert_options=csv.ConvertOptions(
            column_types=values | {"time": arrow.int64()}, include_columns=[*values], null_values=[]
        ),
    )


def _are_candles(compute: Any, batch: Any) -> bool:
    """Whether the values of each row, where they are read, make a candle."""
    if "open" not in batch.schema.names:
        return True
    first, high, low, last, volume = (batch[kind] for kind in VALUES)
    least, most = compute.min_element_wise(first, last), compute.max_element_wise(first, last)
    bounds = ((low, least), (most, high), (0.0, volume), (math.ulp(0.0), low), (high, _LARGEST), (volume, _LARGEST))
    return all(compute.all(compute.less_equal(one, other)).as_py() for one, other in bounds)
