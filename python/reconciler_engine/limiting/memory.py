"""The bucket's script without a Redis: the fake that tests and host programs put in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from reconciler_engine.limiting.token_bucket import (
    Bucket,
    Early,
    Granted,
    Pace,
    Reservation,
    confirm,
    push_back,
    reserve,
)


class MemoryBucket:
    """Buckets in the memory of one process, with the calls and replies of token_bucket.lua.

    `now_us` is the clock in Redis' place (us); the property tests hold the two to the same replies and the same state.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self.buckets: dict[str, Bucket] = {}

    async def __call__(self, *, keys: Sequence[str], args: Sequence[int | str]) -> list[int]:
        """Answer as the script would, after a checkpoint."""
        await trio.lowlevel.checkpoint()
        return self.answer(keys[0], str(args[0]), [int(argument) for argument in args[1:]])

    def answer(self, key: str, operation: str, numbers: Sequence[int]) -> list[int]:
        """Carry out one operation on the bucket `key`."""
        bucket = self.buckets.get(key)
        after: Bucket | None
        match operation:
            case "reserve":
                after, reply = self._reserve(bucket, *numbers)
            case "confirm":
                after, reply = self._confirm(bucket, *numbers)
            case "push":
                pushed = push_back(bucket, self._now_us(), _paces(numbers[1:]), numbers[0])
                after, reply = pushed, [pushed.until]
            case "read":
                return self._read(bucket)
            case _:
                raise ValueError(f"unknown operation of the token bucket: {operation!r}")
        if after is not None:
            self.buckets[key] = after
        return reply

    def _reserve(self, bucket: Bucket | None, max_wait_us: int, *numbers: int) -> tuple[Bucket, list[int]]:
        after, answer = reserve(bucket, self._now_us(), _paces(numbers), max_wait_us)
        if isinstance(answer, Reservation):
            return after, [1, answer.wait_us, answer.slot, answer.born]
        return after, [0, answer.wait_us]

    def _confirm(self, bucket: Bucket | None, slot: int, born: int, late: int) -> tuple[Bucket | None, list[int]]:
        after, verdict = confirm(bucket, self._now_us(), Reservation(0, slot, born), late)
        match verdict:
            case Granted(late_us):
                return after, [1, late_us]
            case Early(wait_us):
                return after, [2, wait_us]
            case _:
                return after, [0]

    def _read(self, bucket: Bucket | None) -> list[int]:
        if bucket is None:
            return []
        # The script shows the bucket's clock as of now and stores nothing.
        seen = max(bucket.seen, self._now_us() + bucket.offset)
        return [seen, bucket.until, bucket.granted, *bucket.tats]


def _paces(numbers: Sequence[int]) -> tuple[Pace, ...]:
    return tuple(Pace(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True))
