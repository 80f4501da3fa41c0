"""A scan that compares digests, on a real server: which candles are not verified, which changed, what it tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import pytest
from tests.integration.verified_bars import block_fields_of

from reconciler_engine.engine.tasks.messages import ScanTask, SeriesSpan, SpanFinding
from reconciler_engine.engine.tasks.scan import perform_scan, scan
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.candle_reads import SlotsRead
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.members import member_of
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope

MINUTE = 60_000
T0 = 1_767_225_600_000
BTC, ETH = (Series(name, Timeframe.M1) for name in ("BTC-USD", "ETH-USD"))
SCOPE = Scope(1, 1, "test")


def at(slot: int) -> int:
    return T0 + slot * MINUTE


def span(slots: int) -> Interval:
    return Interval(at(0), at(slots))


def text(slot: int, volume: float = 1.5, series: Series = BTC) -> bytes:
    return member_of(series, Candle(at(slot), 88_000.0, 88_001.0, 87_999.0, 88_000.5, volume)).encode()


async def put(redis, slots: Iterable[int], volume: float = 1.5, series: Series = BTC) -> None:
    members = {text(slot, volume, series): at(slot) for slot in slots}
    await redis.zadd(SCOPE.candle_key(series), members)


async def note(redis, slots: Iterable[int], series: Series = BTC) -> None:
    fields = block_fields_of({at(slot): text(slot, series=series) for slot in slots}, MINUTE)
    for name, body in fields.items():
        await redis.hset(SCOPE.evidence_key(series), name, body)


async def change(redis, slot: int, volume: float = 9.0) -> None:
    await redis.execute_command("ZREMRANGEBYSCORE", SCOPE.candle_key(BTC), at(slot), at(slot))
    await put(redis, [slot], volume)


class Interrupted(CandleStore):
    """Candles that others change after the first read of them."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def read(self, *arguments, **options) -> list[SlotsRead]:
        reads = await super().read(*arguments, **options)
        if self.meanwhile is not None:
            await self.meanwhile()
            self.meanwhile = None
        return reads


@pytest.fixture
def candles(redis):
    return Interrupted(redis, SCOPE)


async def looked_at(redis, *, digests: bool = False) -> list[SpanFinding]:
    """Findings of a scan task about a hundred slots of two series."""
    spans = tuple(SeriesSpan.of(series, span(100)) for series in (BTC, ETH))
    keeping = Retention(0, 0)
    task = ScanTask(
        run="r", id="s", now=at(200), spans=spans, confirm_ms=1, repair=False, digests=digests, keeping=keeping
    )
    outcome = await perform_scan(CandleStore(redis, SCOPE), EvidenceStore(redis, SCOPE), task)
    return list(outcome.findings)


async def test_a_long_interval_is_read_in_pieces_with_the_digests_of_each(redis, candles):
    await put(redis, range(2_500))
    await note(redis, [slot for slot in range(2_500) if slot not in {30, 999, 1_000}])
    for slot in (998, 1_001, 2_499):
        await change(redis, slot)
    (read,) = await candles.read([(BTC, span(2_500))], digests=True)
    assert (read.is_whole, len(read.timestamps)) == (True, 2_500)
    assert [*read.unverified] == [at(slot) for slot in (30, 998, 999, 1_000, 1_001, 2_499)]
    assert [*read.changed] == [at(slot) for slot in (998, 1_001, 2_499)]
    (read,) = await candles.read([(BTC, span(2_500))])
    assert (read.is_whole, read.unverified, read.changed) == (True, [], [])


async def test_each_series_is_held_against_its_own_digests(redis, candles):
    for series in (BTC, ETH):
        await put(redis, range(3), series=series)
    await note(redis, range(3))
    wanted = [(ETH, span(3)), (BTC, span(0)), (BTC, span(3)), (ETH, span(2))]
    reads = await candles.read(wanted, digests=True)
    assert [[*read.unverified] for read in reads] == [[at(0), at(1), at(2)], [], [], [at(0), at(1)]]
    assert [read.is_whole for read in reads] == [True, False, True, True]


async def test_a_change_counts_that_the_second_look_finds_too(redis, candles):
    await put(redis, range(4))
    await note(redis, range(4))
    await change(redis, 1)
    await change(redis, 2)

    async def repair_one_and_change_another() -> None:
        await redis.execute_command("ZREM", SCOPE.candle_key(BTC), text(1, 9.0), text(3))
        await put(redis, [1])
        await put(redis, [3], volume=9.0)

    candles.meanwhile = repair_one_and_change_another
    (found,) = await scan(candles, [(BTC, span(4))], confirm_ms=1, digests=True)
    assert ([*found.unverified], [*found.changed]) == ([at(2), at(3)], [at(2)])
    assert (found.gaps, found.is_clean) == ((), False)


async def test_what_is_only_unverified_is_not_looked_at_again(redis, candles):
    await put(redis, range(4))

    async def confirm_all() -> None:
        await note(redis, range(4))

    candles.meanwhile = confirm_all
    (found,) = await scan(candles, [(BTC, span(4))], confirm_ms=1, digests=True)
    assert ([*found.unverified], [*found.changed]) == ([at(0), at(1), at(2), at(3)], [])


async def test_a_scan_task_tells_of_unverified_candles_where_it_is_asked_to(redis):
    await put(redis, [*range(40), *range(42, 100)])
    await put(redis, range(100), series=ETH)
    await note(redis, [*range(60), *range(70, 100)])
    await note(redis, range(100), series=ETH)
    await change(redis, 10)
    (told,) = await looked_at(redis)
    assert (told.symbol, told.missing, told.unverified, told.changed) == ("BTC-USD", ((at(40), 2),), (), ())
    (told,) = await looked_at(redis, digests=True)
    assert (told.symbol, told.missing) == ("BTC-USD", ((at(40), 2),))
    assert (told.unverified, told.changed) == (((at(10), 1), (at(60), 10)), ((at(10), 1),))
    await put(redis, [40, 41], volume=9.0)
    assert await looked_at(redis) == []
    (told,) = await looked_at(redis, digests=True)
    assert (told.missing, told.due, told.suspects) == ((), (), ())
    assert told.unverified == ((at(10), 1), (at(40), 2), (at(60), 10))
    assert told.changed == ((at(10), 1), (at(40), 2))


async def test_digests_in_a_key_of_another_type_leave_the_series_unread(redis):
    await put(redis, range(100))
    await put(redis, range(100), series=ETH)
    await redis.execute_command("SET", SCOPE.evidence_key(ETH), "x")
    one, two = await looked_at(redis, digests=True)
    assert (one.symbol, one.unread, one.unverified) == ("BTC-USD", False, ((at(0), 100),))
    assert (two.symbol, two.unread, two.unverified) == ("ETH-USD", True, ())
    assert "WRONGTYPE" in (two.error or "")
