"""Tables on a terminal: as wide as it is, by a pager where it is too low; and readers that have gone."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from reconciler_engine.cli.output import paged, print_columns

ROWS = [("BTC-USD:1m", "word " * 30)]


def be_terminal(monkeypatch):
    """Let standard output, as the test keeps it, be a terminal of 40 columns and 5 lines."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "5")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def test_the_last_column_takes_the_room_that_a_terminal_has(capsys, monkeypatch):
    be_terminal(monkeypatch)
    print_columns(("series", "why"), ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "BTC-USD:1m  word word word word word ..."
    assert max(map(len, lines)) == 40


def test_a_file_gets_all_of_it(capsys):
    print_columns(("series", "why"), ROWS)
    assert capsys.readouterr().out.count("word") == 30


@pytest.mark.parametrize(("rows", "pages"), [(3, 0), (4, 1)])
def test_a_pager_shows_what_the_terminal_is_too_low_for(capsys, monkeypatch, rows, pages):
    be_terminal(monkeypatch)
    shown: list[str] = []
    monkeypatch.setattr(click, "echo_via_pager", shown.append)
    with paged():
        print_columns(("series", "why"), ROWS * rows)
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
