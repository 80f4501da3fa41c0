"""token_bucket.lua in a real server agrees with token_bucket.py, reply by reply and field by field."""

from __future__ import annotations

from dataclasses import replace

import redis as redis_py
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler_engine.limiting.memory import MemoryBucket
from reconciler_engine.limiting.shared import script_text
from reconciler_engine.limiting.token_bucket import Bucket, Budget

START = 1_764_000_000_123_457
KEY = "bucket"

_CLOCK = "redis.call('TIME')"
_GIVEN_CLOCK = "{ table.remove(ARGV, #ARGV - 1), table.remove(ARGV) }"

budgets = st.builds(
    Budget, burst=st.integers(1, 12), period_ms=st.integers(1, 3000), hourly=st.none() | st.integers(2, 20_000)
)
steps = st.lists(
    st.tuples(
        # The server's clock moves by this (us), backwards too.
        st.one_of(st.integers(0, 300_000), st.integers(-5_000_000, 5_000_000), st.integers(0, 10**10)),
        st.sampled_from(["reserve"] * 6 + ["confirm"] * 6 + ["push", "read", "limits", "lose", "no number", "far off"]),
        st.integers(0, 3_000_000),
    ),
    max_size=40,
)


def as_fields(bucket: Bucket) -> dict[bytes, bytes]:
    fields = {"born": bucket.born, "seen": bucket.seen, "offset": bucket.offset}
    fields |= {"until": bucket.until, "granted": bucket.granted}
    fields |= {f"tat{number}": tat for number, tat in enumerate(bucket.tats, start=1)}
    return {name.encode(): str(value).encode() for name, value in fields.items()}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(budget=budgets, history=steps)
def test_pure_and_lua_agree_step_by_step(redis_url: str, budget: Budget, history: list[tuple[int, str, int]]) -> None:
    # Workers may be told of an hourly limit one after the other.
    budgets = [budget, Budget(budget.burst, budget.period_ms, None if budget.hourly else 100)]
    now = START
    pure = MemoryBucket(lambda: now)
    promised = [[START, START]]
    assert script_text().count(_CLOCK) == 1
    with redis_py.Redis.from_url(redis_url) as server:
        server.delete(KEY)
        # The text as shipped, but for its clock.
        lua = server.register_script(script_text().replace(_CLOCK, _GIVEN_CLOCK))
        for moved, operation, amount in history:
            now += moved
            paces = [number for pace in budgets[0].paces for number in (pace.interval_us, pace.tolerance_us)]
            match operation:
                case "limits":
                    budgets.reverse()
                case "lose" | "no number":
                    server.delete(KEY) if operation == "lose" else server.hset(KEY, "seen", "nan")
                    pure.buckets.clear()
                case "far off":
                    for bucket in list(pure.buckets.values()):
                        server.hset(KEY, "tat1", bucket.tats[0] + 10**11)
                        pure.buckets[KEY] = replace(bucket, tats=(bucket.tats[0] + 10**11, *bucket.tats[1:]))
                case _:
                    arguments = {
                        "confirm": [*promised[-1 - amount % min(3, len(promised))], budget.lateness_us],
                        "read": [],
                    }.get(operation, [amount, *paces])
                    reply = lua(keys=[KEY], args=[operation, *arguments, now // 1_000_000, now % 1_000_000])
                    assert reply == pure.answer(KEY, operation, arguments)
                    if operation == "reserve" and reply[0]:
                        promised.append(reply[2:])
                    if pure.buckets:
                        assert server.hgetall(KEY) == as_fields(pure.buckets[KEY])
