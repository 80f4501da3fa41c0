"""Checks of a server: its product, version, role and persistence, and whether it serves yet."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import trio

from reconciler_engine.errors import ConfigError, StoreDenied, StoreError, StoreRefused, StoreUnavailable
from reconciler_engine.observe.words import QUOTED_LIMIT
from reconciler_engine.store.client.address import Address
from reconciler_engine.store.client.cluster_address import ClusterAddress
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served

# 6.2 brought exclusive ranges of streams, XPENDING with IDLE, XTRIM with MINID and ZRANGE with BYSCORE.
OLDEST_VERSION: Final = (6, 2, 0)

# Modes that need a URL of another form: the name of such a server, and the end of its URL.
_FORMS: Final = {
    "cluster": ("a node of a cluster", ""),
    "sentinel": ("a Sentinel", "/SERVICE, with the name that it knows the primary by"),
}

_FIRST_PAUSE_S: Final = 0.005
_LONGEST_PAUSE_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server's description of itself.

    Attributes:
        product: `redis` or `valkey`.
        version: Its own version, as (major, minor, patch).
        compatible: The version of Redis it is compatible with; for Redis itself its own.
        mode: `standalone`, `sentinel` or `cluster`.
        maxmemory_policy: `noeviction` keeps all keys; any other may drop some. Empty if not told.
    """

    product: str
    version: tuple[int, int, int]
    compatible: tuple[int, int, int]
    mode: str
    maxmemory_policy: str

    @property
    def may_evict(self) -> bool:
        """Whether the server may evict keys, and so candles or tasks, when its memory is full."""
        return self.maxmemory_policy not in {"", "noeviction"}

    def __str__(self) -> str:
        return f"{self.product.capitalize()} {'.'.join(map(str, self.version))}"


@dataclass(frozen=True, slots=True)
class Persistence:
    """How a server keeps its data.

    Attributes:
        failed: Kind of file whose last write failed, `append-only file` or `snapshot`; empty if none failed.
        has_log: Whether it writes an append-only file.
        snapshots: The setting `save`, the times of snapshots; empty for never, None if the user may not ask.
    """

    failed: str
    has_log: bool
    snapshots: str | None


async def check_server(client: TrioRedis) -> ServerInfo:
    """Ask the server for its product, version and role.

    Raises:
        ConfigError: The credentials are wrong or missing, the user may not ask INFO, the server is older than 6.2, or
            the address has another form than the server needs. The message names the found and the needed one.
        StoreError: No usable answer came.
    """
    info = server_info(*await _ask(client))
    if info.compatible < OLDEST_VERSION:
        raise ConfigError([f"redis_url: {client.address} is {info}; Redis 6.2 or newer, or any Valkey, is needed"])
    form = _FORMS.get(info.mode)
    if form is not None and isinstance(client.address, Address):
        kind, rest = form
        url = str(client.address).replace("://", f"+{info.mode}://").removesuffix("/0")
        raise ConfigError([f"redis_url: {client.address} is {kind}; write {url}{rest}"])
    return info


async def check_readable(client: TrioRedis) -> None:
    """Check a server as `check_server` does, for programs that only read.

    A user without the right to INFO, which is in the ACL category @dangerous, passes if PING is answered.

    Raises:
        ConfigError: As `check_server`, except for a user that may not ask INFO.
        StoreError: No usable answer came.
    """
    try:
        await check_server(client)
    except ConfigError as error:
        if getattr(error.__cause__, "code", "") != "NOPERM":
            raise
        await client.execute_command("PING")


def server_info(server: Mapping[str, str], memory: Mapping[str, str]) -> ServerInfo:
    """Build the description from the sections `server` and `memory` of INFO.

    Raises:
        StoreError: A version is missing or malformed.
    """
    product = "valkey" if "valkey_version" in server else "redis"
    return ServerInfo(
        product=product,
        version=_version(server.get(f"{product}_version", "")),
        compatible=_version(server.get("redis_version", "")),
        mode=server.get("redis_mode", server.get("server_mode", "standalone")),
        maxmemory_policy=memory.get("maxmemory_policy", ""),
    )


