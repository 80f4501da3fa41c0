"""The figures that people are told, held against counts from outside: of the cache, of the exchange's own log."""

from __future__ import annotations

import re

import trio
from tests.integration.engines import DENSE, MINUTE, T0, THIN, engine, span, truth

from reconciler_engine.engine.backfill.progress import BackfilledSeries
from reconciler_engine.engine.pass_words import as_object, in_words, totals
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.result import ReconciliationResult, SeriesResult

SLOTS = 600


async def test_what_became_of_slots_without_a_candle_adds_up(redis_url):
    async with engine(redis_url) as run:
        result = await run.parts.reconciler.run_pass(PassRequest("gap_scan", [THIN], span(SLOTS)))
        held = len(await run.held(THIN))
        told = re.search(
            r"(\d+) slots without a candle: (\d+) filled, (\d+) proved empty, (\d+) left", in_words(result)
        )
        assert told is not None
        without, filled, empty, left = map(int, told.groups())
        assert without == filled + empty + left == SLOTS
        assert (filled, empty) == (held, SLOTS - len(truth(THIN, span(SLOTS))) - left)
        # and a second look at the same slots finds those that were proved empty, and no others
        again = await run.parts.reconciler.run_pass(PassRequest("gap_scan", [THIN], span(SLOTS)))
        assert f"{empty} slots proved empty" in in_words(again)


async def test_a_resumed_backfill_counts_the_requests_that_it_sent(redis_url):
    whole = span(3_000)
    async with engine(redis_url, batch_size=1, batch_delay_ms=50) as run:
        with trio.CancelScope() as life:

            async def end_life() -> None:
                while len(run.asked()) < 6:
                    await trio.lowlevel.checkpoint()
                life.cancel()

            run.nursery.start_soon(end_life)
            await run.backfill([DENSE], whole)
        assert life.cancelled_caught
        while await run.parts.client.exists(run.parts.scope.companion_key(DENSE, "claims")):
            await trio.lowlevel.checkpoint()
        sent = len(run.asked())
        (row,) = (await run.backfill([DENSE], whole)).series
        assert isinstance(row, BackfilledSeries)
        assert row.resumed_at is not None
        assert row.resumed_at > T0 + 300 * MINUTE
        assert row.requests == len(run.asked()) - sent
        assert len(await run.held(DENSE)) == 3_000


async def test_complete_from_is_the_oldest_whole_slot_after_a_backfill_and_an_outage(redis_url):
    async with engine(redis_url, window_bars=100) as run:

        async def full_pass(now: int, bars: int) -> tuple[int | None, int | None]:
            await run.turn_to(now + 15_000)
            await run.parts.reconciler.run_pass(PassRequest("full_reconcile", [DENSE], 100 * MINUTE, bars=bars))
            row = (await run.parts.coverage.read())[str(DENSE)]
            return row.complete_from, row.complete_through

        first = span(100, 4_900)
        assert await full_pass(first.stop, 100) == (first.start, first.stop - MINUTE)
        await run.backfill([DENSE], span(4_800, 100))
        assert await full_pass(first.stop, 100) == (min(await run.held(DENSE)), first.stop - MINUTE)
        # an hour away from everything: no pass, no feeder; a narrow pass first, then a full one
        later = span(1, 5_199).stop
        start, through = await full_pass(later, 0)
        assert (start, through) == (later - 100 * MINUTE, later - MINUTE)
        await run.backfill([DENSE], span(100, 5_000))
        assert (
            await full_pass(later, 100) == (min(await run.held(DENSE)), later - MINUTE) == (span(1, 100).start, through)
        )
        # a candle gone in the middle, far behind the windows, ends it
        (gone,) = await run.parts.client.pipe(
            [("ZREMRANGEBYSCORE", run.key(DENSE), T0 + 2_000 * MINUTE, T0 + 2_000 * MINUTE)]
        )
        assert gone == 1
        assert await full_pass(later, 100) == (T0 + 2_001 * MINUTE, later - MINUTE)


def test_the_same_cause_is_told_once_with_its_count():
    rows = [SeriesResult(name, "1m", 0, 0, 0, errors=("HTTP 503",)) for name in ("A-USD", "B-USD", "C-USD")]
    rows.append(SeriesResult("D-USD", "1m", 0, 0, 0, errors=("no such product",)))
    result = ReconciliationResult.of(rows, gaps_filled=0, duration_ms=1)
    causes = ("A-USD:1m and 2 more: HTTP 503", "D-USD:1m: no such product")
    assert result.causes == totals(result)["errors"] == as_object(result)["errors"] == causes
