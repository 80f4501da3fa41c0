"""What the schedule and its passes add to the metrics."""

from __future__ import annotations

from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.observe.metrics import PASS_ERRORS, PASS_GAPS, PASS_SLOTS, RUN_SECONDS, SLOT_OUTCOMES, TICKS
from reconciler_engine.scheduling.events import Event, RunFinished, SlotSkipped, SlotsMissed


def count_event(event: Event) -> None:
    """Count a tick that has ended, once."""
    match event:
        case RunFinished(tick, outcome, duration_ms, _):
            TICKS.add(1, tick.job, outcome.value.replace(" ", "_"))
            RUN_SECONDS.observe(duration_ms / 1_000, tick.job)
        case SlotSkipped(tick, _):
            TICKS.add(1, tick.job, "skipped")
        case SlotsMissed(job, missed, _):
            TICKS.add(missed.count, job, "missed")


def count_pass(job: str, result: ReconciliationResult) -> None:
    """Count what a pass found and did."""
    PASS_GAPS.add(result.gaps_found, job, "found")
    PASS_GAPS.add(result.gaps_filled, job, "filled")
    for outcome in SLOT_OUTCOMES:
        PASS_SLOTS.add(getattr(result, outcome), job, outcome)
    PASS_ERRORS.add(len(result.errors), job)
