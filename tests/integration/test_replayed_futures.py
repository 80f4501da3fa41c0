"""Futures with few trades, replayed: slots proved once are not asked for again, and the ready gate says complete.

The cache begins empty and time is the exchange's. A run of slots without trades that goes on beyond its page is not
proved by that page's answer: the pass ends with a page over the whole of it. Only what no page can hold with a candle
on each side (a run longer than a page, or at the end of the window) waits for a second answer, four minutes later.
Ends with what each pass asked.
"""

from __future__ import annotations

import gzip
import shutil
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from tests.integration.engines import MINUTE, engine

from reconciler_engine import is_ready
from reconciler_engine.archive.candle_file import read_candle_file
from reconciler_engine.archive.naming import parse_file_name
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.simulator.prices.replay import ReplayMarket

DAY = Interval(1_771_891_200_000, 1_771_977_600_000)
"""2026-02-24, the day with the longest runs of `ET-27MAR26-CDE` without trades: up to 294 minutes."""
FUTURES = ("BIP-20DEC30-CDE", "ET-27MAR26-CDE", "SLP-20DEC30-CDE")
MOST_BARS = 10_000


async def check_settled(redis_url, market: ReplayMarket, symbol: str, window: Interval, tell_figure) -> None:
    series = Series(symbol, Timeframe.M1)
    slots = len(window.grid(MINUTE))
    bars = [bar.start for bar in market.bars(symbol, Timeframe.M1, window, window.stop)]
    traded = len(bars)
    at_the_ends = bars[0] - window.start + window.stop - MINUTE - bars[-1]
    too_long = [run for run in (newer - older - MINUTE for older, newer in pairwise(bars)) if run > 298 * MINUTE]
    unprovable = (at_the_ends + sum(too_long)) // MINUTE
    requests, unresolved = [], []
    async with engine(redis_url, market=market, patience_s=240) as run:
        for number in range(4):
            await run.turn_to(market.end + 3_600_000 + number * 5 * MINUTE)
            before = len(run.exchange.log.records)
            done = await run.parts.reconciler.run_pass(PassRequest("test", [series], window))
            assert (done.errors, len(run.asked(series, before))) == ((), done.requests)
            requests.append(done.requests)
            unresolved.append(done.unresolved)
        tell_figure(
            f"{symbol}: {slots} minutes, {1 - traded / slots:.0%} without trades, {unprovable} of them in no page with "
            f"a candle on each side: {-(-slots // PAGE_SLOTS)} pages; requests of four passes five minutes apart "
            f"{requests}, unresolved after each {unresolved}"
        )
        assert requests[0] < 2 * -(-slots // PAGE_SLOTS)
        assert requests[2:] == [0, 0]
        assert (done.unresolved, done.confirmed_empty, done.missing) == (0, slots - traded, 0)
        assert len(await run.held(series)) == traded
        assert unresolved[0] <= unprovable
        assert unresolved[1:] == [0, 0, 0]
        assert requests[1] == 0 or unresolved[0]
        newest = min(slots, MOST_BARS)
        # So that the window's last bar is the newest that counts as closed, for half a minute from now.
        grace = await run.parts.clock.redis_now() - window.stop - MINUTE // 2
        client = run.parts.client
        assert await is_ready(client, symbol, "1m", newest, grace_ms=grace)
        await client.delete(run.parts.scope.evidence_key(series))
        assert not await is_ready(client, symbol, "1m", newest, grace_ms=grace)


@pytest.fixture(params=FUTURES)
def futures(request, market_data, tmp_path) -> Path:
    """The candle file of a contract, in a folder of its own."""
    (path,) = market_data.glob(f"{request.param}_1m_*.csv.gz")
    return Path(shutil.copy(path, tmp_path))


async def test_a_day_of_futures_is_settled(redis_url, futures, tell_figure):
    market = ReplayMarket.read(futures.parent)
    await check_settled(redis_url, market, parse_file_name(futures).symbol, DAY, tell_figure)


@pytest.mark.soak
async def test_all_there_is_of_futures_is_settled(redis_url, futures, tell_figure):
    starts = read_candle_file(futures).starts
    whole = Interval(starts[0], starts[-1] + MINUTE)
    market = ReplayMarket.read(futures.parent)
    await check_settled(redis_url, market, parse_file_name(futures).symbol, whole, tell_figure)


@pytest.mark.parametrize("empty_share", [0.05, 0.58])
async def test_a_made_up_day_with_long_quiet_runs_is_settled(redis_url, tmp_path, tell_figure, empty_share):
    random = Random(7)
    quiet = {slot for start in (100, 700) for slot in range(start, start + 294)} if empty_share > 0.5 else set()
    slots = [slot for slot in range(-60, 1_500) if slot not in quiet and random.random() >= empty_share]
    rows = "".join(f"{DAY.start + slot * MINUTE},1,1,1,1,1\n" for slot in slots)
    text = f"start_ms,open,high,low,close,volume\n{rows}"
    (tmp_path / "QUIET-USD_1m.csv.gz").write_bytes(gzip.compress(text.encode()))
    await check_settled(redis_url, ReplayMarket.read(tmp_path), "QUIET-USD", DAY, tell_figure)