async def wait_serving(client: TrioRedis, timeout_s: float) -> None:
    """Wait until the server answers PING: it is up and has loaded its data.

    Raises:
        StoreUnavailable: It did not answer within `timeout_s` seconds; the last error is the cause.
        StoreError: Waiting cannot help (wrong password, not a Redis server).
    """
    pause_s = _FIRST_PAUSE_S
    last: StoreUnavailable | None = None
    with trio.move_on_after(timeout_s):
        while True:
            try:
                await client.execute_command("PING")
            except StoreUnavailable as error:
                last = error
            else:
                return
            await trio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
    raise StoreUnavailable(f"{client.address} does not serve after {timeout_s:g} s: {last or 'no answer'}") from last


async def ask_persistence(client: TrioRedis) -> Persistence:
    """Ask the server how it keeps its data.

    Raises:
        StoreUnavailable: It did not answer.
    """
    info, saves = await client.pipe([("INFO", "persistence"), ("CONFIG", "GET", "save")])
    # If the user may not ask INFO, no failure is known.
    fields = info_fields(info) if isinstance(info, bytes) else {}
    snapshots = None if isinstance(saves, StoreError) else ""
    if isinstance(saves, list) and len(saves) > 1 and isinstance(saves[1], bytes):
        snapshots = saves[1].decode("utf-8", "replace")
    files = (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot"))
    failed = next((name for field, name in files if fields.get(field, "ok") != "ok"), "")
    return Persistence(failed, fields.get("aof_enabled") == "1", snapshots)


async def ask_refusal(client: TrioRedis) -> str | None:
    """Return why the server takes no writes, by its own report; None if it takes them or may not be asked.

    Raises:
        StoreUnavailable: It did not answer.
    """
    if failed := (await ask_persistence(client)).failed:
        return f"Redis takes no writes: it could not write its last {failed}; its disk may be full"
    (info,) = await client.pipe([("INFO", "memory")])
    memory = info_fields(info) if isinstance(info, bytes) else {}
    used, most = (int(memory.get(name, "0") or 0) for name in ("used_memory", "maxmemory"))
    return "Redis takes no writes: its memory is full, see maxmemory" if 0 < most < used else None


async def median_ping_ms(client: TrioRedis, pings: int) -> float:
    """Return the median time to the answer of a PING (ms).

    Raises:
        StoreError: It did not answer.
    """
    took_ms = []
    for _ in range(pings):
        started = time.perf_counter()
        await client.execute_command("PING")
        took_ms.append((time.perf_counter() - started) * 1_000)
    return statistics.median(took_ms)


async def _ask(client: TrioRedis) -> tuple[dict[str, str], dict[str, str]]:
    try:
        server, memory = all_served(await client.pipe([("INFO", "server"), ("INFO", "memory")]))
    except StoreDenied as error:
        raise denied(client, error) from error
    except StoreRefused as error:
        # A server outside a cluster refuses CLUSTER SLOTS; a Sentinel may not know the service.
        form = "; write redis://, for one server" if isinstance(client.address, ClusterAddress) else ""
        raise ConfigError([f"redis_url: {client.address}: {error}{form}"]) from error
    return info_fields(server), info_fields(memory)


def denied(client: TrioRedis, error: StoreDenied) -> ConfigError:
    """Return a denial by the server as a fault of the setting redis_url."""
    return ConfigError([f"redis_url: {client.address}: {_denial(error)}"])


def _denial(error: StoreDenied) -> str:
    match error.code:
        case "NOAUTH":
            return "the server asks for a password and none is set"
        case "NOPERM":
            return f"the user may not do what is needed ({error}); `config acl engine` prints the rights"
        case _:
            return f"user or password is wrong ({error})"


def info_fields(reply: Any) -> dict[str, str]:
    """Return the fields of a section of INFO.

    Raises:
        StoreError: The reply is not text.
    """
    if not isinstance(reply, bytes):
        raise StoreError(f"INFO answered {type(reply).__name__}, not text")
    lines = reply.decode("utf-8", "replace").splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}


def _version(text: str) -> tuple[int, int, int]:
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise StoreError(f"INFO names no version that can be read: {text[:QUOTED_LIMIT]!r}")
    major, minor, patch = (int(part or 0) for part in found.groups())
    return major, minor, patch
