"""Foreign data under our names: each record in Redis is read, dropped, healed or refused."""

from __future__ import annotations

import json
import logging
import resource
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from copy import deepcopy
from random import Random
from typing import Any

import pytest
import trio
from tests.integration.house import M1, MINUTE, STOP, House, open_house

from reconciler_engine import examine
from reconciler_engine.cli.status import Found, as_object, print_engine
from reconciler_engine.engine.tasks.messages import PageTask, ScanTask, SeriesSpan
from reconciler_engine.errors import ReconcilerError
from reconciler_engine.market.interval import NOTHING, Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.status import BudgetStatus, EngineStatus, JobStatus, ProcessStatus
from reconciler_engine.planning.answers import Answer
from reconciler_engine.planning.ledger import Finding, FindingInterval, Reason, State
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.coverage import Checked, Coverage
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.findings import DAY_MS, encode_day
from reconciler_engine.store.leases import JobLeases
from reconciler_engine.store.protocol import check_protocol
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.status_board import ENGINES_KEY, StatusBoard
from reconciler_engine.store.task_streams import Lane

GROWTH_MB = 100
HANG_S = 5.0
SCOPE = Scope(1, 1, "test")
BTC = Series("BTC-USD", Timeframe.M1)
DAY = 20_454
SPAN = Interval(DAY * DAY_MS, DAY * DAY_MS + 10 * MINUTE)
KEPT = Retention(0, 0)

ODD: list[Any] = [
    None, True, False, -1, 0, 1, 2**31, 2**53, 2**53 + 1, 2**63, -(10**15), 10**400, 1.5, float("nan"), float("inf"),
    "", "x", "1", "nan", "x" * 5_000, "\ud800", "\x1b[31m", "BTC-USD", "../../x", [], [[]], {}, {"a": 1}, [1, 2, 3],
    [[0, 1]], [[0, 2**53]], [0] * 3_000,
]  # fmt: skip
DIGITS = "@digits@"
TEXTS = [
    b"",
    b"\xff\xfe",
    b"{",
    b"null",
    b"[]",
    b"9" * 5_000,
    b"-" + b"9" * 300,
    b"x" * 100_000,
    b"[" * 5_000,
    b"\x00",
    b"nan",
]


def spoil(random: Random, record: Any) -> bytes:
    """A record as JSON with some of its fields changed, dropped, added or of another type; or no JSON at all."""
    if random.random() < 0.1:
        return random.choice(TEXTS)
    spoilt = json.loads(json.dumps(record))
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        _spoil_one(random, spoilt)
    body = json.dumps(spoilt).replace(f'"{DIGITS}"', "9" * 5_000).encode()
    if random.random() < 0.1:
        at = random.randrange(len(body))
        body = body[:at] + random.choice([b"", bytes([random.randrange(256)])]) + body[at + 1 :]
    return body


def _spoil_one(random: Random, spoilt: Any) -> None:
    place = spoilt
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = random.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and random.random() < 0.7:
            place = place[key]
            continue
        break
    if random.random() < 0.15 and isinstance(place, dict):
        del place[key]
    elif random.random() < 0.1 and isinstance(place, dict):
        place["more"] = deepcopy(random.choice(ODD))
    else:
        place[key] = DIGITS if random.random() < 0.1 else deepcopy(random.choice(ODD))


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


