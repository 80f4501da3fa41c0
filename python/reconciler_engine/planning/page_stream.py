"""Pages for a range too long to be planned at once: gaps come stretch by stretch, pages leave when they are final."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval
from reconciler_engine.planning.pages import PAGE_SLOTS, Page


class PageStream:
    """The fewest pages that cover missing slots which become known in ascending order, oldest page first.

    Each page begins at the oldest slot not yet covered: some page must hold that slot, and none that does reaches
    further ahead. So where the range was cut into stretches makes no difference: a page that a later stretch may still
    fill up is carried over. Holds one page at most.

    Args:
        step: The grid's step (ms).
        limit: Slots a page may span, at least 1.
    """

    def __init__(self, step: int, limit: int = PAGE_SLOTS) -> None:
        if limit < 1:
            raise ValueError(f"limit {limit} is not a number of slots; allowed: 1 or more")
        self._step = step
        self._span = limit * step
        self._held: list[Gap] = []

    @property
    def carried(self) -> int | None:
        """Oldest missing slot (ms UTC) that is in no page yet, or None."""
        return self._held[0].start if self._held else None

    def add(self, gaps: Iterable[Gap], examined_to: int) -> list[Page]:
        """Take the next missing runs and return the pages that no later slot can join.

        Args:
            gaps: Missing runs, ascending and disjoint, after all that were given before.
            examined_to: First instant (ms UTC) that has not been examined yet; every gap ends before it.
        """
        pages = []
        for gap in gaps:
            start = gap.start
            while start <= gap.end:
                if self._held and start >= self._held[0].start + self._span:
                    pages.append(self._take())
                first = self._held[0].start if self._held else start
                end = min(gap.end, first + self._span - self._step)
                self._held.append(Gap(start, end, (end - start) // self._step + 1))
                start = end + self._step
        if self._held and examined_to >= self._held[0].start + self._span:
            pages.append(self._take())
        return pages

    def finish(self) -> list[Page]:
        """Return the page that was carried, if any: there are no later slots."""
        return [self._take()] if self._held else []

    def _take(self) -> Page:
        gaps, self._held = joined(self._held, self._step), []
        return Page(Interval(gaps[0].start, gaps[-1].end + self._step), gaps)


def joined(gaps: Iterable[Gap], step: int) -> tuple[Gap, ...]:
    """Join runs, ascending and disjoint, that a border between two stretches cut."""
    runs: list[Gap] = []
    for gap in gaps:
        if runs and gap.start == runs[-1].end + step:
            runs[-1] = Gap(runs[-1].start, gap.end, runs[-1].count + gap.count)
        else:
            runs.append(gap)
    return tuple(runs)
