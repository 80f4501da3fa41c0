"""The jobs: what the configuration says of each reaches the scheduler."""

from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

from reconciler_engine.coinbase.identity import Identity
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import budget_name, open_parts
from reconciler_engine.engine.scheduled_passes import ScheduledPasses

URL = "redis://localhost:6379"
IDENTITY = Identity("key-1", "key-1-2")


async def jobs_of(**settings: object):
    async with open_parts(ReconciliationConfig.check(settings), URL, owns_server=False) as parts:
        return ScheduledPasses(parts, (), now=lambda: 0).jobs()


async def test_by_default_jobs_have_the_schedulers_bounds_in_utc() -> None:
    *passes, verify = await jobs_of()
    for job in passes:
        assert (job.tz, job.misfire_grace, job.max_run, job.jitter) == (UTC, None, None, 0)
    # A quarter of an hour, as the gap scan has it by three of its intervals.
    assert (verify.tz, verify.misfire_grace, verify.max_run, verify.jitter) == (UTC, None, 900_000, 0)


async def test_each_job_has_the_bounds_set_for_it() -> None:
    scan, full, verify = await jobs_of(
        timezone="Europe/Berlin",
        gap_scan_cron="*/7 * * * *",
        gap_scan_misfire_grace_ms=1,
        gap_scan_max_run_ms=2,
        gap_scan_jitter_ms=3,
        full_reconcile_misfire_grace_ms=4,
        full_reconcile_max_run_ms=5,
        full_reconcile_jitter_ms=6,
        verify_cron="*/2 * * * *",
    )
    assert (scan.name, full.name) == ("gap_scan", "full_reconcile")
    assert (verify.name, verify.expression.text, verify.tz) == ("verify", "*/2 * * * *", scan.tz)
    assert scan.tz == full.tz == ZoneInfo("Europe/Berlin")
    assert (scan.misfire_grace, scan.max_run, scan.jitter) == (1, 2, 3)
    assert (full.misfire_grace, full.max_run, full.jitter) == (4, 5, 6)
    assert (scan.expression.text, full.expression.text) == ("*/7 * * * *", "0 * * * *")


def test_a_budget_is_the_keys_or_the_addresss() -> None:
    config = ReconciliationConfig(egress="office")
    assert budget_name(config, IDENTITY) == "budget:key-1"
    assert budget_name(config, None) == "budget:egress:office"
    assert budget_name(ReconciliationConfig(), None) == "budget:public"


async def test_the_key_paces_by_the_hour() -> None:
    for identity, hourly in ((None, None), (IDENTITY, 10_000)):
        async with open_parts(ReconciliationConfig(), URL, owns_server=False, identity=identity) as parts:
            assert parts.bucket.budget.hourly == hourly
