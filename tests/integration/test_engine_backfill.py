"""Backfill of long ranges: complete, with the fewest requests, resumable at any moment."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from tests.integration.engines import DENSE, MINUTE, T0, THIN, UNKNOWN, disjoint, engine, span, truth, with_volume

from reconciler_engine.engine.backfill.progress import BackfilledSeries
from reconciler_engine.engine.backfill.reader import READ_SLOTS
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.errors import ConfigError, RunClosed, StoreUnavailable
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.series import Series
from reconciler_engine.simulator.faults.rules import FaultRule
from reconciler_engine.store.client.server_check import wait_serving

pytestmark = pytest.mark.contract(cluster_by_mark=True)

BROKEN = FaultRule("broken", "status", product="BTC-USD", first=6, values={"status": 400, "body": "json"})
"""From the sixth request on the exchange refuses one product's, for good: nobody waits to ask again."""

EMPTY: dict[str, str | float | bool] = {"data": "empty", "seconds": 60, "rows": 3}
"""Settings of a fault: an answer without rows."""


def candle(slot: int, volume: float = 1.0) -> Candle:
    return with_volume(slot, volume)


async def test_an_empty_range_is_filled_with_the_fewest_requests(redis_url):
    async with engine(redis_url) as run:
        result = await run.backfill([DENSE], span(3_100))
        assert await run.held(DENSE) == truth(DENSE, span(3_100))
        pages = run.asked()
        assert len(pages) == 11
        assert disjoint(pages)
        assert (result.missing, result.filled, result.unresolved, result.requests) == (3_100, 3_100, 0, 11)
        assert (result.gaps_found, result.gaps_filled, result.errors) == (1, 1, ())
        (row,) = result.series
        assert isinstance(row, BackfilledSeries)
        assert (row.verified_to, row.resumed_at) == (span(3_100).stop, None)
        # nothing of a run that is done stays behind
        keys = await run.parts.client.keys("*")
        assert [key for key in map(str, keys) if ":run:" in key or ":backfill:" in key] == []


async def test_holes_between_candles_share_pages_over_the_borders_of_reads(redis_url):
    """Two holes 100 slots apart, on either side of a border between two reads, are one page."""
    border = READ_SLOTS
    holes = {border - 50, border - 49, border + 50, border + 248, border + 251, 2_000}
    async with engine(redis_url, audit_policy="report") as run:
        await run.put(DENSE, *(candle(slot) for slot in range(2_400) if slot not in holes))
        result = await run.backfill([DENSE], span(2_400), verify=False)
        # {950..1248} is 299 slots; {1251}, {2000}; neighbours where a page has room, and none of them in two pages
        assert run.asked() == [span(300, border - 50), span(1 + 1 + 30, border + 250), span(30 + 1 + 30, 1_970)]
        assert (result.missing, result.filled, result.gaps_found, result.gaps_filled) == (6, 6, 5, 5)
        held = await run.held(DENSE)
        assert len(held) == 2_400
        assert all(held[T0 + slot * MINUTE][4] == 1.0 for slot in (0, 999, 2_399))


async def test_slots_without_trades_are_confirmed_where_candles_lie_on_both_sides(redis_url):
    async with engine(redis_url) as run:
        known = truth(THIN, span(900))
        result = await run.backfill([THIN], span(900))
        assert await run.held(THIN) == known
        assert (result.missing, result.filled, result.unresolved) == (900, len(known), 0)
        assert result.confirmed_empty == 900 - len(known) > 0
        assert (result.gaps_found, result.gaps_filled) == (1, 0)
        # At their ends the range fills these pages to the last slot: nothing of them is beyond.
        pages = [span(300, first) for first in (0, 300, 600)]
        bridges = [page for page in run.asked() if page not in pages]
        assert result.requests == len(run.asked()) == len(pages) + len(bridges)
        edges = {at for page in pages for at in outside(page, known)}
        assert edges == {at for bridge in bridges for at in bridge.grid(MINUTE) if at in edges} != set()
        assert len(bridges) == 2


def outside(page, known) -> list[int]:
    """Slots of a page that have none of its candles on one side."""
    inside = [at for at in page.grid(MINUTE) if at in known]
    return [at for at in page.grid(MINUTE) if not inside[0] <= at <= inside[-1]]


