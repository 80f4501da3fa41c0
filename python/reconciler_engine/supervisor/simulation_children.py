"""The additional children of `start --simulate`: a simulated exchange, and a feeder that loses candles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import trio

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.supervisor.child_list import ChildList
from reconciler_engine.supervisor.restarting_child import RestartingChild
from reconciler_engine.supervisor.running_child import ChildSpec, SpecMaker

SEED = 1
_STOP_S = 3.0
# A URL for an engine that ends before the exchange was ready (the discard port); it is never connected to.
_NOWHERE = "http://127.0.0.1:9"


@asynccontextmanager
async def simulated_exchange(maker: SpecMaker, now: int, ending: trio.Event, children: ChildList) -> AsyncIterator[str]:
    """Run a simulated exchange on loopback and yield its base URL; after a restart it uses the same port."""
    port = 0

    def make_spec() -> ChildSpec:
        runner = "reconciler_engine.simulator.role:run_simulator"
        return maker.make("exchange", runner, port=port, seed=SEED, start=now, origin=now)

    async with _kept("exchange", make_spec, ending, children) as child:
        url = str(child.first_beat.get("url", _NOWHERE))
        port = int(url.rpartition(":")[2])
        yield url


@asynccontextmanager
async def simulated_feeder(
    maker: SpecMaker, config: ReconciliationConfig, redis_url: str, now: int, ending: trio.Event, children: ChildList
) -> AsyncIterator[None]:
    """Run a feeder that writes the simulated exchange's candles into the cache, except some that it loses."""
    message = {
        "redis_url": redis_url,
        "seed": SEED,
        "start": now,
        "origin": now,
        "config": config.model_dump(mode="json"),
    }

    def make_spec() -> ChildSpec:
        return maker.make("feeder", "reconciler_engine.engine.roles.feeder:run_feeder", **message)

    # Not essential: without the feeder the cache lacks new candles, but stays right.
    async with _kept("feeder", make_spec, ending, children, is_essential=False):
        yield


@asynccontextmanager
async def _kept(
    role: str, make_spec: Callable[[], ChildSpec], ending: trio.Event, children: ChildList, *, is_essential: bool = True
) -> AsyncIterator[RestartingChild]:
    child = RestartingChild(make_spec, Random(), ending=ending, is_essential=is_essential)
    children.add(child, role=role)
    async with trio.open_nursery() as nursery:
        await nursery.start(child.run)
        try:
            yield child
        finally:
            with trio.CancelScope(shield=True):
                await child.stop(_STOP_S)
