"""Half-open intervals of time, and sets of intervals."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Self

from reconciler_engine.market.gap import Gap
from reconciler_engine.market.rounding import ceil_to

_start, _stop = attrgetter("start"), attrgetter("stop")


@dataclass(frozen=True, slots=True, order=True, init=False)
class Interval:
    """The instants t with `start <= t < stop` (ms UTC); empty if both are equal."""

    start: int
    stop: int

    # The constructor that `dataclass` generates takes more than twice as long, and evidence holds many intervals.
    def __init__(self, start: int, stop: int) -> None:
        """Make an interval.

        Raises:
            ValueError: It ends before it starts.
        """
        if stop < start:
            raise ValueError(f"interval stop {stop} lies before its start {start}")
        _set_start(self, start)
        _set_stop(self, stop)

    def __contains__(self, instant: int) -> bool:
        return self.start <= instant < self.stop

    def __bool__(self) -> bool:
        return self.start < self.stop

    def __and__(self, other: Interval) -> Interval:
        if not isinstance(other, Interval):
            return NotImplemented
        start = max(self.start, other.start)
        return Interval(start, max(start, min(self.stop, other.stop)))

    def __or__(self, other: Interval | Intervals) -> Intervals:
        return Intervals((self,)) | other

    def __sub__(self, other: Interval | Intervals) -> Intervals:
        return Intervals((self,)) - other

    def touches(self, other: Interval) -> bool:
        """Return whether the union is one interval: they overlap, or one begins where the other ends."""
        return self.start <= other.stop and other.start <= self.stop

    def grid(self, step: int) -> range:
        """Return the open times in this interval, as an ascending range of multiples of `step` (ms).

        A start off the grid is rounded up to the next open time.
        """
        return range(ceil_to(self.start, step), self.stop, step)

    def size(self, step: int) -> int:
        """Return the number of open times in this interval on a grid of `step` ms."""
        return len(self.grid(step))

    def slots(self, step: int) -> Interval:
        """Return the interval from the first open time in this interval to the end of the last open time's slot."""
        grid = self.grid(step)
        return Interval(grid.start, grid.start + len(grid) * step)

    def parts(self, length: int) -> list[Interval]:
        """Cut this interval into parts of `length` ms, ascending; the last one may be shorter."""
        return [Interval(start, min(start + length, self.stop)) for start in range(self.start, self.stop, length)]


# Descriptors of the slots: faster than `object.__setattr__`, which looks them up by name each time.
_set_start, _set_stop = (vars(Interval)[name].__set__ for name in ("start", "stop"))


