"""The second look of a backfill: pages over what was asked for in vain, of which one answer can prove each."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import trio
from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.engine.backfill.reader import RangeReader, Reading, SecondLook, SlotCounts
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.pages import PAGE_SLOTS, Page
from reconciler_engine.planning.sightings import RIPE_MS

STEP = 60_000
SLOTS = 3_000
NOW = SLOTS * STEP + RIPE_MS


class Readings:
    """A reader that has read these."""

    def __init__(self, readings: list[Reading]) -> None:
        self._readings = readings[::-1]

    async def read_next(self) -> Reading | None:
        return self._readings.pop() if self._readings else None


def readings_of(runs: list[Interval], borders: list[int]) -> list[Reading]:
    """The runs as reads between these borders (slots) find them."""
    parts = [Interval(start * STEP, stop * STEP) for start, stop in pairwise([0, *borders, SLOTS])]
    return [Reading(part, resting=Intervals(runs) & part) for part in parts]


async def look(
    runs: list[Interval], borders: list[int], now: int = NOW, closed: int = SLOTS * STEP
) -> tuple[list[Page], SlotCounts]:
    second = SecondLook(cast("RangeReader", Readings(readings_of(runs, borders))), now, closed, STEP)
    pages: list[Page] = []
    while (final := await second.read_next()) is not None:
        pages += final
    assert await second.read_next() is None
    return pages, second.counts


def run_of(start: int, count: int) -> Interval:
    return Interval(start * STEP, (start + count) * STEP)


@st.composite
def whole_runs(draw: st.DrawFn) -> list[Interval]:
    """Runs with a candle between any two of them."""
    runs, at = [], 0
    for apart, count in draw(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 320)), max_size=12)):
        if at + apart + count >= SLOTS:
            break
        runs.append(run_of(at + apart, count))
        at += apart + count
    return runs


def fewest(runs: list[Interval]) -> int:
    """The least number of pages that cut no run: lay one at the oldest run left, again and again."""
    pages, reach = 0, -1
    for run in runs:
        if run.stop > reach:
            pages, reach = pages + 1, run.start + (PAGE_SLOTS - 2) * STEP
    return pages


@given(runs=whole_runs(), borders=st.sets(st.integers(1, SLOTS - 1), max_size=6).map(sorted))
def test_every_run_with_room_for_neighbours_is_in_the_fewest_pages_that_leave_it(runs, borders):
    pages, counts = trio.run(look, runs, borders)
    short = [run for run in runs if run.stop - run.start <= (PAGE_SLOTS - 2) * STEP]
    assert [run for page in pages for run in page.wanted] == short
    assert all(len(page.interval.grid(STEP)) <= PAGE_SLOTS - 2 for page in pages)
    assert len(pages) == fewest(short)
    assert counts == SlotCounts(Intervals(runs).size(STEP), 0)


async def test_what_closed_lately_is_left_to_a_second_answer():
    young, old = run_of(2_900, 5), run_of(2_000, 5)
    ripe = 2_905 * STEP + RIPE_MS
    assert await look([old, young], [], now=ripe - 1) == ([page_of(old)], SlotCounts(10, 0))
    assert await look([old, young], [], now=ripe) == ([page_of(old), page_of(young)], SlotCounts(10, 0))


async def test_what_has_no_closed_neighbour_is_left_to_a_second_answer():
    newest = run_of(2_900, 5)
    assert await look([newest], [], closed=2_905 * STEP) == ([], SlotCounts(5, 0))
    assert await look([newest], [], closed=2_906 * STEP) == ([page_of(newest)], SlotCounts(5, 0))


def page_of(run: Interval) -> Page:
    return Page(run, Intervals([run]))
