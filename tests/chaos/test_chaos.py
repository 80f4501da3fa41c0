"""Fifty seeds of faults over real processes: each a damaged cache, blows that fall while it is repaired, and rest.

A few worlds live through many seeds each, as a machine lives through many bad days. A seed that fails is printed with
its blows; `pytest tests/chaos --chaos-seed=N` plays it alone, in a world of its own.
"""

from __future__ import annotations

from random import Random

import pytest
import trio
from tests.chaos.invariants import SETTLE_S, check, end, settle
from tests.chaos.proxy import Kind, Way
from tests.chaos.schedule import WITHHOLDINGS, Blow, Fault, draw_schedule
from tests.chaos.world import THIN, Plan, World, open_world
from tests.conftest import OwnServer

from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe

PLAN = Plan(
    (Series("P1-USD", Timeframe.M1), Series("P2-USD", Timeframe.M1), Series(THIN.symbol, Timeframe.M1)),
    slots=600,
    requests_per_s=50,
    pages=False,
)
WITHIN_S = 0.8

EMBEDDED = (
    Fault.WORKER_KILL,
    Fault.WORKER_PAUSE,
    Fault.SUPERVISOR_PAUSE,
    Fault.REDIS_KILL,
    Fault.REDIS_PAUSE,
    Fault.REDIS_FLUSH,
    Fault.REDIS_CLIENTS,
    Fault.EXCHANGE_RESTART,
    Fault.EXCHANGE_STORM,
    Fault.EXCHANGE_TOXIC,
)
GIVEN = (*EMBEDDED, Fault.REDIS_TOXIC)
RARE = {7: Fault.SUPERVISOR_KILL, 31: Fault.WORKER_HANG, 40: Fault.SUPERVISOR_KILL}
"""Those that take seconds to heal are in few seeds."""

WITHHELD = range(50, 60)
"""Those in which the exchange withholds candles meanwhile, too: a slot that an answer without a witness lacked is asked
for again after four minutes. Each is a world of its own, which no default run has the time for."""
WITHHELD_S = 3.0
UNPROVED_S = SETTLE_S + 300.0

BRIEF = (range(5, 8), range(29, 32), range(35, 38))
"""Seeds of a world each, for the default run, all at once: each kind of fault is in one of them."""
SLOW = (range(10), range(22, 32), range(32, 42))
BY_MARK = (range(10, 22), range(42, 50))
HOUSED = range(32)
"""Seeds of worlds with the embedded server; the others are given Redis."""


def schedule_of(seed: int, faults: tuple[Fault, ...]) -> tuple[Blow, ...]:
    blows = draw_schedule(seed, faults, within_s=WITHIN_S)
    if seed in WITHHELD:
        rule = seed % len(WITHHOLDINGS)
        return (Blow(0.0, Fault.EXCHANGE_WITHHOLDS, WITHHELD_S, rule=rule), *blows)
    return (*blows, Blow(WITHIN_S / 2, RARE[seed])) if seed in RARE else blows


def is_embedded(seed: int) -> bool:
    return seed in HOUSED or seed in WITHHELD


async def live_through(world: World, seed: int) -> None:
    """Damage, blows and a feeder at once, then rest, then the invariants."""
    blows = schedule_of(seed, EMBEDDED if world.own is None else GIVEN)
    random = Random(seed)
    since = len(world.exchange.log.records)
    world.live.clear()
    try:
        await world.until_done(lambda: world.damage(random, 300))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.suffer, blows, random)
            nursery.start_soon(world.feed, Random(seed), 10, WITHIN_S)
        await settle(world, UNPROVED_S if seed in WITHHELD else SETTLE_S)
        await check(world, since=since, held_s=max(map(held_s, blows)))
    except BaseException as error:
        error.add_note(f"--chaos-seed={seed}: " + "; ".join(map(str, blows)))
        raise


def held_s(blow: Blow) -> float:
    """How long requests may have been held back, to arrive together."""
    if blow.fault is not Fault.EXCHANGE_TOXIC or blow.toxic is None or blow.toxic.way is Way.DOWN:
        return 0.0
    return blow.lasts_s if blow.toxic.kind in {Kind.STALL, Kind.BANDWIDTH, Kind.SLICER, Kind.LATENCY} else 0.0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "worlds" in metafunc.fixturenames:
        seed = metafunc.config.getoption("--chaos-seed")
        long = (*BY_MARK, *(range(each, each + 1) for each in WITHHELD))
        by_mark = [pytest.param(SLOW, marks=pytest.mark.slow)]
        by_mark += (pytest.param((one,), marks=pytest.mark.soak) for one in long)
        batches = [BRIEF, *by_mark]
        played = batches if seed is None else [(range(seed, seed + 1),)]
        metafunc.parametrize("worlds", played, ids=lambda worlds: ",".join(map(name_of, worlds)))


def name_of(seeds: range) -> str:
    return f"{seeds.start}-{seeds.stop - 1}"


@pytest.fixture
def given(worlds, request) -> OwnServer | None:
    """The Redis that the one tree without an embedded server is given."""
    return None if all(is_embedded(seeds.start) for seeds in worlds) else request.getfixturevalue("own_server")


async def test_whatever_happens_the_cache_comes_to_rest_complete_and_right(worlds, given, tmp_path):
    async def inhabit(seeds: range) -> None:
        folder = tmp_path / name_of(seeds)
        folder.mkdir()
        async with open_world(PLAN, folder, None if is_embedded(seeds.start) else given) as world:
            await settle(world)
            for seed in seeds:
                await live_through(world, seed)
            await end(world)

    async with trio.open_nursery() as nursery:
        for seeds in worlds:
            nursery.start_soon(inhabit, seeds)
