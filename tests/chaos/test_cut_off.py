"""Two engines, as on two machines, on one Redis: the one that directs a pass is cut off from it, and comes back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from tests.chaos.invariants import LATE_S, budget_excess
from tests.chaos.proxy import Kind, Proxy, Toxic, Way, open_proxy
from tests.chaos.tree import Tree
from tests.chaos.waiting import wait_until, wait_until_so
from tests.chaos.world import values_of
from tests.integration.engines import DENSE, MARKET, MINUTE, truth
from tests.integration.test_web import get

from reconciler_engine.engine.scheduled_passes import FULL_RECONCILE
from reconciler_engine.engine.tasks.worker import PAGES_IN_FLIGHT
from reconciler_engine.market.interval import Interval
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.leases import LEASE_MS
from reconciler_engine.store.scope import Scope

if TYPE_CHECKING:
    from tests.conftest import OwnServer

PAGES = 60
RATE_PER_S = 4
CUTS = (Kind.CUT, Kind.SWALLOW, Kind.SWALLOW, Kind.CUT)
"""Connections that are reset, and a network that is silent."""

NEVER = "0 0 1 1 *"
TAKEN_OVER_S = LEASE_MS / 1_000 + 5


@dataclass
class Node:
    """An engine and its wire to Redis."""

    tree: Tree
    wire: Proxy

    def passes(self) -> list[dict[str, object]]:
        """The passes it directed to their end."""
        return [event for event in self.tree.events() if event["event"] == "pass done"]

    async def wait_ready(self, status: HTTPStatus) -> None:
        url = next(event["url"] for event in self.tree.events() if event["event"] == "pages")

        async def is_told() -> bool:
            # Not in this thread: the answer may wait for Redis, and the wire to it is in here.
            return (await trio.to_thread.run_sync(get, f"{url}readyz")).status == status

        await wait_until_so(is_told)


@asynccontextmanager
async def open_node(url: str, server: Path, folder: Path) -> AsyncIterator[Node]:
    await trio.Path(folder).mkdir()
    async with open_proxy(server) as (wire, where):
        arguments = [
            "--symbols", DENSE.symbol, "--timeframes", "1m", "--max-candles", "0", "--workers", "1",
            "--full-reconcile-window-ms", str(PAGES * 300 * MINUTE), "--gap-scan-cron", NEVER,
            "--full-reconcile-cron", "* * * * * *", "--full-reconcile-max-run-ms", "600000",
            "--batch-size", str(RATE_PER_S), "--base-url", url,
        ]  # fmt: skip
        tree = Tree(arguments, folder, RECONCILER_REDIS_URL=f"redis://{where}")
        try:
            await tree.start(workers=1)
            yield Node(tree, wire)
        finally:
            tree.kill_all()


@dataclass
class Both:
    """Two engines, their Redis and their exchange."""

    nodes: tuple[Node, Node]
    client: TrioRedis
    scope: Scope
    exchange: Exchange

    def pages(self) -> list[float]:
        """When the exchange was asked for candles (s)."""
        return [one.time_ms / 1_000 for one in list(self.exchange.log.records) if one.path.endswith("/candles")]

    async def director(self) -> Node | None:
        """Return the node whose pass is under way, if any."""
        holder = await self.client.execute_command("GET", self.scope.key(f"lease:{FULL_RECONCILE}"))
        pid = 0 if holder is None else int(holder.split(b":")[1])
        return next((node for node in self.nodes if node.tree.pid == pid), None)

    async def wait_director(self, wanted: Node, within_s: float) -> None:
        async def directs() -> bool:
            return await self.director() is wanted

        await wait_until_so(directs, within_s)

    async def check_whole(self) -> None:
        """Each candle is there once, as the exchange has it."""
        found = await self.client.execute_command("ZRANGE", self.scope.candle_key(DENSE), 0, -1)
        members = [json.loads(member) for member in found]
        held = {one["timestamp"]: values_of(one) for one in members}
        assert len(members) == len(held) >= PAGES * 300
        assert held == truth(DENSE, Interval(min(held), max(held) + MINUTE))


@asynccontextmanager
async def open_both(server: OwnServer, folder: Path) -> AsyncIterator[Both]:
    exchange = Exchange(MARKET, SimulatedClock(), ExchangeRules(public_rate=0, cache_s=0))
    async with (
        open_exchange(exchange) as url,
        TrioRedis.from_url(server.url) as client,
        open_node(url, server.plan.socket, folder / "one") as one,
        open_node(url, server.plan.socket, folder / "two") as two,
    ):
        yield Both((one, two), client, Scope.of(1, 1, url), exchange)


@dataclass(frozen=True)
class Seen:
    """Effects of one cut: seconds until another directed, until its pass was done, and pages asked for twice."""

    taken_over_s: float
    done_s: float
    twice: int


async def cut_off(both: Both, kind: Kind) -> Seen:
    """Empty the cache, cut off who repairs it, and let it come back when the other one is done."""
    await both.client.delete(both.scope.candle_key(DENSE))
    asked = len(both.pages())
    await wait_until(lambda: len(both.pages()) >= asked + 10)
    cut = await both.director()
    assert cut is not None
    (other,) = (node for node in both.nodes if node is not cut)
    before = len(other.passes())
    for way in Way:
        cut.wire.set(Toxic(kind, way))
    began = trio.current_time()
    await both.wait_director(other, TAKEN_OVER_S)
    taken_over_s = trio.current_time() - began
    await cut.wait_ready(HTTPStatus.SERVICE_UNAVAILABLE)
    await wait_until(lambda: len(other.passes()) > before, patience_s=180)
    seen = Seen(taken_over_s, trio.current_time() - began, len(both.pages()) - asked - PAGES)
    done = other.passes()[before]
    assert (done["unresolved"], done["errors"]) == (0, [])
    cut.wire.clear()
    await cut.wait_ready(HTTPStatus.OK)
    await both.check_whole()
    return seen


@pytest.mark.soak
async def test_an_engine_cut_off_in_mid_pass_is_taken_over_from_and_harms_nothing(
    own_server: OwnServer, tmp_path, tell_figure
):
    async with open_both(own_server, tmp_path) as both:
        seen = [await cut_off(both, kind) for kind in CUTS]
        for node in both.nodes:
            assert await node.tree.stop() == 0
            await node.tree.wait_gone()
            assert not [event for event in node.tree.events() if event["event"] == "child died"]
        assert await both.client.execute_command("KEYS", both.scope.key("lease:*")) == []
    twice = max(one.twice for one in seen)
    assert twice <= PAGES_IN_FLIGHT
    assert budget_excess(both.pages(), RATE_PER_S, LATE_S) <= 1
    tell_figure(
        f"{len(seen)} cuts of the engine that directs: the other one directs after "
        f"{max(one.taken_over_s for one in seen):.1f} s at most (allowed: {TAKEN_OVER_S:g}), the cache is complete "
        f"after {max(one.done_s for one in seen):.0f} s at most; {twice} of {PAGES} pages asked for twice at most, "
        "0 slots missing, doubled or wrong"
    )
