"""A broken server: after any bytes it answers with, each call of the store ends in an answer or in an error of ours."""

from __future__ import annotations

import gc
import resource
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import Any

import pytest
import trio

from reconciler_engine import examine, is_ready
from reconciler_engine.errors import ReconcilerError
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.limiting.redis_bucket import TokenBucket
from reconciler_engine.market.interval import NOTHING, Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.answers import Answer
from reconciler_engine.store.bucket_script import bucket_script
from reconciler_engine.store.candle_keys import CandleKeys
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.claims import Claims
from reconciler_engine.store.client import connection as connection_module
from reconciler_engine.store.client.server_check import ask_persistence, check_server
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.coverage import Checked, Coverage
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.journal import Journal
from reconciler_engine.store.leases import JobLeases, Lease
from reconciler_engine.store.marks import Marks
from reconciler_engine.store.other_layouts import count_keys
from reconciler_engine.store.outages import Outages
from reconciler_engine.store.product_list import ProductListStore
from reconciler_engine.store.protocol import check_protocol
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.rights import check_rights
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.server_clock import ServerClock
from reconciler_engine.store.status_board import StatusBoard
from reconciler_engine.store.task_streams import Delivery, Lane
from reconciler_engine.store.tasks import TaskQueue

MINUTE = 60_000
T0 = 1_767_225_600_000
SCOPE = Scope(1, 1, "test")
BTC = Series("BTC-USD", Timeframe.M1)
SPAN = Interval(T0, T0 + 10 * MINUTE)
KEPT = Retention(0, 0)
GROWTH_MB = 100
HANG_S = 5.0

Call = Callable[[TrioRedis], Awaitable[Any]]


def _answer() -> Answer:
    return Answer(SPAN, T0 + 86_400_000, NOTHING)


def _bucket(client: TrioRedis) -> TokenBucket:
    return TokenBucket(bucket_script(client), "b", Budget(5, 1_000))


