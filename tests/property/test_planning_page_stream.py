"""Pages planned stretch by stretch are as few as those planned at once."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.market.interval import Intervals
from reconciler_engine.planning.pages import Page, PageStream, cover


@given(
    slots=st.sets(st.integers(0, 120), max_size=60).map(sorted),
    borders=st.sets(st.integers(1, 120), max_size=12).map(sorted),
    limit=st.integers(1, 9),
    step=st.sampled_from([1, 7, 60_000]),
)
def test_stretches_make_no_page_more_than_one_plan(slots, borders, limit, step):
    ascent = PageStream(step, limit)
    pages: list[Page] = []
    for start, stop in pairwise([0, *borders, 121]):
        inside = [slot * step for slot in slots if start <= slot < stop]
        final = ascent.add(Intervals.of_slots(inside, step), stop * step)
        # no later slot can join a page that was given out
        assert all(page.interval.start + limit * step <= stop * step for page in final)
        pages += final
        carried = ascent.carried
        assert carried is None or stop * step - carried < limit * step
    pages += ascent.finish()
    assert ascent.carried is None
    asked = [at for page in pages for at in page.wanted.slots(step)]
    assert asked == [slot * step for slot in slots]
    assert all(len(page.interval.grid(step)) <= limit for page in pages)
    assert all(older.interval.stop <= newer.interval.start for older, newer in pairwise(pages))
    # minimal, as test_planning_pages shows of the plan at once
    assert len(pages) == len(cover(Intervals.of_slots([slot * step for slot in slots], step), step, limit))
    # a run that a border cut is one run in its page
    assert all(one.stop < later.start for page in pages for one, later in pairwise(page.wanted))
