"""Converts a time column of an Arrow batch to milliseconds; accepts timestamps, dates, numbers and text."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, tzinfo
from typing import Any

from reconciler_engine.archive.clocks import LATEST_MS, Clock, recognise_clock, say_zone_lacks
from reconciler_engine.archive.column_names import is_utc_by_name, unit_in_name
from reconciler_engine.archive.hints import Hints
from reconciler_engine.archive.time_unit import TimeUnit, find_misleading
from reconciler_engine.market.timeframe import Timeframe

_CELLS = 24
# Number of rows to examine for another unit or timeframe.
_SAMPLE = 10_000


class ArrowTimes:
    """Converts the times of one column to milliseconds.

    Attributes:
        told: Form of the times, in words.
        unit: Unit of the stored numbers.
    """

    def __init__(self, arrow: Any, name: str, column: Any, hints: Hints) -> None:
        """Recognise the form of the times from the column's first batch.

        Raises:
            ValueError: The column's type cannot hold times, or the unit or the time zone is unknown.
        """
        self._arrow = arrow
        self._name = name
        kind, types = column.type, arrow.types
        zone = hints.zone or (UTC if is_utc_by_name(name) else None)
        if types.is_timestamp(kind) or types.is_date(kind):
            if getattr(kind, "tz", None) is None and zone is None and len(column):
                raise ValueError(say_zone_lacks(name, str(column[0])))
            self.unit = TimeUnit.MILLISECONDS
            self.told = str(kind) if getattr(kind, "tz", None) else f"{kind} in {zone}"
            self._convert: Callable[[Any], Any] = lambda values: self._instants(values, zone)
            return
        if not (
            types.is_integer(kind) or types.is_floating(kind) or types.is_string(kind) or types.is_large_string(kind)
        ):
            raise ValueError(f"column {name!r} has type {kind}; allowed: timestamps, dates, whole numbers, text")
        is_text = types.is_string(kind) or types.is_large_string(kind)
        first = column.drop_null()[:_CELLS]
        cells = (
            first.to_pylist() if is_text else [str(one) for one in first.cast(arrow.int64(), safe=False).to_pylist()]
        )
        clock = recognise_clock(name, cells, unit=hints.unit, zone=zone, named_unit=unit_in_name(name))
        self.unit = clock.unit
        self.told = str(clock)
        self._convert = (lambda values: self._read(values, clock)) if is_text else self._counted

    def to_ms(self, column: Any) -> Any:
        """Return the times of one batch as an Arrow array of int64 (ms UTC).

        Raises:
            ValueError: A time is null, is not a whole millisecond, lies before 1970, or reaches `LATEST_MS`.
        """
        if column.null_count:
            raise ValueError(f"column {self._name!r} is null in {column.null_count} of {len(column)} rows")
        try:
            instants = self._convert(column).cast(self._arrow.int64())
        except self._arrow.ArrowInvalid as error:
            raise ValueError(f"column {self._name!r}: {error}") from error
        bounds = self._arrow.compute.min_max(instants).as_py()
        for instant in filter(None, bounds.values()):
            if not 0 <= instant < LATEST_MS:
                raise ValueError(f"column {self._name!r} holds {instant} ms, which is not an instant since 1970")
        return instants

    def find_misleading(self, instants: Any, timeframe: Timeframe) -> str | None:
        """Return why the instants (Arrow array of int64, ms UTC) look like another unit or timeframe, or None."""
        sample = [self.unit.count(instant) for instant in instants[:_SAMPLE].to_pylist()]
        return find_misleading(sample, timeframe, self.unit)

    def _counted(self, values: Any) -> Any:
        """Convert numbers of the column's unit to timestamps in ms."""
        arrow = self._arrow
        return values.cast(arrow.int64()).cast(arrow.timestamp(self.unit.value)).cast(arrow.timestamp("ms"))

    def _instants(self, values: Any, zone: tzinfo | None) -> Any:
        instants = values.cast(self._arrow.timestamp("ms", getattr(values.type, "tz", None)))
        if instants.type.tz is None and zone is not UTC:
            # Local times that a clock change repeats or skips raise an error.
            return self._arrow.compute.assume_timezone(instants, str(zone))
        return instants

    def _read(self, values: Any, clock: Clock) -> Any:
        counts = [
            clock.to_ms(clock.count(text)) if re.fullmatch(clock.pattern, text) else None for text in values.to_pylist()
        ]
        if None in counts:
            text = str(values[counts.index(None)])
            raise ValueError(f"column {self._name!r}: {text[:60]!r} {clock.problem(text)}")
        return self._arrow.array(counts, self._arrow.int64())
