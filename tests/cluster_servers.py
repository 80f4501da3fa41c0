"""A real cluster on loopback: three primaries with a third of the slots each, and replicas where a test wants some."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import redis as redis_py
from redis.crc import key_slot

from reconciler_engine.store.embedded.binary import find_binary

SLOTS = 16_384
PATIENCE_S = 30.0
_OPTIONS = {
    "bind": "127.0.0.1",
    "cluster-enabled": "yes",
    "cluster-require-full-coverage": "no",
    "cluster-allow-replica-migration": "no",
    "save": "",
    "appendonly": "no",
    "daemonize": "no",
    "repl-diskless-sync-delay": "0",
    # A replica that has taken nothing yet is not announced.
    "repl-ping-replica-period": "1",
}


def cluster_binary() -> Path:
    """Return the system's Redis where there is one, for another server than the bundled one; else that.

    RECONCILER_TEST_SERVER names another.
    """
    found = os.environ.get("RECONCILER_TEST_SERVER") or shutil.which("redis-server")
    return Path(found) if found else find_binary()


class Front(NamedTuple):
    """Where a node is reached: ports that lead to its own two, and the host that it connects from itself."""

    port: int
    bus: int
    source: str


MakeFront = Callable[[int, int], Front]


class ClusterNode:
    """A server of a cluster, which a test may kill and start again; others reach it at its front, where it has one."""

    def __init__(
        self, binary: Path, folder: Path, make_front: MakeFront | None = None, node_timeout_ms: int = 1_500
    ) -> None:
        self.port, self.bus = free_port(), free_port()
        self.front = Front(self.port, self.bus, "") if make_front is None else make_front(self.port, self.bus)
        folder.mkdir(parents=True)
        options = {
            **_OPTIONS,
            # A test's death of a node is seen within two seconds, and costs its own slots alone.
            "cluster-node-timeout": node_timeout_ms,
            "port": self.port,
            "cluster-port": self.bus,
            "dir": folder,
            "logfile": folder / "server.log",
        }
        if make_front is not None:
            # From 7.0 on.
            options |= {
                "cluster-announce-ip": "127.0.0.1",
                "cluster-announce-port": self.front.port,
                "cluster-announce-bus-port": self.front.bus,
                "bind-source-addr": self.front.source,
            }
        self._command = [str(binary), *(str(part) for name, value in options.items() for part in (f"--{name}", value))]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.front.port}"

    def ask(self, *command: object) -> Any:
        """Send it one command; its reply comes as redis-py's client of one server gives it."""
        with redis_py.Redis(port=self.port, socket_timeout=5) as client:
            return client.execute_command(*command)

    @property
    def pid(self) -> int:
        """Id of its process, which runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self._command)
        wait_for(lambda: self.ask("PING"))

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class RealCluster:
    """Three primaries, and a replica of each where asked for."""

    def __init__(self, primaries: Sequence[ClusterNode], replicas: Sequence[ClusterNode]) -> None:
        self.primaries, self.replicas = [*primaries], [*replicas]

    @property
    def nodes(self) -> list[ClusterNode]:
        """All of them."""
        return [*self.primaries, *self.replicas]

    @property
    def url(self) -> str:
        """Its URL, which names the primaries."""
        return f"redis+cluster://{','.join(node.address for node in self.primaries)}"

    def client(self) -> redis_py.RedisCluster:
        """Make a client of the same cluster that is not ours."""
        return redis_py.RedisCluster(host="127.0.0.1", port=self.primaries[0].front.port)

    def owner(self, key: str) -> ClusterNode:
        """Return the primary that has a key, by the word of the first node that is alive."""
        found = self.find_owner(key, next(node for node in self.nodes if node.is_alive))
        assert found is not None, f"nobody has the slot of {key}"
        return found

    def find_owner(self, key: str, teller: ClusterNode) -> ClusterNode | None:
        """Return the primary that has a key, by the word of a node; None where it knows of none."""
        slot = key_slot(key.encode())
        for first, last, (_, port, *_), *_ in teller.ask("CLUSTER SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.front.port == port)
        return None

    def replace(self, dead: ClusterNode) -> ClusterNode:
        """Have the replica of a primary that is away take over at once, as operators do; return it once all know."""
        successor = self.replicas[self.primaries.index(dead)]
        successor.ask("CLUSTER FAILOVER", "TAKEOVER")
        tellers = [node for node in self.nodes if node is not dead]
        wait_for(lambda: all(_is_primary(teller, successor) for teller in tellers))
        return successor

    def mend(self) -> None:
        """Start nodes that are away and wake those that are stopped; wait until all of them serve."""
        for node in self.nodes:
            if node.is_alive:
                os.kill(node.pid, signal.SIGCONT)
            else:
                node.start()
        wait_for(lambda: all(says(node, state="ok", slots_ok=SLOTS) for node in self.nodes))

    def clear(self) -> None:
        """Leave no key and no script."""
        for node in self.primaries:
            node.ask("FLUSHALL")
            node.ask("SCRIPT", "FLUSH")


@contextmanager
def new_cluster(
    folder: Path,
    *,
    replicas: bool = False,
    binary: Path | None = None,
    make_front: MakeFront | None = None,
    node_timeout_ms: int = 1_500,
) -> Iterator[RealCluster]:
    """Run a cluster for the length of a block; `make_front` makes the front of a node from its ports."""
    with ExitStack() as stack:

        def nodes(kind: str) -> Iterator[ClusterNode]:
            for number in range(3):
                node = ClusterNode(binary or cluster_binary(), folder / f"{kind}{number}", make_front, node_timeout_ms)
                stack.callback(node.kill)
                yield node

        cluster = RealCluster([*nodes("primary")], [*nodes("replica")] if replicas else [])
        for number, node in enumerate(cluster.primaries):
            first, stop = (SLOTS * part // 3 for part in (number, number + 1))
            # Before 7.0 slots are given one by one.
            node.ask("CLUSTER", "ADDSLOTS", *range(first, stop))
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in cluster.nodes:
            for other in cluster.nodes:
                if other is not node:
                    node.ask("CLUSTER", "MEET", "127.0.0.1", other.front.port, other.front.bus)
            # Nodes that have more patience with each other also learn later of each other's roles.
            node.ask("CONFIG SET", "cluster-node-timeout", 3_000)
        ids = {node.ask("CLUSTER", "MYID") for node in cluster.nodes}
        wait_for(lambda: all(_known(node) == ids for node in cluster.nodes))
        for replica, primary in zip(cluster.replicas, cluster.primaries, strict=bool(replicas)):
            replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID"))
        wait_for(lambda: all(says(node, state="ok", slots_ok=SLOTS) for node in cluster.nodes))
        wait_for(lambda: all(_followed(node) == len(cluster.replicas) for node in cluster.nodes))
        for node in cluster.nodes:
            node.ask("CONFIG SET", "cluster-node-timeout", node_timeout_ms)
        yield cluster


@contextmanager
def migrating(cluster: RealCluster, key: str) -> Iterator[tuple[ClusterNode, ClusterNode]]:
    """Let a key's slot be on its way to another node for the length of a block; then it is there, and goes back."""
    slot, source = key_slot(key.encode()), cluster.owner(key)
    target = next(node for node in cluster.primaries if node is not source)
    start_migration(source, target, slot)
    try:
        yield source, target
    finally:
        end_migration(cluster, source, target, slot)
        start_migration(target, source, slot)
        end_migration(cluster, target, source, slot)


