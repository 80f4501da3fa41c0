"""`plan`: the work of the next pass and the verify run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from math import ceil, inf
from typing import TYPE_CHECKING

import click

from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.options import PASS_SETTINGS, Given, prints, takes_settings
from reconciler_engine.cli.output import UNKNOWN, Output, paged, print_table, say
from reconciler_engine.market.result import causes_of
from reconciler_engine.observe.words import ahead, counted, describe_span

if TYPE_CHECKING:
    from reconciler_engine.engine.forecast import Forecast, JobForecast, SeriesForecast
    from reconciler_engine.observe.status import EngineStatus

_SCHEDULE = ("quick_scan_window_ms", "gap_scan_cron", "full_reconcile_cron", "verify_cron", "scrub_days", "timezone")


@click.command()
@click.option("--all", "all_", is_flag=True, help="Show every series with something to do, not the first 40.")
@prints
@takes_settings(*PASS_SETTINGS, *_SCHEDULE)
def plan(*, all_: bool, output: Output, given: Given) -> None:
    """Plan the next gap scan, full pass and verify run.

    \b
    Examples:
      reconciler-engine plan --symbols BTC-USD,ETH-USD
      reconciler-engine plan --all --json

    Shown are the series concerned, the number and duration of the requests, and the load of the scrub. The cache is
    read as a pass reads it; the exchange is not asked, and nothing is changed. The plan is that of this moment: bars
    that close before the tick, references and second answers are not counted. Without symbols in the settings, the plan
    covers the series that passes look at. Beside a running engine, a tick is the engine's unless the settings have the
    job's cron expression. Exit code 3: a series could not be read.
    """
    from reconciler_engine.cli.api_key import load_signed
    from reconciler_engine.cli.known_series import known_series
    from reconciler_engine.cli.session import Session, in_session
    from reconciler_engine.engine.forecast import forecast

    async def look(session: Session) -> Forecast:
        told = await forecast(session.parts, await known_series(session, given))
        engines = await session.running_engines()
        jobs = [job if f"{job.job}_cron" in config.model_fields_set else _by(engines, job) for job in told.jobs]
        return replace(told, jobs=tuple(jobs))

    config, credentials = load_signed(*given)
    told = in_session(config, output, "plan", look, credentials=credentials)
    if output.as_json:
        output.print_json(asdict(told))
    else:
        with paged():
            _print(told, output, days=config.scrub_days, with_all=all_)
    if any(one.error is not None for one in told.series):
        leave(UNRESOLVED)


_SHOWN = 40


def _by(engines: Sequence[EngineStatus], job: JobForecast) -> JobForecast:
    """Return the job with its next tick on any of the engines; without engines, as it is."""
    ticks = [(one.next_tick, engine.node) for engine in engines for one in engine.jobs if one.name == job.job]
    if not ticks:
        return job
    at, node = min(ticks, key=lambda tick: inf if tick[0] is None else tick[0])
    return replace(job, at=at, tick_of=node)


def _print(told: Forecast, output: Output, *, days: int, with_all: bool) -> None:
    worst = sorted(told.series, key=lambda one: (one.error is None, -sum(one.requests.values())))
    shown = worst if with_all else worst[:_SHOWN]
    jobs = [job.job for job in told.jobs]
    if shown:
        print_table(("series", "missing", "unverified", "due", *jobs), [_cells(one, jobs, told.at) for one in shown])
    for cause in causes_of((f"{one.symbol}:{one.timeframe}", one.error) for one in worst):
        say(f"  {cause}")
    if len(shown) < len(worst):
        say(f"and {len(worst) - len(shown)} more series; --all shows them")
    for job in told.jobs:
        when = ahead(job.at, told.at)
        took = f", {describe_span(job.duration_ms)} at the budget" if job.requests else ""
        output.print_line(f"{job.job} {when}: {counted(job.requests, 'request')}{took}")
    if by_engine := [job.job for job in told.jobs if job.tick_of is not None]:
        say(f"  ticks of {', '.join(by_engine)} by the running engine; all else by the settings of this command")
    if told.scrub is not None:
        an_hour = f"about {counted(ceil(told.scrub.per_hour), 'request')} an hour"
        output.print_line(f"scrub of {counted(told.scrub.pages, 'page')} within {days} d: {an_hour}")


def _cells(one: SeriesForecast, jobs: Sequence[str], now: int) -> tuple[str, ...]:
    due = "-" if one.due_at is None else "now" if one.due_at <= now else ahead(one.due_at, now)
    counts = [one.missing, one.unverified, *(one.requests.get(job, 0) for job in jobs)]
    missing, unverified, *asked = map(str, counts) if one.error is None else [UNKNOWN] * len(counts)
    return (f"{one.symbol}:{one.timeframe}", missing, unverified, due, *asked)
