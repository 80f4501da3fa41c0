"""Builds the reports for the web child from the list of children and the engine's status."""

from __future__ import annotations

from typing import Literal

import trio

from reconciler_engine.engine.status_writer import StatusWriter
from reconciler_engine.observe.status import Report
from reconciler_engine.supervisor.child_list import ChildList


class ReportSource:
    """Builds reports on the whole engine while it starts, runs and stops."""

    def __init__(self, children: ChildList, ending: trio.Event) -> None:
        """Create the source for an engine that is starting; `ending` is set once it must stop."""
        self._children = children
        self._ending = ending
        self._writer: StatusWriter | None = None

    def begin(self, writer: StatusWriter) -> None:
        """From now on, report that the engine is running, with the status of `writer`."""
        self._writer = writer

    def report(self) -> Report:
        """Return a report on the present state."""
        writer = self._writer
        up: Literal["starting", "running"] = "starting" if writer is None else "running"
        report = Report(
            stage="stopping" if self._ending.is_set() else up,
            processes=self._children.processes(),
            figures=self._children.figures(),
        )
        if writer is None:
            return report
        engine = writer.status.model_copy(update={"processes": ()})
        update: dict[str, object] = {
            "settings": writer.settings,
            "engine": engine,
            "redis_silent_ms": writer.redis_silent_ms,
            "redis_error": writer.redis_error,
        }
        return report.model_copy(update=update)
