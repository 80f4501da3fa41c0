"""`status`: the state of the running engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from reconciler_engine.cli import objective_table
from reconciler_engine.cli.exits import UNAVAILABLE, leave
from reconciler_engine.cli.options import CACHE_SETTINGS, Given, prints, takes_settings
from reconciler_engine.cli.output import Output, paged, print_columns, print_table, say
from reconciler_engine.observe.live_candles import Sighting, feeder_in_words, sum_up
from reconciler_engine.observe.objective import Objective
from reconciler_engine.observe.obstacles import describe_obstacles
from reconciler_engine.observe.series_state import count_states, count_verified, obstacles_of, worst_first
from reconciler_engine.observe.words import ago, ahead, counted, describe_span, iso, quoted, told_slots

if TYPE_CHECKING:
    from reconciler_engine.config import ReconciliationConfig
    from reconciler_engine.observe.status import (
        BudgetStatus,
        EngineStatus,
        JobStatus,
        ProcessStatus,
        ScrubStatus,
        SeriesCoverage,
    )
    from reconciler_engine.store.client.trio_redis import TrioRedis

# Largest number of series shown on a terminal, the worst first. Programs get all series.
_SERIES_SHOWN = 24

_STATE_WORDS = {
    "waiting": "wait for another answer",
    "lacking": "lack candles",
    "suspect": "hold suspect candles",
    "unverified": "unverified for too long",
    "delisted": "of delisted products",
    "unknown": "unknown",
}


class Found(NamedTuple):
    """A running engine, and its series."""

    engine: EngineStatus
    series: Mapping[str, SeriesCoverage]
    sightings: Mapping[str, Sighting] = {}
    objective: Objective | None = None

    def of(self, symbols: str | None, timeframes: str | None) -> Found:
        """Return a copy with only these symbols and timeframes, each a list with commas; None keeps all."""

        def is_named(series: str) -> bool:
            symbol, _, frame = series.rpartition(":")
            return _is_among(symbol, symbols) and _is_among(frame, timeframes)

        return self._replace(
            series={name: one for name, one in self.series.items() if is_named(name)},
            sightings={name: one for name, one in self.sightings.items() if is_named(name)},
        )


def _is_among(name: str, names: str | None) -> bool:
    return names is None or name in map(str.strip, names.split(","))


@click.command()
@click.option("--all", "all_", is_flag=True, help=f"Show every series, not the first {_SERIES_SHOWN}.")
@click.option("--watch", is_flag=True, help="Redraw every 2 s on the whole terminal; q or Ctrl-C ends.")
@prints
@takes_settings("symbols", "timeframes", *CACHE_SETTINGS)
def status(*, all_: bool, watch: bool, output: Output, given: Given) -> None:
    """Show the running engines, and how far each series is complete.

    \b
    Examples:
      reconciler-engine status
      reconciler-engine status --redis-url redis://localhost:6379 --json
      reconciler-engine status --watch

    Shown are processes, jobs, the request budget and series. Without a Redis URL or data directory, both default data
    directories are looked at: that of `start` and that of `start --simulate`. The series in most trouble come first;
    --symbols and --timeframes limit the series shown. With --json, each engine is an object on one line. Exit code 69:
    no engine runs.
    """
    import trio

    from reconciler_engine.cli.setting_sources import load_config

    config = load_config(*given)
    names = (given.flags.get("symbols"), given.flags.get("timeframes"))
    if watch:
        from reconciler_engine.cli import watching

        async def answer() -> None:
            found, places = await _look(config)
            _print_all([one.of(*names) for one in found], all_=all_)
            if not found:
                say(f"nothing runs at {' or '.join(places)}")

        watching.check_watchable(as_json=output.as_json)
        trio.run(watching.watch, answer)
        return
    found, places = trio.run(_look, config)
    found = [one.of(*names) for one in found]
    if not found:
        if output.as_json:
            output.print_json({"running": False, "looked_at": places})
        leave(UNAVAILABLE, f"nothing runs at {' or '.join(places)}")
    if output.as_json:
        for one in found:
            output.print_json(as_object(one))
        return
    with paged():
        _print_all(found, all_=all_)


def _print_all(found: Sequence[Found], *, all_: bool) -> None:
    for number, one in enumerate(found):
        print("\n" * bool(number), end="")
        print_engine(one, most_series=None if all_ else _SERIES_SHOWN)


async def _look(config: ReconciliationConfig) -> tuple[list[Found], list[str]]:
    """Return the running engines, and the places that were looked at, with notes on processes found there."""
    from reconciler_engine.cli.setting_sources import default_data_dir
    from reconciler_engine.store.client.server_check import check_readable
    from reconciler_engine.store.client.trio_redis import TrioRedis
    from reconciler_engine.store.embedded.data_directory import DataDirectory
    from reconciler_engine.store.status_board import RECORD_LIFE_MS

    if config.cache_url is not None:
        async with TrioRedis.from_url(config.cache_url) as client:
            await check_readable(client)
            return await _read(client), [f"{client.address}{await _silence(client)}"]
    folders = [config.data_dir] if config.data_dir else [default_data_dir(simulated=each) for each in (False, True)]
    found: list[Found] = []
    places = []
    for folder in folders:
        place = str(folder)
        record = DataDirectory(folder).find_running()
        if record is not None:
            async with TrioRedis.from_url(record.url) as client:
                found += await _read(client)
                cause = await _silence(client)
            # The server was started by a command for its own use, or by an engine that hangs.
            silence = f"no engine has reported for {RECORD_LIFE_MS / 1_000:g} s"
            place += f" (server of {record.command}, pid {record.pid}: {silence}{cause})"
        elif holder := DataDirectory(folder).find_holder():
            place += f" ({holder} uses it; if with another Redis, give the --config or --redis-url that it has)"
        places.append(place)
    return found, places


async def _silence(client: TrioRedis) -> str:
    """Name engines that may be at work but cannot write their status, with the reason; empty if Redis takes writes."""
    import socket

    from reconciler_engine.engine.tasks.consumer_name import is_gone, node_of
    from reconciler_engine.store.client.server_check import ask_refusal
    from reconciler_engine.store.status_board import StatusBoard

    nodes = [one for one in await StatusBoard(client).find_silent() if not is_gone(one)]
    if not nodes or (refusal := await ask_refusal(client)) is None:
        return ""
    here = [quoted(one) for one in nodes if node_of(one) == socket.gethostname()]
    told = f"{', '.join(here)} runs and cannot write its status" if here else f"{quoted(nodes[0])} may run"
    return f"; but {told}: {refusal}"


async def _read(client: TrioRedis) -> list[Found]:
    from reconciler_engine.store.coverage import Coverage
    from reconciler_engine.store.feeder_watch import FeederWatch
    from reconciler_engine.store.node_watch import hide_unreachable
    from reconciler_engine.store.objective_counts import ObjectiveCounts
    from reconciler_engine.store.status_board import StatusBoard, scope_of

    engines = await StatusBoard(client).read()
    found = []
    for engine in engines:
        scope = scope_of(engine)
        series = hide_unreachable(await Coverage(client, scope).read(), engine)
        sightings, counts = await FeederWatch(client, scope).read(), ObjectiveCounts(client, scope)
        found.append(Found(engine, series, sightings, await counts.read_objective(engine)))
    return found


def as_object(found: Found) -> dict[str, Any]:
    """Return the JSON object of an engine."""
    series = []
    now = found.engine.written_at
    for name, coverage in found.series.items():
        symbol, _, timeframe = name.partition(":")
        told = {"symbol": symbol, "timeframe": timeframe, **coverage.model_dump()}
        if (sighting := found.sightings.get(name)) is not None:
            told |= {"live": sighting.live, "live_age_ms": sighting.age_ms(now)}
        series.append(told)
    feeder = sum_up(found.sightings, now)
    told = {"running": True, **found.engine.model_dump(mode="json"), "feeder": feeder._asdict()}
    if found.objective is not None:
        told["objective"] = objective_table.as_object(found.objective)
    return {**told, "series": series}


def print_engine(found: Found, most_series: int | None = _SERIES_SHOWN) -> None:
    """Print the state of an engine for people."""
    from reconciler_engine.observe.readiness import find_troubles

    engine = found.engine
    mark = "SIMULATED " if engine.simulated else ""
    up = describe_span(engine.written_at - engine.started_at)
    layout = "" if engine.layout == "user" else f", layout {engine.layout}"
    say(
        f"{mark}{engine.command} {engine.version} on {engine.node}, up {up}, "
        f"exchange {engine.source}, user {engine.user_id}, exchange id {engine.exchange_id}{layout}"
    )
    for trouble in find_troubles(engine):
        how = "degraded" if trouble.degraded else "warning" if trouble.ok else "not ready"
        say(f"{how}: {trouble.name}: {quoted(trouble.detail)}")
    print()
    _print_processes(engine.processes)
    print()
    _print_jobs(engine.jobs, engine.written_at)
    print()
    _print_budget(engine.budget)
    print()
    _print_series(found.series, engine.written_at, most_series)
    say(feeder_in_words(sum_up(found.sightings, engine.written_at)))
    if engine.scrub is not None:
        _print_scrub(engine.scrub, engine.written_at)
    if found.objective is not None:
        objective_table.print_objective(found.objective)
    if engine.unknown_symbols:
        say(f"unknown to the exchange: {', '.join(map(quoted, engine.unknown_symbols))}")


def _print_processes(processes: tuple[ProcessStatus, ...]) -> None:
    rows = [
        (
            one.name,
            one.state,
            _known(one.pid),
            describe_span(one.age_ms),
            "-" if one.last_beat_ms is None else f"{describe_span(one.last_beat_ms)} ago",
            str(one.restarts),
            _known(one.last_exit),
        )
        for one in processes
    ]
    print_table(("process", "state", "pid", "up", "last beat", "restarts", "last exit"), rows)


def _print_jobs(jobs: tuple[JobStatus, ...], now: int) -> None:
    heads = ("job", "next tick", "runs", "skip", "miss", "fail", "ended", "last pass")
    print_table(heads, [_job_cells(job, now) for job in jobs])
    for job in jobs:
        last = job.last_pass
        if last is not None:
            say(
                f"  {job.name}: {counted(last.gaps_found, 'gap')}; "
                f"{told_slots(last.filled or 0, last.confirmed_empty or 0, last.unresolved or 0)}; "
                f"{counted(last.requests, 'request')}, {describe_span(last.duration_ms)}"
            )
            for error in last.errors:
                say(f"    {quoted(error)}")
        if job.last_error not in {None, job.degraded}:
            say(f"  {job.name}, last error: {quoted(job.last_error)}")


def _job_cells(job: JobStatus, now: int) -> tuple[str, ...]:
    last = "none yet" if job.last_finished_at is None else ago(job.last_finished_at, now)
    counts = (job.runs, job.skipped, job.missed, job.failed, job.timed_out)
    return (job.name, ahead(job.next_tick, now), *map(str, counts), f"{last}, running" if job.is_running else last)


def _print_budget(budget: BudgetStatus | None) -> None:
    if budget is None:
        say("budget: could not be read")
        return
    paused = f", paused by the exchange for {describe_span(budget.paused_ms)}" if budget.paused_ms else ""
    slowed = f" ({budget.share:.0%} of them, after HTTP {budget.slowed_by})" if budget.share < 1 else ""
    rate = counted(f"{budget.rate_per_s:g}", "request")
    say(f"budget: {rate} a second{slowed}, {budget.used} used in the last minute, {budget.waiting} waiting{paused}")


def _print_series(series: Mapping[str, SeriesCoverage], now: int, most: int | None) -> None:
    if not series:
        say("series: no pass has ended yet")
        return
    rows = [
        (
            name,
            "-" if one.complete_from is None else iso(one.complete_from),
            "-" if one.complete_through is None else iso(one.complete_through),
            "-" if one.present is None else f"{_known(one.verified)} of {one.present}",
            ago(one.checked_at, now),
            "unknown" if one.missing is None else "; ".join(describe_obstacles(obstacles_of(one))) or "-",
        )
        for name, one in worst_first(series)[:most]
    ]
    print_columns(("series", "complete from", "through", "verified", "looked at", "not ready"), rows)
    ages = [
        f"{frame} {'none' if one.since is None else describe_span(max(0, now - one.since))}"
        for frame, one in count_verified(series).items()
    ]
    if ages:
        say(f"oldest unverified, since its close: {', '.join(ages)}")
    states = count_states(series)
    others = [f"{states[state]} {words}" for state, words in _STATE_WORDS.items() if states[state]]
    more = ", the worst ones are shown" * (len(series) > len(rows))
    say(", ".join([f"{states['ready']} of {len(series)} series ready when a pass last looked", *others]) + more)


def _print_scrub(scrub: ScrubStatus, now: int) -> None:
    least = f"within {scrub.days} d, at least {describe_span(scrub.round_ms)}"
    say(f"scrub: {scrub.progress}; a round {least}; oldest verification: {scrub.ages(now) or 'not known yet'}")


def _known(value: object) -> str:
    return "-" if value is None else str(value)