class Watch:
    """Counts how calls end: answered, refused with an error of ours, or anything else."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()
        self._began_mb = memory_mb()

    async def call(self, name: str, do: Callable[[], Awaitable[Any]]) -> None:
        began = time.process_time()
        try:
            with trio.fail_after(60):
                await do()
            self.ends["answered"] += 1
        except ReconcilerError:
            self.ends["refused"] += 1
        except Exception as error:  # noqa: BLE001  that is what is looked for
            self.ends[f"FAULT {name}: {type(error).__name__}: {str(error)[:80]}"] += 1
        if time.process_time() - began > HANG_S:
            self.ends[f"FAULT {name}: slow"] += 1

    def end(self, kind: str, records: int, tell: Callable[[str], None], caplog: pytest.LogCaptureFixture) -> None:
        """Say how it went, and see that all was well."""
        faults = {name: count for name, count in self.ends.items() if name.startswith("FAULT")}
        grown_mb = memory_mb() - self._began_mb
        answered, refused = self.ends["answered"], self.ends["refused"]
        tell(
            f"foreign {kind} records: {records}; calls answered {answered}, refused {refused}, "
            f"other {sum(faults.values())}; grown by {grown_mb:.0f} MB"
        )
        assert faults == {}
        assert grown_mb < GROWTH_MB
        assert [record.message for record in caplog.records if record.exc_info] == []


COUNTS = [100, pytest.param(20_000, marks=pytest.mark.soak)]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    # A line a record would be hundreds of MB.
    caplog.set_level(logging.ERROR)


@pytest.mark.parametrize("records", COUNTS)
async def test_evidence_records(redis: TrioRedis, records, tell_figure, caplog):
    random, watch = Random(1), Watch()
    store, candles = EvidenceStore(redis, SCOPE), CandleStore(redis, SCOPE)
    key = SCOPE.evidence_key(BTC)
    finding = Finding(State.EMPTY, Reason.BETWEEN_CANDLES, 1, 2, 1, 3)
    whole = encode_day([FindingInterval(SPAN.start, SPAN.stop, finding)], DAY, MINUTE)
    answer = Answer(SPAN, SPAN.stop + DAY_MS, NOTHING)
    names = [
        b"%d" % DAY,
        b"late",
        b"9" * 5_000,
        b"1%d" % DAY,
        b"-1",
        b"\xff",
        b"nan",
        b"99999",
        b"e%d" % DAY,
        b"recent",
        b"000%d" % DAY,
        b"",
    ]
    for number in range(records):
        if number % 50 == 0:
            await redis.delete(key)
        flawed = bytearray(whole * random.choice([0, 1, 1, 1, 3]))
        for _ in range(random.randrange(4)):
            if flawed:
                flawed[random.randrange(len(flawed))] = random.randrange(256)
        await redis.hset(key, random.choice(names), random.choice([bytes(flawed), random.choice(TEXTS)]))
        await watch.call("read", lambda: store.read([(BTC, SPAN)]))
        await watch.call("extent", lambda: store.extent(BTC))
        await watch.call("late", lambda: store.late(BTC))
        await watch.call("ready", lambda: examine(redis, "BTC-USD", "1m", 10))
        if number % 5 == 0:
            await watch.call(
                "merge", lambda: candles.merge_answer(BTC, [], KEPT, answer, NOTHING),
            )  # fmt: skip
        if number % 50 == 0 and (extent := await store.extent(BTC)) is not None:
            await watch.call("all", lambda extent=extent: store.read([(BTC, extent)]))  # type: ignore[misc]
    watch.end("evidence", records, tell_figure, caplog)


@pytest.mark.parametrize("records", COUNTS)
async def test_lease_records(redis: TrioRedis, records, tell_figure, caplog):
    random, watch = Random(2), Watch()
    leases = JobLeases(redis, SCOPE, "us")
    now_us = int((await redis.time())[0]) * 1_000_000
    values = [*TEXTS, b"us", b"them:1:x", b"5", b"1" + b"0" * 300, b"inf", b"1e300", b"%d" % now_us, b"1:2:x", b"0x10"]
    for _ in range(records):
        await redis.execute_command("SET", SCOPE.key("lease:job"), random.choice(values))
        await redis.hset(SCOPE.fence_key("job"), random.choice(["epoch", "run", "x"]), random.choice(values))
        await redis.hset(SCOPE.key("at_work"), random.choice(values), random.choice(values))
        await redis.execute_command("SET", SCOPE.key("clock:skew_ms"), random.choice(values))
        await watch.call("freed", lambda: leases.free(["job"], lambda _: random.random() < 0.7))
        await watch.call("held", lambda: leases.is_held("job"))
        await watch.call("protocol", lambda: check_protocol(redis, SCOPE))

        async def take() -> None:
            lease = await leases.take("job")
            if lease is not None:
                # Foreign contents of the keys never lead to a lease that we cannot keep.
                assert now_us <= lease.epoch < 9 * 10**15
                assert await leases.refresh(lease)
                await leases.release(lease)

        await watch.call("taken", take)
    watch.end("lease", records, tell_figure, caplog)


def status() -> EngineStatus:
    return EngineStatus(
        node="host:1:x", command="start", version="1", simulated=False, user_id=1, exchange_id=1, source="test",
        started_at=SPAN.start, written_at=SPAN.stop, processes=(ProcessStatus(role="worker", name="worker-1", pid=5),),
        jobs=(
            JobStatus(
                name="gap_scan", cron="* * * * *", next_tick=SPAN.stop, is_running=False, runs=1, skipped=0, missed=0,
                failed=0, timed_out=0, last_error="x", last_duration_ms=5, last_finished_at=SPAN.start,
                last_result={"missing": 1, "gaps_found": 1, "filled": 1, "confirmed_empty": 0, "unresolved": 0,
                             "requests": 1, "duration_ms": 5, "errors": ["e"]},
            ),
        ),
        budget=BudgetStatus(rate_per_s=5, burst=5, available=5, used=1, granted=1, waiting=0, wait_ms=0, paused_ms=0),
        queued={"scan": 1}, protocol=1,
    )  # fmt: skip


@pytest.mark.parametrize("records", COUNTS)
async def test_status_records(redis: TrioRedis, records, tell_figure, caplog, capsys):
    random, watch, board = Random(3), Watch(), StatusBoard(redis)
    right = json.loads(status().model_dump_json())
    key = SCOPE.key("status:host:1:x")
    for number in range(records):
        await redis.hset(ENGINES_KEY, key, "host:1:x")
        if number % 10 == 0:
            await redis.hset(ENGINES_KEY, random.choice(TEXTS) or b"x", b"y")
        await redis.execute_command("SET", key, spoil(random, right))

        async def show() -> None:
            for engine in await board.read():
                print_engine(Found(engine, {}))
                json.dumps(as_object(Found(engine, {})))

        await watch.call("shown", show)
        await watch.call("protocol", lambda: check_protocol(redis, SCOPE))
        if number % 10 == 0:
            await watch.call("announced", lambda: board.announce(status()))
            capsys.readouterr()
    watch.end("status", records, tell_figure, caplog)


@pytest.mark.parametrize("records", COUNTS)
async def test_coverage_records(redis: TrioRedis, records, tell_figure, caplog, capsys):
    random, watch, coverage = Random(4), Watch(), Coverage(redis, SCOPE)
    right = {"complete_from": SPAN.start, "complete_through": SPAN.stop, "missing": 3, "checked_at": SPAN.stop}
    for number in range(records):
        name = random.choice([b"BTC-USD:1m", b"", b"\xff:1m", b"x" * 5_000, b"a:b:c", b"\x1b[2J:1m", b"%d" % number])
        await redis.hset(SCOPE.key("coverage"), name, spoil(random, right))

        async def show() -> None:
            series = await coverage.read()
            print_engine(Found(status(), series))
            json.dumps(as_object(Found(status(), series)))

        if number % 5 == 0:
            await watch.call("shown", show)
            capsys.readouterr()
        if number % 100 == 0:
            await watch.call("noted", lambda: coverage.record([Checked(BTC, SPAN, NOTHING)], SPAN.stop))
            await redis.delete(SCOPE.key("coverage"))
    watch.end("coverage", records, tell_figure, caplog)


def tasks_of(run: str) -> list[dict[str, Any]]:
    span = SeriesSpan.of(M1, Interval(STOP - 3 * MINUTE, STOP))
    scan = ScanTask(run=run, id="scan-0", now=STOP, spans=(span,), confirm_ms=0, repair=True, keeping=KEPT)
    asked, gaps = (STOP - 3 * MINUTE, STOP), ((STOP - 3 * MINUTE, 3),)
    page = PageTask(run=run, id="page-0", span=span, asked=asked, gaps=gaps, keeping=KEPT)
    return [json.loads(scan.model_dump_json()), json.loads(page.model_dump_json())]


async def wait_done(house: House, watch: Watch) -> None:
    """Wait until no task is left on a stream, done or failed."""
    began = time.process_time()
    with trio.fail_after(120):
        while any((await house.parts.queue.lengths()).values()):
            await trio.lowlevel.checkpoint()
    if time.process_time() - began > 10 * HANG_S:
        watch.ends["FAULT tasks: slow"] += 1


@pytest.mark.parametrize("records", COUNTS)
async def test_task_records(redis_url, records, tell_figure, caplog):
    random, watch = Random(5), Watch()
    async with open_house(redis_url) as house:
        queue, client, scope = house.parts.queue, house.parts.client, house.parts.scope
        _, alive = await house.start_worker()
        run = await queue.open_run("test", 0)
        rights = tasks_of(run)
        deliveries = [b"1", b"2", b"9" * 5_000, b"-1", b"x", b"", b"nan", b"\xff", b"6", b"1e9"]
        for first in range(0, records, 50):
            for _ in range(first, min(first + 50, records)):
                right = random.choice(rights)
                lane = random.choice([Lane.SCAN] * 3 + [Lane.LIVE, Lane.DEEP]) if right["kind"] == "scan" else Lane.DEEP
                fields = ["body", spoil(random, right), "deliveries", random.choice(deliveries)]
                if random.random() < 0.1:
                    fields = [random.choice(TEXTS), random.choice(TEXTS)]
                await client.execute_command("XADD", scope.key(f"tasks:{lane}"), "*", *fields)
            await wait_done(house, watch)
            await queue.keep_run(run)
        await queue.outcomes(run)
        assert not alive.cancel_called
        # The worker is as good as before.
        result = await house.run_pass(10)
        assert (result.unresolved, result.errors) == (0, ())
        watch.ends["answered"] += records
    watch.end("task", records, tell_figure, caplog)
