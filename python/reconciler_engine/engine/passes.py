"""The scheduled passes: the gap scan and the full reconciliation, as jobs of the scheduler."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial

from reconciler_engine.engine.assembly import Parts
from reconciler_engine.engine.reconcile import PassRequest
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.scheduling.cron import CronExpression
from reconciler_engine.scheduling.job import Job
from reconciler_engine.scheduling.ticks import Tick
from reconciler_engine.scheduling.zones import load_zone
from reconciler_engine.store.tasks import Lane

GAP_SCAN = "gap_scan"
FULL_RECONCILE = "full_reconcile"
_logger = logging.getLogger(__name__)


def make_jobs(parts: Parts) -> list[Job]:
    """Return the two jobs, as the configuration schedules them."""
    config = parts.config
    series = tuple(config.series())
    scan = PassRequest(GAP_SCAN, series, config.quick_scan_window_ms, lane=Lane.LIVE)
    full = PassRequest(FULL_RECONCILE, series, config.full_reconcile_window_ms, lane=Lane.DEEP)
    zone = load_zone(config.timezone)
    return [
        Job(
            GAP_SCAN,
            CronExpression.parse(config.gap_scan_cron),
            partial(_run_and_log, parts, scan),
            tz=zone,
            misfire_grace=config.gap_scan_misfire_grace_ms,
            max_run=config.gap_scan_max_run_ms,
            jitter=config.gap_scan_jitter_ms,
        ),
        Job(
            FULL_RECONCILE,
            CronExpression.parse(config.full_reconcile_cron),
            partial(_run_and_log, parts, full),
            tz=zone,
            misfire_grace=config.full_reconcile_misfire_grace_ms,
            max_run=config.full_reconcile_max_run_ms,
            jitter=config.full_reconcile_jitter_ms,
        ),
    ]


async def _run_and_log(parts: Parts, request: PassRequest, tick: Tick) -> ReconciliationResult:
    result = await parts.reconciler.run_pass(request)
    fields = {"job": request.job, "slot": tick.slot, **totals(result)}
    _logger.info("pass done", extra={**fields, "summary": f"{request.job}: {_in_words(result)}"})
    return result


def _in_words(result: ReconciliationResult) -> str:
    if not result.missing and not result.errors:
        return f"nothing missing in {len(result.series)} series, {result.duration_ms} ms"
    errors = f", {len(result.errors)} errors, first: {result.errors[0]}" if result.errors else ""
    return (
        f"{result.missing} slots missing in {result.gaps_found} gaps, {result.filled} filled, "
        f"{result.unresolved} unresolved, {result.requests} requests, {result.duration_ms} ms{errors}"
    )


def totals(result: ReconciliationResult) -> dict[str, object]:
    """Return a result's fields without its rows."""
    fields = asdict(result)
    del fields["series"]
    return fields