async def test_what_was_proved_or_asked_just_now_is_not_asked_for_again(redis_url):
    """Two pages without a row: no other page could tell that no candle is to come, only a second answer later."""
    nothing = FaultRule("nothing", "data", product="DASH-USD", first=2, count=2, values=EMPTY)
    async with engine(redis_url, faults=[nothing]) as run:
        first = await run.backfill([THIN], span(1_000))
        assert first.unresolved >= 600
        run.exchange.faults.set([])
        asked = len(run.asked())
        plan = await run.parts.history.plan([THIN], span(1_000))
        assert (plan.requests, plan.missing, plan.confirmed_empty) == (0, first.unresolved, first.confirmed_empty)
        again = await run.backfill([THIN], span(1_000))
        assert (again.requests, again.filled, len(run.asked())) == (0, 0, asked)
        assert (again.unresolved, again.confirmed_empty) == (first.unresolved, first.confirmed_empty)
        # a pass reads the same ledger
        done = await run.parts.reconciler.run_pass(PassRequest("full", [THIN], span(1_000)))
        assert (done.requests, done.unresolved, done.confirmed_empty) == (
            0, first.unresolved, first.confirmed_empty,
        )  # fmt: skip


async def test_a_mark_counts_what_is_confirmed_as_done(redis_url):
    async with engine(redis_url, faults=[replace(BROKEN, product="DASH-USD")], batch_size=1, batch_delay_ms=50) as run:
        (cut,) = (await run.backfill([THIN], span(3_000))).series
        assert isinstance(cut, BackfilledSeries)
        assert T0 < cut.verified_to < span(3_000).stop
        before = run.asked()
        run.exchange.faults.set([])
        count = len(run.exchange.log.records)
        (row,) = (await run.backfill([THIN], span(3_000))).series
        assert isinstance(row, BackfilledSeries)
        assert row.resumed_at == cut.verified_to
        # behind the mark only what the pages before left unproven at their borders
        borders = {page.start for page in before} | {page.stop for page in before}
        again = [page for page in run.asked(since=count) if page.start < cut.verified_to]
        assert all(any(page.start < border < page.stop for border in borders) for page in again)
        assert await run.held(THIN) == truth(THIN, span(3_000))
        assert row.filled + row.confirmed_empty == row.expected == 3_000


async def test_cut_off_in_its_second_look_it_ends_that(redis_url):
    whole = span(3_000)
    async with engine(redis_url, batch_size=1, batch_delay_ms=50) as run:
        with trio.CancelScope() as life:

            async def end_life() -> None:
                while len(run.asked()) < 10 + 2:
                    await trio.lowlevel.checkpoint()
                life.cancel()

            run.nursery.start_soon(end_life)
            await run.backfill([THIN], whole)
        assert life.cancelled_caught
        # Pages in hand end, with the references that they wait for.
        while await run.parts.client.exists(run.parts.scope.companion_key(THIN, "claims")):
            await trio.lowlevel.checkpoint()
        count = len(run.exchange.log.records)
        plan = await run.parts.history.plan([THIN], whole)
        (row,) = (await run.backfill([THIN], whole)).series
        assert isinstance(row, BackfilledSeries)
        assert row.resumed_at == row.verified_to == whole.stop
        assert plan.requests == len(run.asked(since=count)) > 0
        assert all(len(page.grid(MINUTE)) < 300 for page in run.asked(since=count))
        assert (row.unresolved, row.missing, row.filled + row.confirmed_empty) == (0, 3_000, 3_000)


async def test_an_answer_without_known_candles_makes_the_next_backfill_ask_again(redis_url):
    async with engine(redis_url) as run:
        bars = truth(DENSE, span(600))
        late = FaultRule("late", "data", product="BTC-USD", count=1, values=EMPTY)
        run.exchange.faults.set([late])
        await run.put(DENSE, *(candle(slot) for slot in range(600) if not 290 <= slot < 310))
        withheld = await run.backfill([DENSE], span(600), verify=False)
        assert (withheld.missing, withheld.filled, withheld.unresolved, withheld.requests) == (20, 0, 20, 1)
        assert [error.partition(" candles")[0] for error in withheld.errors] == ["BTC-USD:1m: the exchange left out 60"]
        result = await run.backfill([DENSE], span(600), verify=False)
        assert (result.missing, result.filled, result.unresolved, result.requests) == (20, 20, 0, 1)
        held = await run.held(DENSE)
        assert all(held[T0 + slot * MINUTE] == bars[T0 + slot * MINUTE] for slot in range(290, 310))