CALLS: dict[str, Call] = {
    "clock": lambda c: ServerClock(c, SCOPE).redis_now(),
    "skew": lambda c: ServerClock(c, SCOPE).skew_ms(),
    "turn": lambda c: ProductListStore(c, SCOPE).turn.take(5),
    "products": lambda c: ProductListStore(c, SCOPE).read(),
    "lease taken": lambda c: JobLeases(c, SCOPE, "us").take("job"),
    "lease kept": lambda c: JobLeases(c, SCOPE, "us").refresh(Lease("job", 5)),
    "lease looked at": lambda c: JobLeases(c, SCOPE, "us").is_held("job"),
    "leases freed": lambda c: JobLeases(c, SCOPE, "us").free(["a", "b"], lambda _: True),
    "claim": lambda c: Claims(c, SCOPE).take(BTC, SPAN, "token"),
    "mark": lambda c: Marks(c, SCOPE).load(BTC, T0),
    "outages": lambda c: Outages(c, SCOPE).find(BTC, SPAN),
    "tasks taken": lambda c: TaskQueue(c, SCOPE, "us").take(Lane.SCAN, Lane.LIVE, wait_s=0.01),
    "tasks counted": lambda c: TaskQueue(c, SCOPE, "us").lengths(),
    "tasks of the dead": lambda c: TaskQueue(c, SCOPE, "us").redeliver_all(lambda _: True),
    "idle tasks": lambda c: TaskQueue(c, SCOPE, "us").redeliver_idle(),
    "task finished": lambda c: TaskQueue(c, SCOPE, "us").finish(Delivery(Lane.SCAN, "1-1", b"", 1), "r-1-a", "t", "{}"),
    "run opened": lambda c: TaskQueue(c, SCOPE, "us").open_run("job", T0),
    "run asked for": lambda c: TaskQueue(c, SCOPE, "us").is_open("job-1-a"),
    "run kept": lambda c: TaskQueue(c, SCOPE, "us").keep_run("job-1-a"),
    "run waited for": lambda c: TaskQueue(c, SCOPE, "us").wait_finished("job-1-a", Lane.SCAN),
    "run awaited": lambda c: TaskQueue(c, SCOPE, "us").ensure_awaited("job-1-a", Lane.SCAN),
    "tasks queued": lambda c: TaskQueue(c, SCOPE, "us").enqueue("job-1-a", Lane.SCAN, [("t", "{}")]),
    "outcomes": lambda c: TaskQueue(c, SCOPE, "us").outcomes("job-1-a"),
    "outcomes waited for": lambda c: TaskQueue(c, SCOPE, "us").wait_outcomes("job-1-a"),
    "coverage read": lambda c: Coverage(c, SCOPE).read(),
    "coverage noted": lambda c: Coverage(c, SCOPE).record([Checked(BTC, SPAN, NOTHING)], T0),
    "status": lambda c: StatusBoard(c).read(),
    "evidence": lambda c: EvidenceStore(c, SCOPE).read([(BTC, SPAN)]),
    "evidence's extent": lambda c: EvidenceStore(c, SCOPE).extent(BTC),
    "late candles": lambda c: EvidenceStore(c, SCOPE).late(BTC),
    "evidence changed": lambda c: EvidenceStore(c, SCOPE).change(BTC, SPAN, KEPT, lambda ledger: ledger),
    "candles": lambda c: CandleStore(c, SCOPE).read([(BTC, SPAN)]),
    "copies": lambda c: CandleStore(c, SCOPE).copies(BTC, SPAN),
    "sizes": lambda c: CandleKeys(c, SCOPE).sizes([BTC]),
    "oldest members": lambda c: CandleKeys(c, SCOPE).oldest_of([BTC], 300),
    "lives prolonged": lambda c: CandleKeys(c, SCOPE).prolong([BTC], 60),
    "layouts": lambda c: CandleStore(c, SCOPE).find_misplaced([BTC]),
    "layouts counted": lambda c: count_keys(c, SCOPE, [BTC]),
    "older bucket": lambda c: bucket_script(c, {"new": "old"})(keys=["new", "b"], args=["read"]),
    "merge": lambda c: CandleStore(c, SCOPE).merge(BTC, [], KEPT, duplicated=[T0]),
    "answer": lambda c: CandleStore(c, SCOPE).merge_answer(BTC, [], KEPT, _answer(), NOTHING),
    "journal": lambda c: Journal(c, SCOPE).read([BTC], since=0, limit=10),
    "ready": lambda c: is_ready(c, "BTC-USD", "1m", 10),
    "readiness": lambda c: examine(c, "BTC-USD", "1m", 10),
    "server": check_server,
    "persistence": ask_persistence,
    "rights": lambda c: check_rights(c, SCOPE),
    "protocol": lambda c: check_protocol(c, SCOPE),
    "permit": lambda c: _bucket(c).wait_permit(0.001),
    "statistics": lambda c: _bucket(c).statistics(),
    **{
        name: lambda c, name=name: c.execute_command(*name.split(" "))  # type: ignore[misc]
        for name in (
            "INFO", "XINFO STREAM", "XINFO GROUPS", "HGETALL h", "SCAN 0", "HSCAN h 0", "ZSCAN z 0", "CLIENT LIST",
            "CONFIG GET x", "ACL LIST", "ACL GETUSER u", "MEMORY STATS", "TIME", "LASTSAVE", "XPENDING s g", "SPOP s",
            "ROLE", "COMMAND", "SLOWLOG GET", "XRANGE s - +", "XREAD STREAMS s 0", "XAUTOCLAIM s g c 0", "GEOPOS g m",
            "LCS a b", "DEBUG OBJECT k", "OBJECT ENCODING k", "SET k v", "GETEX k", "INCRBYFLOAT k 1", "CLUSTER INFO",
            "LATENCY HISTOGRAM", "FUNCTION LIST", "PUBSUB NUMSUB c", "SMEMBERS s", "ZMSCORE z m", "ZRANGE z 0 -1",
        )
    },
}  # fmt: skip


