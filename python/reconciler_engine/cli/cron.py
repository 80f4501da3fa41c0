"""`cron`: what a schedule means and when it fires next."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler_engine.cli.options import Json

Expression = Annotated[
    str | None, typer.Argument(metavar="EXPR", help="Five fields, six with seconds first, or a nickname; quote it.")
]


def cron(
    expression: Expression = None,
    *,
    tz: Annotated[str, typer.Option("--tz", metavar="ZONE", help="IANA time zone.")] = "UTC",
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="TIME", help="ISO 8601; without an offset in the zone. [default: now]"),
    ] = None,
    count: Annotated[str, typer.Option("-n", metavar="N", help="How many times, 1 to 10000.")] = "5",
    stdin: Annotated[
        bool, typer.Option("--stdin", help='Answer JSON lines {"expr","tz","after","n"}, a line each.')
    ] = False,
    json: Json = False,
) -> None:
    """Explain a cron expression: in English, with its next times, or with everything that is wrong with it.

    \b
    Examples:
      reconciler-engine cron '*/5 * * * *'
      reconciler-engine cron '30 2 * * *' --tz America/New_York --after 2026-03-07 -n 3
      reconciler-engine cron '0 0 L * *' --json

    A refused expression ends with 2; columns count from 1. --stdin answers each line, refused ones too, and ends
    with 0.
    """
    from reconciler_engine.cli.cron_answer import answer_lines, answer_one
    from reconciler_engine.cli.exits import reported_errors
    from reconciler_engine.cli.numbers import whole

    if (expression is None) != stdin:
        raise typer.BadParameter("give either one expression, in quotes, or --stdin", param_hint="EXPR")
    with reported_errors():
        if expression is None:
            answer_lines()
        else:
            number = whole(count)
            asked = {"expr": expression, "tz": tz, "after": after, "n": count if number is None else number}
            answer_one(asked, as_json=json)
