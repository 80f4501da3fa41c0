"""The list of an engine's child processes."""

from __future__ import annotations

import trio

from reconciler_engine.observe import metrics
from reconciler_engine.observe.status import ProcessStatus
from reconciler_engine.planning.restart import BEAT_S
from reconciler_engine.supervisor.restarting_child import RestartingChild
from reconciler_engine.supervisor.running_child import BEATS_MISSED

_LONGEST_SILENCE_S = 2 * BEATS_MISSED * BEAT_S


class ChildList:
    """The child processes of one engine; a role has one or more."""

    def __init__(self, pid: int) -> None:
        """Create a list without children; `pid` is the supervisor's process, started about now."""
        self._pid = pid
        self._started_at = trio.current_time()
        self._children: list[tuple[str, RestartingChild]] = []

    def add(self, child: RestartingChild, *, role: str) -> None:
        """Add a child; it stays listed while it restarts and until the engine ends."""
        self._children.append((role, child))

    def kill(self, *, but: str = "") -> None:
        """Kill every child at once, except children with the role `but`."""
        for role, child in self._children:
            if role != but:
                child.kill()

    def is_well(self) -> bool:
        """Return False if a child has sent no beat for twice the time after which a hanging child is killed."""
        now = trio.current_time()
        return all(
            child.running is None or now - child.running.beat_at < _LONGEST_SILENCE_S for _, child in self._children
        )

    def processes(self) -> tuple[ProcessStatus, ...]:
        """Return the status of every process, the supervisor first; a child that is restarting has no pid."""
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
        """Return the summed metrics of all processes, including this one and children that have ended."""
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
