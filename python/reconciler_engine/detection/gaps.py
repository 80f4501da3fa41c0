"""The result of gap detection: a sequence of gaps that is stored in columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Self, overload

from reconciler_engine.detection.implementation import IMPLEMENTATION
from reconciler_engine.market.gap import Gap

if TYPE_CHECKING:
    from collections.abc import Callable

if IMPLEMENTATION == "native":
    from reconciler_engine._native import export_gaps, export_gaps_schema, gap_ends, gap_tuples
else:
    from reconciler_engine.detection.columns import export_gaps, export_gaps_schema, gap_ends, gap_tuples

_SHOWN = 3


class Gaps(Sequence[Gap]):
    """Gaps in ascending order, disjoint and never adjacent; read-only.

    Made by `detect_gaps`. The gaps are stored as int64 memoryviews, which NumPy and others share without a copy;
    `Gap` objects are made on access. Two sequences are equal if their gaps are equal.
    """

    __slots__ = ("_counts", "_ends", "_missing", "_starts", "_step")
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self,
        starts: memoryview[int],
        counts: memoryview[int],
        step: int | None = None,
        ends: memoryview[int] | None = None,
        missing: int | None = None,
    ) -> None:
        """Make gaps from columns of equal length; for internal use.

        Either `step` (of the grid, ms) or `ends` is given. `missing` is the sum of `counts` if it is known.
        """
        self._starts = starts
        self._counts = counts
        self._step = step
        self._ends = ends
        self._missing = missing

    @property
    def starts(self) -> memoryview[int]:
        """First missing open time of each gap (int64, ms UTC)."""
        return self._starts

    @property
    def ends(self) -> memoryview[int]:
        """Last missing open time of each gap (int64, ms UTC), inclusive; computed on first use."""
        if self._ends is None:
            self._ends = gap_ends(self._starts, self._counts, self._step or 0)
        return self._ends

    @property
    def counts(self) -> memoryview[int]:
        """Number of missing open times of each gap (int64), at least 1."""
        return self._counts

    @property
    def missing(self) -> int:
        """Number of missing open times in all gaps together."""
        if self._missing is None:
            self._missing = sum(self._counts)
        return self._missing

    def to_list(self) -> list[tuple[int, int, int]]:
        """Return plain tuples (start, end, count)."""
        return gap_tuples(self._starts, self.ends, self._counts)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the gaps as an Arrow stream of one table: int64 columns `start`, `end`, `count`, without a copy.

        `requested_schema` is ignored, as the interface allows: consumers cast.
        """
        del requested_schema
        return export_gaps(self._starts, self.ends, self._counts)

    def __arrow_c_schema__(self) -> object:
        """Return the Arrow schema of the table of `__arrow_c_stream__`."""
        return export_gaps_schema()

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Gap: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Gap | Self:
        if isinstance(index, slice):
            return self._sliced(index)
        try:
            start, count = self._starts[index], self._counts[index]
        except IndexError:
            raise IndexError(f"gap index {index} out of range: there are {len(self)}") from None
        if self._ends is not None:
            return Gap(start, self._ends[index], count)
        return Gap(start, start + (count - 1) * (self._step or 0), count)

    def __iter__(self) -> Iterator[Gap]:
        if self._ends is not None:
            yield from map(Gap, self._starts, self._ends, self._counts)
            return
        step = self._step or 0
        for start, count in zip(self._starts, self._counts, strict=True):
            yield Gap(start, start + (count - 1) * step, count)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Gaps):
            return NotImplemented
        return self._starts == other._starts and self._counts == other._counts and self.ends == other.ends

    def __repr__(self) -> str:
        shown = ", ".join(repr(gap) for gap in islice(self, _SHOWN))
        more = f", ... {len(self) - _SHOWN} more" if len(self) > _SHOWN else ""
        return f"<Gaps: {len(self)} gaps, {self.missing} missing [{shown}{more}]>"

    def __reduce__(self) -> tuple[Callable[..., Gaps], tuple[object, ...]]:
        ends = None if self._ends is None or self._step is not None else _copied(self._ends)
        return _restored, (_copied(self._starts), _copied(self._counts), self._step, ends, self._missing)

    def _sliced(self, index: slice) -> Self:
        first, stop, stride = index.indices(len(self))
        if stride < 0:
            raise ValueError("gaps ascend: a slice with a negative step is not Gaps; use reversed()")

        def cut(column: memoryview[int]) -> memoryview[int]:
            part = column[first:stop:stride]
            return part if part.c_contiguous else readonly(array("q", part))

        ends = None if self._ends is None else cut(self._ends)
        return type(self)(cut(self._starts), cut(self._counts), step=self._step, ends=ends)


def readonly(numbers: array[int]) -> memoryview[int]:
    """Return a read-only view that keeps `numbers` alive."""
    return memoryview(numbers).toreadonly()


def _copied(column: memoryview[int]) -> array[int]:
    numbers = array("q")
    numbers.frombytes(column.tobytes())
    return numbers


def _restored(
    starts: array[int], counts: array[int], step: int | None, ends: array[int] | None, missing: int | None
) -> Gaps:
    return Gaps(
        readonly(starts),
        readonly(counts),
        step=step,
        ends=None if ends is None else readonly(ends),
        missing=missing,
    )
