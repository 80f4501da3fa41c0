"""The scrub: kept candles are compared again, the oldest verification first, evenly, beside everything that is due."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from tests.integration.engines import MARKET, Engine, engine
from tests.integration.rewritten_market import RewrittenMarket

from reconciler_engine.engine.passes.agenda import Agenda
from reconciler_engine.engine.scheduled_passes import VERIFY, ScheduledPasses
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.store.journal import Journal, Why

HOUR = 3_600_000
HOURLY = Series("BTC-USD", Timeframe.H1)
PAGE = PAGE_SLOTS * HOUR
FIRST = 1_400
PAGES = 10
SINCE = FIRST * PAGE
NOW = (FIRST + PAGES) * PAGE - 2 * HOUR
"""Two hours before a page ends: the newest of ten."""

DAY: dict[str, Any] = {"scrub_days": 1}


@dataclass
class Kept:
    """Ten pages of hours that were verified at once, and the verify runs of the hours after it."""

    run: Engine
    market: RewrittenMarket
    passes: ScheduledPasses = field(init=False)
    now: int = NOW

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin with another engine's memory."""
        self.passes = ScheduledPasses(self.run.parts, [HOURLY], now=lambda: self.now)

    async def begin(self) -> None:
        await self.run.turn_to(NOW)
        await self.run.parts.history.backfill([HOURLY], Interval(SINCE, NOW), lambda _: None)

    async def hours(self, count: int) -> list[list[int]]:
        """Do a verify run an hour; return the pages behind the newest one that each asked for."""
        asked = []
        for _ in range(count):
            self.now += HOUR
            await self.run.turn_to(self.now)
            before = len(self.run.exchange.log.records)
            await self.passes.perform(VERIFY)
            records = list(self.run.exchange.log.records)[before:]
            starts = [int(one.start) * 1_000 for one in records if one.product == "BTC-USD" and one.start is not None]
            # A second answer about a few slots asks for their neighbours, too.
            asked.append(
                sorted(max(start // PAGE - FIRST, 0) for start in starts if start < SINCE + (PAGES - 1) * PAGE)
            )
        return asked

    def rewrite(self, *slots: int) -> None:
        for slot in slots:
            self.market.rewritten["BTC-USD", Timeframe.H1, SINCE + slot * HOUR] = "7.5"

    async def rewritten(self) -> list[int]:
        """Slots that the journal tells of as rewritten."""
        changes = await Journal(self.run.parts.client, self.run.parts.scope).read([HOURLY], since=0, limit=100)
        return sorted((one.start - SINCE) // HOUR for one in changes if one.why is Why.REWRITTEN)


@pytest.fixture
def market():
    return RewrittenMarket(MARKET)


async def test_each_page_is_compared_again_within_the_days_evenly_over_a_restart(redis_url, market):
    async with engine(redis_url, market=market, **DAY) as run:
        kept = Kept(run, market)
        await kept.begin()
        kept.rewrite(17, 2_000)
        asked = await kept.hours(11)
        began = kept.passes.verify_run.scrubbed.began
        kept.restart()
        asked += await kept.hours(12)
        counts = Counter(page for pages in asked for page in pages)
        # The two with a rewritten bar are asked for a second time.
        assert counts == Counter({page: 1 + (page in {0, 6}) for page in range(PAGES - 1)})
        assert max(map(len, asked)) <= 2
        first = [next(hour for hour, pages in enumerate(asked) if page in pages) for page in range(PAGES - 1)]
        assert first == sorted(first)
        assert min(after - before for before, after in pairwise(first)) >= 2
        assert await kept.rewritten() == [17, 2_000]
        figures = kept.passes.verify_run.scrubbed.figures
        assert figures is not None
        # Two hours after the beginning the next page began.
        assert figures.pages == PAGES + 1
        noted = await run.parts.evidence.verified(HOURLY, Interval(SINCE, kept.now))
        assert figures.oldest == {"1h": min(one.at for one in noted.values())}
        assert kept.now - figures.oldest["1h"] <= 24 * HOUR
        assert began is not None
        assert NOW < began <= (kept.passes.verify_run.scrubbed.began or 0)


async def test_pages_that_a_command_compared_are_told_as_such(redis_url, market):
    async with engine(redis_url, market=market, **DAY) as run:
        kept = Kept(run, market)
        await kept.begin()
        await kept.hours(1)
        at = kept.now + 60_000
        await run.turn_to(at)
        await run.parts.history.backfill([HOURLY], Interval(SINCE, NOW), lambda _: None, again=True)
        await kept.hours(1)
        figures = kept.passes.verify_run.scrubbed.figures
        assert figures is not None
        assert figures.oldest["1h"] >= at


@pytest.mark.parametrize("settings", [{"scrub_days": 0}, {"scrub_days": 1, "max_candles": 100_000, "ttl": 0}])
async def test_nothing_is_compared_again_where_nothing_is_kept_for_good(redis_url, market, settings):
    async with engine(redis_url, market=market, **settings) as run:
        kept = Kept(run, market)
        await kept.begin()
        assert [pages for pages in await kept.hours(4) if pages] == []
        assert kept.passes.verify_run.scrubbed.figures is None


async def test_nothing_is_compared_again_while_other_bars_are_due(redis_url, market, monkeypatch):
    async with engine(redis_url, market=market, **DAY) as run:
        kept = Kept(run, market)
        await kept.begin()
        with monkeypatch.context() as patch:
            patch.setattr(Agenda, "is_behind", lambda *_: True)
            assert [pages for pages in await kept.hours(4) if pages] == []
            # It is told all the same how old all is, but not for ever by an engine that does not look any more.
            assert kept.passes.scrub_status() is not None
            kept.now += 61 * 60_000
            assert kept.passes.scrub_status() is None
        before = (await run.parts.share.statistics()).granted
        asked = sum(len(pages) for pages in await kept.hours(4))
        assert asked > 0
        # Each waited for a permit of the share.
        assert (await run.parts.share.statistics()).granted - before >= asked
