"""The page cover is never beaten by a brute force."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.market.interval import Intervals
from reconciler_engine.planning.pages import cover, shares, with_margins


def fewest(slots: tuple[int, ...], span: int) -> int:
    """The least number of windows of length `span` that hold all slots, by trying every placement."""

    @cache
    def best(first: int) -> int:
        if first == len(slots):
            return 0
        starts = range(slots[first] - span + 1, slots[first] + 1)
        reached = {next((i for i in range(first, len(slots)) if slots[i] >= s + span), len(slots)) for s in starts}
        return 1 + min(best(end) for end in reached)

    return best(0)


@given(
    slots=st.sets(st.integers(0, 40), max_size=16).map(sorted),
    limit=st.integers(1, 9),
    step=st.sampled_from([1, 7, 60_000]),
)
def test_cover_is_exact_disjoint_and_minimal(slots, limit, step):
    pages = cover(Intervals.of_slots([slot * step for slot in slots], step), step, limit)
    asked = [open_time for page in pages for open_time in page.wanted.slots(step)]
    assert sorted(asked) == [slot * step for slot in slots]
    assert all(len(page.interval.grid(step)) <= limit for page in pages)
    assert all(newer.interval.start >= older.interval.stop for newer, older in pairwise(pages))
    assert len(pages) == fewest(tuple(slots), limit)


@given(
    slots=st.sets(st.integers(0, 60), max_size=12).map(sorted),
    limit=st.integers(1, 12),
    margin=st.integers(0, 6),
    closed=st.integers(0, 5),
    step=st.sampled_from([1, 7, 60_000]),
)
def test_margins_cost_no_request_and_reach_over_only_for_want_of_a_neighbour(slots, limit, margin, closed, step):
    pages = cover(Intervals.of_slots([slot * step for slot in slots], step), step, limit)
    end = ((slots[-1] if slots else 0) + 1 + closed) * step
    wide = with_margins(pages, step, end, margin=margin, limit=limit)
    owned = shares(pages, step, end)
    assert [page.wanted for page in wide] == [page.wanted for page in pages]
    assert all(newer.start == older.stop for newer, older in pairwise(owned))
    assert all(page.interval.start >= own.start for page, own in zip(pages, owned, strict=True))
    assert all(page.interval.stop <= own.stop for page, own in zip(pages, owned, strict=True))
    for page, narrow, own in zip(wide, pages, owned, strict=True):
        assert len(page.interval.grid(step)) <= limit
        older = (narrow.interval.start - page.interval.start) // step
        newer = (page.interval.stop - narrow.interval.stop) // step
        assert 0 <= older <= margin
        assert 0 <= newer <= margin
        assert 0 <= page.interval.start <= page.interval.stop <= end
        assert page.interval.start >= own.start or narrow.interval.start == own.start
        assert page.interval.stop <= own.stop or narrow.interval.stop == own.stop
        # pages are as wide as can be: a side falls short for want of slots only
        spare = limit - (narrow.interval.stop - narrow.interval.start) // step
        before, after = narrow.interval.start // step, (end - narrow.interval.stop) // step
        if len(pages) == 1:
            assert older + newer == min(spare, min(margin, before) + min(margin, after))
        if margin and spare >= 2:
            assert older or not before
            assert newer or not after
