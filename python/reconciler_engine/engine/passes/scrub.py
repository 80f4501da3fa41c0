"""The scrub: finds the pages whose candles were compared longest ago, by the instants noted with their digests."""

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
"""Most parts of series read in one run; each takes one read of Redis."""

PART_PAGES = 12
"""Length of a part in pages: sixty blocks of digests."""

_PARTS_AGAIN = 8
_ALL_MEMBERS = 2**31
_FIT_EVERY_MS = 3_600_000
_KNOWN_MS = 3_600_000


@dataclass(slots=True)
class ScrubMemory:
    """State of a scrub between its runs; after a restart it is read from Redis again.

    Attributes:
        ages: Ages of all pages.
        pace: Rate at which pages may be requested.
        began: Beginning of this round (ms UTC); None until it is read from Redis.
        fitted_at: Instant of the last read of the kept slots (ms UTC), and the number of series then.
        figures: Progress of the round; None before the first run.
        looked_at: Instant of `figures` (ms UTC).
    """

    ages: PageAges = field(default_factory=PageAges)
    pace: Pace = field(default_factory=Pace)
    began: int | None = None
    fitted_at: tuple[int, int] = (0, 0)
    figures: RoundFigures | None = None
    looked_at: int = 0

    def status(self, days: int, per_minute: float, now: int) -> ScrubStatus | None:
        """Return the progress of the round at `now` (ms UTC); None if this engine has not counted it for an hour.

        Args:
            days: Days within which a round is to be done.
            per_minute: Rate of verification requests (per minute).
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
    """Finds the oldest pages of all series: as many as the pace allows, and all that have exceeded a round's days."""

    def __init__(
        self, keys: CandleKeys, evidence: EvidenceStore, cursor: Cursor, days: int, memory: ScrubMemory
    ) -> None:
        """Make a scrub for rounds of `days` days; `cursor` keeps the beginning and the pace of the round in Redis."""
        self._keys = keys
        self._evidence = evidence
        self._cursor = cursor
        self._days = days
        self._memory = memory

    async def find(self, series: Sequence[Series], now: int, room: int) -> dict[Series, Interval]:
        """Return the slots to compare again at `now` (ms UTC): for each series one interval of its oldest pages.

        Args:
            series: All series.
            now: The instant.
            room: Most pages to return.

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
        """Record the ages of pages that were asked for in the run of `now` (ms UTC).

        Pages without an answer, or that wait for a second one, are put off. If a page is still old after a good answer,
        its old digests belong to deleted candles, so it counts as compared now.

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
        """Read the beginning and the pace of the round from Redis, once after a start."""
        memory = self._memory
        if memory.began is None:
            began, paid_to = await self._cursor.load() or ("", now)
            memory.began = min(int(began), now) if began.isdecimal() else now
            memory.pace.paid_to = paid_to

    async def _fit(self, series: Sequence[Series], now: int) -> None:
        """Update the kept slots, once an hour or when the number of series changed."""
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
        """Read again the ages of the oldest pages, since a command may have compared them meanwhile."""
        looked: set[tuple[Series, int]] = set()
        for _ in range(_PARTS_AGAIN):
            for page in self._memory.ages.oldest_of_each():
                if (page.series, page.number) not in looked:
                    numbers = range(page.number, page.number + PART_PAGES)
                    await self._look(page.series, numbers, now)
                    looked.update((page.series, number) for number in numbers)

    async def _look(self, series: Series, numbers: range, now: int) -> None:
        """Read the ages of pages; those of an unreadable series count as compared now."""
        blocks: Mapping[int, int] = {}
        try:
            blocks = await self._evidence.oldest_verified(series, page_slots(series, numbers.start, numbers.stop))
        except StoreError as error:
            # The key is of another type, or its node is away. Passes report that.
            own_fault(error, waits=False)
        each = PAGE_SLOTS // BLOCK_SLOTS
        for number in numbers:
            found = (blocks[block] for block in range(number * each, (number + 1) * each) if block in blocks)
            self._memory.ages.note(series, number, min(found, default=None), now)

    async def _confirm(self, pages: Sequence[OldPage], now: int) -> list[OldPage]:
        """Read the ages of pages again and leave out those that were compared meanwhile."""
        for page in pages:
            await self._look(page.series, range(page.number, page.number + 1), now)
        return [page for page in pages if self._memory.ages.at(page.series, page.number) == page.at]

    async def _note_round(self, now: int) -> None:
        """Count the progress of the round and save it; if the round is done, begin the next one."""
        memory = self._memory
        memory.looked_at, memory.figures = now, memory.ages.figures(memory.began or now)
        if memory.figures.done == memory.figures.pages:
            memory.began = now
            memory.figures = memory.ages.figures(now)
        await self._cursor.save(str(memory.began), memory.pace.paid_to or now)


def _numbers(series: Series, slots: Interval) -> range:
    length = PAGE_SLOTS * series.timeframe.step_ms
    return range(slots.start // length, slots.stop // length)
