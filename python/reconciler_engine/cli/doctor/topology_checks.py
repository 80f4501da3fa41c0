"""Checks of `doctor` about the servers behind `redis_url`: their roles, and how each keeps its data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reconciler_engine.cli.doctor.check import Check
from reconciler_engine.store.client.topology import NodeState, Topology

_RANKS: Final = ("ok", "warn", "fail")


def check_topology(topology: Topology) -> Check:
    """List the servers with their roles, warn of dangers to the cluster, and refuse a server that only follows."""
    if not topology.primaries and not topology.nodes[1:]:
        detail = f"one server, a replica of {topology.nodes[0].primary}: it takes no writes"
        return Check("topology", "fail", detail, "name the primary in redis_url")
    lines = [_counted(topology), *(_line(node) for node in topology.nodes if topology.nodes[1:] or node.error)]
    hints = [hint for hint in _hints(topology) if hint]
    return Check("topology", "warn" if hints else "ok", "\n".join(lines), "; ".join(hints))


def of_nodes(checks: Sequence[tuple[NodeState, Check]]) -> Check:
    """Return the worst of the nodes' checks, with the node's name if there are several nodes."""
    node, worst = max(checks, key=lambda made: _RANKS.index(made[1].status))
    if len(checks) == 1:
        return worst
    where = f"{node.name}: " if worst.status != "ok" else ""
    return Check(worst.name, worst.status, f"{where}{worst.detail}", worst.hint, worst.code)


def _counted(topology: Topology) -> str:
    if not topology.nodes[1:] and not topology.uncovered:
        return "one server"
    primaries, replicas = len(topology.primaries), len(topology.replicas)
    return f"{primaries} primaries, {replicas} replicas, {topology.uncovered} hash slots without a node"


def _line(node: NodeState) -> str:
    role = f"replica of {node.primary}" if node.primary else f"primary, {node.slots} hash slots"
    if node.error is not None:
        return f"{node.name}: {role}, not reached: {node.error}"
    lag = "" if node.lag is None else f", {node.lag} bytes behind"
    return f"{node.name}: {role}{lag}, {node.server}"


def _hints(topology: Topology) -> list[str]:
    lost = [node.name for node in topology.nodes if node.error is not None]
    strict = [node.name for node in topology.primaries if node.needs_all_slots and topology.nodes[1:]]
    split = [
        node.name for node in topology.primaries if node.min_replicas == 0 and (topology.replicas or node.followers)
    ]
    silent = [node.name for node in topology.nodes if not node.tells_history]
    return [
        f"see why {', '.join(lost)} cannot be reached, or set redis_address_map" if lost else "",
        "give each hash slot a node: their series are unknown until then" if topology.uncovered else "",
        "`CONFIG SET cluster-require-full-coverage no`, or one dead node stops all of them" if strict else "",
        "`CONFIG SET min-replicas-to-write 1`, or a primary that is cut off may give out twice the budget until it "
        "notices"
        if split
        else "",
        f"let scripts use INFO on {', '.join(silent)} (`+info`), or a failover may give permits twice, and bars "
        "count as proved not to exist although the word that they do was lost"
        if silent
        else "",
    ]