def start_migration(source: ClusterNode, target: ClusterNode, slot: int) -> None:
    """Let a slot be on its way from one node to another."""
    target.ask("CLUSTER SETSLOT", slot, "IMPORTING", source.ask("CLUSTER MYID"))
    source.ask("CLUSTER SETSLOT", slot, "MIGRATING", target.ask("CLUSTER MYID"))


def move_keys(source: ClusterNode, target: ClusterNode, slot: int) -> None:
    """Move all keys of a slot that is on its way."""
    while keys := source.ask("CLUSTER GETKEYSINSLOT", slot, 100):
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys)


def end_migration(cluster: RealCluster, source: ClusterNode, target: ClusterNode, slot: int) -> None:
    """Move what is left, and tell every node where the slot is."""
    move_keys(source, target, slot)
    for node in (target, source, *cluster.primaries):
        node.ask("CLUSTER SETSLOT", slot, "NODE", target.ask("CLUSTER MYID"))


def _known(node: ClusterNode) -> set[bytes]:
    """Return the ids by which a node knows all of them; one that it has only just met has a name of its own making."""
    return {line.split()[0] for line in node.ask("CLUSTER", "NODES").splitlines()}


def _is_primary(teller: ClusterNode, node: ClusterNode) -> bool:
    """Whether a node has slots by the word of another."""
    return any(port == node.front.port for _, _, (_, port, *_), *_ in teller.ask("CLUSTER SLOTS"))


def _followed(node: ClusterNode) -> int:
    """Return how many replicas a node counts among those that have slots."""
    return sum(len(replicas) for _, _, _, *replicas in node.ask("CLUSTER", "SLOTS"))


def says(node: ClusterNode, **facts: str | int) -> bool:
    """Whether a node's `CLUSTER INFO` says all that."""
    said = dict(line.split(":") for line in node.ask("CLUSTER", "INFO").decode().split())
    return all(said[f"cluster_{name}"] == str(value) for name, value in facts.items())


def wait_for(is_so: Callable[[], object]) -> None:
    """Wait for what no event tells; a server that does not answer yet is waited for."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(redis_py.RedisError):
            if is_so():
                return
        time.sleep(0.02)
    raise AssertionError("it never was so")


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
