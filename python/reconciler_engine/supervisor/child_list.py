"""The list of an engine's children: shown by the status, ended together."""

from __future__ import annotations

import trio

from reconciler_engine.observe import metrics
from reconciler_engine.observe.status import ProcessStatus
from reconciler_engine.planning.restart import BEAT_S
from reconciler_engine.supervisor.restarting_child import RestartingChild
from reconciler_engine.supervisor.running_child import BEATS_MISSED

_LONGEST_SILENCE_S = 2 * BEATS_MISSED * BEAT_S


class ChildList:
    """The children of one engine, one or more a role."""

    def __init__(self, pid: int) -> None:
        """Begin with the supervisor itself, whose process is `pid`, started about now."""
        self._pid = pid
        self._started_at = trio.current_time()
        self._children: list[tuple[str, RestartingChild]] = []

    def add(self, child: RestartingChild, *, role: str) -> None:
        """List a child for as long as the engine lives, also while it is being started again."""
        self._children.append((role, child))

    def kill(self, *, but: str = "") -> None:
        """End every child this moment, except those of one role."""
        for role, child in self._children:
            if role != but:
                child.kill()

    def is_well(self) -> bool:
        """Whether every child beats, or is being started again; one that hangs is replaced before this says no."""
        now = trio.current_time()
        return all(
            child.running is None or now - child.running.beat_at < _LONGEST_SILENCE_S for _, child in self._children
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
        return (supervisor, *(_status(role, child, now) for role, child in self._children))

    def figures(self) -> metrics.Figures:
        """Return the counts of all processes so far, this one and the dead included."""
        return metrics.total([metrics.figures(), *(child.figures for _, child in self._children)])


def _status(role: str, child: RestartingChild, now: float) -> ProcessStatus:
    running = child.running
    return ProcessStatus(
        role=role,
        name=role if running is None else running.spec.name,
        state=child.state,
        pid=None if running is None else running.pid,
        age_ms=None if running is None else _ms(now - running.started_at),
        last_beat_ms=None if running is None else _ms(now - running.beat_at),
        restarts=child.restarts,
        last_exit=child.last_exit,
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)
