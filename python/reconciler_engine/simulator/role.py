"""Duty of a child process that serves the simulated exchange."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from reconciler_engine.simulator.simulation import SimulatorSettings, simulate


async def run_simulator(message: dict[str, Any], do: Callable[[SimulatorRole], Awaitable[None]]) -> None:
    """Run the simulator with the message's `port` and `seed`, and `start` and `origin` of its clock (ms UTC)."""
    settings = SimulatorSettings(
        port=message["port"], seed=message["seed"], start=message["start"], origin=message["origin"]
    )
    await do(SimulatorRole(settings))


class SimulatorRole:
    """A simulated exchange as the role of a child process; its first beat contains its `url`."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._serving = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[dict[str, str]] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until drained; `task_status` is given the `url` as soon as the port is open."""

        def announce(line: str) -> None:
            task_status.started({"url": line.removeprefix("listening on ")})

        with self._serving:
            await simulate(self._settings, announce)

    def drain(self) -> None:
        """Stop serving; requests that are not yet answered lose their connection."""
        self._serving.cancel()

    @property
    def tasks_done(self) -> int:
        """Always 1: a simulator that listens does its work."""
        return 1
