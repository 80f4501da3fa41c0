"""The next slot of an expression, beside croniter and cronsim.

Shapes: `every5` (`*/5 * * * *`), `daily` (`30 2 * * *`), `leap` (`0 0 29 2 *`), each 200 slots on from one instant, in
UTC and in New York; `parse`, and `impossible`: refusing a date that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from croniter import CroniterBadDateError, croniter
from cronsim import CronSim, CronSimError
from pytest_benchmark.fixture import BenchmarkFixture

from reconciler_engine.scheduling.cron import CronError, CronExpression

SLOTS = 200
BEGIN = datetime(2026, 3, 1, 12, 1, tzinfo=UTC)
SHAPES = {"every5": "*/5 * * * *", "daily": "30 2 * * *", "leap": "0 0 29 2 *"}
ZONES: dict[str, tzinfo] = {"utc": UTC, "new_york": ZoneInfo("America/New_York")}


def ours(text: str, tz: tzinfo) -> Callable[[], None]:
    expression = CronExpression.parse(text)
    begin = int(BEGIN.timestamp()) * 1_000

    def walk() -> None:
        instant = begin
        for _ in range(SLOTS):
            instant = expression.next_after(instant, tz)

    return walk


def with_cronsim(text: str, tz: tzinfo) -> Callable[[], None]:
    def walk() -> None:
        slots = CronSim(text, BEGIN.astimezone(tz))
        for _ in range(SLOTS):
            next(slots)

    return walk


def with_croniter(text: str, tz: tzinfo) -> Callable[[], None]:
    def walk() -> None:
        slots = croniter(text, BEGIN.astimezone(tz))
        for _ in range(SLOTS):
            slots.get_next(float)

    return walk


WALKERS = {"ours": ours, "cronsim": with_cronsim, "croniter": with_croniter}


@pytest.mark.parametrize("walker", WALKERS)
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("shape", SHAPES)
def test_next(benchmark: BenchmarkFixture, shape: str, zone: str, walker: str) -> None:
    benchmark.group = f"{shape}_{zone}, {SLOTS} slots"
    benchmark(WALKERS[walker](SHAPES[shape], ZONES[zone]))


@pytest.mark.parametrize("parse", [CronExpression.parse, lambda text: CronSim(text, BEGIN), croniter], ids=WALKERS)
def test_parse(benchmark: BenchmarkFixture, parse: Callable[[str], object]) -> None:
    benchmark.group = "parse"
    benchmark(parse, "*/5 9-17 * * MON-FRI")


def refuse() -> None:
    with pytest.raises(CronError):
        CronExpression.parse("0 0 30 2 *").ensure_fires()


def refuse_with_cronsim() -> None:
    with pytest.raises(CronSimError):
        CronSim("0 0 30 2 *", BEGIN)


def refuse_with_croniter() -> None:
    with pytest.raises(CroniterBadDateError):
        croniter("0 0 30 2 *", BEGIN).get_next(float)


@pytest.mark.parametrize("refused", [refuse, refuse_with_cronsim, refuse_with_croniter], ids=WALKERS)
def test_impossible(benchmark: BenchmarkFixture, refused: Callable[[], None]) -> None:
    benchmark.group = "impossible"
    benchmark(refused)
