"""Rate, time left and the ways to show them."""

from __future__ import annotations

import io
import time

import pytest

from reconciler_engine.cli.backfill.progress_display import Pace, describe, show_bar, show_progress
from reconciler_engine.cli.plan_table import duration
from reconciler_engine.engine.backfill.director import BackfillProgress


def state(done: int, requests: int = 0) -> BackfillProgress:
    return BackfillProgress(slots=1_000, slots_done=done, requests=requests, series="BTC-USD:1m")


def test_pace_counts_what_this_life_did():
    pace = Pace(began_s=10.0, slots_done=400)
    assert pace.rate(state(500), 20.0) == 10.0
    assert pace.eta_ms(state(500), 20.0) == 50_000
    assert describe(state(500, 7), pace, 20.0) == "10 slots/s, 7 requests, 50 s left"


def test_before_anything_is_done_nothing_is_promised():
    pace = Pace(began_s=10.0, slots_done=400)
    assert pace.eta_ms(state(400), 10.0) is None
    assert describe(state(400), pace, 11.0) == "0 slots/s, 0 requests"


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (499, "499 ms"),
        (7_000, "7 s"),
        (60_000, "1 min"),
        (3_700_000, "1 h 1 min"),
        (90_061_000, "1 d 1 h"),
        (86_400_000, "1 d"),
    ],
)
def test_lengths_of_time(ms, text):
    assert duration(ms) == text


def test_lines_come_now_and_then(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with show_progress(stream, is_terminal=False, quiet=False) as shown:
        for second in range(25):
            now[0] = float(second)
            shown.show(state(10 * second, second))
    assert stream.getvalue().splitlines() == [
        "BTC-USD:1m: 10.0% of 1000 slots, 10 slots/s, 10 requests, 1 min 30 s left",
        "BTC-USD:1m: 20.0% of 1000 slots, 10 slots/s, 20 requests, 1 min 20 s left",
    ]


def test_programs_get_no_lines():
    stream = io.StringIO()
    with show_progress(stream, is_terminal=False, quiet=True) as shown:
        shown.show(state(10))
    assert stream.getvalue() == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_with_percent_and_facts(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    stream = Terminal()
    with show_bar(stream) as bar:
        bar.show(state(250, 3))
        bar._bar.refresh()
    shown = stream.getvalue()
    assert "BTC-USD:1m" in shown
    assert "25%" in shown
    assert "3 requests" in shown
