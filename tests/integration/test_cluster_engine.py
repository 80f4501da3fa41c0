"""A whole engine over a cluster: nodes die, its own keys' among them, and come back or have successors."""

from __future__ import annotations

import re
import time
from functools import partial

import pytest
from tests.chaos.waiting import wait_until_so
from tests.cluster_servers import new_cluster
from tests.integration.conftest import clean_environment, wait_until
from tests.integration.test_status import status_of
from tests.integration.test_supervision import ready_worker, start_engine
from tests.integration.test_web import NEVER, get, metrics, wait_page

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.errors import NodeUnavailable
from reconciler_engine.observe.web.coverage_page import WINDOWS
from reconciler_engine.observe.words import iso
from reconciler_engine.store import status_board
from reconciler_engine.store.client.trio_redis import TrioRedis, each_apart
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.status_board import StatusBoard, scope_of

__all__ = ["start_engine"]


@pytest.fixture
def own_cluster(tmp_path):
    """A cluster with replicas, for one test alone, which may kill its nodes."""
    with new_cluster(tmp_path / "cluster", replicas=True) as cluster:
        yield cluster


@pytest.fixture
def lone_cluster(tmp_path):
    """The same without replicas."""
    with new_cluster(tmp_path / "cluster") as cluster:
        yield cluster


@pytest.mark.cluster
def test_a_node_that_is_away_is_told_with_its_series_and_all_others_are_answered(
    start_process, start_exchange, tmp_path, lone_cluster, run_inside
):
    exchange = start_exchange(public_rate=0)
    settings = {
        "RECONCILER_REDIS_URL": lone_cluster.url,
        "RECONCILER_BASE_URL": exchange.url,
        "RECONCILER_BATCH_SIZE": "50",
    }
    window = ("--symbols", "BTC-USD,ETH-USD", "--full-reconcile-window-ms", "3600000", "--window-bars", "20")
    engine = start_process(
        "start", "--json", *window, "--gap-scan-cron", NEVER, "--full-reconcile-cron", NEVER, "--workers", "1",
        "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"),
        environment=clean_environment(**settings),
    )  # fmt: skip
    pages = engine.wait_event("pages")["url"]
    engine.wait_event("pass done", job="full_reconcile")
    config = ReconciliationConfig(symbols=("BTC-USD", "ETH-USD"))
    scope, series = Scope.of(1, 1, exchange.url), config.series()
    # The engine's own keys, and the request budget.
    needed = {lone_cluster.owner(scope.key("x")), lone_cluster.owner(scope.shared_key("x"))}
    dead = next(node for node in lone_cluster.primaries if node not in needed)
    lost = {str(one) for one in series if lone_cluster.owner(scope.candle_key(one)) is dead}
    assert 0 < len(lost) < len(series)

    dead.kill()
    wait_until(lambda: metrics(pages).get(("unreachable_series", ())) == len(lost))
    wait_until(lambda: metrics(pages).get(("series", ("unknown",))) == len(lost))
    assert metrics(pages)["redis_nodes_away", ()] == 1
    assert (get(f"{pages}readyz").status, get(f"{pages}readyz").checks) == (200, {})
    cause = f"cannot connect to redis://{dead.address}/0: "
    for reach in WINDOWS:
        drawn = get(f"{pages}coverage?window={reach}").text
        assert {str(one) for one in series if f'"{one}: unknown from ' in drawn} == lost
        # Without an age: that of the slots would not be that of the fault.
        told = re.findall(rf'<span class="bad">{re.escape(cause)}([^<]*)</span>', drawn)
        assert (len(told), [one for one in told if "since" in one]) == (len(lost), [])
    for one in series:
        assert (f"This series could not be read: {cause}" in get(f"{pages}series?name={one}").text) == (
            str(one) in lost
        )
    wait_page(pages, lambda page: f"{len(lost)} series unknown: {dead.address} has not served" in page.text)
    said = run_inside("status", "--json", **settings).json
    (node,) = said["nodes_away"]
    assert (node["address"], node["series"], node["has_own_keys"]) == (dead.address, len(lost), False)
    known = {f"{one['symbol']}:{one['timeframe']}": one["missing"] is not None for one in said["series"]}
    assert known == {str(one): str(one) not in lost for one in series}
    assert f"degraded: nodes: {len(lost)} series unknown: {dead.address}" in run_inside("status", **settings).out

    def told_unknown(*command: str) -> set[str]:
        """Run a command; return the series of which it says that their node cannot be reached."""
        found = run_inside(*command, "--json", **settings)
        assert found.code == 3
        said = {
            f"{row['symbol']}:{row['timeframe']}": (row.get("error"), row.get("reason"), *row.get("errors", ()))
            for row in found.json["series"]
        }
        assert said.keys() == known.keys()
        return {name for name, reasons in said.items() if any(f"redis://{dead.address}/0" in str(r) for r in reasons)}

    since = iso(int(time.time() - 50 * 3_600) * 1_000)
    backfill = ("backfill", "BTC-USD", "ETH-USD", *config.timeframes, "--from", since, "--max-candles", "0")
    for command in (("coverage", *window), ("ready", "--all"), (*backfill, "--dry-run"), backfill):
        assert told_unknown(*command) == lost
    assert told_unknown("reconcile", *window) == lost

    dead.start()
    wait_until(lambda: metrics(pages).get(("unreachable_series", ())) == 0)
    again = run_inside("reconcile", *window, "--json", **settings)
    assert all(row["expected"] and not row["unresolved"] for row in again.json["series"])
    assert engine.stop() == 0


def test_the_node_of_its_own_keys_stops_an_engine_until_it_has_a_successor(start_engine, own_cluster):
    engine, exchange = start_engine(RECONCILER_REDIS_URL=own_cluster.url)
    ready_worker(engine)
    engine.wait_event("pass done")
    scope = Scope.of(1, 1, exchange.url)
    dead = own_cluster.owner(scope.key("x"))
    dead.kill()
    told = engine.wait_event("status not written")
    assert told["error"].startswith("the node of the engine's own keys is away, so no work goes on: ")
    successor = own_cluster.replace(dead)

    def is_at_work() -> bool:
        """The status is written there, and a worker asks for tasks."""
        asked = successor.ask("INFO", "commandstats").keys()
        return "cmdstat_xreadgroup" in asked and bool(successor.ask("KEYS", scope.key("status:*")))

    wait_until(is_at_work)
    assert engine.stop() == 0


@pytest.mark.cluster
async def test_engines_are_found_whichever_node_is_away(lone_cluster, monkeypatch):
    monkeypatch.setattr(status_board, "RECORD_LIFE_MS", 60_000)
    there = [status_of(f"engine:{number}", user_id=number) for number in (1, 20, 60, 80, 100, 200)]
    async with TrioRedis.from_url(lone_cluster.url) as client:
        board = StatusBoard(client)
        for dead in lone_cluster.primaries:
            for status in there:
                await board.write(status)
                await board.announce(status)
            own = [one for one in there if lone_cluster.owner(scope_of(one).key("x")) is dead]
            assert own
            dead.kill()
            for status in there:
                if status not in own:
                    await board.write(status)
            assert {one.node for one in await board.read()} == {one.node for one in there if one not in own}
            with pytest.raises(NodeUnavailable, match=f"^the node of the engine's own keys is away, .*{dead.address}"):
                await board.read(scope_of(own[0]))
            dead.start()
            await wait_until_so(partial(answers, client, scope_of(own[0]).key("x")))


async def answers(client: TrioRedis, key: str) -> bool:
    (reply,) = await each_apart(client.pipe([("EXISTS", key)]), 1)
    return isinstance(reply, int)
