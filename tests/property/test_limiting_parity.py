"""token_bucket.lua in a real server agrees with its model, reply by reply and field by field."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import redis as redis_py
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.limiter_model.breaker import OCCUPIED_US
from tests.limiter_model.memory_bucket import MemoryBucket
from tests.limiter_model.token_bucket import Bucket

from reconciler_engine.limiting.breaker import Breaker, Fate
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.limiting.redis_bucket import script_text

START = 1_764_000_000_123_457
KEY = "bucket"
BREAKER = "breaker"

_CLOCK = "redis.call('TIME')"
_GIVEN_CLOCK = "{ table.remove(ARGV, #ARGV - 1), table.remove(ARGV) }"

budgets = st.builds(
    Budget, burst=st.integers(1, 12), period_ms=st.integers(1, 3000), hourly=st.none() | st.integers(2, 20_000)
)
SPOILS = ("lose", "lose breaker", "no number", "far off", "stopped for ever")
steps = st.lists(
    st.tuples(
        # The server's clock moves by this (us), backwards too.
        st.one_of(st.integers(0, 300_000), st.integers(-5_000_000, 5_000_000), st.integers(0, 10**10)),
        st.sampled_from(
            ["reserve"] * 4
            + ["spare"] * 3
            + ["confirm"] * 6
            + ["report"] * 6
            + ["push", "read", "forgive", "limits", *SPOILS]
        ),
        st.sampled_from([*Fate, Fate.DENIED, Fate.SILENT]),
        st.integers(0, 3_000_000),
    ),
    max_size=40,
)


def as_fields(bucket: Bucket) -> dict[bytes, bytes]:
    fields = {"born": bucket.born, "seen": bucket.seen, "offset": bucket.offset}
    fields |= {"until": bucket.until, "granted": bucket.granted}
    fields |= {"share": bucket.share, "cut": bucket.cut, "cause": bucket.cause}
    fields |= {f"tat{number}": tat for number, tat in enumerate(bucket.tats, start=1)}
    return {name.encode(): str(value).encode() for name, value in fields.items()}


class Twins:
    """The bucket in Redis and the one in memory, under one clock; every reply and every field is compared."""

    def __init__(self, server: redis_py.Redis, budget: Budget) -> None:
        assert script_text().count(_CLOCK) == 1
        # The text as shipped, but for its clock.
        self.lua = server.register_script(script_text().replace(_CLOCK, _GIVEN_CLOCK))
        self.server = server
        self.origin = server.info("replication")["master_replid"].encode()
        self.now = START
        self.pure = MemoryBucket(lambda: self.now)
        self.budget = budget
        self.promised = [[START, START, 0]]
        server.delete(KEY, BREAKER)

    def spoil(self, what: str) -> None:
        buckets, breakers = self.pure.buckets, self.pure.breakers
        match what:
            case "lose" | "no number":
                self.server.delete(KEY) if what == "lose" else self.server.hset(KEY, "seen", "nan")
                buckets.clear()
            case "lose breaker":
                self.server.delete(BREAKER)
                breakers.clear()
            case "far off" if KEY in buckets:
                tats = (buckets[KEY].tats[0] + 10**11, *buckets[KEY].tats[1:])
                self.server.hset(KEY, "tat1", tats[0])
                buckets[KEY] = replace(buckets[KEY], tats=tats)
            case "stopped for ever" if BREAKER in breakers:
                self.server.hset(BREAKER, mapping=dict.fromkeys(("stopped", "probe"), 4 * 10**15))
                breakers[BREAKER] = replace(breakers[BREAKER], stopped=4 * 10**15, probe=4 * 10**15)

    def do(self, operation: str, amount: int, answer: Fate) -> list[int]:
        limits: list[int | str] = [
            number for limit in self.budget.limits for number in (limit.interval_us, limit.tolerance_us)
        ]
        recent = self.promised[-1 - amount % min(3, len(self.promised))]
        takes: dict[str, list[int | str]] = {
            "confirm": [*recent, self.budget.lateness_us],
            "report": [recent[2], answer.value, 429, *limits],
            "forgive": limits,
            "read": [],
        }
        arguments = takes.get(operation, [amount, *limits])
        instant = (self.now // 1_000_000, self.now % 1_000_000)
        reply: list[int] = self.lua(keys=[KEY, BREAKER], args=[operation, *arguments, *instant])
        assert reply == self.pure.answer(KEY, BREAKER, operation, arguments)
        if operation in {"reserve", "spare"} and reply[0] == 1:
            self.promised.append(reply[2:])
        if self.pure.buckets:
            stored = self.server.hgetall(KEY)
            # One history of writes, of which the model knows nothing.
            assert stored.pop(b"origin") == self.origin
            # Fields for programs that do not know the limits.
            for name in (b"limits", b"breaker"):
                stored.pop(name, None)
            assert stored == as_fields(self.pure.buckets[KEY])
        breaker = asdict(self.pure.breakers.get(BREAKER, Breaker()))
        breakers = {name.encode(): str(value).encode() for name, value in breaker.items()}
        assert self.server.hgetall(BREAKER) in ([breakers, {}] if not any(breaker.values()) else [breakers])
        return reply


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(budget=budgets, history=steps)
def test_pure_and_lua_agree_step_by_step(
    redis_url: str, budget: Budget, history: list[tuple[int, str, Fate, int]]
) -> None:
    with redis_py.Redis.from_url(redis_url) as server:
        twins = Twins(server, budget)
        # Workers may be told of an hourly limit one after the other.
        other = Budget(budget.burst, budget.period_ms, None if budget.hourly else 100)
        for moved, operation, answer, amount in history:
            twins.now += moved
            if operation == "limits":
                twins.budget, other = other, twins.budget
            elif operation in SPOILS:
                twins.spoil(operation)
            else:
                twins.do(operation, amount, answer)


@pytest.mark.parametrize("answer", Fate)
def test_they_agree_on_each_answer_a_dozen_times_in_a_row(redis_url: str, answer: Fate) -> None:
    with redis_py.Redis.from_url(redis_url) as server:
        twins = Twins(server, Budget(burst=5, period_ms=1_000))
        refused = set()
        for _ in range(12):
            code, wait_us, *_ = twins.do("reserve", 900_000_000, answer)
            refused.add(code)
            assert twins.do("reserve", 900_000_000, answer)[0] in {0, 1, 3, 4, 5}
            twins.now += wait_us
            twins.do("confirm", 0, answer)
            twins.do("report", 0, answer)
            twins.now += OCCUPIED_US
            twins.do("push", 1_000_000, answer)
            twins.do("read", 0, answer)
        twins.do("forgive", 0, answer)
        assert (twins.do("reserve", 900_000_000, answer)[0] == 5) == (answer is Fate.SILENT)
        assert refused == {1} | {Fate.DENIED: {4}, Fate.SILENT: {5}}.get(answer, set())
