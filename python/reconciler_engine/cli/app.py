"""The commands, in the order a newcomer meets them."""

from __future__ import annotations

import typer

from reconciler_engine.cli.backfill import backfill
from reconciler_engine.cli.config_commands import app as config_app
from reconciler_engine.cli.coverage import coverage
from reconciler_engine.cli.cron import cron
from reconciler_engine.cli.doctor import doctor
from reconciler_engine.cli.evidence import app as evidence_app
from reconciler_engine.cli.gaps import gaps
from reconciler_engine.cli.journal import journal
from reconciler_engine.cli.load import load
from reconciler_engine.cli.ready import ready
from reconciler_engine.cli.reconcile import reconcile
from reconciler_engine.cli.scan import scan
from reconciler_engine.cli.simulate import simulate
from reconciler_engine.cli.start import start
from reconciler_engine.cli.status import status

app = typer.Typer(
    name="reconciler-engine",
    help="""Keep a Redis cache of OHLCV candles complete and right.

    \b
    Examples:
      reconciler-engine start --simulate
      reconciler-engine start --symbols BTC-USD,ETH-USD --redis-url redis://localhost:6379
      reconciler-engine scan --symbols BTC-USD --timeframes 1m,5m
      reconciler-engine backfill BTC-USD 1m 1h --from 2025-01-01 --max-candles 0 --dry-run
      reconciler-engine gaps BTC-USD_5m_2025.csv.gz
    """,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for command in (start, status, ready, coverage, scan, reconcile, backfill, journal, gaps, load, simulate, cron, doctor):
    app.command()(command)

app.add_typer(evidence_app, name="evidence")
app.add_typer(config_app, name="config")
