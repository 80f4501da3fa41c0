"""One event as a terminal and as a program see it."""

from __future__ import annotations

import json
import logging

import pytest

from reconciler_engine.observe import logs


@pytest.fixture
def logged(capsys):
    """Configure a style; log records of given times; return the lines."""
    logger = logging.getLogger("reconciler_engine")
    before = (logger.handlers[:], logger.level, logger.propagate)

    def log(style, *records):
        logs.configure(style, "INFO", process="test", simulated=True)
        for created, extra in records:
            record = logger.makeRecord("reconciler_engine.x", logging.INFO, "", 0, "pass done", (), None, extra=extra)
            record.created = created
            logger.handle(record)
        return capsys.readouterr().err.splitlines()

    yield log
    logger.handlers[:], logger.level, logger.propagate = before


QUIET = {"job": "gap_scan", "routine": "gap_scan", "summary": "nothing missing"}
LOUD = {"job": "gap_scan", "summary": "2 gaps"}


def test_a_terminal_shows_a_routine_event_once_a_minute_and_counts_the_others(logged):
    lines = logged("human", (0, QUIET), (10, QUIET), (59, QUIET), (60, QUIET), (119, QUIET), (120, QUIET))
    assert [line.partition("pass done  ")[2] for line in lines] == [
        "nothing missing",
        "nothing missing; 2 more like it not shown",
        "nothing missing; 1 more like it not shown",
    ]


def test_an_event_that_says_something_is_always_shown(logged):
    lines = logged("human", (0, QUIET), (1, LOUD), (2, LOUD), (3, QUIET))
    assert [line.partition("pass done  ")[2] for line in lines] == ["nothing missing", "2 gaps", "2 gaps"]
    assert all(" SIMULATED test" in line for line in lines)


def test_routines_of_other_names_and_a_clock_set_back_are_shown(logged):
    other = {**QUIET, "routine": "full_reconcile"}
    assert len(logged("human", (100, QUIET), (101, other), (40, QUIET))) == 3


def test_a_program_gets_every_event_without_what_is_meant_for_the_terminal(logged):
    lines = logged("json", (0, QUIET), (1, QUIET))
    assert len(lines) == 2
    event = json.loads(lines[0])
    assert (event["event"], event["job"], event["simulated"]) == ("pass done", "gap_scan", True)
    assert not {"routine", "summary"} & event.keys()
