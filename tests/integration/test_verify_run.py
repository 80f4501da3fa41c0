"""The verify run: candles that are there are compared with the exchange's, each once, and wrong ones are repaired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
from tests.integration.engines import DENSE, MINUTE, Engine, engine, truth
from tests.integration.test_store_history import promote

from reconciler_engine.engine.passes.older_bars import LOOKS
from reconciler_engine.engine.scheduled_passes import GAP_SCAN, VERIFY, ScheduledPasses
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.planning.ledger import Finding, Reason, State
from reconciler_engine.planning.verification import DEFAULT_MAX_UNVERIFIED_MS, DEFAULT_SETTLE_MS
from reconciler_engine.store.marks import Cursor
from reconciler_engine.store.members import member_of
from reconciler_engine.store.verified_fields import digest_of

NOW = 1_735_776_000_000 + 30_000
"""2025-01-02T00:00:30Z: half a minute after a scan tick."""


class Verified:
    """A full cache of some bars, at an instant, and the passes over it."""

    def __init__(self, run: Engine, series: Sequence[Series] = (DENSE,)) -> None:
        self.run = run
        self.now = NOW
        self.passes = ScheduledPasses(run.parts, series, now=lambda: self.now)

    async def turn(self, minutes: float = 0) -> None:
        self.now += round(minutes * MINUTE)
        await self.run.turn_to(self.now)

    async def put(self, bars: int, **wrong: float) -> None:
        """Fill the newest closed bars; `s5=0.5` gives the fifth newest half its volume."""
        stop = self.now // MINUTE * MINUTE
        candles = []
        for at, (open_, high, low, close, volume) in truth(DENSE, Interval(stop - bars * MINUTE, stop)).items():
            share = wrong.get(f"s{(stop - at) // MINUTE}", 1.0)
            candles.append(Candle(at, open_, high, low, close, volume * share))
        await self.run.put(DENSE, *candles)

    async def put_one(self, age: int, share: float = 1.0, sequence: int | None = None) -> bytes:
        """Write the bar that opened so many minutes before the forming one, with a share of its volume."""
        at = self.now // MINUTE * MINUTE - age * MINUTE
        open_, high, low, close, volume = truth(DENSE, Interval(at, at + MINUTE))[at]
        candle = Candle(at, open_, high, low, close, volume * share, sequence)
        await self.run.parts.client.zremrangebyscore(self.run.key(DENSE), at, at)
        await self.run.put(DENSE, candle)
        return member_of(DENSE, candle).encode()

    async def verify(self) -> ReconciliationResult:
        await self.turn()
        return await self.passes.perform(VERIFY)

    async def right(self, bars: int) -> int:
        """How many of the newest bars are as the exchange has them."""
        stop = self.now // MINUTE * MINUTE
        slots = Interval(stop - bars * MINUTE, stop)
        there = truth(DENSE, slots)
        return sum(values == there[at] for at, values in (await self.run.held(DENSE, slots)).items())

    async def noted(self, bars: int) -> int:
        """How many of the newest bars are noted as verified."""
        stop = self.now // MINUTE * MINUTE
        slots = Interval(stop - bars * MINUTE, stop)
        return sum(at in slots for at in await self.run.parts.evidence.verified(DENSE, slots))


async def test_one_request_verifies_all_settled_bars_and_repairs_the_short_ones(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(300, s20=0.5, s100=0.25)
        done = await world.verify()
        assert (done.requests, done.mismatched, done.repaired, done.errors) == (1, 2, 2, ())
        settled = 300 - DEFAULT_SETTLE_MS // MINUTE
        assert (await world.right(300), await world.noted(300)) == (300, settled)
        # Only the young bars are left, which nobody can verify yet.
        assert done.unverified == 300 - settled
        assert (await world.verify()).requests == 0


async def test_the_next_request_waits_until_a_bar_is_due_and_takes_its_fellows_along(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(100)
        await world.verify()
        requests = []
        for _ in range(32):
            await world.turn(1)
            await world.put_one(1)
            requests.append((await world.verify()).requests)
        # The oldest of them closed a minute after the first run's newest settled one.
        assert sum(requests) == 2
        (first, second) = [at for at, count in enumerate(requests, 1) if count]
        assert second - first == (DEFAULT_MAX_UNVERIFIED_MS - DEFAULT_SETTLE_MS) // MINUTE - 5 + 1
        assert await world.noted(132) == 132 - 10 - (32 - second)


async def test_after_a_failover_what_was_proved_empty_is_asked_for_again(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(300)
        await world.verify()
        # Its retraction, by the candle that came late, was lost.
        at = world.now // MINUTE * MINUTE - 100 * MINUTE
        await run.parts.client.zremrangebyscore(run.key(DENSE), at, at)
        empty = Finding(State.EMPTY, Reason.WITH_REFERENCE, at, at, 2, None)
        slot = Intervals([Interval(at, at + MINUTE)])
        await run.parts.evidence.change(
            DENSE,
            slot.hull,
            run.parts.retention,
            lambda known: known._replace(ledger=known.ledger.revise(slot, lambda _: empty)),
        )
        await world.turn(1)
        assert (await world.verify()).requests == 0
        promote(redis_url)
        await world.turn(1)
        assert (await world.verify()).requests == 1
        assert [*await run.held(DENSE, slot.hull)] == [at]


async def test_a_verified_bar_that_is_rewritten_is_asked_for_at_the_next_scan_tick(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(60)
        await world.verify()
        written = await world.put_one(30, 0.5, sequence=9)
        await world.turn(1)
        assert (await world.verify()).requests == 0
        await world.turn(4)
        done = await world.verify()
        assert (done.requests, done.repaired) == (1, 1)
        assert await world.right(65) == 65
        noted = await run.parts.evidence.verified(DENSE, Interval(world.now - 60 * MINUTE, world.now))
        assert digest_of(written) not in {one.digest for one in noted.values()}


async def test_a_bar_written_anew_with_equal_values_is_verified_again(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(60)
        await world.verify()
        await world.put_one(30, sequence=9)
        await world.turn(5)
        done = await world.verify()
        assert (done.requests, done.mismatched) == (1, 0)
        await world.turn(5)
        assert (await world.verify()).requests == 0


async def test_a_missing_bar_behind_the_window_of_the_gap_scan_is_filled(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(200)
        stop = world.now // MINUTE * MINUTE
        for age in (5, 120):
            await run.parts.client.zremrangebyscore(run.key(DENSE), stop - age * MINUTE, stop - age * MINUTE)
        assert (await world.verify()).filled >= 1
        held = await run.held(DENSE)
        assert stop - 120 * MINUTE in held
        scan = await world.passes.perform(GAP_SCAN)
        assert scan.unresolved == 0


async def test_a_share_of_the_budget_bounds_the_requests_of_a_run(redis_url):
    settings: dict[str, Any] = {"batch_size": 100, "batch_delay_ms": 1_000, "verify_share": 0.0001}
    async with engine(redis_url, **settings) as run:
        world = Verified(run)
        assert run.parts.share.budget.rate_per_s == pytest.approx(0.01)
        await world.turn()
        await world.put(60)
        with trio.move_on_after(3):
            await world.verify()
        assert run.asked(DENSE) == []


async def test_bars_behind_the_newest_ones_are_verified_part_by_part(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(1_000, s700=0.5)
        hole = world.now // MINUTE * MINUTE - 900 * MINUTE
        await run.parts.client.zremrangebyscore(run.key(DENSE), hole, hole)
        for _ in range(4):
            await world.verify()
            await world.turn(1)
            await world.put_one(1)
        assert (await world.right(1_004), await world.noted(1_004)) == (1_004, 990)
        assert [len(run.asked(DENSE, since)) for since in (0, 4)] == [4, 0]


async def test_the_walk_over_older_bars_goes_on_where_an_engine_left_it(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(1_000)
        bars, at = run.parts.older_bars, world.now
        first = await bars.find([DENSE], at, 300, 1)
        second = await run.parts.older_bars.find([DENSE], at, 300, 1)
        third = await bars.find([DENSE], at, 300, 1)
        stop = at // MINUTE * MINUTE
        assert [slots for found in (first, second, third) for slots in found.values()] == [
            Interval(stop - 600 * MINUTE, stop - 300 * MINUTE),
            Interval(stop - 900 * MINUTE, stop - 600 * MINUTE),
            Interval(stop - 1_000 * MINUTE, stop - 900 * MINUTE),
        ]
        assert await bars.find([DENSE], at, 300, 1) == first


async def test_the_walk_asks_about_a_bounded_number_of_series_at_a_time(redis_url):
    """Those that have no older bars cost a question, too."""
    async with engine(redis_url) as run:
        series = sorted((Series(f"P{number}-USD", DENSE.timeframe) for number in range(LOOKS + 10)), key=str)
        cursor = Cursor(run.parts.client, run.parts.scope, "verify")
        assert await run.parts.older_bars.find(series, NOW, 300, 1) == {}
        reached = await cursor.load()
        assert reached is not None
        assert reached[0] == str(series[LOOKS - 1])
        await run.parts.older_bars.find(series, NOW, 300, 1)
        assert await cursor.load() != reached
