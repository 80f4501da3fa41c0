"""`cron`: explains a cron expression in English, and lists its next times."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import Any

import click

from reconciler_engine.cli.exits import leave
from reconciler_engine.cli.options import prints, whole
from reconciler_engine.cli.output import Output, say
from reconciler_engine.scheduling.cron import CronError, CronExpression, Fault
from reconciler_engine.scheduling.zones import FIRST_S, load_zone

USAGE = 2
DEFAULT_COUNT = 5
MOST = 10_000
LONGEST_LINE = 65_536
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEYS = ("expr", "tz", "after", "n")


@click.command()
@click.argument(
    "expression",
    required=False,
    metavar="[EXPR]",
    help="Five fields, six with seconds first, or a nickname; quote it.",
)
@click.option("--tz", metavar="ZONE", default="UTC", help="IANA time zone.")
@click.option("--after", metavar="TIME", help="ISO 8601; without an offset in the zone. [default: now]")
@click.option("-n", "count", metavar="N", default="5", help="How many times, 1 to 10000.")
@click.option("--stdin", is_flag=True, help='Answer JSON lines {"expr","tz","after","n"}, a line each.')
@prints
def cron(*, expression: str | None, tz: str, after: str | None, count: str, stdin: bool, output: Output) -> None:
    """Explain a cron expression in English, and list its next times.

    \b
    Examples:
      reconciler-engine cron '*/5 * * * *'
      reconciler-engine cron '30 2 * * *' --tz America/New_York --after 2026-03-07 -n 3
      reconciler-engine cron '0 0 L * *' --json

    Exit code 2: the expression is refused, and each fault is named; columns count from 1. With --stdin, every line is
    answered, also a refused one, and the exit code is 0.
    """
    if (expression is None) != stdin:
        raise click.BadParameter("give either one expression, in quotes, or --stdin", param_hint="EXPR")
    if expression is None:
        answer_lines()
    else:
        number = whole(count)
        asked = {"expr": expression, "tz": tz, "after": after, "n": count if number is None else number}
        answer_one(asked, output)


class QuestionRefused(ValueError):
    """A question that cannot be answered; `faults` lists every fault."""

    def __init__(self, expression: str, faults: Sequence[Fault]) -> None:
        self.expression = expression
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in faults))


def answer_to(asked: Mapping[str, object], now: int) -> dict[str, Any]:
    """Answer a question: `expr`, and `tz`, `after` and `n`, which have defaults if absent or None.

    Times in the answer are ISO 8601 with offset, to the second.

    Raises:
        QuestionRefused: The question has faults; names each of them.
    """
    text = asked.get("expr")
    if not isinstance(text, str):
        raise QuestionRefused("", [_fault("expr", text, "is not a cron expression; allowed: a text")])
    faults = [
        _fault(key, asked[key], f"is unknown; allowed: {', '.join(_KEYS)}") for key in sorted(asked.keys() - _KEYS)
    ]
    # To report all faults together, each field is read even after another one was refused.
    expression = None
    try:
        expression = CronExpression.parse(text)
        expression.ensure_fires()
    except CronError as refused:
        faults += refused.faults
    zone, tz = asked.get("tz"), None
    zone = "UTC" if zone is None else zone
    try:
        tz = load_zone(zone if isinstance(zone, str) else repr(zone))
    except ValueError as refused:
        faults.append(_fault("tz", zone, str(refused)))
    after = asked.get("after")
    instant = now if after is None else _instant(after, tz or UTC)
    if instant is None:
        faults.append(
            _fault(
                "after",
                after,
                "is not a time; allowed: ISO 8601 from June of the year 1 on, such as 2026-03-08T01:00:00-05:00",
            )
        )
    count = asked.get("n")
    count = DEFAULT_COUNT if count is None else count
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST:
        faults.append(_fault("n", count, f"is not a count; allowed: 1 to {MOST}"))
    elif expression is not None and tz is not None and instant is not None and not faults:
        slots = islice(expression.slots_after(instant, tz), count)
        return {
            "expression": expression.text,
            "timezone": str(zone),
            "description": expression.describe(),
            "next": [datetime.fromtimestamp(slot // 1_000, tz).isoformat(timespec="seconds") for slot in slots],
            "warnings": list(expression.warnings),
        }
    raise QuestionRefused(text, faults)


def answer_one(asked: Mapping[str, object], output: Output) -> None:
    """Print the answer to a question. If it is refused, print JSON to stdout or text to stderr, and exit with 2."""
    try:
        answer = answer_to(asked, _now())
    except QuestionRefused as refused:
        if output.as_json:
            output.print_json(_refusal(refused))
            leave(USAGE)
        leave(USAGE, "\n".join(_pointed(refused)))
    if output.as_json:
        output.print_json(answer)
        return
    say(f"{answer['description']} ({answer['timezone']})")
    for time_ in answer["next"]:
        say(f"  {time_}")
    for warning in answer["warnings"]:
        say(f"warning: {warning}")


def answer_lines() -> None:
    """Answer each JSON line of standard input at once with one line; refuse lines of 64 KiB or more."""
    while line := sys.stdin.readline(LONGEST_LINE):
        rest = line
        while len(rest) == LONGEST_LINE and not rest.endswith("\n"):
            rest = sys.stdin.readline(LONGEST_LINE)
        print(json.dumps(_answer_line(line)), flush=True)


def _answer_line(line: str) -> dict[str, object]:
    try:
        asked = json.loads(line)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        allowed = (
            f"is not a JSON object; allowed: {', '.join(_KEYS)} in one line of less than {LONGEST_LINE} characters"
        )
        return _refusal(QuestionRefused("", [_fault("line", line.strip(), allowed)]))
    try:
        return answer_to(asked, _now())
    except QuestionRefused as refused:
        return _refusal(refused)


def _refusal(refused: QuestionRefused) -> dict[str, object]:
    return {"expression": refused.expression, "errors": [asdict(fault) for fault in refused.faults]}


def _pointed(refused: QuestionRefused) -> list[str]:
    """Return lines that show each fault below its place in the expression."""
    shown = "".join(" " if letter.isspace() else letter for letter in refused.expression)
    lines = []
    for fault in refused.faults:
        if fault.field not in {*_KEYS, "line"}:
            lines += [shown, " " * (fault.column - 1) + "^" * max(len(fault.token), 1)]
        lines.append(f"{fault.field} {fault.token!r}: {fault.message}")
    return lines


def _fault(field: str, value: object, message: str) -> Fault:
    return Fault(field, value if isinstance(value, str) else repr(value), 1, message)


def _instant(after: object, tz: tzinfo) -> int | None:
    """Return an ISO 8601 time as ms UTC, rounded down; None for other texts. Without an offset it is in `tz`."""
    try:
        time_after = datetime.fromisoformat(after if isinstance(after, str) else "")
        if time_after.tzinfo is None:
            time_after = time_after.replace(tzinfo=tz)
        instant = (time_after - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None
    return instant if instant >= FIRST_S * 1_000 else None


def _now() -> int:
    return time.time_ns() // 1_000_000
