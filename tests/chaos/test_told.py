"""Words of /readyz and /metrics about a fault while it lasts; /readyz is 200 again when it is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

import pytest
import trio
from tests.chaos.invariants import end, settle
from tests.chaos.proxy import Kind, Toxic, Way
from tests.chaos.waiting import wait_until
from tests.chaos.world import Plan, World, open_world
from tests.integration.test_web import get, metrics

from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.members import member_of

PLAN = Plan((Series("P1-USD", Timeframe.M1), Series("P2-USD", Timeframe.M1)), slots=300, requests_per_s=50, workers=1)
OK, UNAVAILABLE = HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE

Sample = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Case:
    """A fault, what /readyz says of it, and the sample that shows it: grown by it, or 0 while it lasts."""

    inflict: Callable[[World], Awaitable[object]]
    ready: HTTPStatus
    sample: Sample
    grows: bool = True
    mend: Callable[[World], Awaitable[object]] | None = None


async def stop_redis(world: World) -> None:
    assert world.own is not None
    world.own.kill()


async def start_redis(world: World) -> None:
    assert world.own is not None
    world.own.start()


async def cut_redis(world: World) -> None:
    assert world.redis_proxy is not None
    world.redis_proxy.set(Toxic(Kind.SWALLOW, Way.DOWN))


async def join_redis(world: World) -> None:
    assert world.redis_proxy is not None
    world.redis_proxy.clear()


async def double(world: World) -> None:
    series = world.plan.series[0]
    window = world.plan.window(series, world.exchange.clock.now())
    at, values = sorted(world.truth(series, window).items())[-10]
    poorer = world.candle(at, values, 0.5)
    await world.client.zadd(world.scope.candle_key(series), {member_of(series, poorer): at})


async def fill_up(world: World) -> None:
    await world.client.config_set("maxmemory", "1")


async def make_room(world: World) -> None:
    await world.client.config_set("maxmemory", "0")


async def be_another_type(world: World) -> None:
    key = world.scope.candle_key(world.plan.series[1])
    await world.client.rename(key, f"{key}:kept")
    await world.client.set(key, "no sorted set")


async def be_sorted_again(world: World) -> None:
    key = world.scope.candle_key(world.plan.series[1])
    await world.client.rename(f"{key}:kept", key)


CASES = {
    "Redis killed": Case(stop_redis, UNAVAILABLE, ("redis_up", ()), grows=False, mend=start_redis),
    "Redis half-open": Case(cut_redis, UNAVAILABLE, ("redis_up", ()), grows=False, mend=join_redis),
    "Redis full": Case(fill_up, UNAVAILABLE, ("redis_up", ()), grows=False, mend=make_room),
    "a key of another type": Case(be_another_type, OK, ("pass_errors_total", ("gap_scan",)), mend=be_sorted_again),
    "candles in one slot": Case(double, OK, ("removed_members_total", ("duplicate",))),
}


async def wait_status(url: str, status: HTTPStatus) -> None:
    await wait_until(lambda: get(url).status == status, lambda: f"{status} of {url}: {get(url)}")


async def tell(world: World, url: str, name: str, case: Case) -> None:
    """Inflict a fault, hear of it, mend it, and hear that it is over."""
    try:
        await _tell(world, url, case)
    except BaseException as error:
        error.add_note(name)
        raise


async def _tell(world: World, url: str, case: Case) -> None:
    await wait_status(f"{url}readyz", OK)
    before = metrics(url).get(case.sample, 0)
    await case.inflict(world)

    def is_shown() -> bool:
        now = metrics(url).get(case.sample, 0)
        return now > before if case.grows else now == 0

    await wait_until(is_shown, lambda: str(case.sample))
    await wait_status(f"{url}readyz", case.ready)
    if case.mend is not None:
        await case.mend(world)
    await wait_status(f"{url}readyz", OK)


@pytest.mark.slow
async def test_readiness_and_metrics_tell_of_a_fault_and_of_its_end(own_server, tmp_path):
    async with open_world(PLAN, tmp_path, own_server) as world:
        await settle(world)
        url = next(event["url"] for event in world.tree.events() if event["event"] == "pages")
        # Its next tick is a year away: a first run that a fault ends would be a failed last run until then.
        first = ("ticks_total", ("full_reconcile", "done"))
        await wait_until(lambda: metrics(url).get(first, 0) >= 1, lambda: str(first))
        for name, case in CASES.items():
            if case.ready is UNAVAILABLE:
                await tell(world, url, name, case)
        # Faults of one series each may be there at once.
        async with trio.open_nursery() as nursery:
            for name, case in CASES.items():
                if case.ready is OK:
                    nursery.start_soon(tell, world, url, name, case)
        await settle(world)
        await end(world)
