"""The work of `start`: settings, data directory, server, tree."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from reconciler_engine.cli.settings import child_environment, default_data_dir, load_config
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.errors import ConfigError
from reconciler_engine.observe import logs
from reconciler_engine.store.data_directory import DataDirectory
from reconciler_engine.supervisor.embedded import embedded_server, plan_record
from reconciler_engine.supervisor.tree import TreePlan, run_tree

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_SIMULATION = {
    "symbols": ("BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD"),
    "timeframes": ("1m", "5m", "15m", "1h"),
    # Often enough that a newcomer sees gaps close within a minute.
    "gap_scan_cron": "*/10 * * * * *",
    "full_reconcile_cron": "0 * * * * *",
}
