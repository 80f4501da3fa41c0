"""The tree above the cache: workers, then the schedule; ended the other way round.

The supervisor itself asks the exchange nothing.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import trio

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.assembly import Parts, consumer_name, open_parts
from reconciler_engine.engine.passes import Passes
from reconciler_engine.engine.status import EngineFacts
from reconciler_engine.engine.status_writer import StatusWriter
from reconciler_engine.errors import StoreError
from reconciler_engine.scheduling.scheduler import Scheduler
from reconciler_engine.store.server import check_server
from reconciler_engine.supervisor.keeper import Keeper
from reconciler_engine.supervisor.process import ChildMaker, ChildProcess, ChildSpec
from reconciler_engine.supervisor.roster import Roster
from reconciler_engine.supervisor.web import Desk

if TYPE_CHECKING:
    # Cryptography is loaded where there is a key.
    from reconciler_engine.coinbase.auth import Credentials

WORKER_STOP_S = 20.0
"""How long a worker may take for the page in hand once it is told to stop."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TreePlan:
    """What `start` runs.

    Attributes:
        config: The checked settings.
        redis_url: Where the cache is.
        owns_server: Whether that is the embedded server.
        children: Makes the specs of the children.
        roster: Lists the children for the status; those below the tree are on it already.
        command: What runs this tree, for people.
        desk: Who must know how the tree stands.
        credentials: What workers sign with, or None. They go to workers alone, through their pipes.
    """

    config: ReconciliationConfig
    redis_url: str = field(repr=False)
    owns_server: bool
    children: ChildMaker
    roster: Roster
    command: str
    desk: Desk
    credentials: Credentials | None = None


async def run_tree(plan: TreePlan, stop: trio.Event) -> None:
    """Run workers and schedule until `stop`; return when everything in hand is done.

    Raises:
        ConfigError: Redis does not accept the credentials, or is too old.
        RoleFailed: A role was given up.
        StoreUnavailable: Redis is not there at the start.
    """
    identity = None if plan.credentials is None else plan.credentials.identity
    async with open_parts(plan.config, plan.redis_url, owns_server=plan.owns_server, identity=identity) as parts:
        info = await check_server(parts.client)
        _logger.info("cache", extra={"server": str(info), "address": str(parts.client.address)})
        if info.may_evict:
            _logger.warning("the server may evict candles", extra={"maxmemory_policy": info.maxmemory_policy})
        await parts.queue.create_groups()
        # A start says that whatever a key was refused for is put in order.
        await parts.bucket.forgive()
        passes = Passes(parts, plan.config.series(), now=_now)
        scheduler = Scheduler(passes.jobs(), now=_now, held_elsewhere=passes.is_taken)
        if plan.owns_server:
            # The data directory's lock says that whoever held them is dead.
            await passes.free_all()
        about = EngineFacts(plan.command, simulated=plan.children.simulated)
        writer = StatusWriter(parts, about, scheduler, passes, plan.roster.processes, now=_now)
        async with trio.open_nursery() as scheduling:
            scheduling.start_soon(passes.keep_leases)
            scheduling.start_soon(writer.run)
            async with _workers(plan, parts, stop):
                await scheduling.start(scheduler.run)
                plan.desk.take(writer)
                scheduling.start_soon(passes.begin, scheduler)
                await stop.wait()
                scheduler.stop()
            # The pages in hand are stored. What is left of a pass is derived anew by the next one.
            scheduling.cancel_scope.cancel()


def _now() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def _workers(plan: TreePlan, parts: Parts, ending: trio.Event) -> AsyncIterator[None]:
    """Keep the workers alive; give way once all are ready; let them finish at the end."""
    message = {
        "config": plan.config.model_dump(mode="json", exclude={"key_file"}),
        "redis_url": plan.redis_url,
        "owns_server": plan.owns_server,
    }
    lives = itertools.count(1)

    def make_spec() -> ChildSpec:
        key = {} if plan.credentials is None else {"credentials": plan.credentials.hand_over()}
        return plan.children.child(
            f"worker-{next(lives)}", "reconciler_engine.engine.worker_role:run_worker", **message, **key
        )

    keepers = [
        Keeper(make_spec, Random(), on_death=partial(_redeliver, parts), ending=ending)
        for _ in range(plan.config.workers)
    ]
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as starting:
            for keeper in keepers:
                plan.roster.add(keeper, role="worker")
                starting.start_soon(nursery.start, keeper.run)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await stop_all(keepers, WORKER_STOP_S)


async def stop_all(keepers: list[Keeper], timeout_s: float) -> None:
    """Stop several children at once."""
    async with trio.open_nursery() as stopping:
        for keeper in keepers:
            stopping.start_soon(keeper.stop, timeout_s)


async def _redeliver(parts: Parts, child: ChildProcess) -> None:
    """Hand out again what a dead worker had taken; should Redis be away too, idle time does it later."""
    try:
        count = await parts.queue.redeliver(consumer_name(child.pid))
    except StoreError as error:
        _logger.warning("tasks of a dead worker wait", extra={"child": child.spec.name, "error": str(error)})
    else:
        _logger.info("tasks handed out again", extra={"child": child.spec.name, "count": count})
