"""A reader of changes that slept: it catches up exactly, against all that the engine wrote and against the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from tests.worlds.fed_world import FedWorld, fed_world, trouble

from reconciler_engine import changes
from reconciler_engine.market.series import Series
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.store.change_feed import Kind
from reconciler_engine.store.feed_steps import SeriesChange
from reconciler_engine.store.journal import Journal
from reconciler_engine.store.merge_script import MergeOutcome, SeriesWrite

BTC = ListedProduct("BTC-USD", 65_000.0, 2, 9_000.0)
DASH = ListedProduct("DASH-USD", 35.0, 2, 9_000.0, 6, 2_000, dense=False)
MARKET = SeededMarket(11, [BTC, DASH])
MOST = 10_000

Slots = Counter[tuple[str, str, int]]


@pytest.fixture
def written(monkeypatch) -> Slots:
    """Every slot that the engine added a candle to or verified, as the answers to its writes say."""
    slots: Slots = Counter()
    run = SeriesWrite.run

    async def run_noted(self, client, scope):
        outcome = await run(self, client, scope)
        if isinstance(outcome, MergeOutcome):
            slots.update((str(self.series), "added", at) for at in outcome.inserted)
            slots.update((str(self.series), "verified", at) for at in outcome.verified)
        return outcome

    monkeypatch.setattr(SeriesWrite, "run", run_noted)
    return slots


def slots_of(told: Iterable[SeriesChange], *kinds: Kind) -> Slots:
    """Each slot of the changes of these kinds."""
    slots: Slots = Counter()
    for one in told:
        if one.kind in kinds:
            series = Series.parse(f"{one.symbol}:{one.timeframe}")
            step = series.timeframe.step_ms
            slots.update((str(series), one.kind.value, at) for at in range(one.start, one.stop, step))
    return slots


def of_kind(slots: Slots, kind: Kind) -> Slots:
    """Those of a kind."""
    return Counter({slot: count for slot, count in slots.items() if slot[1] == kind.value})


async def read_all(world: FedWorld, cursor: str | None) -> tuple[list[SeriesChange], str, int]:
    """Read to the end, some changes at a time."""
    told: list[SeriesChange] = []
    reads = 0
    while True:
        config = world.config
        batch = await changes(world.redis, cursor, limit=5, base_url=config.base_url, layout=config.layout)
        told += batch.changes
        cursor = batch.cursor
        reads += 1
        if batch.is_all:
            return told, cursor, reads


async def journalled(world: FedWorld) -> set[tuple[str, int, int, int, int]]:
    """Every entry of every journal."""
    entries = await Journal(world.redis, world.scope).read(world.series, since=0, limit=MOST)
    return {(str(one.series), one.at, one.number, one.start, one.stop) for one in entries}


@pytest.mark.parametrize(
    "hours", [pytest.param(0.25, marks=pytest.mark.slow), pytest.param(1.0, marks=pytest.mark.soak)]
)
async def test_a_reader_that_slept_catches_up_exactly(redis_url, mock_clock, tell_figure, written, hours):
    faults = [trouble("away", "status", 0.4, 5, status=503)]
    async with fed_world(redis_url, mock_clock, MARKET, faults=faults, timeframes=("1m", "5m")) as world:
        world.feed()
        await world.start()
        await world.pass_time(0.3)
        before, cursor, _ = await read_all(world, None)
        assert slots_of(before, Kind.ADDED) == of_kind(written, Kind.ADDED)
        known = await journalled(world)
        written.clear()
        await world.pass_time(0.3 + hours)
        # Changes written while it reads are told in this read or the next one.
        told, cursor, reads = await read_all(world, cursor)
        more = [*told]
        while more:
            more, cursor, _ = await read_all(world, cursor)
            told += more
        new = await journalled(world) - known
        assert not [one for one in told if one.kind is Kind.LOST]
        assert slots_of(told, Kind.ADDED) == of_kind(written, Kind.ADDED)
        # Slots verified before are not told again, where the candle is the same.
        assert of_kind(written, Kind.VERIFIED).keys() <= slots_of([*before, *told], Kind.VERIFIED).keys()
        assert slots_of(told, Kind.VERIFIED).keys() <= written.keys()
        seen = {(f"{one.symbol}:{one.timeframe}", one.start, one.stop) for one in told}
        slots = slots_of(told, Kind.CHANGED, Kind.REMOVED, Kind.ADDED)
        assert new
        assert {(name, start) for name, _, _, start, _ in new} <= {(name, at) for name, _, at in slots}
        order = Counter[str]()
        for one in told:
            name = f"{one.symbol}:{one.timeframe}"
            assert one.at >= order[name]
            order[name] = one.at
        tell_figure(
            f"slept {hours:g} simulated hours: {len(told)} changes of {len(seen)} spans in {reads} reads, "
            f"{len(written)} slots added or verified and {len(new)} entries of the journal, none missing"
        )
