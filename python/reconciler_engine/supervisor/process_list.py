"""The roster of a tree: who runs, since when, how often started again; for the status."""

from __future__ import annotations

import trio

from reconciler_engine.observe import metrics
from reconciler_engine.observe.status import ProcessStatus
from reconciler_engine.supervisor.child_process import BEAT_S, BEATS_MISSED
from reconciler_engine.supervisor.restarting_child import RestartingChild

_LONGEST_SILENCE_S = 2 * BEATS_MISSED * BEAT_S


class ProcessList:
    """The processes of one tree, bounded by its roles."""

    def __init__(self, pid: int) -> None:
        """Begin with the supervisor itself, whose process is `pid`, started about now."""
        self._pid = pid
        self._started_at = trio.current_time()
        self._keepers: list[tuple[str, RestartingChild]] = []

    def add(self, keeper: RestartingChild, *, role: str) -> None:
        """List a keeper's child, while there is one and while there is none."""
        self._keepers.append((role, keeper))

    def kill(self, *, but: str = "") -> None:
        """End every child this moment, but that of one role."""
        for role, keeper in self._keepers:
            if role != but:
                keeper.kill()

    def is_well(self) -> bool:
        """Whether every child beats, or is being started again; one that hangs is replaced before this says no."""
        now = trio.current_time()
        return all(
            keeper.child is None or now - keeper.child.beat_at < _LONGEST_SILENCE_S for _, keeper in self._keepers
        )

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


def _status(role: str, keeper: RestartingChild, now: float) -> ProcessStatus:
    child = keeper.child
    if child is None:
        return ProcessStatus(
            role=role, name=role, state=keeper.state, restarts=keeper.restarts, last_exit=keeper.last_exit
        )
    return ProcessStatus(
        role=role,
        name=child.spec.name,
        state=keeper.state,
        pid=child.pid,
        age_ms=_ms(now - child.started_at),
        last_beat_ms=_ms(now - child.beat_at),
        restarts=keeper.restarts,
        last_exit=keeper.last_exit,
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)