async def test_dry_run_says_what_the_run_then_does_and_changes_nothing(redis_url):
    async with engine(redis_url, batch_size=5, batch_delay_ms=1_000) as run:
        await run.put(DENSE, *(candle(slot) for slot in range(1_500) if slot not in {3, 4, 302, 303, 1_200}))
        before = sorted(await run.parts.client.keys("*"))
        plan = await run.parts.history.plan([DENSE], span(1_800), verify=False)
        assert run.asked() == []
        assert sorted(await run.parts.client.keys("*")) == before
        # {3, 4, 302}, {303}, {1200..1499}, {1500..1799} less {1200}: {1200}, {1500..1799} are {1200..1499}, {1500..}
        assert (plan.requests, plan.missing, plan.duration_ms) == (4, 305, 800)
        (row,) = plan.series
        assert (row.gaps, row.expected, row.error) == (4, 1_800, None)
        result = await run.backfill([DENSE], span(1_800), verify=False)
        assert result.requests == len(run.asked()) == plan.requests


@pytest.mark.parametrize("answered", [1, 5, 9])
async def test_cut_off_it_goes_on_where_it_was(redis_url, answered):
    whole = span(3_600)
    async with engine(redis_url) as run:
        with trio.CancelScope() as life:

            async def end_life() -> None:
                while len(run.exchange.log.records) < answered:
                    await trio.lowlevel.checkpoint()
                life.cancel()

            run.nursery.start_soon(end_life)
            await run.backfill([DENSE], whole)
        assert life.cancelled_caught
        before = await run.held(DENSE)
        count = len(run.exchange.log.records)
        result = await run.backfill([DENSE], whole)
        assert await run.held(DENSE) == truth(DENSE, whole)
        # stored candles are not asked for again
        assert not [page for page in run.asked(since=count) for at in (page.start, page.stop - MINUTE) if at in before]
        (row,) = result.series
        assert isinstance(row, BackfilledSeries)
        verified = 0 if row.resumed_at is None else (row.resumed_at - T0) // MINUTE
        assert {T0 + slot * MINUTE for slot in range(verified)} <= before.keys()
        assert (row.unresolved, row.verified_to) == (0, whole.stop)


async def test_the_mark_carries_position_and_counts_into_the_next_life(redis_url):
    """Cut off by a page the exchange fails to give: the mark stands before it, and the next life begins there."""
    whole = span(3_000)
    async with engine(redis_url, faults=[BROKEN], batch_size=1, batch_delay_ms=50) as run:
        first = await run.backfill([DENSE, THIN], whole)
        assert any("HTTP 400" in error for error in first.errors), first.errors
        dense, thin = first.series
        assert isinstance(dense, BackfilledSeries)
        assert isinstance(thin, BackfilledSeries)
        assert T0 < dense.verified_to < whole.stop == thin.verified_to
        assert (dense.filled, dense.unresolved) == (1_500, 1_500)
        count = len(run.exchange.log.records)
        run.exchange.faults.set([])
        second = await run.backfill([DENSE], whole)
        # the five pages that could not be had, and no other
        asked = run.asked(since=count)
        assert (len(asked), disjoint(asked), asked[0].start) == (5, True, dense.verified_to)
        (row,) = second.series
        assert isinstance(row, BackfilledSeries)
        assert (row.resumed_at, row.verified_to, row.errors) == (dense.verified_to, whole.stop, ())
        # the counts are those of both lives, up to the mark and from there on
        assert (row.missing, row.filled, row.unresolved, row.gaps) == (3_000, 3_000, 0, 1)
        assert await run.held(DENSE) == truth(DENSE, whole)


async def test_a_mark_over_candles_that_are_gone_counts_for_nothing(redis_url):
    async with engine(redis_url, faults=[BROKEN], batch_size=1, batch_delay_ms=50) as run:
        (cut,) = (await run.backfill([DENSE], span(3_000))).series
        assert isinstance(cut, BackfilledSeries)
        assert cut.verified_to > T0
        await run.parts.client.zremrangebyscore(run.key(DENSE), T0, T0)
        run.exchange.faults.set([])
        (row,) = (await run.backfill([DENSE], span(3_000))).series
        assert isinstance(row, BackfilledSeries)
        assert row.resumed_at is None
        assert await run.held(DENSE) == truth(DENSE, span(3_000))


async def test_errors_of_one_series_stay_its_own(redis_url):
    wrong = Series("ETH-USD", DENSE.timeframe)
    async with engine(redis_url) as run:
        await run.parts.client.set(run.key(wrong), "no sorted set")
        result = await run.backfill([wrong, UNKNOWN, DENSE], span(6_000))
        rows = {row.symbol: row for row in result.series}
        assert rows["BTC-USD"].errors == ()
        assert rows["BTC-USD"].filled == 6_000
        (type_error,) = rows["ETH-USD"].errors
        assert "WRONGTYPE" in type_error
        assert any("404" in error for error in rows["NOPE-USD"].errors)
        assert set(result.errors) == {
            f"ETH-USD:1m: {type_error}",
            *(f"NOPE-USD:1m: {e}" for e in rows["NOPE-USD"].errors),
        }
        # not all of the 20 pages of a product that does not exist
        assert 1 <= len(run.asked(UNKNOWN)) <= 4
        for row in result.series[:2]:
            assert isinstance(row, BackfilledSeries)
            assert row.verified_to == T0
            assert row.filled == 0


