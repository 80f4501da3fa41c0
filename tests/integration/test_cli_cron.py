"""The `cron` command, called as click calls it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner, Result

from reconciler_engine.cli.cron import cron


def call(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(cron, arguments, input=given)


def test_says_it_in_english_with_the_next_times() -> None:
    result = call("30 2 * * *", "--tz", "America/New_York", "--after", "2026-03-07", "-n", "3")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "At 02:30 (America/New_York)",
        "  2026-03-07T02:30:00-05:00",
        "  2026-03-08T03:00:00-04:00",
        "  2026-03-09T02:30:00-04:00",
    ]


def test_json_has_the_same() -> None:
    result = call("*/60 * * * *", "--after", "2026-01-01T00:30:00+01:00", "-n", "2", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "expression": "*/60 * * * *",
        "timezone": "UTC",
        "description": "At minute 0 of every hour",
        "next": ["2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+00:00"],
        "warnings": ["minute '*/60': the step is longer than its range, only 0 matches"],
    }


def test_warnings_come_last() -> None:
    lines = call("*/60 * * * *", "-n", "1").stdout.splitlines()
    assert lines[-1].startswith("warning: minute '*/60'")


def test_the_default_is_five_times_from_now() -> None:
    before = datetime.now(UTC)
    slots = [datetime.fromisoformat(slot) for slot in json.loads(call("* * * * * *", "--json").stdout)["next"]]
    assert len(slots) == 5
    assert slots[0] > before
    assert all(slot.tzinfo is not None for slot in slots)


def test_every_fault_has_a_caret_under_its_token() -> None:
    result = call("1*  0/15 *\t13 *")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "reconciler-engine: 1*  0/15 * 13 *",
        "reconciler-engine: ^^",
        "reconciler-engine: minute '1*': '1*' is not a value; allowed: 0-59 or '*'",
        "reconciler-engine: 1*  0/15 * 13 *",
        "reconciler-engine:     ^^^^",
        "reconciler-engine: hour '0/15': a step needs a range; write '*/15' or '0-23/15'",
        "reconciler-engine: 1*  0/15 * 13 *",
        "reconciler-engine:            ^^",
        "reconciler-engine: month '13': 13 is out of range; allowed: 1-12, JAN-DEC or '*'",
    ]


def test_faults_as_json() -> None:
    result = call("60 * * * MONDAY", "--json")
    assert result.exit_code == 2
    answer = json.loads(result.stdout)
    assert answer["expression"] == "60 * * * MONDAY"
    assert answer["errors"][0] == {
        "field": "minute",
        "token": "60",
        "column": 1,
        "message": "60 is out of range; allowed: 0-59 or '*'",
    }
    assert [fault["column"] for fault in answer["errors"]] == [1, 10]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("0 0 30 2 *",), "never fires"),
        (("* * * * *", "--tz", "Nope/Zone"), "timezone 'Nope/Zone' is unknown"),
        (("* * * * *", "--after", "yesterday"), "after 'yesterday': is not a time; allowed: ISO 8601"),
        (("* * * * *", "--after", "0001-01-01"), "is not a time; allowed: ISO 8601 from June of the year 1 on"),
        (("* * * * *", "-n", "0"), "n '0': is not a count; allowed: 1 to 10000"),
        (("* * * * *", "-n", "10001"), "is not a count"),
        (("* * * * *", "-n", "many"), "n 'many': is not a count; allowed: 1 to 10000"),
        (("* * * * *", "-n", "9" * 5_000), "is not a count"),
        (("* * * * *", "--tz", ""), "timezone '' is unknown"),
        ((), "give either one expression, in quotes, or --stdin"),
        (("* * * * *", "--stdin"), "give either one expression, in quotes, or --stdin"),
    ],
)
def test_what_cannot_be_answered_ends_with_2(arguments: tuple[str, ...], says: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr


def test_all_that_is_wrong_is_said_at_once() -> None:
    result = call("60 * * * *", "--tz", "Nope", "--after", "x", "-n", "0", "--json")
    assert [fault["field"] for fault in json.loads(result.stdout)["errors"]] == ["minute", "tz", "after", "n"]


@pytest.mark.parametrize("zone", ['""', "0", "false", "[]"])
def test_a_line_whose_zone_is_none_is_refused(zone: str) -> None:
    (answer,) = map(json.loads, call("--stdin", given=f'{{"expr": "@daily", "tz": {zone}}}\n').stdout.splitlines())
    assert [fault["field"] for fault in answer["errors"]] == ["tz"]


def test_lines_are_answered_one_each() -> None:
    lines = [
        '{"expr": "@daily", "tz": "Europe/London", "after": "2026-03-28T00:00:00Z", "n": 2}',
        '{"expr": "* * * *"}',
        "nope",
        "",
        "[" * 50_000,
        '{"expr": "' + "0" * 70_000 + '"}',
        '{"expr": 5}',
        '{"expr": "* * * * *", "m": 1, "n": true}',
        '{"expr": "0 0 1 1 *", "after": "2026-06-01", "n": 1}',
    ]
    result = call("--stdin", given="\n".join(lines))
    assert result.exit_code == 0
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) == len(lines)
    assert answers[0]["next"] == ["2026-03-29T00:00:00+00:00", "2026-03-30T00:00:00+01:00"]
    fields = [[fault["field"] for fault in answer.get("errors", [])] for answer in answers]
    assert fields[1:] == [["expression"], ["line"], ["line"], ["line"], ["line"], ["expr"], ["m", "n"], []]
    assert answers[-1]["next"] == ["2027-01-01T00:00:00+00:00"]
