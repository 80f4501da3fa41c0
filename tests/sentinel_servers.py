"""A primary with a replica on loopback, and a Sentinel that watches them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis as redis_py
from tests.cluster_servers import cluster_binary, free_port, wait_for

SERVICE = "cache"
PASSWORD = "of-sentinels-alone"
REPLICATED = ("--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0")


class PortServer:
    """A server that listens at a port, started with options or a file of them."""

    def __init__(self, folder: Path, *options: str, password: str | None = None, port: int | None = None) -> None:
        self.port = port or free_port()
        self._password = password
        command = [str(cluster_binary()), *options, "--port", str(self.port), "--dir", str(folder)]
        self._process = subprocess.Popen([*command, "--logfile", str(folder / f"{self.port}.log")])
        wait_for(lambda: self.ask("PING"))

    def ask(self, *command: object) -> Any:
        """Send it one command."""
        with redis_py.Redis(port=self.port, password=self._password, socket_timeout=5) as client:
            return client.execute_command(*command)

    def signal(self, number: signal.Signals) -> None:
        """Send its process a signal."""
        self._process.send_signal(number)

    def end(self) -> None:
        """End it with SIGKILL, stopped or not, and wait until it is gone."""
        self._process.kill()
        self._process.wait()


def start_sentinel(folder: Path, primary: int, down_after_ms: int = 500) -> PortServer:
    """Start a Sentinel of the primary at a port; return it once it knows of the replica."""
    file = folder / "sentinel.conf"
    file.write_text(
        f"requirepass {PASSWORD}\n"
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 1\n"
        f"sentinel down-after-milliseconds {SERVICE} {down_after_ms}\n"
        f"sentinel failover-timeout {SERVICE} 2000\n"
    )
    sentinel = PortServer(folder, str(file), "--sentinel", password=PASSWORD)
    wait_for(lambda: sentinel.ask("SENTINEL REPLICAS", SERVICE))
    return sentinel


def sentinel_url(sentinel: PortServer) -> str:
    """Return the URL of the service, with the Sentinel's own password."""
    return f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}/0?sentinel_password={PASSWORD}"


def wait_switched(sentinel: PortServer, port: int) -> None:
    """Wait until a Sentinel has told everybody that the primary is at a port."""
    wait_for(lambda: sentinel.ask("SENTINEL MASTER", SERVICE)["port"] == port)


class Watched:
    """The two servers and their Sentinel."""

    def __init__(self, folder: Path) -> None:
        self.servers: list[PortServer] = []
        self.primary = self._start(folder, *REPLICATED)
        self.replica = self._start(folder, *REPLICATED, "--replicaof", f"127.0.0.1 {self.primary.port}")
        wait_for(lambda: self.replica.ask("ROLE")[3] == b"connected")
        self.sentinel = start_sentinel(folder, self.primary.port)
        self.servers.append(self.sentinel)

    def _start(self, folder: Path, *options: str) -> PortServer:
        server = PortServer(folder, *options)
        self.servers.append(server)
        return server

    @property
    def url(self) -> str:
        """URL of the service, with the Sentinel's own password."""
        return sentinel_url(self.sentinel)

    def wait_switched(self) -> None:
        """Wait until the Sentinel has told everybody that the replica is the primary."""
        wait_switched(self.sentinel, self.replica.port)


@contextmanager
def watched_servers(folder: Path) -> Iterator[Watched]:
    """Run all three for the length of a block."""
    watched = Watched(folder)
    try:
        yield watched
    finally:
        for server in watched.servers:
            server.end()
