"""Is the server one we can work with, and is it serving yet."""

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

# XAUTOCLAIM, GETDEL, ZRANGEBYSCORE's LIMIT in scripts, exclusive stream ranges: all there since 6.2.
OLDEST_VERSION: Final = (6, 2, 0)

# Other kinds of server, and the rest of the URL that leads to each.
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
        maxmemory_policy: `noeviction` keeps all keys; any other may drop some. Empty where unsaid.
    """

    product: str
    version: tuple[int, int, int]
    compatible: tuple[int, int, int]
    mode: str
    maxmemory_policy: str

    @property
    def may_evict(self) -> bool:
        """Whether the server may drop candles and work when its memory is full."""
        return self.maxmemory_policy not in {"", "noeviction"}

    def __str__(self) -> str:
        return f"{self.product.capitalize()} {'.'.join(map(str, self.version))}"


@dataclass(frozen=True, slots=True)
class Persistence:
    """How a server keeps its data.

    Attributes:
        failed: The kind of file whose last writing failed; empty where none did.
        has_log: Whether it writes an append-only file.
        snapshots: When it writes snapshots, in the server's words; empty for never, None where it does not tell.
    """

    failed: str
    has_log: bool
    snapshots: str | None


async def check_server(client: TrioRedis) -> ServerInfo:
    """Ask the server for its product, version and role.

    Raises:
        ConfigError: The credentials are wrong or missing, the user may not ask INFO, the server is older than 6.2, or
            the address has another form than the server needs; the message says the found and the needed one.
        StoreError: No answer that can be used came.
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
    """Ask a server that is only read for the same, as far as its user may: INFO is counted as dangerous.

    Raises:
        ConfigError: As `check_server`, but for a user that may not ask INFO.
        StoreError: No answer that can be used came.
    """
    try:
        await check_server(client)
    except ConfigError as error:
        if getattr(error.__cause__, "code", "") != "NOPERM":
            raise
        await client.execute_command("PING")


def server_info(server: Mapping[str, str], memory: Mapping[str, str]) -> ServerInfo:
    """Return the fields of two sections of INFO.

    Raises:
        StoreError: They name no version.
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
        StoreUnavailable: It did not within `timeout_s`; the last refusal is the cause.
        StoreError: It answers, and waiting cannot help (wrong password, no Redis).
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
    # A server that may not be asked says nothing.
    fields = info_fields(info) if isinstance(info, bytes) else {}
    snapshots = None if isinstance(saves, StoreError) else ""
    if isinstance(saves, list) and len(saves) > 1 and isinstance(saves[1], bytes):
        snapshots = saves[1].decode("utf-8", "replace")
    files = (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot"))
    failed = next((name for field, name in files if fields.get(field, "ok") != "ok"), "")
    return Persistence(failed, fields.get("aof_enabled") == "1", snapshots)


async def ask_refusal(client: TrioRedis) -> str | None:
    """Return why the server takes no writes, as far as it says so itself; None where it takes them or may not say.

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
    """Return how long the server takes for a PING, in the middle of some.

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
        # A server of its own has no slots; a Sentinel may not know the service.
        form = "; write redis://, for one server" if isinstance(client.address, ClusterAddress) else ""
        raise ConfigError([f"redis_url: {client.address}: {error}{form}"]) from error
    return info_fields(server), info_fields(memory)


def denied(client: TrioRedis, error: StoreDenied) -> ConfigError:
    """Return the fault of the settings that a denial shows."""
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
