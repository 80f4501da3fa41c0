"""Facts of tasks and outcomes for the log: series, page and result."""

from __future__ import annotations

from typing import Any

from reconciler_engine.engine.tasks.messages import PageOutcome, PageTask, ScanOutcome, ScanTask
from reconciler_engine.observe.words import iso

_NAMED = 3


def facts_of(task: ScanTask | PageTask) -> dict[str, Any]:
    """Return the series and the page of a task, or the first series of a scan."""
    if isinstance(task, PageTask):
        asked = task.asked_slots
        slots = asked.size(task.span.timeframe.step_ms)
        page = f"{iso(asked.start)} to {iso(asked.stop)}"
        return {"task": task.id, "series": str(task.span.series), "page": page, "slots": slots}
    names = [str(span.series) for span in task.spans]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return {"task": task.id, "series": f"{', '.join(names[:_NAMED])}{more}"}


def outcome_facts(outcome: ScanOutcome | PageOutcome) -> dict[str, Any]:
    """Return the figures of an outcome, those that are none left out."""
    told: dict[str, Any] = {} if outcome.error is None else {"error": outcome.error}
    if isinstance(outcome, ScanOutcome):
        return {"findings": len(outcome.findings), **told}
    left = {} if outcome.unresolved is None else {"left": sum(count for _, count in outcome.unresolved)}
    figures = {"requests": outcome.requests, "references": outcome.references, "repaired": outcome.repaired, **left}
    return {**{name: count for name, count in figures.items() if count}, **told}
