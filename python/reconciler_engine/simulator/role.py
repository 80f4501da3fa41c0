"""The simulator as a child process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from reconciler_engine.simulator.simulation import SimulatorSettings, simulate


async def run_simulator(message: dict[str, Any], do: Callable[[SimulatorRole], Awaitable[None]]) -> None:
    """Simulate an exchange as the spec's message says: `port`, `seed`, and `start` and `origin` of the clock (ms)."""
    settings = SimulatorSettings(
        port=message["port"], seed=message["seed"], start=message["start"], origin=message["origin"]
    )
    await do(SimulatorRole(settings))


class SimulatorRole:
    """An exchange; its parent finds it by its `url`."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._serving = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[dict[str, str]] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until drained; started once it listens, with its `url`."""

        def announce(line: str) -> None:
            task_status.started({"url": line.removeprefix("listening on ")})

        with self._serving:
            await simulate(self._settings, announce)

    def drain(self) -> None:
        """Stop serving; open requests are cut off, as by any exchange that goes away."""
        self._serving.cancel()

    @property
    def tasks_done(self) -> int:
        """An exchange that listens is of use."""
        return 1
