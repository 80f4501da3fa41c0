"""Tables on a terminal: as wide as it is, by a pager where it is too low; and readers that have gone."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from reconciler_engine.cli.output import paged, print_columns, say

ROWS = [("BTC-USD:1m", "word " * 30)]


def be_terminal(monkeypatch):
    """Let standard output, as the test keeps it, be a terminal of 40 columns and 5 lines."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "5")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def test_columns_for_which_a_terminal_is_too_narrow_stand_below_the_others(capsys, monkeypatch):
    be_terminal(monkeypatch)
    print_columns(("series", "since", "why"), [("BTC-USD:1m", "1 m ago", "word " * 30), ("A-USD:1m", "-", "-")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["series      since", "    why", "BTC-USD:1m  1 m ago"]
    assert lines[3] == "    word word word word word word word"
    assert lines[-1] == "A-USD:1m    -"
    assert max(map(len, lines)) <= 40
    assert " ".join(lines).count("word") == 30
    print_columns(("series", "why"), [("BTC-USD:1m", "2 missing")])
    assert capsys.readouterr().out.splitlines() == ["series      why", "BTC-USD:1m  2 missing"]


def test_prose_is_broken_between_words_on_a_narrow_terminal(capsys, monkeypatch):
    be_terminal(monkeypatch)
    say("  gap_scan: 8 gaps; 62 slots without a candle: 7 filled, 52 proved empty, 3 left")
    say("short")
    assert capsys.readouterr().out.splitlines() == [
        "  gap_scan: 8 gaps; 62 slots without a",
        "    candle: 7 filled, 52 proved empty, 3",
        "    left",
        "short",
    ]


def test_a_file_gets_all_of_it(capsys):
    print_columns(("series", "why"), ROWS)
    assert capsys.readouterr().out.count("word") == 30


@pytest.mark.parametrize(("rows", "pages"), [(3, 0), (4, 1)])
def test_a_pager_shows_what_the_terminal_is_too_low_for(capsys, monkeypatch, rows, pages):
    be_terminal(monkeypatch)
    shown: list[str] = []
    monkeypatch.setattr(click, "echo_via_pager", shown.append)
    with paged():
        print_columns(("series", "why"), [("BTC-USD:1m", "word")] * rows)
    assert (len(shown), len(capsys.readouterr().out.splitlines())) == (pages, 0 if pages else rows + 1)
    assert all(len(line) <= 40 for text in shown for line in text.splitlines())


@pytest.mark.parametrize("command", [["ready", "--script"], ["cron", "@hourly"]])
def test_a_reader_that_goes_away_is_no_error(command):
    program = [sys.executable, "-m", "reconciler_engine", *command]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
