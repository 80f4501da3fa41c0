"""Summaries of parts of a series. Their sum is the summary of the whole series."""

from __future__ import annotations

import importlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from reconciler_engine.detection.detect import detect_gaps
from reconciler_engine.detection.gaps import Gaps, readonly
from reconciler_engine.detection.inputs import int64_view
from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval, Intervals

# A grid of step 1 from -_FURTHEST to _FURTHEST has 2**63 - 1 points, the most that a grid may have.
_FURTHEST = 2**62 - 1
_NUMBERS = ("step", "count", "first", "last", "duplicates", "strangers")
_LISTS = ("gap_starts", "gap_counts")


@dataclass(frozen=True, slots=True)
class GapSummary:
    """The number of rows in one part of a series, and the gaps between its first and its last row.

    The grid is all multiples of `step`. `a + b` joins parts that do not overlap: the result is exactly the summary of
    all their rows. The operation is associative and commutative, and empty parts are neutral, so parts can be summed in
    any order by any framework. `a | b` also joins parts that overlap. Summaries can be pickled;
    `pyarrow.table(summary)` and `polars.DataFrame(summary)` give a table of one row.

    Attributes:
        step: The grid's step (ms), at least 1.
        count: Number of rows, including duplicates and strangers.
        first: Earliest instant of a row (ms UTC); None without rows.
        last: Latest instant of a row (ms UTC); None without rows.
        strangers: Number of rows off the grid, including repeated ones.
        gaps: Grid points without a row between `first` and `last`.
    """

    step: int
    count: int
    first: int | None
    last: int | None
    strangers: int
    gaps: Gaps

    @classmethod
    def empty(cls, step: int) -> GapSummary:
        """Return the summary of a part without rows.

        Raises:
            ValueError: `step` is below 1.
        """
        if step < 1:
            raise ValueError(f"step is {step}; it must be at least 1 (ms)")
        none = readonly(array("q"))
        return cls(step, 0, None, None, 0, Gaps(none, none, step))

    @classmethod
    def of(cls, times: object, step: int) -> GapSummary:
        """Summarise rows, given by their instants.

        Args:
            times: Instants (ms UTC) in any order, of any type that `detect_gaps` accepts.
            step: The grid's step (ms).

        Raises:
            TypeError: `times` is of another type.
            ValueError: A value is null, or its absolute value is 2**62 or more; or `step` is below 1.
        """
        nothing = cls.empty(step)
        view = int64_view("times", times)
        if not len(view):
            return nothing
        limit = _FURTHEST // step * step
        # Without duplicates and instants off the grid, a single search over all instants finds the gaps and both ends.
        around = detect_gaps(view, range(-limit, limit + 1, step))
        present = 2 * (limit // step) + 1 - around.missing
        if present == len(view) and around[0].start == -limit and around[-1].end == limit:
            return cls(step, present, around[0].end + step, around[-1].start - step, 0, around[1:-1])
        first, last = min(view), max(view)
        if first < -_FURTHEST or last > _FURTHEST:
            raise ValueError(f"times hold {first if first < -_FURTHEST else last}; allowed: less than 2**62 from 0")
        strangers = sum(instant % step != 0 for instant in view)
        return cls(step, len(view), first, last, strangers, detect_gaps(view, Interval(first, last + 1).grid(step)))

    @classmethod
    def join(cls, parts: Iterable[GapSummary]) -> GapSummary:
        """Join parts in any order.

        Raises:
            ValueError: There are no parts, two parts overlap, or parts have different steps.
        """
        given = list(parts)
        step = _common_step(given)
        summed = sorted((part for part in given if part.count), key=lambda part: part.interval)
        starts, counts = array("q"), array("q")
        for index, part in enumerate(summed):
            if index:
                before, begin = summed[index - 1].interval, part.interval.start
                if begin < before.stop:
                    raise ValueError(f"parts overlap: one ends at {before.stop - 1}, another begins at {begin}")
                border = Interval(before.stop, begin).grid(step)
                _append(starts, counts, step, border.start, len(border))
            if part.gaps:
                # A part with a first row off the grid may begin with a gap, which joins the gap at the border.
                _append(starts, counts, step, part.gaps.starts[0], part.gaps.counts[0])
                starts.frombytes(part.gaps.starts[1:].tobytes())
                counts.frombytes(part.gaps.counts[1:].tobytes())
        if not summed:
            return cls.empty(step)
        missing = Interval(summed[0].interval.start, summed[-1].interval.stop).size(step) - sum(
            part.present for part in summed
        )
        return cls(
            step=step,
            count=sum(part.count for part in summed),
            first=summed[0].first,
            last=summed[-1].last,
            strangers=sum(part.strangers for part in summed),
            gaps=Gaps(readonly(starts), readonly(counts), step, None, missing),
        )

    def __add__(self, other: GapSummary) -> GapSummary:
        return GapSummary.join((self, other)) if isinstance(other, GapSummary) else NotImplemented

    def __or__(self, other: GapSummary) -> GapSummary:
        """Join parts that may overlap. Rows of both parts in the same slot count as duplicates.

        Raises:
            ValueError: The parts have different steps.
        """
        if not isinstance(other, GapSummary):
            return NotImplemented
        if not self.interval & other.interval:
            return self + other
        step = _common_step((self, other))
        hull = Intervals((self.interval, other.interval)).hull
        starts, counts = array("q"), array("q")
        ones, others = self._absent(hull), other._absent(hull)
        one, two = next(ones, None), next(others, None)
        while one is not None and two is not None:
            start, stop = max(one[0], two[0]), min(one[1], two[1])
            _append(starts, counts, step, start, max(0, stop - start) // step)
            if one[1] == stop:
                one = next(ones, None)
            if two[1] == stop:
                two = next(others, None)
        return GapSummary(
            step=step,
            count=self.count + other.count,
            first=hull.start,
            last=hull.stop - 1,
            strangers=self.strangers + other.strangers,
            gaps=Gaps(readonly(starts), readonly(counts), step),
        )

    @property
    def interval(self) -> Interval:
        """Instants from the first row to the last one, inclusive; empty without rows."""
        return Interval(0, 0) if self.first is None or self.last is None else Interval(self.first, self.last + 1)

    @property
    def missing(self) -> int:
        """Number of slots without a row between the first and the last row."""
        return self.gaps.missing

    @property
    def present(self) -> int:
        """Number of slots with a row."""
        return self.interval.size(self.step) - self.missing

    @property
    def duplicates(self) -> int:
        """Number of rows beyond the first one of their slot."""
        return self.count - self.strangers - self.present

    @property
    def longest(self) -> Gap | None:
        """The longest gap (the oldest one if several are equally long); None without gaps."""
        counts = self.gaps.counts
        return self.gaps[max(range(len(counts)), key=counts.__getitem__)] if self.gaps else None

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the summary as an Arrow stream: a table of one row, with the gaps as two lists; needs pyarrow.

        Raises:
            ImportError: pyarrow is not installed.
        """
        arrow = _pyarrow()
        columns = {name: arrow.array([getattr(self, name)], arrow.int64()) for name in _NUMBERS}
        for name, values in zip(_LISTS, (self.gaps.starts, self.gaps.counts), strict=True):
            numbers = arrow.Array.from_buffers(arrow.int64(), len(values), [None, arrow.py_buffer(values)])
            columns[name] = arrow.LargeListArray.from_arrays(arrow.array([0, len(values)], arrow.int64()), numbers)
        return arrow.table(columns).__arrow_c_stream__(requested_schema)

    @classmethod
    def from_arrow(cls, rows: object) -> list[GapSummary]:
        """Return the summaries in a table of any Arrow producer, one for each row; needs pyarrow.

        Raises:
            ImportError: pyarrow is not installed.
            ValueError: A column is missing, or the numbers of a row are inconsistent.
        """
        table = _pyarrow().table(rows)
        if absent := [name for name in (*_NUMBERS, *_LISTS) if name not in table.column_names]:
            raise ValueError(
                f"columns {', '.join(absent)} are not there; allowed: summaries, as pyarrow.table(summary)"
            )
        numbers = table.select(_NUMBERS).to_pylist()
        lists = [table[name] for name in _LISTS]
        return [
            _checked(
                index,
                row,
                *(int64_view(name, column[index].values) for name, column in zip(_LISTS, lists, strict=True)),
            )
            for index, row in enumerate(numbers)
        ]

    def _absent(self, hull: Interval) -> Iterator[tuple[int, int]]:
        """Yield the slots in `hull` that have no row in this part, as ascending intervals (start, stop)."""
        slots, own = hull.slots(self.step), self.interval.slots(self.step)
        yield slots.start, own.start
        for start, count in zip(self.gaps.starts, self.gaps.counts, strict=True):
            yield start, start + count * self.step
        yield own.stop, slots.stop


def _common_step(parts: Iterable[GapSummary]) -> int:
    steps = sorted({part.step for part in parts})
    if len(steps) != 1:
        raise ValueError(f"parts have steps {steps}; allowed: parts of one step, and at least one part")
    return steps[0]


def _append(starts: array[int], counts: array[int], step: int, start: int, count: int) -> None:
    """Append a gap, or extend the last gap if they touch."""
    if count and starts and starts[-1] + counts[-1] * step == start:
        counts[-1] += count
    elif count:
        starts.append(start)
        counts.append(count)


def _checked(index: int, row: dict[str, int | None], starts: memoryview[int], counts: memoryview[int]) -> GapSummary:
    """Return the summary in a row after checking that its numbers are consistent; its gaps are not checked."""
    step, count, strangers = (row[name] or 0 for name in ("step", "count", "strangers"))
    first, last = row["first"], row["last"]
    is_empty = first is None and last is None and not count
    is_ordered = first is not None and last is not None and first <= last and count > 0
    if step >= 1 and len(starts) == len(counts) and (is_empty or is_ordered):
        made = GapSummary(step, count, first, last, strangers, Gaps(starts, counts, step))
        if made.duplicates == row["duplicates"] and min(strangers, made.duplicates, made.present) >= 0:
            return made
    raise ValueError(f"row {index}: {row} with {len(starts)} gap_starts and {len(counts)} gap_counts is not a summary")


def _pyarrow() -> Any:
    try:
        return importlib.import_module("pyarrow")
    except ModuleNotFoundError:
        raise ImportError("summaries go to and from Arrow by pyarrow: install it") from None
