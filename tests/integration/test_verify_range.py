"""A range compared again: what the exchange has changed since it was verified is found and repaired."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace

import pytest
import trio
from tests.integration.engines import DENSE, MARKET, MINUTE, T0, Engine, engine, span, truth
from tests.integration.rewritten_market import RewrittenMarket
from tests.integration.test_engine_backfill import BROKEN

from reconciler_engine.cli.backfill import foreground
from reconciler_engine.cli.backfill.progress_display import show_progress
from reconciler_engine.engine.backfill.asked_again import SECOND_AFTER_MS, ask_again
from reconciler_engine.engine.backfill.progress import BackfilledSeries
from reconciler_engine.engine.scheduled_passes import VERIFY, ScheduledPasses
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.observe.metrics import figures
from reconciler_engine.store.journal import Journal, Why

SLOTS = 1_500
PAGES = 5
LATER = T0 + 30 * 86_400_000


def at(slot: int) -> int:
    return T0 + slot * MINUTE


def rewrite(market: RewrittenMarket, *slots: int) -> None:
    for slot in slots:
        market.rewritten[DENSE.symbol, DENSE.timeframe, at(slot)] = "777.5"


async def compare(run: Engine) -> ReconciliationResult:
    return await run.parts.history.backfill([DENSE], span(SLOTS), run.seen.append, again=True)


async def compare_alone(run: Engine) -> BackfilledSeries:
    (row,) = (await compare(run)).series
    assert isinstance(row, BackfilledSeries)
    return row


def counted_as(outcome: str) -> float:
    """Candles that this process' merges counted with an outcome."""
    return figures().get(f"merged_candles_total|{outcome}", [0.0])[0]


async def changes(run: Engine) -> dict[int, Why]:
    found = await Journal(run.parts.client, run.parts.scope).read([DENSE], since=0, limit=100)
    return {(one.start - T0) // MINUTE: one.why for one in found}


@pytest.fixture
def market():
    return RewrittenMarket(MARKET)


async def test_rewritten_bars_give_way_to_a_second_answer_and_are_journalled(redis_url, market):
    async with engine(redis_url, market=market) as run:
        await run.turn_to(LATER)
        await run.backfill([DENSE], span(SLOTS))
        rewrite(market, 7, 800)
        # A backfill does not ask for verified candles.
        assert (await run.backfill([DENSE], span(SLOTS))).requests == 0
        plan = await run.parts.history.plan([DENSE], span(SLOTS), again=True)
        assert plan.requests == PAGES
        first = await compare(run)
        assert (first.requests, first.mismatched, first.repaired) == (PAGES, 2, 0)
        assert first.newly_verified == SLOTS - 2
        assert await run.held(DENSE) == truth(DENSE, span(SLOTS))
        await run.turn_to(await run.parts.clock.now() + SECOND_AFTER_MS)
        second = await ask_again(run.parts.reconciler, "verify_range", first)
        assert (second.mismatched, second.repaired, second.rewritten) == (2, 2, 2)
        assert second.requests - first.requests == 2
        assert await changes(run) == {7: Why.REWRITTEN, 800: Why.REWRITTEN}
        held = await run.held(DENSE)
        assert {slot: held[at(slot)][-1] for slot in (7, 800)} == {7: 777.5, 800: 777.5}
        # All is as the exchange has it now; each candle is asked for again all the same.
        third = await compare(run)
        assert (third.requests, third.mismatched, third.newly_verified) == (PAGES, 0, SLOTS)


async def test_the_command_waits_for_second_answers_and_tells_until_when(redis_url, market, monkeypatch):
    async with engine(redis_url, market=market) as run:
        await run.turn_to(LATER)
        await run.backfill([DENSE], span(SLOTS))
        rewrite(market, 7)
        await run.turn_to(LATER + 5_000)

        async def wait(seconds: float) -> None:
            await run.turn_to(await run.parts.clock.now() + round(seconds * 1_000))

        monkeypatch.setattr(foreground, "trio", SimpleNamespace(sleep=wait))
        told = io.StringIO()
        merged = counted_as("rewritten")
        with show_progress(told, is_terminal=False, quiet=False) as progress:
            done = await foreground._compare(run.parts, [DENSE], span(SLOTS), progress)
        assert (done.mismatched, done.repaired, done.rewritten, done.errors) == (1, 1, 1, ())
        assert told.getvalue().startswith("1 candle differing from the exchange: asked for again at 2025-01-31T00:")
        assert await changes(run) == {7: Why.REWRITTEN}
        assert counted_as("rewritten") - merged == 1


async def test_the_verify_run_asks_for_a_second_answer_that_nobody_waited_for(redis_url, market):
    async with engine(redis_url, market=market) as run:
        now = at(SLOTS) + MINUTE
        await run.turn_to(now)
        await run.backfill([DENSE], span(SLOTS))
        rewrite(market, 7)
        assert (await compare(run)).repaired == 0
        now += SECOND_AFTER_MS + MINUTE
        await run.turn_to(now)
        await ScheduledPasses(run.parts, [DENSE], now=lambda: now).perform(VERIFY)
        assert await changes(run) == {7: Why.REWRITTEN}


async def test_a_cache_that_only_reports_keeps_its_candles_and_tells_each_time(redis_url, market):
    async with engine(redis_url, market=market, audit_policy="report") as run:
        await run.turn_to(LATER)
        await run.backfill([DENSE], span(SLOTS))
        rewrite(market, 7)
        for _ in range(2):
            done = await compare(run)
            assert (done.mismatched, done.repaired) == (1, 0)
        assert await run.held(DENSE) == truth(DENSE, span(SLOTS))
        assert await changes(run) == {}


async def test_an_interrupted_comparison_goes_on_where_it_was(redis_url, market):
    async with engine(redis_url, market=market, batch_size=1, batch_delay_ms=50) as run:
        await run.turn_to(LATER)
        await run.backfill([DENSE], span(SLOTS))
        before = len(run.asked())
        with trio.CancelScope() as life:

            async def end_life() -> None:
                while len(run.asked()) < before + 3:
                    await trio.lowlevel.checkpoint()
                life.cancel()

            run.nursery.start_soon(end_life)
            await compare(run)
        assert life.cancelled_caught
        while await run.parts.client.exists(run.parts.scope.companion_key(DENSE, "claims")):
            await trio.lowlevel.checkpoint()
        cut = len(run.asked())
        row = await compare_alone(run)
        assert row.resumed_at is not None
        assert row.resumed_at > T0
        assert len(run.asked()) - cut < PAGES
        assert run.seen[-1].slots_done == SLOTS
        # A backfill of the same range has a mark of its own.
        filled = (await run.backfill([DENSE], span(SLOTS))).series[0]
        assert isinstance(filled, BackfilledSeries)
        assert filled.resumed_at is None


async def test_pages_without_an_answer_leave_the_mark_before_them(redis_url, market):
    async with engine(redis_url, market=market) as run:
        await run.turn_to(LATER)
        await run.backfill([DENSE], span(SLOTS))
        run.exchange.faults.set([replace(BROKEN, first=1)])
        cut = await compare_alone(run)
        assert cut.verified_to == T0
        assert cut.errors
        run.exchange.faults.set([])
        row = await compare_alone(run)
        assert (row.verified_to, row.newly_verified, row.errors) == (at(SLOTS), SLOTS, ())
