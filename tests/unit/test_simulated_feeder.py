"""The simulated feed: what it loses, what arrives, and the exact commands it writes with."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from reconciler_engine.engine.simulated_feeder.feeder import Feeder, FeederSettings, hear, take_snapshot, write_member
from reconciler_engine.engine.simulated_feeder.losses import FeedEvent, FeedLosses
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.bar import Bar
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.scope import Scope

HOUR = 3_600_000
MIDNIGHT = 1_795_392_000_000
NOW = MIDNIGHT + 9 * HOUR + 17_000
MARKET = SeededMarket(5, [ListedProduct("BTC-USD", 65_000.0)])
M1 = Series("BTC-USD", Timeframe.M1)
M5 = Series("BTC-USD", Timeframe.M5)
SCOPE = Scope(1, 2, "test")
LOSSLESS = FeedLosses(disconnects_per_hour=0, lost_share=0, cut_share=0, snapshot_share=1)


class Recorder:
    """Takes commands, answers nothing."""

    def __init__(self) -> None:
        self.commands: list[tuple[Any, ...]] = []

    async def execute_command(self, *args: str | float | bytes) -> None:
        self.commands.append(args)


def bar_at(series: Series, start: int, now: int) -> Bar:
    return MARKET.bars(series.symbol, series.timeframe, Interval(start, start + 1), now)[0]


def fates(losses: FeedLosses, count: int = 4_000) -> list[float]:
    starts = range(MIDNIGHT, MIDNIGHT + count * 60_000, 60_000)
    return [(losses.heard_until(M1, start) - start) / 60_000 for start in starts]


def test_bars_are_lost_and_cut_in_the_shares_set() -> None:
    heard = fates(FeedLosses(lost_share=0.1, cut_share=0.2))
    assert 0.07 < heard.count(0) / len(heard) < 0.13
    cut = [share for share in heard if 0 < share < 1]
    assert 0.16 < len(cut) / len(heard) < 0.24
    assert min(cut) < 0.1
    assert max(cut) > 0.9
    assert set(fates(LOSSLESS)) == {1.0}
    assert set(fates(FeedLosses(lost_share=1))) == {0.0}


def test_losses_depend_on_the_seed_alone() -> None:
    assert fates(FeedLosses(seed=4)) == fates(FeedLosses(seed=4)) != fates(FeedLosses(seed=5))


def test_outages_come_at_their_rate_and_length() -> None:
    losses = FeedLosses(disconnects_per_hour=6, outage_ms=(10_000, 90_000))
    found = {losses.find_outage(instant) for instant in range(MIDNIGHT, MIDNIGHT + 24 * HOUR, 5_000)} - {None}
    assert len(found) == 24 * 6
    lengths = [outage.stop - outage.start for outage in found if outage is not None]
    assert 10_000 <= min(lengths) < 20_000
    assert 80_000 < max(lengths) <= 90_000
    for outage in found:
        assert outage is not None
        assert losses.find_outage(outage.start) == outage
        assert losses.find_outage(outage.stop) != outage
    assert LOSSLESS.find_outage(MIDNIGHT) is None


def test_two_outages_never_meet_however_long_they_are() -> None:
    losses = FeedLosses(disconnects_per_hour=60, outage_ms=(HOUR, HOUR))
    down = [losses.find_outage(instant) is not None for instant in range(MIDNIGHT, MIDNIGHT + HOUR, 1_000)]
    assert 0.45 < sum(down) / len(down) < 0.55


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"lost_share": 1.5}, "lost_share 1.5 is not between 0 and 1"),
        ({"cut_share": float("nan")}, "cut_share nan"),
        ({"disconnects_per_hour": -1}, "disconnects_per_hour -1"),
        ({"outage_ms": (5, 4)}, "outage_ms"),
        ({"snapshot_slots": 0}, "snapshot_slots"),
    ],
)
def test_losses_out_of_range_are_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        FeedLosses(**change)


def test_snapshot_has_at_most_100_candles_and_holes_everywhere() -> None:
    bars = take_snapshot(FeedLosses(), MARKET, M5, NOW)
    starts = [bar.start for bar in bars]
    assert len(starts) == 100
    assert starts == sorted(starts)
    newest = Timeframe.M5.floor(NOW)
    assert starts[-1] == newest
    expected = set(range(newest - 159 * 300_000, newest + 1, 300_000))
    holes = sorted(expected - set(starts))
    assert len(holes) == 60
    assert holes[0] < newest - 140 * 300_000
    assert holes[-1] > newest - 20 * 300_000
    assert all(bar == bar_at(M5, bar.start, NOW) for bar in bars)


def test_snapshot_without_losses_is_whole() -> None:
    bars = take_snapshot(replace(LOSSLESS, snapshot_limit=1_000), MARKET, M5, NOW)
    assert len(bars) == 160
    assert take_snapshot(replace(LOSSLESS, snapshot_limit=0), MARKET, M5, NOW) == []


def test_open_bar_is_heard_as_it_stands() -> None:
    messages = hear(LOSSLESS, MARKET, M5, NOW - 1_000, NOW)
    assert messages == [(M5, bar_at(M5, Timeframe.M5.floor(NOW), NOW), False)]


def test_bar_that_ends_is_heard_whole_and_closed_once() -> None:
    start = MIDNIGHT + HOUR
    stop = start + 60_000
    messages = hear(LOSSLESS, MARKET, M1, stop - 500, stop + 2_500)
    assert messages == [(M1, bar_at(M1, start, NOW), True), (M1, bar_at(M1, stop, stop + 2_500), False)]
    assert [message.closed for message in hear(LOSSLESS, MARKET, M1, stop + 2_500, stop + 3_500)] == [False]


def test_clock_that_runs_fast_skips_no_bar() -> None:
    start = MIDNIGHT + HOUR
    messages = hear(LOSSLESS, MARKET, M1, start, start + 600_000)
    assert [message.bar.start for message in messages if message.closed] == list(range(start, start + 600_000, 60_000))
    assert messages[3].bar == bar_at(M1, start + 180_000, NOW)
    assert hear(LOSSLESS, MARKET, M1, start, start - 5_000) == []


def test_lost_bar_is_not_heard_and_a_cut_one_keeps_its_last_state() -> None:
    start = MIDNIGHT + HOUR
    assert hear(FeedLosses(lost_share=1), MARKET, M5, start, start + 299_000) == []

    losses = FeedLosses(lost_share=0, cut_share=1)
    until = losses.heard_until(M5, start)
    assert start < until < start + 300_000
    # Whatever the rhythm of the steps, the last state is that of the cut.
    seen = [
        message
        for since in range(start, start + 300_000, 7_000)
        for message in hear(losses, MARKET, M5, since, min(since + 7_000, start + 300_000))
        if message.bar.start == start
    ]
    assert seen[-1] == (M5, bar_at(M5, start, until), False)
    assert seen[-1].bar != bar_at(M5, start, NOW)
    # Once it is cut it is not heard of again, and it is never closed.
    assert start not in [message.bar.start for message in hear(losses, MARKET, M5, until, start + 300_001)]
    late = hear(losses, MARKET, M5, until - 2_000, start + 300_001)
    assert (M5, bar_at(M5, start, until), False) in late


def test_member_is_the_caches_json_with_short_numbers() -> None:
    bar = Bar(60_000, "88000", "88102.5", "87990", "88001.25", "0.0001")
    text = write_member(M5, bar, 41)
    assert text == (
        '{"timestamp":60000,"open":88000,"high":88102.5,"low":87990,"close":88001.25,"volume":0.0001,'
        '"symbol":"BTC-USD","timeframe":"5m","sequenceNum":41}'
    )
    assert "sequenceNum" not in json.loads(write_member(M1, bar, None))


async def test_live_write_is_the_real_feeders_commands_in_their_order() -> None:
    real_ms = [0.0]
    clock = SimulatedClock(NOW, read_real_ms=lambda: real_ms[0])
    redis = Recorder()
    feeder = Feeder(redis, MARKET, clock, FeederSettings([M5], SCOPE, LOSSLESS))
    await feeder.step()
    redis.commands.clear()

    real_ms[0] += 1_000
    await feeder.step()
    start = Timeframe.M5.floor(NOW)
    member = write_member(M5, bar_at(M5, start, NOW + 1_000), 101)
    key = "candles:1:2:BTC-USD:5m"
    assert redis.commands == [
        ("ZREMRANGEBYSCORE", key, start, start),
        ("ZADD", key, start, member),
        ("EXPIRE", key, 86_400),
        ("ZREMRANGEBYRANK", key, 0, -1_001),
        ("PUBLISH", "channel:candle:1:2:BTC-USD:5m", member),
    ]
    redis.commands.clear()

    real_ms[0] += 300_000
    await feeder.step()
    closes = [
        command for command in redis.commands if command[:2] == ("PUBLISH", "channel:candle:close:1:2:BTC-USD:5m")
    ]
    assert [json.loads(command[2])["timestamp"] for command in closes] == [start]


async def test_disconnect_silences_and_the_connection_after_it_numbers_from_one() -> None:
    losses = FeedLosses(disconnects_per_hour=6, outage_ms=(60_000, 60_000), snapshot_limit=3)
    outage = next(
        found for instant in range(MIDNIGHT, MIDNIGHT + HOUR, 1_000) if (found := losses.find_outage(instant))
    )
    clock = SimulatedClock(outage.start - 2_000, rate=0)
    redis = Recorder()
    events: list[FeedEvent] = []
    feeder = Feeder(redis, MARKET, clock, FeederSettings([M5], SCOPE, losses), events.append)

    def sequences() -> list[int]:
        members = [
            command[3 + i] for command in redis.commands if command[0] == "ZADD" for i in range(0, len(command) - 3, 2)
        ]
        return [json.loads(member)["sequenceNum"] for member in members]

    await feeder.step()
    assert sequences() == [1, 2, 3]
    clock.set(outage.start)
    redis.commands.clear()
    await feeder.step()
    await feeder.step()
    assert redis.commands == []
    clock.set(outage.stop)
    await feeder.step()
    assert sequences() == [1, 2, 3]
    assert [event.kind for event in events] == ["connected", "disconnected", "connected"]
    assert events[1].until == outage.stop
    assert events[2].candles == 3


async def test_first_step_connects_even_in_an_outage() -> None:
    losses = FeedLosses(disconnects_per_hour=6, outage_ms=(60_000, 60_000))
    instant = next(instant for instant in range(MIDNIGHT, MIDNIGHT + HOUR, 1_000) if losses.find_outage(instant))
    redis = Recorder()
    await Feeder(redis, MARKET, SimulatedClock(instant, rate=0), FeederSettings([M5], SCOPE, losses)).step()
    assert any(command[0] == "ZADD" for command in redis.commands)


async def test_timeframes_built_locally_carry_no_number() -> None:
    redis = Recorder()
    await Feeder(redis, MARKET, SimulatedClock(NOW, rate=0), FeederSettings([M1, M5], SCOPE, LOSSLESS)).step()
    for key, numbered in (("candles:1:2:BTC-USD:1m", False), ("candles:1:2:BTC-USD:5m", True)):
        (command,) = [command for command in redis.commands if command[:2] == ("ZADD", key)]
        assert ("sequenceNum" in json.loads(command[3])) is numbered
