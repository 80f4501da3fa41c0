"""An upgrade: what an engine of commit 44faf89 left in Redis is read and gone on with. See recorded/README.md."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.integration.engines import MINUTE, T0, Engine, engine, span

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.engine.scheduled_passes import GAP_SCAN, ScheduledPasses
from reconciler_engine.errors import OtherProtocol
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.listing import Listing
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.store.journal import Journal
from reconciler_engine.store.leases import JobLeases
from reconciler_engine.store.protocol import check_protocol
from reconciler_engine.store.status_board import StatusBoard

RECORDED = Path(__file__).with_name("recorded") / "44faf89.jsonl"
BTC, ETH, SOL, THIN, NEW, GONE, RARE = (
    Series(name, Timeframe.M1)
    for name in ("BTC-USD", "ETH-USD", "SOL-USD", "DASH-USD", "JUP-USD", "OMG-USD", "RARE-USD")
)
SERIES = [BTC, ETH, SOL, THIN, NEW, GONE]
MARKET = SeededMarket(
    3,
    [
        ListedProduct("BTC-USD", 65_000.0),
        ListedProduct("ETH-USD", 3_000.0),
        ListedProduct("SOL-USD", 150.0),
        ListedProduct("DASH-USD", 35.0, 2, 9_000.0, 6, 2_000, dense=False),
        ListedProduct("JUP-USD", 0.8, listed=T0 + 366 * MINUTE),
        ListedProduct("OMG-USD", 0.6, delisted=T0 + 385 * MINUTE),
        ListedProduct("RARE-USD", 3.0, 2, 900.0, 6, 90, dense=False),
        ListedProduct("BTC-USDC", 65_000.0, alias_of="BTC-USD"),
    ],
    [span(6, 372)],
)
WINDOW = span(40, 360)
OLD = span(1_500, -2_000)
VERIFIED = [span(300, first) for first in (-2_000, -1_700, -1_400)]
FILLED_BEFORE = 38
OWNER = "old-host:77:0000beef.00000001"
LETTERS = {"missing": "m", "empty": "e", "halted": "h", "unlisted": "u", "suspect": "s"}


@asynccontextmanager
async def upgraded(redis_url: str) -> AsyncIterator[tuple[Engine, dict[str, Any]]]:
    """An engine of today, not at work yet, over what was recorded; with what the old one read of it."""
    head, *lines = RECORDED.read_text("utf-8").splitlines()
    async with engine(redis_url, market=MARKET, workers=0, quick_scan_window_ms=40 * MINUTE) as run:
        recorded = json.loads(head)
        commands = [json.loads(line.replace("SOURCE", run.parts.scope.source)) for line in lines]
        replies = await run.parts.client.pipe([[text.encode("latin-1") for text in command] for command in commands])
        assert [reply for reply in replies if isinstance(reply, Exception)] == []
        assert await run.parts.clock.skew_ms() == recorded["skew_ms"]
        await run.turn_to(recorded["now"])
        yield run, recorded


async def states(run: Engine, series: Series, interval: Interval) -> str:
    """Return the state of each slot, a letter each."""
    (read,) = await run.parts.evidence.read([(series, interval)])
    assert read.error is None
    found = [read.ledger.at(at) for at in interval.grid(MINUTE)]
    return "".join("." if one is None else LETTERS[one.state.value] for one in found)


def written_out(runs: list[tuple[str, int]]) -> str:
    return "".join(letter * count for letter, count in runs)


async def test_all_that_was_kept_is_read(redis_url):
    async with upgraded(redis_url) as (run, recorded):
        parts = run.parts
        for series, interval in [*((one, WINDOW) for one in SERIES), (RARE, OLD)]:
            assert await states(run, series, interval) == written_out(recorded["states"][series.symbol]), series
        assert await states(run, SOL, span(2, -10)) == "ee"
        changes = await Journal(parts.client, parts.scope).read(SERIES, since=0, limit=100)
        told = [[one.series.symbol, (one.start - T0) // MINUTE, one.why.value, one.by.split("-")[0]] for one in changes]
        assert told == recorded["journal"]
        coverage = {name: one.model_dump(exclude_defaults=True) for name, one in (await parts.coverage.read()).items()}
        assert coverage == recorded["coverage"]
        statistics = await parts.bucket.statistics()
        assert (statistics.granted, statistics.breaker.silent) == (recorded["granted"], recorded["silent"])
        assert await parts.queue.lengths() == {**recorded["queued"], "verify": 0}
        assert await JobLeases(parts.client, parts.scope, "us").is_held(GAP_SCAN)


async def test_the_two_product_lists_are_read_as_one_and_kept_as_one(redis_url):
    async with upgraded(redis_url) as (run, recorded):
        kept = await run.parts.products.read()
        assert (kept.at, len(kept.products)) == (recorded["now"], 8)
        assert kept.listings.by_symbol == {
            "JUP-USD": Listing(T0 + 366 * MINUTE), "OMG-USD": Listing(delisted_at=recorded["now"]),
        }  # fmt: skip
        assert kept.listings.books == {"BTC-USDC": "BTC-USD"}
        # The exchange tells when a product was listed only while it is new.
        await run.parts.products.keep(kept.products, recorded["now"] + 1)
        again = await run.parts.products.read()
        assert again.products == kept.products
        assert again.listings.by_symbol["JUP-USD"] == Listing(T0 + 366 * MINUTE)
        assert await run.parts.client.exists(run.parts.scope.key("listings")) == 0


async def test_the_old_engine_is_known_as_long_as_its_status_lives(redis_url):
    async with upgraded(redis_url) as (run, _):
        parts = run.parts
        (status,) = await StatusBoard(parts.client).read()
        assert (status.node, status.jobs[0].name, status.budget is not None) == (OWNER, GAP_SCAN, True)
        with pytest.raises(OtherProtocol, match=r"old-host, version 0.1.0, reconciler-engine start"):
            await check_protocol(parts.client, parts.scope)
        assert 0 < await parts.client.pttl(parts.scope.key(f"status:{OWNER}")) <= 5_000
        await parts.client.delete(parts.scope.key(f"status:{OWNER}"))
        await check_protocol(parts.client, parts.scope)


async def test_open_work_is_finished_and_proofs_by_an_answer_alone_are_looked_at_again(redis_url):
    async with upgraded(redis_url) as (run, recorded), CoinbaseClient(run.parts.config.base_url) as source:
        kept = {one: await run.held(one) for one in [*SERIES, RARE]}
        run.sources.append(source)
        await run.start_workers()
        passes = ScheduledPasses(run.parts, SERIES, now=lambda: recorded["now"])
        await passes.inherit(is_alone=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(passes.keep_leases)
            result = await passes.perform(GAP_SCAN)
            nursery.cancel_scope.cancel()
        # The scan's own two pages, handed out again, filled the gaps before the pass looked. Old proofs are left.
        assert (result.requests, result.errors) == (3, ())
        done = await run.backfill([RARE], OLD)
        assert (done.unresolved, done.errors) == (0, ())
        assert await run.parts.queue.lengths() == {"scan": 0, "live": 0, "verify": 0, "deep": 0}
        assert [key for key in await run.parts.client.keys("*") if b":run:" in key] == []
        # The mark stands for three pages of five: slots they settled are counted, and none of them is asked for again.
        assert done.filled >= FILLED_BEFORE
        assert [page for page in run.asked(RARE) if page in VERIFIED] == []
        # The exchange has no candle more to give.
        assert set(await run.held(RARE, OLD)) == {
            bar.start for bar in MARKET.bars("RARE-USD", Timeframe.M1, OLD, recorded["now"])
        }
        for series, interval in [*((one, WINDOW) for one in SERIES), (RARE, OLD)]:
            letters = written_out(recorded["states"][series.symbol])
            slots = zip(interval.grid(MINUTE), letters, strict=True)
            lacking = {at for at, letter in slots if letter in ".meh" and at not in kept[series]}
            pages = [page for page in run.asked(series) if not lacking & set(page.grid(MINUTE))]
            # The most traded product is asked for as a reference, too.
            assert [page for page in pages if series is not BTC or page.size(MINUTE) < PAGE_SLOTS] == [], series
        assert {one for one in SERIES if run.asked(one)} == set(SERIES)
        for series in (ETH, SOL):
            assert set(await run.held(series, WINDOW)) == set(WINDOW.grid(MINUTE)) - set(span(6, 372).grid(MINUTE))
        # A second answer proves again what old ones had proved: hours later, since some lie in a sudden silence.
        await run.turn_to(recorded["now"] + 120 * MINUTE)
        again = await run.parts.reconciler.run_pass(PassRequest("again", SERIES, WINDOW))
        assert (again.unresolved, again.errors) == (0, ())
        for series in SERIES:
            letters = written_out(recorded["states"][series.symbol])
            settled = zip(letters, await states(run, series, WINDOW), strict=True)
            assert [now for before, now in settled if before in "ehu" and before != now] == [], series
