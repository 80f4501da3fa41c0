"""`changes`: the writes of the engines since a cursor, for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler_engine.cli.arguments import parse_instant
from reconciler_engine.cli.options import CACHE_SETTINGS, Given, prints, takes_settings
from reconciler_engine.cli.output import Output
from reconciler_engine.errors import ConfigError
from reconciler_engine.observe.words import iso

if TYPE_CHECKING:
    from reconciler_engine.store.feed_steps import ChangeBatch, Cursor

_LIMIT = 1_000
_WAIT_S = 60.0
_LONGEST_TIME = 40
"""Largest number of characters of a time; a cursor has more."""


@click.command()
@click.option("--since", metavar="CURSOR", help="Cursor printed last, or a time. [default: all that is kept]")
@click.option("--follow", is_flag=True, help="Wait for new changes, and print them as they come.")
@prints
@takes_settings("base_url", *CACHE_SETTINGS, "layout", "user_id", "exchange_id")
def changes(*, since: str | None, follow: bool, output: Output, given: Given) -> None:
    """List the engines' changes in all series since a cursor.

    \b
    Examples:
      reconciler-engine changes
      reconciler-engine changes --since -1h
      reconciler-engine changes --since now --follow --json

    Shown are candles added, changed and removed, slots verified, and proofs given and retracted, oldest first within a
    series. `lost` means that the feed of a series no longer holds earlier changes. The last line is the cursor to
    continue from; with --json, each line holds the changes of one read, and the cursor after them.
    """
    from reconciler_engine.cli.known_series import feed_scope
    from reconciler_engine.cli.session import Session, in_session
    from reconciler_engine.cli.setting_sources import load_config
    from reconciler_engine.store.change_feed import is_written
    from reconciler_engine.store.client.trio_driver import converse
    from reconciler_engine.store.feed_steps import Cursor, read_changes

    faults: list[str] = []
    instant = parse_instant("--since", since, faults) if since is not None and len(since) <= _LONGEST_TIME else None
    faults = [f"{fault}, or a cursor that `changes` printed" for fault in faults]

    async def tell(session: Session) -> None:
        scope = await feed_scope(session)
        if not await is_written(session.parts.client, scope):
            click.echo(f"reconciler-engine: no engine wrote {scope.candles}:* from {scope.source} yet", err=True)
        cursor = _cursor(scope.index_key(), since, instant)
        try:
            while True:
                steps = read_changes(scope, cursor, _LIMIT, _WAIT_S if follow else 0.0)
                batch = await converse(session.parts.client, steps)
                _print(batch, output)
                cursor = Cursor.read(batch.cursor, cursor.owner)
                if batch.is_all and not follow:
                    break
        finally:
            if not output.as_json:
                output.print_line(f"cursor {cursor}")

    in_session(load_config(*given, known_faults=faults, windows=()), output, "changes", tell)


def _cursor(owner: str, since: str | None, instant: int | None) -> Cursor:
    from reconciler_engine.store.feed_steps import Cursor

    if since is None or instant is not None:
        return Cursor(owner, instant or 0)
    try:
        return Cursor.read(since, owner)
    except ValueError as error:
        raise ConfigError([f"--since: {error}"]) from error


def _print(batch: ChangeBatch, output: Output) -> None:
    if output.as_json:
        output.print_json({"changes": [one._asdict() for one in batch.changes], "cursor": batch.cursor})
        return
    for one in batch.changes:
        slots = "" if one.start == one.stop else f" {iso(one.start)} to {iso(one.stop)}"
        output.print_line(f"{iso(one.at)} {one.symbol}:{one.timeframe} {one.kind.value}{slots}")
