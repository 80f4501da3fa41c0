"""Draw coverage as a picture: a row for each series over a time axis, a cell for each bucket of time. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, pairwise
from operator import attrgetter

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.rounding import ceil_div
from reconciler_engine.planning.ledger import State
from reconciler_engine.planning.states import StateInterval

WORST_FIRST = (
    State.MISSING,
    State.SUSPECT,
    State.UNKNOWN,
    State.HALTED,
    State.EMPTY,
    State.UNLISTED,
    State.UNVERIFIED,
    State.PRESENT,
)
"""States, worst first. A bucket with one of the first three shows the worst of them, else its most frequent state."""

Cell = State | None
"""State that a bucket shows; None if the row has no slots in it."""

_TROUBLES = frozenset(WORST_FIRST[:3])
_RANK = {state: rank for rank, state in enumerate(WORST_FIRST)}


@dataclass(frozen=True, slots=True)
class Row:
    """One series.

    Attributes:
        name: Its label.
        window: The range asked about (ms UTC).
        step: Length of its bars (ms).
        runs: Its slots by state, ascending and disjoint.
        note: Short text beside the cells.
    """

    name: str
    window: Interval
    step: int
    runs: Sequence[StateInterval]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """Rows that share a time axis."""

    axis: Interval
    rows: Sequence[Row]

    def columns(self, room: int) -> int:
        """Return the number of cells for the axis, at most `room`.

        If there is room for at least one cell for each bar, every bar gets the same number of cells.
        """
        bars = max(1, ceil_div(self.axis.stop - self.axis.start, min(row.step for row in self.rows)))
        return room - room % bars if bars <= room else room


def panels_of(rows: Sequence[Row]) -> list[Panel]:
    """Group rows with windows of equal length into panels; the shortest windows come first.

    A window has at least three bars, so windows of long timeframes are longer. On a common axis the short windows would
    shrink to a few cells at its end.
    """
    panels = []
    by_length = sorted(rows, key=_length)
    for _, group in groupby(by_length, key=_length):
        members = list(group)
        axis = Interval(min(row.window.start for row in members), max(row.window.stop for row in members))
        panels.append(Panel(axis, members))
    return panels


def _length(row: Row) -> int:
    return row.window.stop - row.window.start


def buckets(axis: Interval, columns: int) -> list[Interval]:
    """Cut an axis into `columns` parts of equal length within 1 ms; a part is empty only if the axis is too short."""
    length = axis.stop - axis.start
    borders = [axis.start + length * column // columns for column in range(columns + 1)]
    return [Interval(start, stop) for start, stop in pairwise(borders)]


def cells_of(row: Row, axis: Interval, columns: int) -> list[Cell]:
    """Return the state that each bucket of an axis shows, by the rule of `WORST_FIRST`."""
    cells: list[Cell] = []
    for bucket in buckets(axis, columns):
        index = bisect_right(row.runs, bucket.start, key=attrgetter("stop"))
        shares: Counter[State] = Counter()
        while index < len(row.runs) and row.runs[index].start < bucket.stop:
            run = row.runs[index]
            shares[run.state] += min(run.stop, bucket.stop) - max(run.start, bucket.start)
            index += 1
        troubles = [state for state in shares if state in _TROUBLES]
        most = max(shares, key=lambda state: (shares[state], -_RANK[state]), default=None)
        cells.append(min(troubles, key=_RANK.__getitem__) if troubles else most)
    return cells


def runs_of_cells(cells: Sequence[Cell]) -> Iterator[tuple[int, int, Cell]]:
    """Yield maximal runs of equal cells: first column, number of columns, state."""
    column = 0
    for cell, run in groupby(cells):
        count = len(list(run))
        yield column, count, cell
        column += count


def states_in(rows: Sequence[Row]) -> list[State]:
    """Return the states that occur in the rows, worst first."""
    found = {run.state for row in rows for run in row.runs}
    return [state for state in WORST_FIRST if state in found]


def instants(axis: Interval) -> tuple[str, str]:
    """Return both ends of an axis as text; the second one has no date if both are on the same day."""
    start, stop = (datetime.fromtimestamp(instant / 1_000, UTC) for instant in (axis.start, axis.stop))
    same = start.date() == stop.date()
    return start.strftime("%Y-%m-%d %H:%M"), stop.strftime("%H:%M UTC" if same else "%Y-%m-%d %H:%M UTC")
