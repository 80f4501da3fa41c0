"""The simulation's feeder as a child process."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import scope_of
from reconciler_engine.engine.simulated_feeder.feeder import Feeder, FeederSettings
from reconciler_engine.engine.simulated_feeder.losses import FeedEvent, FeedLosses
from reconciler_engine.errors import StoreError
from reconciler_engine.observe.words import counted, describe_span
from reconciler_engine.simulator.simulation import SimulatorSettings, build_market
from reconciler_engine.store.client.trio_redis import TrioRedis

_RECONNECT_S = 1.0
DEMO_LOSSES = FeedLosses(disconnects_per_hour=6, outage_ms=(45_000, 75_000), lost_share=0.4, twin_share=1.0)
"""Losses of the simulation: more than a real feed's, so that a newcomer soon sees a hole and its repair.

Outages are too short for the feed to give up. Each reconnect leaves two sockets alive, so that volumes are doubled.
Fewer than a fifth of the bars lack their beginning: if more opens differed from the exchange's answer, the engine would
take that answer for another product's.
"""

EARLIER_MS = 2 * 3_600_000
"""Age of the oldest candles written at the start (ms), so that some wrong ones are old enough to be repaired soon."""

_logger = logging.getLogger(__name__)


async def run_feeder(message: dict[str, Any], do: Callable[[FeederRole], Awaitable[None]]) -> None:
    """Feed by the child's spec: `config`, `redis_url`, `seed`, and `start` and `origin` of the clock (ms)."""
    config = ReconciliationConfig.check(message["config"])
    market, clock = build_market(
        SimulatorSettings(seed=message["seed"], start=message["start"], origin=message["origin"])
    )
    settings = FeederSettings(
        series=config.series(),
        scope=scope_of(config),
        losses=DEMO_LOSSES,
        max_candles=config.max_candles,
        ttl_s=config.life_s,
        earlier_ms=EARLIER_MS,
    )
    async with TrioRedis.from_url(message["redis_url"]) as client:
        await do(FeederRole(lambda: Feeder(client, market, clock, settings, _log)))


class FeederRole:
    """A feeder that reconnects when a write fails."""

    def __init__(self, make_feeder: Callable[[], Feeder]) -> None:
        self._make_feeder = make_feeder
        self._feeding = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Feed until drained; started once the first snapshot is written."""
        started = False
        with self._feeding:
            while True:
                feeder = self._make_feeder()
                try:
                    await feeder.step()
                    if not started:
                        started = True
                        task_status.started()
                    await feeder.run()
                except StoreError as error:
                    _logger.warning("feeder lost the cache", extra={"error": str(error)})
                    await trio.sleep(_RECONNECT_S)

    def drain(self) -> None:
        """Stop, possibly in the middle of a write, as the real feeder does."""
        self._feeding.cancel()

    @property
    def tasks_done(self) -> int:
        """Always 1: a running feeder counts as useful."""
        return 1


def _log(event: FeedEvent) -> None:
    if event.kind == "connected":
        summary = f"a snapshot of {event.candles} candles, {counted(event.sockets, 'socket')} open"
        extra = {"snapshot_candles": event.candles, "sockets": event.sockets, "summary": summary}
        _logger.info("feed connected", extra=extra)
    elif event.kind == "gave_up":
        _logger.error("feed gave up, ten handshakes were refused")
    else:
        away_ms = event.until - event.time_ms
        _logger.info("feed disconnected", extra={"for_ms": away_ms, "summary": f"for {describe_span(away_ms)}"})
