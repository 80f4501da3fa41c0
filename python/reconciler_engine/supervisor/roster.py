"""The roster of a tree: who runs, since when, how often started again; for the status."""

from __future__ import annotations

import trio

from reconciler_engine.observe import metrics
from reconciler_engine.observe.status import ProcessStatus
from reconciler_engine.supervisor.keeper import Keeper


class Roster:
    """The processes of one tree, bounded by its roles."""

    def __init__(self, pid: int) -> None:
        """Begin with the supervisor itself, whose process is `pid`, started about now."""
        self._pid = pid
        self._started_at = trio.current_time()
        self._keepers: list[tuple[str, Keeper]] = []

    def add(self, keeper: Keeper, *, role: str) -> None:
        """List a keeper's child, while there is one and while there is none."""
        self._keepers.append((role, keeper))

    def processes(self) -> tuple[ProcessStatus, ...]:
        """Return every process as of now, the supervisor first; one that is being started again has no pid."""
        now = trio.current_time()
        supervisor = ProcessStatus(
            role="supervisor",
            name="supervisor",
            pid=self._pid,
            age_ms=_ms(now - self._started_at),
            last_beat_ms=0,
            restarts=0,
        )
        return (supervisor, *(_status(role, keeper, now) for role, keeper in self._keepers))

    def figures(self) -> metrics.Figures:
        """Return what all processes have counted so far, this one and the dead included."""
        return metrics.total([metrics.figures(), *(keeper.figures for _, keeper in self._keepers)])


def _status(role: str, keeper: Keeper, now: float) -> ProcessStatus:
    child = keeper.child
    if child is None:
        return ProcessStatus(role=role, name=role, restarts=keeper.restarts)
    return ProcessStatus(
        role=role,
        name=child.spec.name,
        pid=child.pid,
        age_ms=_ms(now - child.started_at),
        last_beat_ms=_ms(now - child.beat_at),
        restarts=keeper.restarts,
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)
