"""Metrics of the schedule and its passes."""

from __future__ import annotations

from typing import NamedTuple

from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.observe.metrics import PASS_ERRORS, PASS_GAPS, PASS_SLOTS, RUN_SECONDS, SLOT_OUTCOMES, TICKS
from reconciler_engine.scheduling.events import Event, RunFinished, SlotSkipped, SlotsMissed


class Ending(NamedTuple):
    """Outcome of a job's latest tick, under its label in the metrics."""

    job: str
    outcome: str


def count_event(event: Event) -> Ending | None:
    """Count a tick that has ended and return its outcome; return None for any other event."""
    match event:
        case RunFinished(tick, finished, duration_ms, _):
            RUN_SECONDS.observe(duration_ms / 1_000, tick.job)
            ending, count = Ending(tick.job, finished.value.replace(" ", "_")), 1
        case SlotSkipped(tick):
            ending, count = Ending(tick.job, "skipped"), 1
        case SlotsMissed(job, missed, _):
            ending, count = Ending(job, "missed"), missed.count
        case _:
            return None
    TICKS.add(count, *ending)
    return ending


def count_pass(job: str, result: ReconciliationResult) -> None:
    """Count the findings and repairs of a pass."""
    PASS_GAPS.add(result.gaps_found, job, "found")
    PASS_GAPS.add(result.gaps_filled, job, "filled")
    for outcome in SLOT_OUTCOMES:
        PASS_SLOTS.add(getattr(result, outcome), job, outcome)
    PASS_ERRORS.add(len(result.errors), job)
