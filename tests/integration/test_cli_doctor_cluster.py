"""`doctor` over a cluster and behind a Sentinel: the servers that there are, and the gravest of what each shows."""

from __future__ import annotations

import re

import pytest
from tests.cluster_servers import new_cluster
from tests.integration.test_cli_doctor import NOWHERE, doctor
from tests.sentinel_servers import PASSWORD, watched_servers

__all__ = ["doctor"]


@pytest.fixture
def own_cluster(tmp_path):
    """A cluster with replicas, for one test alone, which may kill its nodes."""
    with new_cluster(tmp_path / "cluster", replicas=True) as cluster:
        yield cluster


def test_the_nodes_of_a_cluster_are_told_with_what_may_become_of_it(doctor, own_cluster):
    where = ("--redis-url", own_cluster.url, "--base-url", NOWHERE)
    for node in own_cluster.primaries:
        node.ask("CONFIG SET", "appendonly", "yes")
        node.ask("CONFIG SET", "min-replicas-to-write", 1)
    for node in own_cluster.replicas:
        node.ask("CONFIG SET", "appendonly", "yes")
    _, checks = doctor(*where)
    first, *lines = checks["topology"]["detail"].splitlines()
    assert checks["topology"]["status"] == "ok"
    assert first == "3 primaries, 3 replicas, 0 hash slots without a node"
    assert len(lines) == 6
    primary, replica = own_cluster.primaries[0], own_cluster.replicas[0]
    told = dict(line.split(": ", 1) for line in lines)
    assert told[primary.address].startswith("primary, 5461 hash slots, ")
    assert re.match(f"replica of {primary.address}, [0-9]+ bytes behind, ", told[replica.address])
    assert checks["persistence"]["detail"] == "append-only file"
    # one of them is not as it should be
    primary.ask("CONFIG SET", "maxmemory-policy", "allkeys-lru")
    primary.ask("CONFIG SET", "min-replicas-to-write", 0)
    primary.ask("CONFIG SET", "cluster-require-full-coverage", "yes")
    replica.kill()
    _, checks = doctor(*where)
    assert checks["eviction"]["detail"].startswith(f"{primary.address}: policy allkeys-lru")
    assert f"{replica.address}: replica of {primary.address}, not reached: " in checks["topology"]["detail"]
    assert checks["topology"]["status"] == "warn"
    hints = checks["topology"]["hint"].split("; ")
    assert [hint.split(",")[0] for hint in hints] == [
        f"see why {replica.address} cannot be reached",
        "`CONFIG SET cluster-require-full-coverage no`",
        "`CONFIG SET min-replicas-to-write 1`",
    ]


def test_slots_without_a_node_are_counted(doctor, own_cluster):
    for node in own_cluster.nodes:
        node.ask("CLUSTER DELSLOTS", 0, 1, 2)
    _, checks = doctor("--redis-url", own_cluster.url, "--base-url", NOWHERE)
    assert "3 hash slots without a node" in checks["topology"]["detail"]
    assert "give each hash slot a node" in checks["topology"]["hint"]


def test_behind_a_sentinel_there_is_one_server(doctor, tmp_path):
    with watched_servers(tmp_path) as watched:
        url = watched.url.partition("?")[0]
        where = ("--redis-url", url, "--base-url", NOWHERE)
        _, checks = doctor(*where, RECONCILER_REDIS_SENTINEL_PASSWORD=PASSWORD)
        # It has a replica, which may be promoted while the primary lives on.
        assert checks["topology"]["status"] == "warn"
        assert "min-replicas-to-write 1" in checks["topology"]["hint"]
        watched.primary.ask("CONFIG SET", "min-replicas-to-write", 1)
        _, checks = doctor(*where, RECONCILER_REDIS_SENTINEL_PASSWORD=PASSWORD)
    assert (checks["topology"]["status"], checks["topology"]["detail"]) == ("ok", "one server")
    assert checks["redis"]["detail"].endswith(f" at {url}")
