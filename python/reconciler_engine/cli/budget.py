"""`budget`: the jobs, lanes, nodes and hours that used the request budget."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from reconciler_engine.cli.arguments import parse_instant
from reconciler_engine.cli.options import CACHE_SETTINGS, Given, prints, prints_script, takes_settings
from reconciler_engine.cli.output import Output, paged, print_table
from reconciler_engine.observe.words import counted, iso

if TYPE_CHECKING:
    from reconciler_engine.store.budget_use import Use

_SIDES = ("job", "lane", "node", "budget", "hour")


def _script() -> str:
    from reconciler_engine.limiting.redis_bucket import script_text

    return script_text()


@click.command()
@click.option("--since", metavar="TIME", default="-24h", help="Begin with the hour of this time, such as yesterday.")
@click.option("--by", type=click.Choice(_SIDES), help="Print only the sums by this. [default: all of them]")
@prints_script(_script, "Print the Lua script by which other programs take permits, and do nothing else.")
@prints
@takes_settings("base_url", *CACHE_SETTINGS, "layout", "user_id", "exchange_id")
def budget(*, since: str, by: str | None, output: Output, given: Given) -> None:
    """Show the use of the request budget by job, lane, node, hour.

    \b
    Examples:
      reconciler-engine budget
      reconciler-engine budget --since yesterday --by hour
      reconciler-engine budget --since -2h --json
      reconciler-engine budget --script > permit.lua

    Shown is the use by all engines on this Redis. A request counts in the hour (of Redis' clock) in which it was
    answered or failed. Hours are kept for four days.
    """
    from reconciler_engine.cli.known_series import known_scopes
    from reconciler_engine.cli.session import Session, in_session
    from reconciler_engine.cli.setting_sources import load_config
    from reconciler_engine.store.budget_use import BudgetUse

    async def read(session: Session) -> list[Use]:
        by_source = {scope.source: scope for scope in await known_scopes(session)}
        return [use for scope in by_source.values() for use in await BudgetUse(session.parts.client, scope).read()]

    faults: list[str] = []
    start = parse_instant("--since", since, faults)
    config = load_config(*given, known_faults=faults, windows=())
    uses = [use for use in in_session(config, output, "budget", read) if use.hour > start - _HOUR_MS]
    if output.as_json:
        output.print_json({"requests": sum(use.requests for use in uses), "uses": [use._asdict() for use in uses]})
        return
    with paged():
        for side in (_SIDES if by is None else (by,)) if uses else ():
            _print_sums(uses, side)
        first = max(start, min((use.hour for use in uses), default=start))
        hours = max(1.0, (time.time_ns() // 1_000_000 - first) / _HOUR_MS)
        total = sum(use.requests for use in uses)
        output.print_line(f"{counted(total, 'request')} since {iso(first)}, {total / hours:.0f} an hour")


_HOUR_MS = 3_600_000


def _print_sums(uses: Sequence[Use], side: str) -> None:
    """Print the number of requests by this side; the largest number comes first, but hours come in order."""
    sums: Counter[str] = Counter()
    for use in uses:
        sums[iso(use.hour) if side == "hour" else str(getattr(use, side))] += use.requests
    total = max(1, sums.total())
    rows = sorted(sums.items()) if side == "hour" else sums.most_common()
    print_table((side, "requests", "share"), [(name, str(count), f"{count / total:.0%}") for name, count in rows])
    print()
