"""Messages from Redis are checked like any other input."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic import ValidationError

from reconciler_engine.engine.tasks.messages import (
    SCAN_SLOTS,
    PageOutcome,
    PageTask,
    ScanTask,
    SeriesSpan,
    intervals_of,
    outcome_of,
    page_outcome,
    task_of,
    wire_of,
)
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.states import AbsentSlots
from reconciler_engine.store.retention import Retention

MINUTE = 60_000
BTC = Series("BTC-USD", Timeframe.M1)
KEEPING = Retention(max_candles=1_000, ttl_s=60, trim=True)
PAGE = PageTask(
    run="r",
    id="page-0",
    span=SeriesSpan.of(BTC, Interval(0, 300 * MINUTE)),
    asked=(0, 300 * MINUTE),
    gaps=((0, 2), (298 * MINUTE, 2)),
    keeping=KEEPING,
)
SCAN = ScanTask(run="r", id="scan-0", now=0, spans=(PAGE.span,), confirm_ms=250, repair=True, keeping=KEEPING)


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(PAGE.model_dump_json()), **fields}).encode()


def span(**fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"symbol": "BTC-USD", "timeframe": "1m", "start": 0, "stop": 300 * MINUTE}
    return {**given, **fields}


@pytest.mark.parametrize("task", [PAGE, SCAN], ids=lambda task: task.kind)
def test_a_task_is_read_as_it_was_written(task):
    again = task_of.validate_json(task.model_dump_json())
    assert again == task
    assert again.keeping == Retention(1_000, 60, trim=True)


def test_slots_are_read_as_they_were_written():
    spans = Intervals([Interval(0, 2 * MINUTE), Interval(298 * MINUTE, 300 * MINUTE)])
    assert wire_of(spans, MINUTE) == PAGE.gaps
    assert intervals_of(PAGE.gaps, MINUTE) == spans
    assert (PAGE.span.series, PAGE.span.interval) == (BTC, Interval(0, 300 * MINUTE))


def test_a_page_claims_what_lies_between_the_slots_it_is_asked_for():
    wide = PAGE.model_copy(update={"gaps": ((3 * MINUTE, 1), (7 * MINUTE, 2))})
    assert wide.hull == Interval(3 * MINUTE, 9 * MINUTE)


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
        changed(held=[[2 * MINUTE, 1], [0, 1]], gaps=[]),
        changed(held=[[0, 2]], gaps=[[MINUTE, 1]]),
        changed(held=[[0, 301]]),
        changed(gaps=[[0, 2**53]]),
        changed(gaps=[[0, 301]], span=span(stop=301 * MINUTE), asked=[0, 301 * MINUTE]),
        changed(asked=[0, 301 * MINUTE]),
        changed(asked=[MINUTE, 300 * MINUTE]),
        changed(asked=[0, 299 * MINUTE]),
        changed(span=span(stop=299 * MINUTE + 1), gaps=[[0, 2]]),
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


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"asked": [1, 300 * MINUTE]}, "asked start 1 is not on the grid; allowed: multiples of 60000"),
        ({"asked": [0, 301 * MINUTE]}, "asked (0, 18060000) has 301 slots; allowed: at most 300"),
        ({"asked": [0, MINUTE]}, "span 0 to 18000000 leaves asked (0, 60000); allowed: an interval inside it"),
        ({"gaps": []}, "gaps and held are both empty; allowed: a page with slots to ask for"),
        ({"held": [[1, 1]]}, "held start 1 is not on the grid; allowed: multiples of 60000"),
        ({"gaps": [[0, 301]]}, "gaps 0 to 18060000; allowed: ascending, in slots 0 to 18000000"),
        ({"gaps": [[0, 2], [MINUTE, 1]]}, "gaps 60000 to 120000; allowed: ascending, in slots 120000 to 18000000"),
        ({"held": [[0, 1]]}, "held ((0, 1),) has slots of gaps ((0, 2), (17880000, 2)); allowed: a slot in one of"),
    ],
)
def test_a_refused_page_is_told_by_field_value_and_what_is_allowed(fields, said):
    with pytest.raises(ValidationError, match=re.escape(said)):
        task_of.validate_json(changed(**fields))


def test_candles_to_audit_are_called_held_on_the_wire():
    page = PAGE.model_copy(update={"to_audit": ((2 * MINUTE, 3),)})
    assert json.loads(page.model_dump_json())["held"] == [[2 * MINUTE, 3]]
    assert task_of.validate_json(changed(held=[[2 * MINUTE, 3]])) == page


def test_a_scan_of_more_slots_than_anybody_reads_is_no_task():
    task = json.loads(SCAN.model_dump_json())
    for stop, is_one in ((SCAN_SLOTS * MINUTE, True), ((SCAN_SLOTS + 1) * MINUTE, False), (2**53, False)):
        task["spans"] = [{"symbol": "BTC-USD", "timeframe": "1m", "start": 0, "stop": stop}]
        if is_one:
            assert task_of.validate_json(json.dumps(task))
        else:
            with pytest.raises(ValidationError, match="allowed: at most 70000000"):
                task_of.validate_json(json.dumps(task))


@pytest.mark.parametrize("fields", [{"symbol": "x"}, {"requests": -1}, {"unresolved": [[0, 0]]}, {"timeframe": "3m"}])
def test_what_makes_no_sense_is_no_outcome(fields):
    outcome = PageOutcome(id="page-0", symbol="BTC-USD", timeframe=Timeframe.M1)
    assert outcome_of.validate_json(outcome.model_dump_json()) == outcome
    with pytest.raises(ValidationError):
        outcome_of.validate_json(json.dumps({**json.loads(outcome.model_dump_json()), **fields}))


def test_a_page_says_how_its_slots_stand_or_that_nobody_knows():
    first = Interval(0, MINUTE)
    standing = AbsentSlots(*(Intervals([one]) for one in (first, Interval(MINUTE, 3 * MINUTE), first)))
    outcome = page_outcome(PAGE, standing, requests=2, mismatched=1, error="late")
    assert (outcome.unresolved, outcome.confirmed, outcome.requests, outcome.mismatched) == (
        ((0, 1),), ((MINUTE, 2),), 2, 1,
    )  # fmt: skip
    assert (outcome.error, outcome.series, outcome.id) == ("late", BTC, "page-0")
    assert page_outcome(PAGE, None, error="lost").unresolved is None
