"""Status of a job whose runs fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.status_writer import StatusWriter
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.scheduling.events import JobStatistics, Outcome, RunFinished, SlotSkipped, SlotsMissed
from reconciler_engine.scheduling.ticks import Missed, Tick
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.status_board import EngineFacts

TICK = Tick("gap_scan", 0)
FIGURES = JobStatistics("gap_scan", 1, 0, 0, 0, 1, None, None, None, is_running=False)


def failure_after(*events) -> str | None:
    """Return the error of a job's last run, after these events."""
    parts = SimpleNamespace(
        client=None, scope=Scope(1, 1, "test"), queue=SimpleNamespace(consumer="a:1"),
        config=ReconciliationConfig(), identity=None, bucket=SimpleNamespace(budget=Budget(1, 1_000)),
    )  # fmt: skip
    passes: Any = SimpleNamespace(
        parts=parts,
        now=lambda: 0,
        last={},
        crons={"gap_scan": "* * * * *"},
        unknown=("A-USD",),
        scrub_status=lambda: None,
    )
    scheduler: Any = SimpleNamespace(statistics=lambda: {"gap_scan": FIGURES})
    writer = StatusWriter(EngineFacts("test"), scheduler, passes, tuple)
    for event in events:
        writer._note(event)
    (job,) = writer.status.jobs
    return job.failure


def finished(outcome, error=None):
    return RunFinished(TICK, outcome, 1, error)


LATE = finished(Outcome.TIMED_OUT, "after 1 ms")


@pytest.mark.parametrize(
    "meanwhile",
    [
        (),
        (SlotSkipped(TICK, None),),
        (SlotSkipped(TICK, "StoreUnavailable: away"),),
        (SlotsMissed("gap_scan", Missed(0, 0, 1), 0),),
        (finished(Outcome.CANCELLED),),
    ],
)
def test_a_run_that_failed_is_told_whatever_becomes_of_ticks_meanwhile(meanwhile):
    assert failure_after(LATE, *meanwhile) == "timed out: after 1 ms"


@pytest.mark.parametrize("then", [finished(Outcome.DONE), SlotSkipped(TICK, None, elsewhere=True)])
def test_it_is_told_until_one_goes_well_or_another_node_is_at_it(then):
    assert failure_after(LATE, then) is None
