"""The product list while an engine runs: asked for when due, by one of all, and what it says of listings is heeded."""

from __future__ import annotations

import pytest
import trio
from tests.integration.engines import MINUTE, T0, Engine, engine, span

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.engine.looks_beside import take_up_listed
from reconciler_engine.engine.parts import Parts
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.engine.roles import worker as worker_role
from reconciler_engine.engine.roles.worker import WorkerRole
from reconciler_engine.engine.scheduled_passes import ScheduledPasses
from reconciler_engine.engine.symbols import (
    REFRESH_EVERY_S,
    choose_known_symbols,
    choose_symbols,
    refresh_when_due,
)
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import State
from reconciler_engine.planning.listing import Listing
from reconciler_engine.simulator.faults.file import parse_faults
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket

pytestmark = pytest.mark.contract(cluster_by_mark=True)

NEW = Series("JUP-USD", Timeframe.M1)
LISTED = T0 + 150 * MINUTE
TODAY = SeededMarket(
    3, [ListedProduct("BTC-USD", 65_000.0), ListedProduct("OMG-USD", 0.6), ListedProduct("BTC-USDC", 65_000.0)]
)
TOMORROW = SeededMarket(
    3,
    [
        ListedProduct("BTC-USD", 65_000.0),
        ListedProduct("OMG-USD", 0.6, delisted=T0 + 100 * MINUTE),
        ListedProduct("BTC-USDC", 65_000.0, alias_of="BTC-USD"),
        ListedProduct(NEW.symbol, 0.8, listed=LISTED),
    ],
)
PERPETUAL = ListedProduct("BTC-PERP-INTX", 65_000.0, product_type="FUTURE")
AWAY = [{"mode": "status", "status": 503, "path": "*/market/products"}]


def lists_asked(run: Engine) -> int:
    return sum(one.path.endswith("/market/products") for one in list(run.exchange.log.records))


async def let_an_hour_pass(run: Engine) -> None:
    """Redis' clock cannot be put forward: the turn that lasts so long ends now."""
    (turn,) = await run.parts.client.execute_command("KEYS", "*products:turn", keys=[run.parts.scope.key("x")])
    life_s = await run.parts.client.ttl(turn)
    assert REFRESH_EVERY_S - 60 < life_s <= REFRESH_EVERY_S
    await run.parts.client.delete(turn)


async def test_the_list_is_asked_for_once_an_hour_by_one_of_all(redis_url):
    async with engine(redis_url, market=TODAY) as run:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(refresh_when_due, run.parts, run.sources[0])
        assert lists_asked(run) == 1
        await let_an_hour_pass(run)
        run.exchange.market = TOMORROW
        before = await run.parts.clock.redis_now()
        await refresh_when_due(run.parts, run.sources[0])
        await refresh_when_due(run.parts, run.sources[0])
        assert lists_asked(run) == 2
        known = await run.parts.products.listings()
        assert known.by_symbol[NEW.symbol] == Listing(LISTED)
        delisted = known.by_symbol["OMG-USD"].delisted_at
        # the exchange does not say when: it counts from the list that says so first
        assert delisted is not None
        assert before <= delisted <= await run.parts.clock.redis_now()
        assert known.books == {"BTC-USDC": "BTC-USD"}
        await let_an_hour_pass(run)
        await refresh_when_due(run.parts, run.sources[0])
        assert await run.parts.products.listings() == known


async def test_an_exchange_that_gives_no_list_is_asked_again_within_minutes(redis_url):
    async with engine(redis_url, market=TODAY) as run:
        await refresh_when_due(run.parts, run.sources[0])
        listed, known = await run.parts.products.read(), await run.parts.products.listings()
        await let_an_hour_pass(run)
        run.exchange.market = TOMORROW
        run.exchange.faults.set(parse_faults({"fault": AWAY}))
        asked = lists_asked(run)
        await refresh_when_due(run.parts, run.sources[0])
        assert lists_asked(run) > asked
        # the earlier knowledge goes on holding
        assert (await run.parts.products.read(), await run.parts.products.listings()) == (listed, known)
        (turn,) = await run.parts.client.execute_command("KEYS", "*products:turn", keys=[run.parts.scope.key("x")])
        assert 0 < await run.parts.client.ttl(turn) <= 300
        run.exchange.faults.set([])
        await run.parts.client.delete(turn)
        await refresh_when_due(run.parts, run.sources[0])
        assert NEW.symbol in (await run.parts.products.listings()).by_symbol


