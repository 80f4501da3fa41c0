"""Checks of `doctor` that ask Redis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from reconciler_engine.cli.doctor.check import Check
from reconciler_engine.cli.doctor.topology_checks import check_topology, of_nodes
from reconciler_engine.cli.exits import CONFIG, UNAVAILABLE
from reconciler_engine.engine.forecast import scrub_load_of
from reconciler_engine.engine.parts import Parts
from reconciler_engine.errors import ConfigError, StoreError, StoreFull, StoreUnavailable
from reconciler_engine.market.series import Series
from reconciler_engine.observe.words import counted
from reconciler_engine.store.candle_keys import CandleKeys
from reconciler_engine.store.client.server_check import (
    ServerInfo,
    ask_persistence,
    ask_refusal,
    check_server,
    median_ping_ms,
)
from reconciler_engine.store.client.topology import open_topology
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.other_layouts import count_keys, find_prefixes
from reconciler_engine.store.rights import check_rights
from reconciler_engine.store.scope import Scope

NAMES = ("redis", "topology", "persistence", "eviction", "latency")
PINGS = 7
SLOW_PING_MS = 20.0
ROOM = "make room for the server, in memory (maxmemory) or on its disk"
_SAMPLE = 100
_PREFIXES_TOLD = 3
_NODE_TIMEOUT_S = 2.0


async def examine_cache(client: TrioRedis, scope: Scope) -> list[Check]:
    """Check the servers' versions, rights, roles, persistence and eviction policies, and the latency."""
    try:
        info = await check_server(client)
        await check_rights(client, scope)
        async with open_topology(client, _NODE_TIMEOUT_S) as topology:
            kept = [(node, await _persistence(node.client)) for node in topology.nodes if node.server is not None]
            evicting = [(node, _eviction(node.server)) for node in topology.nodes if node.server is not None]
            if topology.nodes[0].error is not None and not kept:
                raise topology.nodes[0].error
            checks = [check_topology(topology), of_nodes(kept), of_nodes(evicting)]
        refusal = await ask_refusal(client)
        reached = Check("redis", "ok", f"{info} at {client.address}")
        if refusal is not None:
            reached = Check("redis", "fail", f"{client.address}: {refusal}", ROOM)
        return [reached, *checks, _judged(await median_ping_ms(client, PINGS))]
    except ConfigError as error:
        found = Check("redis", "fail", "\n".join(error.faults), "correct redis_url, or the server's users", CONFIG)
    except StoreUnavailable as error:
        hint = "start the server, or correct redis_url"
        found = Check("redis", "fail", f"{client.address}: {error}", hint, UNAVAILABLE)
    except StoreError as error:
        hint = ROOM if isinstance(error, StoreFull) else "look at the server's log"
        found = Check("redis", "fail", f"{client.address}: {error}", hint)
    return [found, *skip_cache("the server was not reached")[1:]]


def skip_cache(reason: str) -> list[Check]:
    """Return the checks of `examine_cache` as skipped, with the reason."""
    return [Check(name, "skipped", reason) for name in NAMES]


async def check_kept(
    client: TrioRedis, scope: Scope, series: Sequence[Series], max_candles: int, otherwise: Check
) -> Check:
    """Warn if one of the first series in the cache is longer than `max_candles`; else return `otherwise`."""
    longest = max(await CandleKeys(client, scope).sizes(series[:_SAMPLE]), default=0) if max_candles and series else 0
    if longest <= max_candles:
        return otherwise
    hint = f"set max_candles to what the feeder keeps, {longest} or more, or 0 for unlimited"
    detail = f"the cache holds a series of {longest} candles, max_candles says {max_candles}"
    return Check("retention", "warn", detail, hint)


async def with_scrub(check: Check, parts: Parts, series: Sequence[Series]) -> Check:
    """Add the scrub to the check of verification: its number of requests, and a cure if they are too many.

    Raises:
        StoreError: Redis did not answer.
    """
    load, days = await scrub_load_of(parts, series), parts.config.scrub_days
    if load is None:
        return check
    detail = (
        f"{check.detail}\n{counted(load.pages, 'page')} kept: about {counted(ceil(load.per_hour), 'request')} an hour "
        f"compare them again within {days} d; verification leaves {load.left_per_hour:.0f} of its share"
    )
    if load.holds:
        return replace(check, detail=detail)
    longer = "" if load.least_days is None else f"set scrub_days to {load.least_days} or more, or "
    return Check(check.name, "warn", detail, check.hint or f"{longer}give verify_share more")


async def check_layout(parts: Parts, series: Sequence[Series]) -> Check:
    """Count the keys of these series in each layout; warn if readers or the feeder use another one, or other ids."""
    name = "layout"
    if not series:
        return Check(name, "skipped", "no series is known to look for")
    counts = await count_keys(parts.client, parts.scope, series)
    found = ", ".join(f"{layout} {count}" for layout, count in counts.items())
    detail = f"keys of {len(series)} series by layout: {found}; set is {parts.scope.layout}"
    if not any(counts.values()) and (elsewhere := await find_prefixes(parts.client, series)):
        hint = "set user_id, exchange_id and layout as the feeder does"
        return Check(name, "warn", f"{detail}; but keys begin with {', '.join(elsewhere[:_PREFIXES_TOLD])}", hint)
    filled = [] if parts.config.allow_other_layout else series
    misplaced = [fault for fault in await parts.store.find_misplaced(filled) if fault is not None]
    if misplaced:
        hint = "set layout to the one that readers look at"
        return Check(name, "warn", f"{detail}; {len(misplaced)} are not filled, such as: {misplaced[0]}", hint)
    return Check(name, "ok", detail)


async def _persistence(client: TrioRedis) -> Check:
    name, kept = "persistence", await ask_persistence(client)
    if kept.failed:
        return Check(
            name, "fail", f"the last {kept.failed} could not be written", "see the server's log; is the disk full?"
        )
    if kept.has_log:
        return Check(name, "ok", "append-only file")
    if kept.snapshots:
        return Check(name, "ok", f"snapshots ({kept.snapshots}); what came after the last one is filled in again")
    unknown = " or cannot be asked for" if kept.snapshots is None else ""
    hint = "`CONFIG SET appendonly yes`, unless the cache may be empty after a restart"
    return Check(name, "warn", f"neither append-only file nor snapshots are on{unknown}", hint)


def _eviction(info: ServerInfo) -> Check:
    policy = info.maxmemory_policy or "unknown"
    if info.may_evict:
        hint = "`CONFIG SET maxmemory-policy noeviction`: a full server then refuses writes and loses nothing"
        return Check("eviction", "warn", f"policy {policy}: a full server drops candles and work", hint)
    return Check("eviction", "ok", f"policy {policy}")


def _judged(median_ms: float) -> Check:
    detail = f"median of {PINGS} PINGs {median_ms:.2f} ms"
    if median_ms > SLOW_PING_MS:
        return Check("latency", "warn", detail, "run the engine near its Redis: every merge waits for it")
    return Check("latency", "ok", detail)