async def test_duplicates_and_members_that_are_none_are_cleaned_and_counted(redis_url):
    async with engine(redis_url) as run:
        await run.put(DENSE, *(candle(slot) for slot in range(2_000) if slot != 1_700))
        await run.put(DENSE, candle(5, volume=2.0), candle(1_500, volume=3.0))
        await run.parts.client.zadd(run.key(DENSE), {"{broken": T0 + 1_700 * MINUTE})
        result = await run.backfill([DENSE], span(2_000), verify=False)
        (row,) = result.series
        assert (row.duplicates, row.malformed, row.missing, row.filled) == (2, 1, 1, 1)
        held = await run.held(DENSE)
        assert len(held) == 2_000
        assert held[T0 + 5 * MINUTE][4] == 2.0
        assert held[T0 + 1_700 * MINUTE] == truth(DENSE, span(1, 1_700))[T0 + 1_700 * MINUTE]
        # duplicates cost no request
        assert run.asked() == [span(30 + 1 + 30, 1_670)]


async def test_what_retention_would_drop_is_refused_before_anything_is_asked(redis_url):
    async with engine(redis_url, max_candles=1_000) as run:
        with pytest.raises(ConfigError, match="max_candles 1000 keeps the newest 1000 and drops the other") as refused:
            await run.backfill([DENSE, THIN], span(600))
        assert len(refused.value.faults) == 2
        assert run.asked() == []


async def test_a_later_backfill_of_the_same_range_takes_over(redis_url):
    slow = FaultRule("slow", "slow_head", values={"seconds": 0.2})
    ended = []
    async with engine(redis_url, faults=[slow]) as run:

        async def earlier() -> None:
            try:
                await run.backfill([DENSE], span(3_000))
            except* RunClosed:
                ended.append("earlier")

        run.nursery.start_soon(earlier)
        while len(run.exchange.log.records) < 3:
            await trio.lowlevel.checkpoint()
        result = await run.backfill([DENSE], span(3_000))
        while not ended:
            await trio.lowlevel.checkpoint()
        assert result.unresolved == 0
        assert await run.held(DENSE) == truth(DENSE, span(3_000))


async def test_progress_ends_at_the_whole(redis_url):
    async with engine(redis_url) as run:
        await run.backfill([DENSE, THIN], span(1_500))
        done = [state.slots_done for state in run.seen]
        assert done == sorted(done)
        last = run.seen[-1]
        assert (last.slots, last.slots_done, last.requests, last.series) == (3_000, 3_000, len(run.asked()), "")


async def test_a_server_that_goes_away_ends_it_and_the_mark_stays(own_server):
    async with engine(own_server.url, batch_size=1, batch_delay_ms=50) as run:
        with pytest.RaisesGroup(StoreUnavailable, flatten_subgroups=True, allow_unwrapped=True):
            async with trio.open_nursery() as nursery:

                async def kill() -> None:
                    while len(run.exchange.log.records) < 3:
                        await trio.lowlevel.checkpoint()
                    own_server.kill()

                nursery.start_soon(kill)
                await run.backfill([DENSE], span(3_000))
        own_server.start()
        await wait_serving(run.parts.client, 10)
        result = await run.backfill([DENSE], span(3_000))
        assert result.unresolved == 0
        assert await run.held(DENSE) == truth(DENSE, span(3_000))


async def test_candles_of_its_range_are_verified_and_repaired_and_asked_for_once(redis_url):
    async with engine(redis_url, batch_size=5, batch_delay_ms=1_000) as run:
        there = truth(DENSE, span(1_000))
        for at, (open_, high, low, close, volume) in there.items():
            slot = (at - T0) // MINUTE
            if slot not in {400, 401}:
                await run.put(DENSE, Candle(at, open_, high, low, close, volume / 2 if slot == 700 else volume))
        plan = await run.parts.history.plan([DENSE], span(1_000))
        result = await run.backfill([DENSE], span(1_000))
        assert (plan.requests, result.requests, len(run.asked())) == (4, 4, 4)
        assert (result.missing, result.filled, result.mismatched, result.repaired) == (2, 2, 1, 1)
        assert await run.held(DENSE) == there
        again = await run.backfill([DENSE], span(1_000))
        assert (again.requests, again.missing, again.mismatched) == (0, 0, 0)
