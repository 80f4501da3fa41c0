"""The simulator as a child process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
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
    """An exchange that its parent finds by the `url` among its facts."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._serving = trio.CancelScope()
        self._url = ""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until drained; started once it listens."""

        def announce(line: str) -> None:
            self._url = line.removeprefix("listening on ")
            task_status.started()

        with self._serving:
            await simulate(self._settings, announce)

    def drain(self) -> None:
        """Stop serving; whoever asks meanwhile is cut off, as by any exchange that goes away."""
        self._serving.cancel()

    @property
    def tasks_done(self) -> int:
        """An exchange that listens is of use."""
        return 1

    @property
    def facts(self) -> Mapping[str, object]:
        """Where it listens."""
        return {"url": self._url}
