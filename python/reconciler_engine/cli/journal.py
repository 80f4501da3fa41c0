"""`journal`: passes and changes, with the members before each change."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import click

from reconciler_engine.cli.arguments import parse_instant, parse_series
from reconciler_engine.cli.options import JOURNAL_SETTINGS, Given, prints, takes_settings, whole_between
from reconciler_engine.cli.output import Output

if TYPE_CHECKING:
    from reconciler_engine.store.journal import Change
    from reconciler_engine.store.pass_records import PassRecord

_MOST_CHANGES = 100_000


class Done(NamedTuple):
    """Changes and passes in a stretch of time, both oldest first."""

    changes: list[Change]
    passes: list[PassRecord]


@click.command()
@click.argument("symbol", required=False, metavar="[SYMBOL", help="Product id, such as BTC-USD.")
@click.argument("timeframe", required=False, metavar="TIMEFRAME]", help="Timeframe, such as 5m.")
@click.option("--since", metavar="TIME", help="From this time on: ISO 8601, UTC by default, or yesterday, -2h.")
@click.option("--until", metavar="TIME", help="Before this time. [default: now]")
@click.option(
    "--by",
    type=click.Choice(["change", "run", "hour"]),
    default="change",
    help="One row for each change, for each pass with its result, or for each hour.",
)
@click.option("--last", metavar="N", type=whole_between(1, 10_000), default=100, help="The newest N rows.")
@click.option("--all", "all_", is_flag=True, help="With --by run, show also passes that found and did nothing.")
@prints
@takes_settings(*JOURNAL_SETTINGS)
def journal(
    *,
    symbol: str | None,
    timeframe: str | None,
    since: str | None,
    until: str | None,
    by: str,
    last: int,
    all_: bool,
    output: Output,
    given: Given,
) -> None:
    """Show the changes of candles and evidence, newest last.

    \b
    Examples:
      reconciler-engine journal
      reconciler-engine journal --since yesterday --until today --by hour
      reconciler-engine journal --since -2h --by run
      reconciler-engine journal BTC-USD 1m --since 2026-01-31T13:00 --json

    Shown are candles filled, removed or replaced, slots proved empty, and evidence set by hand. Without SYMBOL and
    TIMEFRAME, the configured series are shown, or else all series that passes looked at. Changes of
    members come from the journal of each series, which keeps the newest 500 for 30 days after the last one. Fills,
    proofs and passes come from the records of passes, which are kept for four days; a slot that is filled while two
    passes look at it counts for both.
    """
    from reconciler_engine.cli.journal_report import show_journal
    from reconciler_engine.cli.known_series import known_scopes, known_series
    from reconciler_engine.cli.session import Session, in_session
    from reconciler_engine.cli.setting_sources import load_config
    from reconciler_engine.store.journal import Journal
    from reconciler_engine.store.pass_records import PassRecords

    faults: list[str] = []
    asked = None if symbol is None else parse_series(symbol, timeframe, faults)
    start = 0 if since is None else parse_instant("--since", since, faults)
    stop = time.time_ns() // 1_000_000 + 1 if until is None else parse_instant("--until", until, faults)
    if not faults and stop <= start:
        faults.append(f"--until {until or 'now'}: lies not after --since {since}; allowed: a later time")
    config = load_config(*given, known_faults=faults, windows=())
    limit = last if by == "change" else _MOST_CHANGES

    async def read(session: Session) -> Done:
        parts = session.parts
        if asked is not None:
            await session.check_symbol(asked.symbol)
        series = await known_series(session, given, may_lack=True) if asked is None else [asked]
        changes = await Journal(parts.client, parts.scope).read(series, since=start, until=stop, limit=limit)
        passes = [
            one
            for scope in await known_scopes(session)
            for one in await PassRecords(parts.client, scope).read(start, stop)
        ]
        return Done(changes, sorted(passes, key=lambda one: one.at))

    done = in_session(config, output, "journal", read)
    show_journal(done, asked, by, last, output, with_routine=all_)
