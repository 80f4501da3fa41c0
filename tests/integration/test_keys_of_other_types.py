"""Keys of another type under our names: told with the key's name, and no worker or pass hangs or dies of them."""

from __future__ import annotations

import pytest
import trio
from tests.integration.house import M1, STOP, House, key, open_house, truth

from reconciler_engine.engine.scheduled_passes import GAP_SCAN, ScheduledPasses
from reconciler_engine.engine.tasks.messages import ScanTask, SeriesSpan
from reconciler_engine.errors import ReconcilerError, StoreError
from reconciler_engine.market.interval import Interval
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import MOST_SERIES
from reconciler_engine.store.task_streams import Lane

OURS = (
    "coverage", "products", "listings", "clock:skew_ms", "clock:turn", "products:turn", f"lease:{GAP_SCAN}",
    f"fence:{GAP_SCAN}", "budget:public", "budget:public:breaker", "watch:scan", "watch:deep", "at_work",
)  # fmt: skip
BESIDE = ("evidence", "journal", "claims:SOURCE")


async def spoil(client: TrioRedis, name: str) -> None:
    """Put a key of a type that the engine never uses under a name."""
    await client.execute_command("DEL", name)
    await client.execute_command("PFADD", name, "x")
    # A HyperLogLog is a string: a geo set for those that are strings.
    if name.endswith(("products", "listings", "skew_ms", "turn", GAP_SCAN)) and ":fence:" not in name:
        await client.execute_command("DEL", name)
        await client.execute_command("GEOADD", name, 1, 1, "x")


async def perform(house: House) -> object:
    """A gap scan under its lease; the error of ours that stood in its way."""
    passes = ScheduledPasses(house.parts, [M1], now=lambda: STOP)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(passes.keep_leases)
        try:
            with trio.fail_after(20):
                return await passes.perform(GAP_SCAN)
        except ReconcilerError as error:
            return error
        finally:
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("name", OURS)
async def test_a_key_of_the_scope(redis_url, name, caplog):
    async with open_house(redis_url, quick_scan_window_ms=600_000) as house:
        await house.start_worker()
        spoilt = house.parts.scope.key(name)
        await spoil(house.parts.client, spoilt)
        ended = await perform(house)
        if isinstance(ended, StoreError):
            assert (ended.code, spoilt in str(ended)) == ("WRONGTYPE", True)
        await house.parts.client.execute_command("DEL", spoilt)
        result = await perform(house)
        assert not isinstance(result, ReconcilerError)
        assert [record.message for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("what", BESIDE)
async def test_a_key_beside_the_candles(redis_url, what, caplog):
    async with open_house(redis_url) as house:
        await house.start_worker()
        spoilt = f"{{{key(M1)}}}:{what}".replace("SOURCE", house.parts.scope.source)
        await spoil(house.parts.client, spoilt)
        with trio.fail_after(20):
            result = await house.run_pass(10)
        if what != "journal":
            assert any("WRONGTYPE" in error and spoilt in error for error in result.errors)
        await house.parts.client.execute_command("DEL", spoilt)
        with trio.fail_after(20):
            again = await house.run_pass(10)
        assert (again.unresolved, again.errors) == (0, ())
        assert len(await house.members()) == len(truth(M1, 10))
        assert [record.message for record in caplog.records if record.exc_info] == []


async def test_a_task_on_another_kinds_lane_is_dropped(redis_url):
    async with open_house(redis_url) as house:
        queue, client = house.parts.queue, house.parts.client
        run = await queue.open_run("test", 0)
        span = SeriesSpan.of(M1, Interval(STOP - 60_000, STOP))
        scan = ScanTask(run=run, id="s", now=STOP, spans=(span,), confirm_ms=0, repair=False, keeping=Retention(0, 0))
        await queue.enqueue(run, Lane.LIVE, [("s", scan.model_dump_json())])
        await house.start_worker()
        with trio.fail_after(20):
            while (await queue.lengths())["live"]:
                await trio.lowlevel.checkpoint()
        pending = await client.execute_command("XPENDING", house.parts.scope.key("tasks:live"), "workers")
        assert pending["pending"] == 0


async def test_a_coverage_of_any_number_of_fields_is_refused_and_healed_by_the_next_pass(redis_url):
    async with open_house(redis_url, quick_scan_window_ms=600_000) as house:
        coverage, client = house.parts.coverage, house.parts.client
        where = house.parts.scope.key("coverage")
        for first in range(0, MOST_SERIES + 10_000, 10_000):
            pairs = [text for number in range(first, first + 10_000) for text in (f"x{number}", "y")]
            await client.execute_command("HSET", where, *pairs)
        with pytest.raises(StoreError, match=rf"has more than {MOST_SERIES} fields; allowed: a field a series"):
            await coverage.read()
        await house.start_worker()
        await perform(house)
        assert set(await coverage.read()) == {"BTC-USD:1m"}
        assert await client.execute_command("HLEN", where) == 1


async def test_two_days_a_million_apart_are_not_read_as_a_range(redis_url):
    async with open_house(redis_url) as house:
        evidence = EvidenceStore(house.parts.client, house.parts.scope)
        where = house.parts.scope.evidence_key(M1)
        await house.parts.client.hset(where, "20454", b"")
        await house.parts.client.hset(where, "1020454", b"")
        extent = await evidence.extent(M1)
        assert extent is not None
        assert extent.stop - extent.start == 86_400_000


async def test_a_consumer_whose_name_is_no_text_is_known_to_be_gone_like_any_other(redis_url):
    async with open_house(redis_url) as house:
        queue, client = house.parts.queue, house.parts.client
        await queue.create_groups()
        stream = house.parts.scope.key("tasks:scan")
        await client.execute_command("XADD", stream, "*", "body", "{}", "deliveries", "1")
        await client.execute_command("XREADGROUP", "GROUP", "workers", b"\xff\xfe", "STREAMS", stream, ">")
        assert await queue.redeliver_all(lambda _: True) == 1
        assert await client.execute_command("XINFO CONSUMERS", stream, "workers") == []


async def test_an_offset_of_ages_is_dropped_and_measured_anew(redis_url, caplog):
    async with open_house(redis_url) as house:
        clock, client, scope = house.parts.clock, house.parts.client, house.parts.scope
        await client.execute_command("SET", scope.key("clock:turn"), "1")
        for odd in ("-1000000000000000", "9" * 300, b"\xff", "nan"):
            await client.execute_command("SET", scope.key("clock:skew_ms"), odd)
            assert abs(await clock.now() - await clock.redis_now()) < 10_000
        assert await client.execute_command("EXISTS", scope.key("clock:skew_ms"), scope.key("clock:turn")) == 0
        assert caplog.text.count("the exchange clock's offset in Redis is none and dropped") == 4
        await clock.measure_when_due(house.source, house.parts.bucket)
        assert await clock.skew_ms() is not None
