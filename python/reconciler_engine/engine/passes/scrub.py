"""The scrub: finds the pages whose candles were compared longest ago, by their digests' instants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from reconciler_engine.detection.noted import BLOCK_SLOTS
from reconciler_engine.errors import StoreError, own_fault
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.observe.status import ScrubStatus
from reconciler_engine.planning.page_ages import DAY_MS, OldPage, Pace, PageAges, RoundFigures, page_slots
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.planning.window import closed_before
from reconciler_engine.store.candle_keys import CandleKeys
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.marks import Cursor

LOOKS = 64
"""Parts of series looked at in one run: each is a question to Redis."""

PART_PAGES = 12
"""A part has so many pages: sixty blocks of digests."""

_PARTS_AGAIN = 8
_ALL_MEMBERS = 2**31
_FIT_EVERY_MS = 3_600_000
_KNOWN_MS = 3_600_000


@dataclass(slots=True)
class ScrubMemory:
    """Memory of a scrub between its runs; after a loss it is read from Redis again.

    Attributes:
        ages: Ages of all pages.
        pace: How many may go out.
        began: When this round began (ms UTC); None where nobody has asked Redis yet.
        fitted_at: When the kept slots were looked at last (ms UTC), and of how many series.
        figures: How far the round is; None before the first run.
        looked_at: When that was counted (ms UTC).
    """

    ages: PageAges = field(default_factory=PageAges)
    pace: Pace = field(default_factory=Pace)
    began: int | None = None
    fitted_at: tuple[int, int] = (0, 0)
    figures: RoundFigures | None = None
    looked_at: int = 0

    def status(self, days: int, per_minute: float, now: int) -> ScrubStatus | None:
        """Return the progress of rounds at `now` (ms UTC); None where this engine has not looked for an hour.

        Args:
            days: Days within which a round is to be done.
            per_minute: How many requests of verification may go out a minute.
            now: The instant.
        """
        if self.figures is None or self.began is None or now - self.looked_at > _KNOWN_MS:
            return None
        return ScrubStatus(
            days=days,
            began=self.began,
            pages=self.figures.pages,
            done=self.figures.done,
            unknown=self.figures.unknown,
            round_ms=round(self.figures.pages * 60_000 / per_minute),
            oldest=dict(self.figures.oldest),
        )


class Scrub:
    """Finds the oldest pages of all series, as many as are due; those that run out of time are overdue."""

    def __init__(
        self, keys: CandleKeys, evidence: EvidenceStore, cursor: Cursor, days: int, memory: ScrubMemory
    ) -> None:
        """Make one for rounds of at most so many days; `cursor` keeps when this one began, and its pace."""
        self._keys = keys
        self._evidence = evidence
        self._cursor = cursor
        self._days = days
        self._memory = memory

    async def find(self, series: Sequence[Series], now: int, room: int) -> dict[Series, Interval]:
        """Return the slots to compare again at `now` (ms UTC), by series: pages in a row, of the oldest ones.

        Args:
            series: All series.
            now: The instant.
            room: How many pages there is room for.

        Raises:
            StoreError: Redis did not answer.
        """
        ages, pace = self._memory.ages, self._memory.pace
        await self._resume(now)
        await self._fit(series, now)
        for one, numbers in islice(ages.unknown(PART_PAGES), LOOKS):
            await self._look(one, numbers, now)
        await self._look_at_oldest(now)
        earned = pace.earned(ages.pages, self._days, now)
        overdue = (now - self._days * DAY_MS) // 1_000
        due = (page for number, page in enumerate(ages.oldest(room, now)) if number < earned or page.at <= overdue)
        found: dict[Series, Interval] = {}
        for page in await self._confirm(list(due), now):
            before = found.get(page.series)
            if before is None:
                found[page.series] = page.slots
            elif before.touches(page.slots):
                found[page.series] = Interval(min(before.start, page.slots.start), max(before.stop, page.slots.stop))
        sent = sum(len(_numbers(one, slots)) for one, slots in found.items())
        pace.spend(sent, ages.pages, self._days, now)
        await self._note_round(now)
        return found

    async def note(self, found: Mapping[Series, Interval], result: ReconciliationResult, now: int) -> None:
        """Take note of pages that were asked for in the run of `now` (ms UTC).

        Those that got no answer are put off, and those that wait for another one. A page that is old after a good
        answer holds digests of candles that are gone: it is as of now.

        Raises:
            StoreError: Redis did not answer.
        """
        ages, rows = self._memory.ages, {(row.symbol, row.timeframe): row for row in result.series}
        for one, slots in found.items():
            numbers, row = _numbers(one, slots), rows[one.symbol, one.timeframe.value]
            await self._look(one, numbers, now)
            for number in numbers:
                is_old = (ages.at(one, number) or 0) < now // 1_000
                if is_old and (row.errors or row.again_at is not None or not row.expected):
                    ages.put_off(one, number, row.again_at, now)
                elif is_old:
                    ages.note(one, number, now, now)
        await self._note_round(now)

    async def _resume(self, now: int) -> None:
        """Go on with the round that another engine left."""
        memory = self._memory
        if memory.began is None:
            began, paid_to = await self._cursor.load() or ("", now)
            memory.began = min(int(began), now) if began.isdecimal() else now
            memory.pace.paid_to = paid_to

    async def _fit(self, series: Sequence[Series], now: int) -> None:
        """Learn now and then which slots are kept."""
        at, count = self._memory.fitted_at
        if 0 <= now - at < _FIT_EVERY_MS and count == len(series):
            return
        oldest = await self._keys.oldest_of(series, _ALL_MEMBERS)
        kept = {
            one: Interval(first, closed_before(now, one.timeframe))
            for one, first in zip(series, oldest, strict=True)
            if first is not None and first < closed_before(now, one.timeframe)
        }
        self._memory.ages.fit(kept)
        self._memory.fitted_at = now, len(series)

    async def _look_at_oldest(self, now: int) -> None:
        """Read the ages again of the pages that are told as oldest: a command may have compared them meanwhile."""
        looked: set[tuple[Series, int]] = set()
        for _ in range(_PARTS_AGAIN):
            for page in self._memory.ages.oldest_of_each():
                if (page.series, page.number) not in looked:
                    numbers = range(page.number, page.number + PART_PAGES)
                    await self._look(page.series, numbers, now)
                    looked.update((page.series, number) for number in numbers)

    async def _look(self, series: Series, numbers: range, now: int) -> None:
        """Read the ages of some pages; those of a series that cannot be read count as compared now."""
        blocks: Mapping[int, int] = {}
        try:
            blocks = await self._evidence.oldest_verified(series, page_slots(series, numbers.start, numbers.stop))
        except StoreError as error:
            # A key of another type, or one at a node that is away: the passes tell of it.
            own_fault(error, waits=False)
        each = PAGE_SLOTS // BLOCK_SLOTS
        for number in numbers:
            found = (blocks[block] for block in range(number * each, (number + 1) * each) if block in blocks)
            self._memory.ages.note(series, number, min(found, default=None), now)

    async def _confirm(self, pages: Sequence[OldPage], now: int) -> list[OldPage]:
        """Return those pages that are as old as is remembered: others may have been compared meanwhile."""
        for page in pages:
            await self._look(page.series, range(page.number, page.number + 1), now)
        return [page for page in pages if self._memory.ages.at(page.series, page.number) == page.at]

    async def _note_round(self, now: int) -> None:
        """Count how far the round is; once it is done, the next one begins."""
        memory = self._memory
        memory.looked_at, memory.figures = now, memory.ages.figures(memory.began or now)
        if memory.figures.done == memory.figures.pages:
            memory.began = now
            memory.figures = memory.ages.figures(now)
        await self._cursor.save(str(memory.began), memory.pace.paid_to or now)


def _numbers(series: Series, slots: Interval) -> range:
    length = PAGE_SLOTS * series.timeframe.step_ms
    return range(slots.start // length, slots.stop // length)
