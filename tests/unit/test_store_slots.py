"""Slots of a cluster: each command belongs to one, and nothing of the engine's touches two of them."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any

import pytest
from redis.crc import key_slot

from reconciler_engine.errors import ReconcilerError, StoreError
from reconciler_engine.limiting.redis_bucket import script_text
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.bucket_script import bucket_script
from reconciler_engine.store.budget_use import BudgetUse
from reconciler_engine.store.candle_keys import CandleKeys
from reconciler_engine.store.change_feed import touch
from reconciler_engine.store.claims import Claims
from reconciler_engine.store.client.commands import keys_of
from reconciler_engine.store.client.redis_py import reply_error
from reconciler_engine.store.client.scripts import Script, run_batch
from reconciler_engine.store.client.slots import read_slot_ranges, redirection, units_of
from reconciler_engine.store.client.trio_driver import converse
from reconciler_engine.store.coverage import Checked, Coverage
from reconciler_engine.store.evidence import EvidenceStore, current_history
from reconciler_engine.store.feed_steps import Cursor, read_changes, read_feeds
from reconciler_engine.store.journal import Journal
from reconciler_engine.store.leases import JobLeases
from reconciler_engine.store.marks import Marks
from reconciler_engine.store.merge_script import SeriesWrite
from reconciler_engine.store.pass_records import PassRecords
from reconciler_engine.store.product_list import ProductListStore
from reconciler_engine.store.protocol import check_protocol
from reconciler_engine.store.ready_question import READY_TEXT, ReadyQuestion
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Layout, Scope
from reconciler_engine.store.server_clock import ServerClock
from reconciler_engine.store.status_board import ENGINES_KEYS, StatusBoard
from reconciler_engine.store.task_streams import Delivery, Lane
from reconciler_engine.store.tasks import TaskQueue
from reconciler_engine.store.venue import VenueStore

SERIES = [Series("BTC-USD", Timeframe.M1), Series("ETH-USD", Timeframe.H1)]
SCOPES = [Scope.of(1, 1, "https://api.coinbase.com"), Scope.of(7, 2, "http://127.0.0.1:9", Layout.OVERFLOW)]
SLOTS = Interval(0, 3_600_000)
KEPT = Retention(1_000, 86_400)


class Recorder:
    """A client that keeps each command and answers none."""

    is_cluster = True

    def __init__(self) -> None:
        self.commands: list[Sequence[Any]] = []

    async def execute_command(self, *args: Any, **_: Any) -> Any:
        self.commands.append(args)
        if args[0] in {"HGETALL", "XGROUP CREATE"}:
            return {b"field": b"value"}
        raise StoreError("nobody answers")

    async def pipe(self, commands: Sequence[Sequence[Any]], **_: Any) -> list[Any]:
        self.commands += commands
        return [StoreError("nobody answers")] * len(commands)

    async def split(self, keys: Sequence[Any]) -> list[list[int]]:
        return [[*range(len(keys))]]


async def everything(client: Any, scope: Scope, series: Series) -> None:
    """Send all that touches more than one key, and each script."""
    queue = TaskQueue(client, scope, "me")
    keys = [scope.shared_key("budget"), scope.shared_key("breaker")]
    owner: Any = {"user_id": scope.user_id, "exchange_id": scope.exchange_id}
    question = ReadyQuestion(series.symbol, series.timeframe, 5, layout=scope.layout, **owner)
    steps = [
        lambda: Claims(client, scope).take(series, SLOTS, "run/task"),
        lambda: queue.open_run("job", 0),
        lambda: queue.is_open("job-0-aa"),
        lambda: queue.finish(Delivery(Lane.LIVE, "1-1", b"", 1), "job-0-aa", "task", "{}"),
        lambda: queue.redeliver("other"),
        lambda: queue.take(Lane.LIVE, Lane.DEEP),
        lambda: queue.enqueue("job-0-aa", Lane.SCAN, [("task", "{}")]),
        lambda: bucket_script(client)(keys=keys, args=["read"]),
        lambda: bucket_script(client, {keys[0]: scope.key("budget")})(keys=keys, args=["read"]),
        lambda: JobLeases(client, scope, "me").take("job", "tick"),
        lambda: SeriesWrite(series, KEPT).run(client, scope),
        lambda: EvidenceStore(client, scope).read([(series, SLOTS)]),
        lambda: current_history(client, scope),
        lambda: Coverage(client, scope).record([Checked(series, SLOTS, None)], 0),
        lambda: check_protocol(client, scope),
        lambda: run_batch(client, [question.call(detail=False)]),
        lambda: CandleKeys(client, scope).sizes(SERIES),
        lambda: ProductListStore(client, scope).read(),
        lambda: ServerClock(client, scope).keep_skew(0, 1),
        lambda: VenueStore(client, scope).note_withheld(series, "run"),
        lambda: Marks(client, scope).save(series, 0, "{}"),
        lambda: Journal(client, scope).read(SERIES, since=0, limit=1),
        lambda: BudgetUse(client, scope).count(),
        lambda: run_batch(client, [touch(scope, series)]),
        lambda: converse(client, read_changes(scope, Cursor(""), 1, 0.0)),
        lambda: converse(client, read_feeds(scope, SERIES, Cursor(""), 1)),
        lambda: PassRecords(client, scope).read(0, 1),
        lambda: StatusBoard(client).read(scope),
    ]
    for step in steps:
        with suppress(ReconcilerError):
            await step()


def slots_of(command: Sequence[Any]) -> set[int]:
    return {key_slot(key if isinstance(key, bytes) else str(key).encode()) for key in keys_of(command)}


async def test_no_script_and_no_command_touches_two_slots():
    client = Recorder()
    for scope in SCOPES:
        for series in SERIES:
            await everything(client, scope, series)
    assert [command for command in client.commands if len(slots_of(command)) > 1] == []
    # Files that are parts of other scripts are not scripts themselves.
    parts = {"candle.lua", "doubt.lua", "feed.lua", "journal.lua", "verified.lua"}
    lua = {file.name for file in files("reconciler_engine.store").joinpath("lua").iterdir()} - parts
    shas = {one.sha: one.name for one in gc.get_objects() if isinstance(one, Script)}
    texts = {READY_TEXT: "ready.lua", script_text(): "token_bucket.lua"}
    ran = {shas.get(command[1]) or texts.get(command[1]) for command in client.commands if "EVAL" in command[0]}
    assert ran == lua | {"token_bucket.lua"}
    # One slot for each series and each scope; one for the budget of an exchange, and one for the list of all engines.
    seen = set().union(*map(slots_of, client.commands))
    assert len(seen) == len(SCOPES) * len(SERIES) + 2 * len(SCOPES) + len(ENGINES_KEYS)


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        (("GET", "k"), ("k",)),
        (("get", b"k"), (b"k",)),
        (("PING",), ()),
        (("EVALSHA", "0", 2, "a", "b", "c"), ("a", "b")),
        (("EVAL", "return 1", 0), ()),
        (("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", "a", "b", ">", ">"), ("a", "b")),
        (("XREAD", "BLOCK", 5, "STREAMS", "a", "$"), ("a",)),
        (("XGROUP CREATE", "s", "g", "0"), ("s",)),
        (("XINFO", "CONSUMERS", "s", "g"), ("s",)),
        (("MEMORY USAGE", "k"), ("k",)),
        (("MEMORY STATS",), ()),
        (("BLMPOP", 1, 2, "a", "b", "LEFT"), ("a", "b")),
        (("ZUNION", 2, "a", "b"), ("a", "b")),
        (("BITOP", "AND", "d", "a"), ("d",)),
        (("CLUSTER SLOTS",), ()),
    ],
)
def test_keys_of_commands(command, keys):
    assert tuple(keys_of(command)) == keys


def test_a_transaction_is_one_unit_and_goes_where_its_first_key_is():
    batch = [("GET", "a"), ("MULTI",), ("SET", "b", 1), ("INCR", "{b}2"), ("EXEC",), ("TIME",)]
    found = [(unit.start, unit.stop, unit.slot) for unit in units_of(batch)]
    assert found == [(0, 1, key_slot(b"a")), (1, 5, key_slot(b"b")), (5, 6, None)]
    (elsewhere,) = units_of([("TIME",)], ["k"])
    assert elsewhere.slot == key_slot(b"k")


def test_nodes_without_a_name_of_their_own_are_where_was_asked():
    reply = [[0, 5, [b"h1", 7_000, b"id", []], [None, 7_001, b"id"]], [6, 9, [b"", 7_002, b"id"], [b"?", 7_003, b"id"]]]
    first, second = read_slot_ranges(reply, ("asked", 1))
    assert first == (0, 5, (("h1", 7_000), ("asked", 7_001)))
    assert second.nodes == (("asked", 7_002), ("asked", 7_003))


@pytest.mark.parametrize(
    "reply", [None, [[0, 5]], [[0, 16_384, [b"h", 1]]], [[0, 1, [b"h", 0]]], [[0, 1, [b"h"]]], b"x"]
)
def test_another_reply_is_no_map(reply):
    with pytest.raises(StoreError, match="does not answer as asked for the slots of a cluster"):
        read_slot_ranges(reply, ("asked", 1))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("MOVED 3999 127.0.0.1:6381", (3_999, ("127.0.0.1", 6_381), True)),
        ("ASK 1 ::1:6381", (1, ("::1", 6_381), False)),
        ("MOVED 1 :6381", (1, ("asked", 6_381), True)),
        ("MOVED 99999 h:1", None),
        ("MOVED 1 h:70000", None),
        ("TRYAGAIN Multiple keys request during rehashing of slot", None),
    ],
)
def test_where_a_node_sends_away_to(text, told):
    assert redirection(reply_error(text), ("asked", 1)) == told


def test_an_answer_sends_nowhere():
    assert redirection(b"MOVED 1 h:1", ("asked", 1)) is None


def test_the_lists_of_all_engines_lie_in_different_thirds_of_the_slots():
    assert {key_slot(key.encode()) * len(ENGINES_KEYS) // 16_384 for key in ENGINES_KEYS} == {0, 1, 2}


def test_the_gate_declares_the_companion_key_that_its_script_reads():
    call = ReadyQuestion("BTC-USD", "1m", 5).call(detail=False)
    assert keys_of(call.script.by_hash(call.keys, call.args)) == (
        "candles:1:1:BTC-USD:1m",
        "{candles:1:1:BTC-USD:1m}:evidence",
    )
