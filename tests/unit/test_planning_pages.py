"""The page cover on hand-made cases; the property tests compare it with a brute force."""

from __future__ import annotations

import pytest

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.pages import cover, shards, with_margins


def gap(first: int, last: int) -> Interval:
    return Interval(first, last + 1)


@pytest.mark.parametrize(
    ("gaps", "limit", "spans"),
    [
        ([], 3, []),
        ([gap(5, 5)], 3, [(5, 6)]),
        # two short gaps share a page, the present slot between them rides along
        ([gap(1, 1), gap(3, 3)], 3, [(1, 4)]),
        ([gap(1, 1), gap(4, 4)], 3, [(4, 5), (1, 2)]),
        # a long gap is cut from its newest end
        ([gap(0, 6)], 3, [(4, 7), (1, 4), (0, 1)]),
        # the rest of a cut gap shares its page with an older one
        ([gap(0, 0), gap(2, 5)], 3, [(3, 6), (0, 3)]),
    ],
)
def test_cover_lays_pages_from_the_newest_slot(gaps, limit, spans):
    pages = cover(Intervals(gaps), 1, limit)
    assert [(page.interval.start, page.interval.stop) for page in pages] == spans
    assert sorted(part for page in pages for part in page.wanted.slots(1)) == list(Intervals(gaps).slots(1))


def test_cover_refuses_an_empty_page():
    with pytest.raises(ValueError, match="limit 0 is not a number of slots"):
        cover(Intervals([gap(1, 1)]), 1, 0)


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([], []),
        ([5], [range(1)]),
        ([4, 4, 4], [range(2), range(2, 3)]),
        ([1, 99, 1], [range(1), range(1, 2), range(2, 3)]),
        ([0, 0, 10, 0], [range(4)]),
    ],
)
def test_shards_partition_in_order(sizes, groups):
    assert shards(sizes, 10) == groups


def test_a_run_is_not_cut_where_that_costs_no_page():
    """The newest page could hold three slots of the older run; whole, an answer can prove all of it."""
    gaps = Intervals([gap(0, 6), gap(9, 13)])
    assert [page.wanted for page in cover(gaps, 1, 8)] == [(gaps[1],), (gaps[0],)]
    # with one more at the old end it has to be
    longer = Intervals([gap(0, 8), gap(11, 15)])
    assert [page.wanted.size(1) for page in cover(longer, 1, 8)] == [6, 8]


def test_pages_leave_room_for_neighbours_where_that_costs_no_page():
    halves = cover(Intervals([gap(0, 399)]), 1)
    assert [page.wanted.size(1) for page in halves] == [240, 160]
    assert [page.wanted.size(1) for page in cover(Intervals([gap(0, 594)]), 1)] == [298, 297]
    assert [page.wanted.size(1) for page in cover(Intervals([gap(0, 599)]), 1)] == [300, 300]


def test_pages_reach_over_a_cut_and_over_a_slot_that_stands_alone_between_them():
    """Six hours: whole, and every other slot. A candle beyond the cut proves the slots next to it."""
    for gaps, narrow, wide in (
        ([gap(0, 359)], [(120, 360), (0, 120)], [(90, 390), (0, 150)]),
        ([gap(slot, slot) for slot in range(1, 360, 2)], [(121, 360), (1, 120)], [(120, 400), (0, 150)]),
    ):
        pages = cover(Intervals(gaps), 1)
        assert [(page.interval.start, page.interval.stop) for page in pages] == narrow
        assert [(page.interval.start, page.interval.stop) for page in with_margins(pages, 1, 400)] == wide