async def test_futures_are_asked_for_only_where_the_spot_list_lacks_a_symbol(redis_url):
    market = SeededMarket(3, [ListedProduct("BTC-USD", 65_000.0), ListedProduct("ETH-USD", 3_000.0), PERPETUAL])
    async with engine(redis_url, market=market) as run:
        source = run.sources[0]
        assert await choose_symbols(["ETH-USD", "BTC-USD"], run.parts, source) == ("ETH-USD", "BTC-USD")
        assert lists_asked(run) == 1
        *spot, last = await choose_symbols(["all:USD", PERPETUAL.symbol], run.parts, source)
        assert last == PERPETUAL.symbol
        assert last not in spot
        assert lists_asked(run) == 3
        with pytest.raises(ConfigError, match="symbol BTC-PERP-INTY is not a product of the exchange; near: BTC-PERP"):
            await choose_symbols(["BTC-USD", "BTC-PERP-INTY"], run.parts, source)


async def test_without_the_list_of_futures_the_spot_list_is_of_use_and_kept(redis_url, caplog):
    async with engine(redis_url, market=TODAY) as run:
        answers = [{"mode": "status", "status": 503, "path": "*/market/products", "first": 2}]
        run.exchange.faults.set(parse_faults({"fault": answers}))
        symbols = ["top:1:USD", PERPETUAL.symbol]
        *spot, unchecked = await choose_symbols(symbols, run.parts, run.sources[0])
        assert (len(spot), unchecked) == (1, PERPETUAL.symbol)
        assert "no list of futures came" in caplog.text
        assert len((await run.parts.products.read()).products) > 1


async def test_an_unknown_symbol_is_left_out_of_the_choice_unless_it_is_all(redis_url):
    async with engine(redis_url, market=TODAY) as run:
        choice = await choose_known_symbols(["BTC-UDS", "BTC-USD"], run.parts, run.sources[0])
        assert choice.symbols == ("BTC-USD",)
        assert choice.unknown["BTC-UDS"].startswith("symbol BTC-UDS is not a product of the exchange; near: BTC-USD")
        with pytest.raises(ConfigError, match="symbol BTC-UDS"):
            await choose_known_symbols(["BTC-UDS"], run.parts, run.sources[0])
        with pytest.raises(ConfigError, match="nothing tradable is quoted in EUR"):
            await choose_known_symbols(["BTC-USD", "all:EUR"], run.parts, run.sources[0])


async def test_a_symbol_that_is_listed_later_is_taken_up(redis_url):
    async with engine(redis_url, market=TODAY) as run:
        passes = ScheduledPasses(run.parts, [], now=lambda: T0, unknown=["QQQ-USD", NEW.symbol])
        await refresh_when_due(run.parts, run.sources[0])
        await take_up_listed(passes)
        assert (passes.series, passes.unknown) == ([], ("QQQ-USD", NEW.symbol))
        await let_an_hour_pass(run)
        run.exchange.market = TOMORROW
        await refresh_when_due(run.parts, run.sources[0])
        await take_up_listed(passes)
        assert passes.unknown == ("QQQ-USD",)
        assert {series.symbol for series in passes.series} == {NEW.symbol}


class Looks:
    """A worker's looks whether a list is due, one after the other."""

    def __init__(self) -> None:
        self._ended = trio.Event()

    async def look(self, parts: Parts, source: CoinbaseClient) -> None:
        await refresh_when_due(parts, source)
        self._ended.set()
        self._ended = trio.Event()

    async def wait(self, count: int) -> None:
        for _ in range(count):
            await self._ended.wait()


@pytest.fixture
def looks(monkeypatch) -> Looks:
    """Those of a worker that looks every few milliseconds."""
    looks = Looks()
    monkeypatch.setattr(worker_role, "_LOOK_S", 0.02)
    monkeypatch.setattr(worker_role, "refresh_when_due", looks.look)
    return looks


async def test_a_listing_that_changes_while_the_engine_runs_is_heeded_by_the_next_pass(redis_url, looks):
    async with engine(redis_url, market=TODAY) as run:
        await run.nursery.start(WorkerRole(run.parts, run.sources[0]).run)
        await looks.wait(1)
        unknown = await run.parts.reconciler.run_pass(PassRequest("test", [NEW], span(100, 100)))
        assert unknown.errors
        assert unknown.unresolved == 100
        run.exchange.market = TOMORROW
        await looks.wait(5)
        assert lists_asked(run) == 1
        assert (await run.parts.products.listings()).by_symbol == {}
        await let_an_hour_pass(run)
        # one may have begun before
        await looks.wait(2)
        assert lists_asked(run) == 2
        asked = len(run.asked(NEW))
        done = await run.parts.reconciler.run_pass(PassRequest("test", [NEW], span(100, 100)))
        assert (done.filled, done.confirmed_empty, done.unresolved, done.errors) == (50, 50, 0, ())
        assert len(run.asked(NEW)) == asked + 1
        (read,) = await run.parts.evidence.read([(NEW, span(100, 100))])
        unlisted = read.ledger.where(span(100, 100), lambda finding: finding.state is State.UNLISTED)
        assert list(unlisted) == [span(50, 100)]
        again = await run.parts.reconciler.run_pass(PassRequest("test", [NEW], span(100, 100)))
        assert (again.requests, again.missing) == (0, 0)
