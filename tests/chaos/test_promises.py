"""The promises of supervision, over and over on the real tree: endings, orphans, the time until work goes on."""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
import trio
from tests.chaos.tree import Tree
from tests.chaos.waiting import wait_until

from reconciler_engine.simulator.faults.rules import FaultRule, Faults
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.client.server_check import wait_serving
from reconciler_engine.store.client.trio_redis import TrioRedis

if TYPE_CHECKING:
    from tests.conftest import OwnServer

CHILDREN = str(Path(__file__).parents[1] / "integration" / "children")
STUCK = "holding the interpreter"
NEVER = "0 0 1 1 *"
DAY_MS = 86_400_000
ORPHANS_S = 1.0
"""The promise: no descendant of a killed supervisor so long after it."""

STOP_S = 25.0
KILLED_S = 3.0
STOPPED_S = 8.0
BACK_S = 5.0
_STUCK_EVERY = 5


@asynccontextmanager
async def repairing(
    folder: Path,
    *,
    days: int,
    faults: Sequence[FaultRule] = (),
    workers: int = 2,
    cron: str = NEVER,
    redis_url: str | None = None,
) -> AsyncIterator[tuple[Tree, Exchange]]:
    """A tree, not started yet, that will repair so many days of 1m candles at 5 requests a second, and its exchange."""
    market = SeededMarket(3, [ListedProduct("BTC-USD", 65_000.0)])
    exchange = Exchange(market, SimulatedClock(), ExchangeRules(public_rate=0, cache_s=0), faults=Faults(faults))
    async with open_exchange(exchange) as url:
        arguments = [
            "--symbols", "BTC-USD", "--timeframes", "1m", "--max-candles", "0", "--full-reconcile-window-ms",
            str(days * DAY_MS), "--gap-scan-cron", NEVER, "--full-reconcile-cron", cron, "--workers", str(workers),
            "--base-url", url, "--listen", "off",
        ]  # fmt: skip
        given = {} if redis_url is None else {"RECONCILER_REDIS_URL": redis_url}
        tree = Tree(arguments, folder, PYTHONPATH=CHILDREN, **given)
        try:
            yield tree, exchange
        finally:
            tree.kill_all()
            await tree.wait_gone()


def _is_above(count: Callable[[], int], before: int) -> bool:
    return count() > before


def pages(exchange: Exchange) -> int:
    return sum(record.path.endswith("/candles") for record in list(exchange.log.records))


async def wait_pages(exchange: Exchange, before: int) -> None:
    """Wait until more pages were asked for than so many."""
    await wait_until(partial(_is_above, lambda: pages(exchange), before))


def hold(promise_s: float, took: Sequence[float], tell_figure: Callable[[str], None], what: str) -> None:
    """Tell how long it took, and check that no time was longer than promised."""
    tell_figure(
        f"{what} {statistics.median(took):.1f} s in the median, {max(took):.1f} s at most (promised {promise_s:g} s)"
    )
    assert max(took) <= promise_s


@pytest.mark.soak
async def test_killed_supervisors_leave_no_orphan(tmp_path, pytestconfig, tell_figure):
    rounds, random, orphans = pytestconfig.getoption("--rounds"), Random(1), 0
    async with repairing(tmp_path, days=400) as (tree, _):
        for number in range(rounds):
            await tree.start()
            if number % _STUCK_EVERY == 0:
                said = tree.text().count(STUCK)
                os.kill(min(tree.workers()), signal.SIGUSR1)
                await wait_until(partial(_is_above, lambda: tree.text().count(STUCK), said))
            await trio.sleep(random.uniform(0, 1))
            await tree.kill()
            await trio.sleep(ORPHANS_S)
            orphans += len(tree.processes())
    stuck = len(range(0, rounds, _STUCK_EVERY))
    tell_figure(
        f"{rounds} supervisors killed, {stuck} of them with a worker inside native code: "
        f"{orphans} orphans {ORPHANS_S:g} s later"
    )
    assert orphans == 0


@pytest.mark.soak
async def test_terms_under_slow_answers_end_in_time(tmp_path, pytestconfig, tell_figure):
    rounds, random, took = pytestconfig.getoption("--rounds"), Random(2), []
    slow = FaultRule("slow", "slow_head", path="*/candles", values={"seconds": 5.0})
    # A life repairs less than four days; none may find nothing to do.
    async with repairing(tmp_path, days=5 * rounds, faults=[slow]) as (tree, exchange):
        for _ in range(rounds):
            before = pages(exchange)
            await tree.start()
            await wait_pages(exchange, before)
            await trio.sleep(random.uniform(0, 5))
            began = trio.current_time()
            assert await tree.stop() == 0
            took.append(trio.current_time() - began)
            assert tree.processes() == {}
    hold(STOP_S, took, tell_figure, f"{rounds} SIGTERMs under 5 s responses: all exit 0, no process left, after")


@pytest.mark.soak
@pytest.mark.parametrize(("number", "promise_s"), [(signal.SIGKILL, KILLED_S), (signal.SIGSTOP, STOPPED_S)])
async def test_work_goes_on_after_the_only_worker_was_hit(tmp_path, tell_figure, number, promise_s):
    random, took = Random(3), []
    async with repairing(tmp_path, days=400, workers=1) as (tree, exchange):
        await tree.start(workers=1)
        for _ in range(20):
            before = pages(exchange)
            await wait_pages(exchange, before + 2)
            await trio.sleep(random.uniform(1, 2))
            (worker,) = tree.workers()
            os.kill(worker, number)
            began = trio.current_time()
            # The requests it had sent have arrived by then.
            await trio.sleep(0.2)
            await wait_pages(exchange, pages(exchange))
            took.append(trio.current_time() - began)
        assert await tree.stop() == 0
    what = f"{number.name} of the only worker, {len(took)} times: the next page is asked for after"
    hold(promise_s, took, tell_figure, what)


@pytest.mark.soak
async def test_work_goes_on_after_redis_came_back(own_server: OwnServer, tmp_path, tell_figure):
    random, took = Random(4), []
    # The killed server may not have written the run yet; the next tick derives it anew.
    async with (
        repairing(tmp_path, days=400, cron="* * * * * *", redis_url=own_server.url) as (tree, exchange),
        TrioRedis.from_url(own_server.url) as client,
    ):
        await tree.start()
        for _ in range(20):
            before = pages(exchange)
            await wait_pages(exchange, before + 2)
            own_server.kill()
            await trio.sleep(random.uniform(0.5, 15))
            own_server.start()
            await wait_serving(client, 30)
            began = trio.current_time()
            await wait_pages(exchange, pages(exchange))
            took.append(trio.current_time() - began)
        assert await tree.stop() == 0
    what = f"SIGKILL of Redis, {len(took)} times: once it serves again the next page is asked for after"
    hold(BACK_S, took, tell_figure, what)