class Intervals(tuple[Interval, ...]):
    """A set of instants, as its maximal intervals: ascending, not empty, and apart from each other.

    `&`, `|` and `-` are the set operations. The other operand may also be a single `Interval`.
    """

    __slots__ = ()

    def __new__(cls, intervals: Iterable[Interval] = ()) -> Self:
        """Make the union of intervals in any order; they may overlap."""
        return cls.joined(sorted((one.start, one.stop) for one in intervals))

    @classmethod
    def joined(cls, bounds: Iterable[tuple[int, int]]) -> Self:
        """Make the union of (start, stop) pairs in ascending order of start; they may overlap, touch or be empty."""
        found: list[Interval] = []
        rest = iter(bounds)
        start, stop = next(rest, (0, 0))
        for begin, end in rest:
            if begin > stop:
                if start < stop:
                    found.append(Interval(start, stop))
                start, stop = begin, end
            elif end > stop:
                stop = end
        if start < stop:
            found.append(Interval(start, stop))
        return tuple.__new__(cls, found)

    @classmethod
    def of_slots(cls, open_times: Iterable[int], step: int) -> Self:
        """Return the slots that begin at ascending, distinct open times on a grid of `step` ms."""
        found: list[Interval] = []
        start = stop = None
        for open_time in open_times:
            if open_time != stop:
                if start is not None and stop is not None:
                    found.append(Interval(start, stop))
                start = open_time
            stop = open_time + step
        if start is not None and stop is not None:
            found.append(Interval(start, stop))
        return tuple.__new__(cls, found)

    @classmethod
    def of_gaps(cls, gaps: Iterable[Gap], step: int) -> Self:
        """Return the slots of ascending gaps on a grid of `step` ms."""
        return cls.joined((start, end + step) for start, end, _ in gaps)

    @property
    def hull(self) -> Interval:
        """Smallest interval that contains the set, which must not be empty."""
        return Interval(self[0].start, self[-1].stop)

    def gaps(self, step: int) -> tuple[Gap, ...]:
        """Return the intervals as gaps; their ends must lie on a grid of `step` ms."""
        return tuple(Gap(one.start, one.stop - step, (one.stop - one.start) // step) for one in self)

    def slots(self, step: int) -> Iterator[int]:
        """Return the open times in these intervals on a grid of `step` ms, ascending."""
        return (open_time for one in self for open_time in one.grid(step))

    def size(self, step: int) -> int:
        """Return the number of slots in these intervals; their ends must lie on a grid of `step` ms."""
        return sum(one.stop - one.start for one in self) // step if self else 0

    def holds(self, instant: int) -> bool:
        """Return whether an instant lies in one of these intervals."""
        index = bisect_right(self, instant, key=_start) - 1
        return index >= 0 and instant < self[index].stop

    def __and__(self, other: Interval | Intervals) -> Intervals:
        ones, others = self, _many(other)
        if not ones or not others:
            return NOTHING
        if len(others) == 1:
            return _within(ones, others[0])
        if len(ones) == 1:
            return _within(others, ones[0])
        found: list[Interval] = []
        one = two = 0
        while one < len(ones) and two < len(others):
            left, right = ones[one], others[two]
            start = max(left.start, right.start)
            if left.stop <= right.stop:
                stop = left.stop
                one += 1
            else:
                stop = right.stop
                two += 1
            if start < stop:
                found.append(Interval(start, stop))
        return _trusted(found)

    __rand__ = __and__

    def __or__(self, other: Interval | Intervals) -> Intervals:
        others = _many(other)
        if not self or not others:
            return self or others
        return Intervals.joined(sorted((one.start, one.stop) for both in (self, others) for one in both))

    def __sub__(self, other: Interval | Intervals) -> Intervals:
        others = _many(other)
        if not self or not others:
            return self
        if len(others) == 1 and _covers(others[0], self):
            return NOTHING
        found: list[Interval] = []
        first = 0
        for one in self:
            start = one.start
            while first < len(others) and others[first].stop <= start:
                first += 1
            index = first
            while index < len(others) and others[index].start < one.stop:
                if start < others[index].start:
                    found.append(Interval(start, others[index].start))
                start = max(start, others[index].stop)
                index += 1
            if start < one.stop:
                found.append(one if start == one.start else Interval(start, one.stop))
        return _trusted(found)

    def __repr__(self) -> str:
        return f"Intervals({list(self)!r})"


def _trusted(found: Iterable[Interval]) -> Intervals:
    """Make a set without checks: the intervals ascend and do not touch."""
    return tuple.__new__(Intervals, found)


def _many(one: Interval | Intervals) -> Intervals:
    return one if isinstance(one, Intervals) else _trusted((one,) if one else ())


def _within(ones: Intervals, bounds: Interval) -> Intervals:
    """Return the part of a set, which is not empty, inside an interval."""
    if _covers(bounds, ones):
        return ones
    found = [*ones[bisect_right(ones, bounds.start, key=_stop) : bisect_left(ones, bounds.stop, key=_start)]]
    if found:
        found[0] &= bounds
        found[-1] &= bounds
    return _trusted(found)


def _covers(one: Interval, others: Intervals) -> bool:
    return one.start <= others[0].start and others[-1].stop <= one.stop


NOTHING = _trusted(())
"""The empty set."""
