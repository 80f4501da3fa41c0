"""What comes out of Redis is checked like any other input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from reconciler_engine.engine.messages import (
    Keeping,
    PageOutcome,
    PageTask,
    ScanTask,
    Span,
    gaps_of,
    outcome_of,
    page_outcome,
    runs_of,
    task_of,
)
from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.candles import Retention

MINUTE = 60_000
BTC = Series("BTC-USD", Timeframe.M1)
KEEPING = Keeping(max_candles=1_000, ttl_s=60, trim=True)
PAGE = PageTask(
    run="r",
    id="page-0",
    span=Span.of(BTC, Interval(0, 300 * MINUTE)),
    gaps=((0, 2), (298 * MINUTE, 2)),
    keeping=KEEPING,
)
SCAN = ScanTask(run="r", id="scan-0", spans=(PAGE.span,), confirm_ms=250, repair=True, keeping=KEEPING)


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(PAGE.model_dump_json()), **fields}).encode()


def span(**fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"symbol": "BTC-USD", "timeframe": "1m", "start": 0, "stop": 300 * MINUTE}
    return {**given, **fields}


@pytest.mark.parametrize("task", [PAGE, SCAN], ids=lambda task: task.kind)
def test_a_task_is_read_as_it_was_written(task):
    again = task_of.validate_json(task.model_dump_json())
    assert again == task
    assert again.keeping.retention == Retention(1_000, 60, trim=True)


def test_gaps_are_read_as_they_were_written():
    gaps = (Gap(0, MINUTE, 2), Gap(298 * MINUTE, 299 * MINUTE, 2))
    assert gaps_of(runs_of(gaps), MINUTE) == gaps
    assert (PAGE.span.series, PAGE.span.interval) == (BTC, Interval(0, 300 * MINUTE))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"\xff",
        b"[]",
        changed(kind="other"),
        changed(extra=1),
        changed(run=1),
        changed(gaps=[]),
        changed(gaps=[[0, 0]]),
        changed(gaps=[[-MINUTE, 1]]),
        changed(gaps=[[1, 1]]),
        changed(gaps=[[0, 301]]),
        changed(gaps=[[299 * MINUTE, 2]]),
        changed(gaps=[[MINUTE, 2], [2 * MINUTE, 1]]),
        changed(gaps=[[2 * MINUTE, 1], [0, 1]]),
        changed(gaps=[[0, 2**53]]),
        changed(gaps=[[0, 301]], span=span(stop=301 * MINUTE)),
        changed(span=span(symbol="../../x")),
        changed(span=span(symbol="BTC-USD\n")),
        changed(span=span(timeframe="3m")),
        changed(span=span(start=-1)),
        changed(span=span(start=400 * MINUTE)),
        changed(span=span(stop=2**60)),
    ],
    ids=lambda body: body.decode("latin-1")[:60] if len(body) < 60 else None,
)
def test_what_makes_no_sense_is_no_task(body):
    with pytest.raises(ValidationError):
        task_of.validate_json(body)


@pytest.mark.parametrize("fields", [{"symbol": "x"}, {"filled": -1}, {"unresolved": [[0, 0]]}, {"timeframe": "3m"}])
def test_what_makes_no_sense_is_no_outcome(fields):
    outcome = PageOutcome(id="page-0", symbol="BTC-USD", timeframe=Timeframe.M1)
    assert outcome_of.validate_json(outcome.model_dump_json()) == outcome
    with pytest.raises(ValidationError):
        outcome_of.validate_json(json.dumps({**json.loads(outcome.model_dump_json()), **fields}))


def test_a_page_counts_as_filled_what_is_not_unresolved():
    outcome = page_outcome(PAGE, (Gap(0, 0, 1),), requests=2, mismatched=1, error="late")
    assert (outcome.filled, outcome.unresolved, outcome.requests, outcome.mismatched) == (3, ((0, 1),), 2, 1)
    assert (outcome.error, outcome.series, outcome.id) == ("late", BTC, "page-0")
