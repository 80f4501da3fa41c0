"""A skew that was cured, or came, is measured again: at a start, when a clock jumps, when rows are newer than now."""

from __future__ import annotations

import logging

import pytest
from tests.integration.engines import DENSE, Engine, engine

from reconciler_engine.engine.clock import SharedClock
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.observe.words import describe_skew

MINUTE = 60_000
SKEW = -10 * MINUTE


async def leave_behind_a_skew(run: Engine) -> None:
    """Keep a skew that was cured meanwhile, measured so lately that nobody would again for an hour."""
    await run.parts.clock.measure_when_due(run.sources[0], run.parts.bucket)
    await run.parts.client.execute_command("SET", run.parts.scope.key("clock:skew_ms"), SKEW)


async def measured(run: Engine, clock: SharedClock) -> int:
    """The skew after the next look of a worker (ms)."""
    await clock.measure_when_due(run.sources[0], run.parts.bucket)
    skew = await clock.skew_ms()
    assert skew is not None
    return skew


async def test_a_kept_skew_is_not_measured_again_without_a_reason(redis_url):
    async with engine(redis_url) as run:
        await leave_behind_a_skew(run)
        assert await measured(run, run.parts.clock) == SKEW


async def test_a_start_measures_the_skew_again(redis_url):
    async with engine(redis_url) as run:
        await leave_behind_a_skew(run)
        started = SharedClock(run.parts.client, run.parts.scope)
        await started.doubt()
        assert abs(await measured(run, started)) < MINUTE


async def test_a_jump_of_the_servers_clock_has_the_skew_measured_again(redis_url, monkeypatch):
    async with engine(redis_url) as run:
        await leave_behind_a_skew(run)
        clock = run.parts.clock
        redis_now = clock.redis_now

        async def set_back() -> int:
            return await redis_now() + SKEW

        monkeypatch.setattr(clock, "redis_now", set_back)
        assert abs(await measured(run, clock) + SKEW) < MINUTE


async def test_an_answer_from_after_now_has_the_skew_measured_again(redis_url):
    async with engine(redis_url) as run:
        await leave_behind_a_skew(run)
        await run.parts.reconciler.run_pass(PassRequest("gap_scan", [DENSE], 10 * MINUTE))
        assert abs(await measured(run, run.parts.clock)) < MINUTE


@pytest.mark.parametrize("ahead", [-MINUTE, MINUTE])
async def test_a_skew_over_a_second_is_a_warning_with_its_consequence(redis_url, caplog, ahead):
    async with engine(redis_url) as run:
        run.exchange.clock.set(await run.parts.clock.redis_now() + ahead)
        with caplog.at_level(logging.INFO):
            await run.parts.clock.measure_when_due(run.sources[0], run.parts.bucket)
    (told,) = [one for one in caplog.records if one.message in {"clocks differ", "exchange clock measured"}]
    assert (told.levelname, told.message) == ("WARNING", "clocks differ")


async def test_a_clock_known_to_be_ahead_is_told_once_and_not_measured_for_each_answer(redis_url, caplog):
    async with engine(redis_url) as run:
        clock, source, bucket = run.parts.clock, run.sources[0], run.parts.bucket

        def measurements() -> int:
            return sum(one.path.endswith("/time") for one in run.exchange.log.records)

        run.exchange.clock.set(await clock.redis_now() + MINUTE)
        await clock.measure_when_due(source, bucket)
        await run.parts.reconciler.run_pass(PassRequest("gap_scan", [DENSE], 10 * MINUTE))
        await clock.measure_when_due(source, bucket)
        assert measurements() == 1
        # measured again on demand, the same skew is not told again
        await clock.doubt()
        with caplog.at_level(logging.INFO):
            await clock.measure_when_due(source, bucket)
        assert measurements() == 2
        assert [one.levelname for one in caplog.records if one.message == "clocks differ"] == ["WARNING", "INFO"]


def test_people_are_told_what_follows_from_a_skew():
    assert describe_skew(900, "api") is None
    assert describe_skew(-1_000, "api") is None
    assert describe_skew(-600_000, "api") == (
        "Redis' clock is 10 m 0 s ahead of the exchange's: `ready` asks for bars that have not closed yet; "
        "set the clock of Redis' machine by NTP"
    )
    assert describe_skew(-86_400_000, "127.0.0.1:80") is None
    assert describe_skew(-86_400_000, "api") is not None
    assert "behind the exchange's: bars are looked for" in str(describe_skew(2_000, "api"))
