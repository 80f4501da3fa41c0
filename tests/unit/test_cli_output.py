"""Words of others on a terminal: shown, never obeyed."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from reconciler_engine.cli.app import app
from reconciler_engine.cli.exits import leave, reported_errors
from reconciler_engine.cli.output import Output, print_columns, print_table, say
from reconciler_engine.cli.status import Found, print_engine
from reconciler_engine.errors import StoreRefused
from reconciler_engine.observe.status import EngineStatus, JobStatus, ProcessStatus, SeriesCoverage
from reconciler_engine.observe.words import printable, quoted
from reconciler_engine.store.client.redis_py import reply_error

EVIL = [
    "\x1b]0;owned\x07", "\x1b[2J\x1b[H", "\x9b31m", "a\rb", "a\nb", "a\x08b", "a\x00b",
    "\u202eevil", "\u2028x", "\udcff",
]  # fmt: skip
"""Titles, screens cleared, C1 controls, carriage returns, reversed text, bytes that are not text."""


@pytest.mark.parametrize("text", EVIL)
def test_whatever_is_printed_steers_no_terminal(capsys, text):
    say(f"x {text} y")
    Output(as_json=False, simulated=True).print_line(text)
    print_table(("head", text), [(text, "1")])
    print_columns(("head", "tail"), [(text, text)])
    with pytest.raises(SystemExit):
        leave(1, f"about {text}")
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 6
    for line in (*out.split("\n"), *err.split("\n")):
        assert line.isprintable()


def test_what_can_be_shown_stays_as_it_is():
    assert printable("BTC-USD: é ✓ \\n") == "BTC-USD: é ✓ \\n"
    assert printable("\x1b[1m") == r"\x1b[1m"


def test_a_terminal_of_few_signs_gets_the_others_written_out(monkeypatch):
    held = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(held, encoding="ascii"))
    say("é \u2588")
    sys.stdout.flush()
    assert held.getvalue() == b"\\xe9 \\u2588\n"


def test_replies_are_quoted_by_their_beginning():
    assert quoted("x" * 200) == "x" * 200
    assert quoted("x" * 201) == "x" * 200 + "..."
    for code in ("WRONGTYPE", "READONLY", "NOPERM", "OOM"):
        assert len(str(reply_error(f"{code} {'x' * 1_000_000}"))) < 300


def test_an_error_reply_that_steers_is_told_in_a_line(capsys):
    with pytest.raises(SystemExit), reported_errors():
        raise StoreRefused("redis refused the command: ERR \x1b[2J" + "y" * 10)
    assert capsys.readouterr().err == "reconciler-engine: redis refused the command: ERR \\x1b[2Jyyyyyyyyyy\n"


def test_an_argument_that_steers_is_refused_in_words():
    told = CliRunner().invoke(app, ["gaps", "--\x1b[31mx"])
    assert told.exit_code == 2
    assert "\x1b" not in told.stderr
    assert "\\x1b" in told.stderr


def test_a_missing_choice_is_told_in_a_line():
    told = CliRunner().invoke(app, ["config", "acl"])
    assert told.exit_code == 2
    assert told.stderr.splitlines()[-1].endswith("Choose from: engine, reader, gate, bot")


@pytest.mark.parametrize("text", EVIL[:-1])
def test_the_status_of_an_engine_that_lies_steers_nothing(capsys, text):
    process = ProcessStatus(role="worker", name=text, state=text, last_exit=text)
    counts: dict[str, Any] = dict.fromkeys(("runs", "skipped", "missed", "failed", "timed_out"), 0)
    job = JobStatus(name=text, cron="@hourly", next_tick=None, is_running=False, last_error=text * 1_000, **counts)
    engine = EngineStatus(
        command=text, version=text, node=text, simulated=False, started_at=0, written_at=1, source=text, user_id=1,
        exchange_id=1, processes=(process,), jobs=(job,), budget=None,
    )  # fmt: skip
    coverage = SeriesCoverage(complete_from=None, complete_through=None, missing=None, checked_at=0)
    print_engine(Found(engine, {text: coverage}))
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.split("\n"))
    assert max(map(len, out.splitlines())) < 2_500
