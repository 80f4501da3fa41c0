"""The page cover on hand-made cases; the property tests compare it with a brute force."""

from __future__ import annotations

import pytest

from reconciler_engine.market.gap import Gap
from reconciler_engine.planning.pages import cover, shards


def gap(first: int, last: int) -> Gap:
    return Gap(first, last, last - first + 1)


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
    pages = cover(gaps, 1, limit)
    assert [(page.interval.start, page.interval.stop) for page in pages] == spans
    assert sorted(part for page in pages for part in _slots(page.gaps)) == _slots(gaps)


def _slots(gaps):
    return [slot for one in gaps for slot in range(one.start, one.end + 1)]


def test_cover_refuses_an_empty_page():
    with pytest.raises(ValueError, match="limit 0 is not a number of slots"):
        cover([gap(1, 1)], 1, 0)


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
