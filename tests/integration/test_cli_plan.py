"""`plan`: a run asks for the slots that it tells; only series with something to do are told."""

from __future__ import annotations

import redis as redis_py
from tests.integration.engines import DENSE, MINUTE, T0, THIN, engine
from tests.integration.test_task_rules import enter_engine, status_of
from tests.integration.test_verify_run import Verified

from reconciler_engine.engine.forecast import Forecast, forecast
from reconciler_engine.engine.scheduled_passes import FULL_RECONCILE, GAP_SCAN, VERIFY
from reconciler_engine.observe.status import JobStatus
from reconciler_engine.planning.verification import DEFAULT_MAX_UNVERIFIED_MS, SPARE_MS


async def remove(world: Verified, *ages: int) -> None:
    for age in ages:
        at = world.now // MINUTE * MINUTE - age * MINUTE
        await world.run.parts.client.zremrangebyscore(world.run.key(DENSE), at, at)


def requests(told: Forecast) -> dict[str, int]:
    return {job.job: job.requests for job in told.jobs}


async def test_each_run_asks_for_what_was_planned(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(360)
        await remove(world, 5, 200)
        told = await forecast(run.parts, [DENSE])
        assert requests(told) == {GAP_SCAN: 1, FULL_RECONCILE: 1, VERIFY: 1}
        (row,) = told.series
        assert (row.missing, row.unverified, row.error) == (2, 358, None)
        for job in (GAP_SCAN, FULL_RECONCILE, VERIFY):
            planned = requests(await forecast(run.parts, [DENSE]))[job]
            assert (await world.passes.perform(job)).requests == planned, job
        assert requests(await forecast(run.parts, [DENSE])) == {GAP_SCAN: 0, FULL_RECONCILE: 0, VERIFY: 0}


async def test_the_plan_says_when_the_next_ticks_are_and_the_next_bar_is_due(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(360)
        await world.verify()
        await world.turn(2)
        await remove(world, 4)
        told = await forecast(run.parts, [DENSE])
        assert {job.job: job.at for job in told.jobs} == {
            GAP_SCAN: world.now - world.now % (5 * MINUTE) + 5 * MINUTE,
            FULL_RECONCILE: world.now - world.now % (60 * MINUTE) + 60 * MINUTE,
            VERIFY: world.now - world.now % MINUTE + MINUTE,
        }
        (row,) = told.series
        # The ten youngest bars, one of them gone, and two that nobody wrote.
        assert (row.missing, row.unverified) == (3, 9)
        oldest = world.now // MINUTE * MINUTE - 12 * MINUTE
        assert row.due_at == oldest + MINUTE + DEFAULT_MAX_UNVERIFIED_MS - SPARE_MS
        assert requests(told)[VERIFY] == 0


async def test_a_series_with_nothing_to_do_is_not_told_and_one_that_cannot_be_read_is(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(360)
        await world.verify()
        await run.parts.client.set(run.key(THIN), "x")
        told = await forecast(run.parts, [DENSE, THIN])
        (row,) = told.series
        assert (row.symbol, row.requests) == (THIN.symbol, {})
        assert "WRONGTYPE" in str(row.error)


def test_people_read_jobs_with_their_time_and_series_with_their_requests(run_inside, redis_url):
    settings = {"RECONCILER_REDIS_URL": redis_url, "RECONCILER_TIMEFRAMES": "1h"}
    done = run_inside("plan", "--symbols", "BTC-USD,ETH-USD", **settings)
    assert (done.code, done.err) == (0, "")
    head, *rows = done.out.splitlines()
    assert head.split()[-3:] == ["gap_scan", "full_reconcile", "verify"]
    assert len(head) < 80
    assert [row.split()[:3] for row in rows[:2]] == [["BTC-USD:1h", "300", "0"], ["ETH-USD:1h", "300", "0"]]
    assert rows[2].startswith("gap_scan in ")
    assert ": 2 requests, " in rows[2]
    told = run_inside("plan", "--symbols", "BTC-USD,ETH-USD", "--json", **settings).json
    assert [job["job"] for job in told["jobs"]] == ["gap_scan", "full_reconcile", "verify"]
    assert told["series"][0]["requests"]["full_reconcile"] == 1


def test_beside_an_engine_the_ticks_are_the_engines(run_inside, redis_url):
    counts = dict.fromkeys(("is_running", "runs", "skipped", "missed", "failed", "timed_out"), 0)
    ticks = {GAP_SCAN: T0, FULL_RECONCILE: None, VERIFY: T0 + 1}
    jobs = tuple(
        JobStatus.model_validate({"name": name, "cron": "* * * * *", "next_tick": at, **counts})
        for name, at in ticks.items()
    )
    engine = status_of("127.0.0.1:7").model_copy(update={"jobs": jobs})
    settings = {"RECONCILER_REDIS_URL": redis_url, "RECONCILER_TIMEFRAMES": "1h", "RECONCILER_SYMBOLS": "BTC-USD"}
    enter_engine(redis_url, engine)
    told = run_inside("plan", "--json", **settings).json["jobs"]
    assert {job["job"]: (job["at"], job["tick_of"]) for job in told} == {
        name: (at, engine.node) for name, at in ticks.items()
    }
    said = run_inside("plan", **settings).out.splitlines()
    assert said[-3].startswith("full_reconcile never: ")
    assert said[-1] == (
        "  ticks of gap_scan, full_reconcile, verify by the running engine; all else by the settings of this command"
    )
    gap_scan, _, verify = run_inside("plan", "--json", "--gap-scan-cron", "* * * * *", **settings).json["jobs"]
    assert (gap_scan["at"] > T0, gap_scan["tick_of"], verify["tick_of"]) == (True, None, engine.node)


def test_what_is_kept_for_good_adds_the_requests_of_the_scrub(run_inside, redis_url):
    with redis_py.Redis.from_url(redis_url) as client:
        client.zadd("candles:1:1:BTC-USD:1m", {f"{number}": number for number in range(3_001)})
    kept = ("plan", "--symbols", "BTC-USD", "--timeframes", "1m", "--redis-url", redis_url, "--max-candles", "0")
    assert run_inside(*kept, "--scrub-days", "1").out.splitlines()[-1] == (
        "scrub of 11 pages within 1 d: about 1 request an hour"
    )
    assert run_inside(*kept, "--json").json["scrub"]["pages"] == 11
    assert run_inside(*kept, "--scrub-days", "0", "--json").json["scrub"] is None
    assert run_inside(*kept[:-2], "--json").json["scrub"] is None
