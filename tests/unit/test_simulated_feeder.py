"""The simulated feeder: each habit of the real one, beside the figure that was measured of it (feeder.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from reconciler_engine.engine.roles.feeder import DEMO_LOSSES, EARLIER_MS
from reconciler_engine.engine.simulated_feeder.feed import Feed, Written, earlier_members, take_snapshot, write_member
from reconciler_engine.engine.simulated_feeder.feeder import AWAY_MS, Feeder, FeederSettings
from reconciler_engine.engine.simulated_feeder.losses import FeedEvent, FeedLosses
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.market import Bar
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.feeder_writes import is_refused
from reconciler_engine.store.scope import Layout, Scope

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
MIDNIGHT = 1_795_392_000_000
NOW = MIDNIGHT + 9 * HOUR + 17_000
MARKET = SeededMarket(5, [ListedProduct("BTC-USD", 65_000.0), ListedProduct("ETH-USD", 3_000.0)])
ALL = [Series("BTC-USD", timeframe) for timeframe in Timeframe]
M1 = Series("BTC-USD", Timeframe.M1)
M5 = Series("BTC-USD", Timeframe.M5)
M15 = Series("BTC-USD", Timeframe.M15)
ETH5 = Series("ETH-USD", Timeframe.M5)
SCOPE = Scope(1, 2, "test")
LOSSLESS = FeedLosses(disconnects_per_hour=0, lost_share=0, snapshot_share=1)
# Two outages of a minute an hour, each of which leaves two sockets alive.
BROKEN = replace(LOSSLESS, disconnects_per_hour=2, outage_ms=(MINUTE, MINUTE), twin_share=1.0)


class Recorder:
    """Takes commands, answers reads with the members it was told of."""

    def __init__(self, *stored: str) -> None:
        self.commands: list[tuple[Any, ...]] = []
        self.stored = [member.encode() for member in stored]

    async def execute_command(self, *args: str | float | bytes) -> Any:
        self.commands.append(args)
        return self.stored if args[0] == "ZRANGEBYSCORE" else None


def bar_at(series: Series, start: int, now: int = MIDNIGHT + 100 * HOUR) -> Bar:
    return MARKET.bars(series.symbol, series.timeframe, Interval(start, start + 1), now)[0]


def feed(losses: FeedLosses, series: Iterable[Series], instants: Iterable[int]) -> list[Written | FeedEvent]:
    """Everything of a feed that is looked at in these instants, the snapshots of its first connection left out."""
    one = Feed(MARKET, list(series), losses)
    instants = iter(instants)
    one.advance(next(instants))
    return [happened for now in instants for happened in one.advance(now)]


def written(found: Iterable[Written | FeedEvent]) -> list[Written]:
    return [one for one in found if isinstance(one, Written)]


def events(found: Iterable[Written | FeedEvent]) -> list[FeedEvent]:
    return [one for one in found if isinstance(one, FeedEvent)]


def first_outage(losses: FeedLosses, since: int = MIDNIGHT) -> Interval:
    return next(found for at in range(since, since + 4 * HOUR, SECOND) if (found := losses.find_outage(at)))


def seconds(start: int, stop: int) -> range:
    return range(start, stop + 1, SECOND)


def test_outages_come_at_their_rate_and_length() -> None:
    losses = FeedLosses(disconnects_per_hour=6, outage_ms=(10_000, 90_000))
    found = {losses.find_outage(instant) for instant in range(MIDNIGHT, MIDNIGHT + 24 * HOUR, 5_000)} - {None}
    assert len(found) == 24 * 6
    lengths = [outage.stop - outage.start for outage in found if outage is not None]
    assert 10_000 <= min(lengths) < 20_000
    assert 80_000 < max(lengths) <= 90_000
    assert LOSSLESS.find_outage(MIDNIGHT) is None


def test_two_outages_never_meet_however_long_they_are() -> None:
    losses = FeedLosses(disconnects_per_hour=60, outage_ms=(HOUR, HOUR))
    down = [losses.find_outage(instant) is not None for instant in range(MIDNIGHT, MIDNIGHT + HOUR, 1_000)]
    assert 0.45 < sum(down) / len(down) < 0.55


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"lost_share": 1.5}, "lost_share 1.5 is not between 0 and 1"),
        ({"twin_share": float("nan")}, "twin_share nan"),
        ({"disconnects_per_hour": -1}, "disconnects_per_hour -1"),
        ({"outage_ms": (5, 4)}, "outage_ms"),
        ({"snapshot_slots": 0}, "snapshot_slots"),
    ],
)
def test_losses_out_of_range_are_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        FeedLosses(**change)


def test_losses_depend_on_the_seed_alone() -> None:
    instants = range(NOW, NOW + HOUR, 5 * SECOND)
    assert feed(FeedLosses(seed=4), ALL, instants) == feed(FeedLosses(seed=4), ALL, instants)
    assert feed(FeedLosses(seed=4), ALL, instants) != feed(FeedLosses(seed=5), ALL, instants)


def test_snapshot_has_at_most_100_candles_and_holes_everywhere() -> None:
    bars = take_snapshot(FeedLosses(), MARKET, M5, NOW)
    starts = [bar.start for bar in bars]
    assert len(starts) == 100
    assert starts == sorted(starts)
    newest = Timeframe.M5.floor(NOW)
    assert starts[-1] == newest
    holes = sorted(set(range(newest - 159 * 300_000, newest + 1, 300_000)) - set(starts))
    assert len(holes) == 60
    assert holes[0] < newest - 140 * 300_000
    assert holes[-1] > newest - 20 * 300_000
    assert all(bar == bar_at(M5, bar.start, NOW) for bar in bars)


def test_snapshot_without_losses_is_whole() -> None:
    bars = take_snapshot(replace(LOSSLESS, snapshot_limit=1_000), MARKET, M5, NOW)
    assert len(bars) == 160
    assert take_snapshot(replace(LOSSLESS, snapshot_limit=0), MARKET, M5, NOW) == []


def test_only_5m_is_streamed_each_second_until_it_closes() -> None:
    start = MIDNIGHT + HOUR
    found = written(feed(LOSSLESS, ALL, seconds(start, start + 5 * MINUTE)))
    streamed = [one for one in found if one.sequence is not None]
    assert {one.series for one in streamed} == {M5}
    assert [one.exchange_at for one in streamed] == list(range(start + SECOND, start + 5 * MINUTE + 1, SECOND))
    assert streamed[0].bar == bar_at(M5, start, start + SECOND)
    assert streamed[-1].bar == bar_at(M5, start)


def test_clock_that_runs_fast_skips_no_5m_bar() -> None:
    start = MIDNIGHT + HOUR
    found = written(feed(LOSSLESS, [M5], [start, start + HOUR]))
    assert [one.bar for one in found] == [bar_at(M5, at) for at in range(start, start + HOUR, 300_000)]
    assert feed(LOSSLESS, [M5], [start, start]) == []


def test_all_candles_of_a_message_share_its_number_over_all_channels() -> None:
    found = written(feed(LOSSLESS, [M5, ETH5], seconds(NOW, NOW + 3 * SECOND)))
    numbers = [one.sequence for one in found]
    assert numbers[0::2] == numbers[1::2]
    # trades and heartbeats are numbered between
    assert numbers == [6, 6, 10, 10, 14, 14]


def test_snapshot_is_one_message_a_product() -> None:
    snapshot = written(Feed(MARKET, [M5, ETH5], LOSSLESS).advance(NOW))
    assert {(one.series, one.sequence) for one in snapshot} == {(M5, 1), (ETH5, 2)}
    assert len(snapshot) == 200


def test_1m_comes_once_without_a_number_when_the_next_minute_trades() -> None:
    start = MIDNIGHT + HOUR
    found = written(feed(LOSSLESS, [M1], seconds(start, start + 3 * MINUTE + 5 * SECOND)))
    assert [one.bar for one in found] == [bar_at(M1, start + number * MINUTE) for number in range(3)]
    assert {one.sequence for one in found} == {None}
    # feeder.md: when the first trade of the next minute arrives
    assert [one.exchange_at for one in found] == [start + number * MINUTE + SECOND for number in (1, 2, 3)]


def test_first_1m_bar_after_a_connect_is_partial() -> None:
    """feeder.md: volume 7.76 of 10.8."""
    start = MIDNIGHT + HOUR
    connected = start + 17 * SECOND
    found = written(feed(LOSSLESS, [M1], seconds(connected, start + 2 * MINUTE + SECOND)))
    partial, whole = (one.bar for one in found)
    missed, there = bar_at(M1, start, connected), bar_at(M1, start)
    assert Decimal(partial.volume) + Decimal(missed.volume) == Decimal(there.volume)
    assert (partial.open, partial.close) == (missed.close, there.close)
    assert float(there.low) <= float(partial.low) <= float(partial.high) <= float(there.high)
    assert whole == bar_at(M1, start + MINUTE)


def test_longer_bars_are_stored_as_they_have_just_opened_and_never_again() -> None:
    """feeder.md: volume 0.05 of 209, 79 of 79 15m bars wrong."""
    start = MIDNIGHT
    found = written(feed(LOSSLESS, ALL, range(start - MINUTE, start + 20 * HOUR, MINUTE)))
    fetched = [one for one in found if one.series == M15]
    assert [one.bar.start for one in fetched] == list(range(start, start + 20 * HOUR, 15 * MINUTE))
    assert all(one.bar == bar_at(M15, one.bar.start, one.bar.start + SECOND) for one in fetched)
    shares = [float(one.bar.volume) / float(bar_at(M15, one.bar.start).volume) for one in fetched]
    assert 0 < max(shares) < 0.02
    assert {(one.exchange_at, one.sequence) for one in fetched} == {(None, None)}
    kept = {one.series.timeframe for one in found}
    assert kept == {Timeframe.M1, Timeframe.M5, Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1}


def test_numbers_start_again_near_0_with_each_connection() -> None:
    outage = first_outage(BROKEN)
    found = feed(BROKEN, [M5], seconds(outage.start - 200 * SECOND, outage.stop + 20 * SECOND))
    before = [one.sequence for one in written(found) if (one.exchange_at or 0) <= outage.start]
    after = [one.sequence for one in written(found) if (one.exchange_at or 0) > outage.start]
    assert (before[-1] or 0) > 200 * 3
    assert after[0] == 1


async def test_bar_that_was_cut_keeps_its_cut_values_after_the_reconnect() -> None:
    """feeder.md: volume 16.6 of 61.2, for good, since the numbers of the new connection are not greater."""
    outage = first_outage(BROKEN)
    found = feed(BROKEN, [M5], seconds(outage.start - HOUR // 4, outage.stop + 5 * MINUTE))
    stored: dict[int, str] = {}
    for one in written(found):
        member = write_member(one)
        if not is_refused([kept.encode()] if (kept := stored.get(one.bar.start)) else [], member):
            stored[one.bar.start] = member
    cut = Timeframe.M5.floor(outage.start)
    last = bar_at(M5, cut, outage.start)
    assert json.loads(stored[cut])["volume"] == float(last.volume) < float(bar_at(M5, cut).volume)


@pytest.mark.parametrize(
    ("stored", "number", "refused"),
    [(None, 1, False), (5, 6, False), (5, 5, True), (5, 4, True), (5, None, True), (None, None, False)],
)
def test_candle_is_refused_unless_its_number_is_greater(stored: int | None, number: int | None, refused: bool) -> None:
    kept, member = (write_member(Written(M5, bar_at(M5, MIDNIGHT), NOW, one)) for one in (stored, number))
    assert is_refused([kept.encode()], member) is refused
    assert is_refused([], member) is False


def test_every_1m_bar_after_a_failed_reconnect_has_twice_the_volume() -> None:
    outage = first_outage(BROKEN)
    found = feed(BROKEN, [M1], range(outage.start - 5 * MINUTE, outage.stop + 10 * MINUTE, 5 * SECOND))
    connected = events(found)[1]
    assert (connected.kind, connected.sockets) == ("connected", 2)
    after = [one.bar for one in written(found) if one.bar.start > connected.time_ms]
    assert len(after) > 5
    assert all(Decimal(bar.volume) == 2 * Decimal(bar_at(M1, bar.start).volume) for bar in after)
    alone = feed(replace(BROKEN, twin_share=0), [M1], range(outage.start - MINUTE, outage.stop + MINUTE, 5 * SECOND))
    assert events(alone)[-1].sockets == 1


def test_it_gives_up_for_good_after_ten_refused_handshakes() -> None:
    """feeder.md: 150 s; what is fetched at boundaries goes on."""
    losses = replace(LOSSLESS, disconnects_per_hour=1, outage_ms=(160_000, 160_000))
    outage = first_outage(losses)
    found = feed(losses, [M1, M5, M15], seconds(outage.start - MINUTE, outage.start + HOUR))
    told = events(found)
    assert [one.kind for one in told] == ["disconnected", "gave_up"]
    assert (told[0].until, told[1].time_ms) == (outage.stop, outage.start + 150_000)
    assert {one.series for one in written(found) if one.bar.start > outage.start} == {M15}


def test_it_connects_again_while_fewer_handshakes_were_refused() -> None:
    losses = replace(LOSSLESS, disconnects_per_hour=1, outage_ms=(140_000, 140_000))
    outage = first_outage(losses)
    found = feed(losses, [M5], seconds(outage.start - MINUTE, outage.start + 4 * MINUTE))
    assert [(one.kind, one.time_ms - outage.start) for one in events(found)] == [
        ("disconnected", 0),
        ("connected", 150_000),
    ]
    assert events(found)[1].candles == 100


def test_trades_of_1m_bars_are_lost_in_the_share_set() -> None:
    losses = replace(LOSSLESS, lost_share=0.3)
    kept = written(feed(losses, [M1], [MIDNIGHT, MIDNIGHT + 10 * HOUR]))
    assert 0.6 < len(kept) / 600 < 0.8


def test_member_is_the_caches_json_with_the_feeders_fields_in_its_order() -> None:
    bar = Bar(60_000, "88000", "88102.5", "87990", "88001.25", "0.0001")
    values = '{"timestamp":60000,"open":88000,"high":88102.5,"low":87990,"close":88001.25,"volume":0.0001,'
    assert write_member(Written(M5, bar, 60_123, 41)) == (
        values + '"symbol":"BTC-USD","timeframe":"5m","exchange":"coinbase","exchangeTimestamp":60123,"sequenceNum":41}'
    )
    assert write_member(Written(M1, bar, 60_123)) == (
        values + '"symbol":"BTC-USD","timeframe":"1m","isSynthetic":false,"exchange":"coinbase",'
        '"exchangeTimestamp":60123}'
    )
    assert write_member(Written(M15, bar)) == values + '"symbol":"BTC-USD","timeframe":"15m","exchange":"coinbase"}'


async def test_write_is_the_real_feeders_single_commands_in_their_order() -> None:
    clock, redis = SimulatedClock(NOW, rate=0), Recorder()
    feeder = Feeder(redis, MARKET, clock, FeederSettings([M5], SCOPE, LOSSLESS))
    await feeder.step()
    # a snapshot of 100 candles is 400-500 commands
    assert len(redis.commands) == 500
    redis.commands.clear()

    clock.set(NOW + SECOND)
    await feeder.step()
    start = Timeframe.M5.floor(NOW)
    member = write_member(Written(M5, bar_at(M5, start, NOW + SECOND), NOW + SECOND, 4))
    key = "candles:1:2:BTC-USD:5m"
    assert redis.commands == [
        ("ZRANGEBYSCORE", key, start, start),
        ("ZREMRANGEBYSCORE", key, start, start),
        ("ZADD", key, start, member),
        ("EXPIRE", key, 86_400),
        ("ZREMRANGEBYRANK", key, 0, -1_001),
    ]


async def test_refused_candle_is_read_for_and_not_written() -> None:
    kept = write_member(Written(M5, bar_at(M5, MIDNIGHT), NOW, 10_000))
    redis = Recorder(kept)
    await Feeder(redis, MARKET, SimulatedClock(NOW, rate=0), FeederSettings([M5], SCOPE, LOSSLESS)).step()
    assert {command[0] for command in redis.commands} == {"ZRANGEBYSCORE"}


async def test_close_channel_of_5m_carries_the_first_state_of_the_new_bar() -> None:
    stop = MIDNIGHT + HOUR
    clock, redis = SimulatedClock(stop - SECOND, rate=0), Recorder()
    feeder = Feeder(redis, MARKET, clock, FeederSettings([M5], SCOPE, LOSSLESS))
    for now in seconds(stop - SECOND, stop + 2 * SECOND):
        clock.set(now)
        await feeder.step()
    published = [command[1:] for command in redis.commands if command[0] == "PUBLISH"]
    ((channel, member),) = published
    assert channel == "channel:candle:close:1:2:BTC-USD:5m"
    assert json.loads(member)["volume"] == float(bar_at(M5, stop, stop + SECOND).volume)


async def test_shared_keys_live_for_ever_and_are_told_of_on_both_close_channels() -> None:
    clock, redis = SimulatedClock(MIDNIGHT, rate=0), Recorder()
    shared = FeederSettings([M15], replace(SCOPE, layout=Layout.EXCHANGE), LOSSLESS, ttl_s=0)
    feeder = Feeder(redis, MARKET, clock, shared)
    for now in (MIDNIGHT - SECOND, MIDNIGHT + SECOND):
        clock.set(now)
        await feeder.step()
    key, channels = "candles:2:BTC-USD:15m", ("channel:exchange:2:candle:close", "channel:candle:close:1:2")
    assert [command[:2] for command in redis.commands] == [
        *((name, key) for name in ("ZRANGEBYSCORE", "ZREMRANGEBYSCORE", "ZADD", "ZREMRANGEBYRANK")),
        *(("PUBLISH", f"{channel}:BTC-USD:15m") for channel in channels),
    ]


def test_demo_begins_with_gaps_and_with_bars_of_too_little_and_of_doubled_volume() -> None:
    series = [Series("BTC-USD", frame) for frame in (Timeframe.M1, Timeframe.M5, Timeframe.M15)]
    lived = Interval(NOW - EARLIER_MS, NOW - AWAY_MS)
    left = earlier_members(MARKET, series, DEMO_LOSSES, lived)
    minutes, fives, fetched = (
        sorted(json.loads(left[one][at])["volume"] / float(bar_at(one, at).volume) for at in left[one] if at in lived)
        for one in series
    )
    assert len(minutes) < 0.75 * 105
    assert sum(one == 2 for one in minutes) > len(minutes) / 2
    assert sum(one < 0.9 for one in fives) > 5
    assert fives[-1] == 1
    assert 0 < fetched[0] <= fetched[-1] < 0.1
    opens = [json.loads(text)["open"] == float(bar_at(M1, at).open) for at, text in left[M1].items()]
    assert opens.count(False) < len(opens) / 5


async def test_first_step_connects_even_in_an_outage() -> None:
    instant = first_outage(BROKEN).start
    redis = Recorder()
    await Feeder(redis, MARKET, SimulatedClock(instant, rate=0), FeederSettings([M5], SCOPE, BROKEN)).step()
    assert any(command[0] == "ZADD" for command in redis.commands)