class OddLink:
    """A link to a server that answers the drawn bytes, in pieces, and hangs up when they are used up."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    async def send(self, _payload: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return next(self._pieces, b"")

    def is_quiet(self) -> bool:
        return True

    def close(self) -> None:
        self._pieces = iter(())


WORDS = [
    b"", b"OK", b"QUEUED", b"done", b"changed", b"moved", b"present", b"stale", b"0", b"1", b"-1", b"5-5", b"\xff\xfe",
    b"9" * 20, b"9" * 5_000, b"role:slave\r\n", b"redis_version:7.0\r\n", b"name", b"master", b"nan", b"{}", b"null",
    b'{"products":[]}', b'{"timestamp":1}', b"IIII", b"x" * 3_000,
]  # fmt: skip
ERRORS = [
    b"ERR x", b"WRONGTYPE x", b"NOSCRIPT x", b"NOGROUP x", b"READONLY x", b"MASTERDOWN x", b"NOPERM x", b"NOAUTH x",
    b"BUSYGROUP x", b"OOM x", b"LOADING x", b"", b"\xff", b"ASK 1 h:1", b"MOVED 1 h:1", b"MOVED", b"EXECABORT x",
]  # fmt: skip
NUMBERS = [b"0", b"1", b"-1", b"2", b"5", b"1767225600000", b"9223372036854775807", b"9" * 40, b"", b"x", b"1.5", b"-2"]


def draw_value(random: Random, depth: int = 0) -> bytes:
    """A reply, mostly well formed."""
    kind = random.random()
    if kind < 0.3:
        word = random.choice(WORDS)
        return b"$%d\r\n%s\r\n" % (len(word), word)
    if kind < 0.5:
        return b":%s\r\n" % random.choice(NUMBERS[:7] if random.random() < 0.9 else NUMBERS)
    if kind < 0.6:
        return random.choice(
            [b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"+OK\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b",nan\r\n"]
        )
    if kind < 0.68:
        return b"-%s\r\n" % random.choice(ERRORS)
    if kind < 0.95 and depth < 4:
        sign = random.choice([b"*"] * 12 + [b"%", b"~", b">"])
        count = random.choice([0, 1, 2, 2, 3, 4, 5, 6, 8, 15])
        items = [draw_value(random, depth + 1) for _ in range(count * (2 if sign == b"%" else 1))]
        return b"%s%d\r\n" % (sign, count) + b"".join(items)
    return random.choice(
        [
            b"*1000000000\r\n", b"*1000000000\r\n" * 5, b"*1\r\n" * 200, b"*-5\r\n", b"*9999999999999999999999\r\n",
            b"$-7\r\n", b"$99999999999\r\nx", b"%900000000\r\n", b"~100000000\r\n", b"(99999999999999999999\r\n",
            b"=15\r\ntxt:Some string\r\n", b"$5\r\nab", b"HTTP/1.1 400\r\n\r\n", b"\x00\x01", b"*+7777777\r\n:1\r\n",
        ]
    )  # fmt: skip


def draw_stream(random: Random) -> Iterator[bytes]:
    """Yield the bytes that a server sends, in pieces."""
    data = b"+OK\r\n" + b"".join(draw_value(random) for _ in range(random.choice([1, 1, 2, 3, 6, 60])))
    if random.random() < 0.2:
        flawed = bytearray(data)
        for _ in range(random.randrange(1, 6)):
            flawed[random.randrange(5, len(flawed)) if len(flawed) > 5 else 0] = random.randrange(256)
        data = bytes(flawed)
    if random.random() < 0.5:
        return iter([data])
    cuts = sorted(random.randrange(len(data)) for _ in range(random.randrange(1, 5)))
    return iter([data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < stop])


async def fuzz(streams: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Answer each call in turn with drawn streams; return how the calls ended, faults by name."""
    random, ends = Random(seed), Counter[str]()
    names = list(CALLS)
    pieces: Iterator[bytes] = iter(())

    async def open_link(*_: object) -> OddLink:
        return OddLink(pieces)

    monkeypatch.setattr(connection_module, "open_link", open_link)
    for number in range(streams):
        name = names[number % len(names)]
        pieces = draw_stream(random)
        began = time.process_time()
        try:
            with trio.fail_after(12 * HANG_S):
                async with TrioRedis.from_url("redis://nobody", timeout_s=1.0) as client:
                    await CALLS[name](client)
            ends["answered"] += 1
        except ReconcilerError:
            ends["refused"] += 1
        except Exception as error:  # noqa: BLE001  that is what is looked for
            ends[f"FAULT {name}: {type(error).__name__}: {str(error)[:80]}"] += 1
        if time.process_time() - began > HANG_S:
            ends[f"FAULT {name}: slow"] += 1
    return ends


@pytest.mark.parametrize("streams", [2_000, pytest.param(20_000, marks=pytest.mark.soak)])
async def test_whatever_a_server_answers_is_an_answer_or_an_error_of_ours(streams, monkeypatch, tell_figure):
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ends = await fuzz(streams, 20_261_130, monkeypatch)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1_024
    faults = {name: count for name, count in ends.items() if name.startswith("FAULT")}
    tell_figure(
        f"reply streams: {streams}; answered {ends['answered']}, refused {ends['refused']}, "
        f"other {sum(faults.values())}; grown by {grown_mb:.0f} MB"
    )
    assert faults == {}
    assert ends["answered"] > streams / 100
    assert grown_mb < GROWTH_MB
