"""Tasks in the log: series and page of each, and how far a long pass is."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

from reconciler_engine.engine.passes.run_tasks import RunTasks
from reconciler_engine.engine.tasks.messages import PageTask, ScanOutcome, ScanTask, SeriesSpan, page_outcome
from reconciler_engine.engine.tasks.worker import facts_of, outcome_facts
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.states import AbsentSlots
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.task_streams import Lane

MINUTE = 60_000
FIRST = 1_767_225_600_000
SPAN = Interval(FIRST, FIRST + 300 * MINUTE)
KEPT = Retention(0, 0, trim=False)


def page(name: str = "page-7") -> PageTask:
    span = SeriesSpan.of(Series.parse("BTC-USD:1m"), SPAN)
    return PageTask(
        run="full_reconcile-1", id=name, span=span, asked=(SPAN.start, SPAN.stop), gaps=((FIRST, 3),), keeping=KEPT
    )


def test_a_page_is_told_with_its_series_and_its_slots():
    assert facts_of(page()) == {
        "task": "page-7", "series": "BTC-USD:1m", "page": "2026-01-01T00:00Z to 2026-01-01T05:00Z", "slots": 300,
    }  # fmt: skip
    left = Intervals([Interval(FIRST, FIRST + 2 * MINUTE)])
    outcome = page_outcome(page(), AbsentSlots(left, Intervals(), left), requests=4, error="HTTP 503")
    assert outcome_facts(outcome) == {"requests": 4, "left": 2, "error": "HTTP 503"}


def test_a_scan_is_told_with_its_first_series():
    spans = tuple(SeriesSpan.of(Series.parse(f"A{number}-USD:1m"), SPAN) for number in range(5))
    task = ScanTask(run="scan-1", id="scan-0", now=FIRST, spans=spans, confirm_ms=0, repair=False, keeping=KEPT)
    assert facts_of(task) == {"task": "scan-0", "series": "A0-USD:1m, A1-USD:1m, A2-USD:1m and 2 more"}
    assert outcome_facts(ScanOutcome(id="scan-0")) == {"findings": 0}


class SlowQueue:
    """A queue whose tasks take two seconds each."""

    def __init__(self) -> None:
        self.left = 0

    async def enqueue(self, _run: str, _lane: Lane, tasks: list[Any]) -> None:
        self.left = len(tasks)

    async def wait_finished(self, _run: str, *_lanes: Lane, tell: Any) -> None:
        while self.left:
            await trio.sleep(2)
            self.left -= 1
            tell(self.left)


@pytest.mark.parametrize(("pages", "told"), [(2, []), (12, ["3 of 12 pages done, 6.0 s", "8 of 12 pages done, 16 s"])])
def test_a_pass_over_five_seconds_says_how_far_it_is(caplog, pages, told):
    queue: Any = SlowQueue()

    async def run() -> None:
        await RunTasks(queue, "full_reconcile-1").do(Lane.DEEP, [page(f"page-{number}") for number in range(pages)])

    with caplog.at_level(logging.INFO, "reconciler_engine.engine.passes.run_tasks"):
        trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    lines = [record.__dict__["summary"] for record in caplog.records]
    assert [line.partition("  ")[2].strip().removesuffix(" so far") for line in lines] == told
