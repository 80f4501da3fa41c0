"""Runs an engine over its cache: starts the workers, then the schedule; stops them in reverse order.

The supervisor itself sends no requests to the exchange.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from reconciler_engine.config.reload import changes
from reconciler_engine.engine.looks_beside import (
    FEEDER_LOOK_S,
    SYMBOLS_LOOK_S,
    look_at_feeder,
    look_often,
    take_up_listed,
)
from reconciler_engine.engine.parts import Parts, make_parts, open_parts
from reconciler_engine.engine.scheduled_passes import ScheduledPasses
from reconciler_engine.engine.status_writer import StatusWriter
from reconciler_engine.errors import ReconcilerError, leaves
from reconciler_engine.scheduling.scheduler import Scheduler, wall_clock
from reconciler_engine.store.client.server_check import check_server
from reconciler_engine.store.protocol import at_work
from reconciler_engine.store.status_board import EngineFacts
from reconciler_engine.supervisor.alerting import Alerting
from reconciler_engine.supervisor.engine_spec import EngineSpec
from reconciler_engine.supervisor.notify import ServiceManager
from reconciler_engine.supervisor.signals import Orders
from reconciler_engine.supervisor.workers import Workers

_logger = logging.getLogger(__name__)


async def run_engine(
    spec: EngineSpec, read_spec: Callable[[], Awaitable[EngineSpec]], orders: Orders, manager: ServiceManager
) -> None:
    """Run workers and schedule until told to stop; return when the work in hand is done.

    Args:
        spec: Parts of the engine to run.
        read_spec: Reads the settings again; if it raises, the engine keeps its settings.
        orders: The operator's orders.
        manager: Service manager, which is told the engine's state.

    Raises:
        ConfigError: Redis does not accept the credentials, or is too old.
        OtherProtocol: An engine of another protocol works on the same candles.
        RoleFailed: A role was given up.
        StoreUnavailable: Redis cannot be reached at the start.
    """
    async with open_parts(spec.config, spec.redis_url, owns_server=spec.owns_server, identity=spec.identity) as parts:
        info = await check_server(parts.client)
        address = str(parts.client.address)
        _logger.info("cache", extra={"server": str(info), "address": address, "summary": f"{info} at {address}"})
        if info.may_evict:
            _logger.warning("the server may evict candles", extra={"maxmemory_policy": info.maxmemory_policy})
        about = EngineFacts(spec.command, simulated=spec.maker.simulated)
        async with at_work(parts.client, parts.scope, parts.queue.consumer, about):
            await _run(spec, parts, about, read_spec, orders, manager)


async def _run(
    spec: EngineSpec,
    parts: Parts,
    about: EngineFacts,
    read_spec: Callable[[], Awaitable[EngineSpec]],
    orders: Orders,
    manager: ServiceManager,
) -> None:
    # Lift the block of a refused key: the operator may have mended the cause before this start.
    await parts.bucket.forgive()
    await parts.clock.doubt()
    passes = ScheduledPasses(parts, spec.config.series(), now=wall_clock, unknown=spec.unknown)
    scheduler = Scheduler(passes.jobs(), now=passes.now, claim=passes.claim)
    # An engine with its own server holds the data directory's lock, so the previous owner is dead.
    await passes.inherit(is_alone=spec.owns_server)
    writer = StatusWriter(about, scheduler, passes, spec.children.processes)
    workers = Workers(spec, parts.queue, orders.stop)
    reload = _Reload(read_spec, workers, passes, scheduler)
    alerting = Alerting(passes, spec.reports)
    async with trio.open_nursery() as scheduling:
        scheduling.start_soon(passes.keep_leases)
        scheduling.start_soon(writer.run)
        scheduling.start_soon(look_often, take_up_listed, passes, SYMBOLS_LOOK_S)
        scheduling.start_soon(look_often, look_at_feeder, passes, FEEDER_LOOK_S)
        scheduling.start_soon(alerting.run)
        with alerting.noting_failure():
            async with workers.at_work():
                await scheduling.start(scheduler.run)
                spec.reports.begin(writer)
                scheduling.start_soon(passes.begin, scheduler)
                async with trio.open_nursery() as listening:
                    listening.start_soon(reload.run, orders, manager)
                    await manager.tell("READY=1", f"STATUS=at work with {spec.config.workers} workers")
                    await orders.stop.wait()
                    listening.cancel_scope.cancel()
                # Stop the scheduler before `tell`, which may take a second.
                scheduler.stop()
                await manager.tell("STOPPING=1", "STATUS=finishing what is in hand")
        # The pages in hand are stored; the next pass plans the remaining ones again.
        scheduling.cancel_scope.cancel()


class _Reload:
    """Applies changed settings to a running engine, either all of them or none."""

    def __init__(
        self,
        read_spec: Callable[[], Awaitable[EngineSpec]],
        workers: Workers,
        passes: ScheduledPasses,
        scheduler: Scheduler,
    ) -> None:
        self._read_spec = read_spec
        self._workers = workers
        self._passes = passes
        self._scheduler = scheduler
        self._authorities = _contents(passes.parts.config.ca_file)

    async def run(self, orders: Orders, manager: ServiceManager) -> None:
        """Reload whenever the operator asks, until cancelled."""
        while True:
            await orders.wait_reload()
            await manager.tell_reloading()
            try:
                changed = await self._perform()
            except* (ReconcilerError, OSError) as group:
                for fault in "\n".join(map(str, leaves(group))).splitlines():
                    _logger.error("settings not taken, all stays as it was", extra={"fault": fault})
                await manager.tell("READY=1", "STATUS=at work; newer settings were refused")
            else:
                if changed:
                    _logger.info("settings taken", extra={"changed": "; ".join(changed)})
                else:
                    _logger.info("settings unchanged, nothing was replaced")
                await manager.tell("READY=1", "STATUS=at work")

    async def _perform(self) -> list[str]:
        """Read the settings and apply any changes; return a line for each change."""
        spec = await self._read_spec()
        before = self._passes.parts
        changed = changes(before.config, spec.config)
        if before.identity != spec.identity:
            changed.append("the API key")
        authorities = _contents(spec.config.ca_file)
        if before.config.ca_file == spec.config.ca_file and authorities != self._authorities:
            # The file's content changed under the same name.
            changed.append(f"certificates of {spec.config.ca_file}")
        if set(spec.unknown) != set(self._passes.unknown):
            changed.append(f"unknown symbols {', '.join(spec.unknown) or 'none'}")
        if not changed:
            # Lift the block of a refused key: the operator may have mended the cause.
            await before.bucket.forgive()
            return []
        parts = make_parts(
            spec.config,
            before.client,
            owns_server=spec.owns_server,
            consumer=before.queue.consumer,
            identity=spec.identity,
        )
        # Do this before applying anything, because Redis may fail here.
        await parts.bucket.forgive()
        await self._workers.roll(spec)
        self._authorities = authorities
        self._passes.renew(parts, spec.config.series(), spec.unknown)
        self._scheduler.reschedule(self._passes.jobs())
        return changed


def _contents(path: Path | None) -> bytes | None:
    """Return the bytes of a file, or None if it cannot be read; the children that need the file report that."""
    try:
        return None if path is None else path.read_bytes()
    except OSError:
        return None
