"""Commands about series of which nothing is known: no answer about them reads as if all were well."""

from __future__ import annotations

import pytest
import redis as redis_py

SERIES = ("--symbols", "BTC-USD", "--timeframes", "1m")
EXCHANGE = ("--base-url", "http://127.0.0.1:9")


@pytest.mark.parametrize("command", [("plan",), ("inspect",), ("ready", "--all"), ("scan",), ("coverage",)])
def test_a_question_about_no_series_is_refused(run_inside, redis_url, command):
    done = run_inside(*command, RECONCILER_REDIS_URL=redis_url)
    assert (done.code, done.out) == (78, "")
    assert "symbols is empty" in done.err
    assert "allowed: " in done.err


def test_the_journal_of_no_series_has_no_entry(run_inside, redis_url):
    done = run_inside("journal", RECONCILER_REDIS_URL=redis_url)
    assert (done.code, done.out) == (0, "nothing was added, and nothing that was there was changed\n")


@pytest.mark.parametrize(
    ("command", "counted"),
    [(("scan",), 1), (("reconcile", "--dry-run", *EXCHANGE), 2), (("plan",), 0), (("inspect",), 0)],
)
def test_a_series_that_cannot_be_read_has_no_counts(run_inside, redis_url, command, counted):
    with redis_py.Redis.from_url(redis_url) as client:
        client.set("candles:1:1:BTC-USD:1m", "no sorted set")
    done = run_inside(*command, *SERIES, RECONCILER_REDIS_URL=redis_url)
    assert done.code == 3
    assert "WRONGTYPE" in done.out
    (row,) = [line for line in done.out.splitlines() if line.startswith("BTC-USD:1m  ")]
    cells = row.split()[1:]
    assert (cells.count("0"), "-" in cells) == (counted, True)


def test_an_account_without_requests_has_no_tables(run_inside, redis_url):
    done = run_inside("budget", RECONCILER_REDIS_URL=redis_url)
    assert done.code == 0
    (line,) = done.out.splitlines()
    assert line.startswith("0 requests since ")


@pytest.mark.parametrize("command", ["gaps", "inspect", "load"])
def test_a_file_that_is_not_there_is_named_as_such(run_inside, tmp_path, command):
    done = run_inside(command, tmp_path / "missing")
    assert (done.code, done.err) == (78, f"reconciler-engine: '{tmp_path}/missing': no such file or folder\n")
