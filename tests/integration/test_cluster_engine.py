"""A whole engine over a cluster: the node with its own keys dies, and a replica takes over."""

from __future__ import annotations

import pytest
from tests.cluster_servers import new_cluster
from tests.integration.conftest import wait_until
from tests.integration.test_supervision import ready_worker, start_engine

from reconciler_engine.store.scope import Scope

__all__ = ["start_engine"]


@pytest.fixture
def own_cluster(tmp_path):
    """A cluster with replicas, for one test alone, which may kill its nodes."""
    with new_cluster(tmp_path / "cluster", replicas=True) as cluster:
        yield cluster


def test_the_node_of_its_own_keys_stops_an_engine_until_it_has_a_successor(start_engine, own_cluster):
    engine, exchange = start_engine(RECONCILER_REDIS_URL=own_cluster.url)
    ready_worker(engine)
    engine.wait_event("pass done")
    scope = Scope.of(1, 1, exchange.url)
    dead = own_cluster.owner(scope.key("x"))
    dead.kill()
    told = engine.wait_event("status not written")
    assert told["error"].startswith("the node of the engine's own keys is away, so no work goes on: ")
    wait_until(lambda: own_cluster.owner(scope.key("x")) is not dead)
    successor = own_cluster.owner(scope.key("x"))

    def is_at_work() -> bool:
        """The status is written there, and a worker asks for tasks."""
        asked = successor.ask("INFO", "commandstats").keys()
        return "cmdstat_xreadgroup" in asked and bool(successor.ask("KEYS", scope.key("status:*")))

    wait_until(is_at_work)
    assert engine.stop() == 0
