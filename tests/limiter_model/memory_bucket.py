"""The bucket's script without a Redis: the model, behind the calls and replies of token_bucket.lua."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, replace

import trio
from tests.limiter_model.breaker import OCCUPIED_US, begin_probe, forgive, mend, report
from tests.limiter_model.token_bucket import (
    Bucket,
    Early,
    Granted,
    Reservation,
    awake,
    confirm,
    others_first_us,
    push_back,
    reserve,
    share_ppm,
    slow_down,
)

from reconciler_engine.limiting.breaker import Breaker, Fate
from reconciler_engine.limiting.budget import Limit
from reconciler_engine.limiting.permit_steps import Reply

_OUTCOMES = frozenset(answer.value for answer in Fate)


class MemoryBucket:
    """Buckets and breakers in the memory of one process, with the calls and replies of token_bucket.lua.

    `now_us` is the clock in Redis' place (us); the property tests hold the two to the same replies and the same state.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self.buckets: dict[str, Bucket] = {}
        self.breakers: dict[str, Breaker] = {}

    async def __call__(self, *, keys: Sequence[str], args: Sequence[int | str]) -> list[int]:
        """Answer as the script would, after a checkpoint."""
        await trio.lowlevel.checkpoint()
        bucket, breaker = keys
        return self.answer(bucket, breaker, str(args[0]), args[1:])

    def answer(self, key: str, breaker: str, operation: str, args: Sequence[int | str]) -> list[int]:
        """Carry out one operation on the bucket `key` and the breaker of that name."""
        numbers = [int(argument) for argument in args if argument not in _OUTCOMES]
        match operation:
            case "reserve" | "spare":
                is_low = operation == "spare"
                return self._reserve(key, breaker, numbers[0], _limits(numbers[1:]), is_low=is_low)
            case "confirm":
                return self._confirm(key, breaker, *numbers)
            case "push":
                pushed = push_back(self.buckets.get(key), self._now_us(), _limits(numbers[1:]), numbers[0])
                self.buckets[key] = pushed
                return [pushed.until]
            case "report":
                turn, why, *limits = numbers
                bucket = awake(self.buckets.get(key), self._now_us(), _limits(limits))
                return self._report(key, breaker, bucket, turn, Fate(str(args[1])), why)
            case "forgive":
                bucket = awake(self.buckets.get(key), self._now_us(), _limits(numbers))
                gate = self._gate(breaker, bucket.seen)
                if gate.denied:
                    self.breakers[breaker] = forgive(gate, bucket.seen)
                return []
            case "read":
                return self._read(key, breaker)
        raise ValueError(f"unknown operation of the token bucket: {operation!r}")

    def _gate(self, name: str, seen: int) -> Breaker:
        return mend(self.breakers.get(name, Breaker()), seen)

    def _reserve(
        self, key: str, breaker: str, max_wait_us: int, limits: tuple[Limit, ...], *, is_low: bool
    ) -> list[int]:
        now_us = self._now_us()
        bucket = awake(self.buckets.get(key), now_us, limits)
        gate = self._gate(breaker, bucket.seen)
        if gate.stopped > bucket.seen:
            return [Reply.STOPPED, gate.stopped - bucket.seen, gate.why]
        pause, busy = bucket.until - bucket.seen, min(gate.probe - bucket.seen, OCCUPIED_US)
        if gate.is_gone and max(pause, busy) > 0:
            return [Reply.GONE, max(pause, busy), gate.why, gate.silent]
        if gate.is_alone and busy > 0:
            return [Reply.OCCUPIED, busy]
        if is_low and (others_us := others_first_us(self.buckets.get(key), now_us, limits, max_wait_us)) > 0:
            self.buckets[key] = bucket
            return [Reply.OCCUPIED, others_us]
        self.buckets[key], answer = reserve(self.buckets.get(key), now_us, limits, max_wait_us)
        if not isinstance(answer, Reservation):
            return [Reply.REFUSED, answer.wait_us]
        if gate.is_alone:
            gate = self.breakers[breaker] = begin_probe(gate, bucket.seen, answer.slot)
        return [Reply.GRANTED, answer.wait_us, answer.slot, answer.born, gate.turn]

    def _confirm(self, key: str, breaker: str, slot: int, born: int, turn: int, late: int) -> list[int]:
        after, verdict = confirm(self.buckets.get(key), self._now_us(), Reservation(0, slot, born), late)
        if after is None:
            return [Reply.REFUSED]
        gate = self._gate(breaker, after.seen)
        if gate.stopped > after.seen or (gate.is_alone and turn != gate.turn):
            self.buckets[key] = replace(after, granted=after.granted - isinstance(verdict, Granted))
            return [Reply.REFUSED]
        self.buckets[key] = after
        match verdict:
            case Granted(late_us):
                return [Reply.GRANTED, late_us]
            case Early(wait_us):
                return [Reply.EARLY, wait_us]
        if gate.is_alone:
            self.breakers[breaker] = replace(gate, probe=0)
        return [Reply.REFUSED]

    def _report(self, key: str, breaker: str, bucket: Bucket, turn: int, answer: Fate, why: int) -> list[int]:
        gate = self._gate(breaker, bucket.seen)
        after, count = report(gate, bucket.seen, turn, answer, why)
        if after != gate:
            self.breakers[breaker] = after
        if count and answer in (Fate.THROTTLED, Fate.BLOCKED):
            self.buckets[key] = slow_down(bucket, why)
        return [count, max(0, after.stopped - bucket.seen)]

    def _read(self, key: str, breaker: str) -> list[int]:
        bucket = self.buckets.get(key)
        if bucket is None:
            return []
        # The script shows the bucket's clock as of now and stores nothing.
        bucket = replace(bucket, seen=max(bucket.seen, self._now_us() + bucket.offset))
        gate = self._gate(breaker, bucket.seen)
        state = (bucket.seen, bucket.until, bucket.granted, share_ppm(bucket), bucket.cause)
        return [*state, *astuple(gate), *bucket.tats]


def _limits(numbers: Sequence[int]) -> tuple[Limit, ...]:
    return tuple(Limit(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True))
