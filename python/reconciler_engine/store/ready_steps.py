"""The ready gate as conversations with any client: which questions go out together, and when they are asked again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from reconciler_engine.errors import NodeUnavailable, StoreError
from reconciler_engine.planning.pages import shards
from reconciler_engine.steps import Hear, Listen, Now, Steps
from reconciler_engine.store.client.scripts import batch
from reconciler_engine.store.client.trio_driver import converse
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.drivers.redis_py_clients import is_away
from reconciler_engine.store.ready_question import MAX_BARS, Readiness, ReadyQuestion

ASK_AGAIN_S: Final = 15.0
"""A wait for readiness asks again after so long at the latest."""

_AWAY_S: Final = 1.0
_BATCH_BARS: Final = 2_000
"""Bars of one pipeline of a page that nobody waits for: the server looks at them in some 4 ms."""


def ask(questions: Sequence[ReadyQuestion]) -> Steps[list[bool]]:
    """Ask about series in one round trip to each node, or one for each `MAX_BARS` bars."""
    answers: list[bool] = []
    for part in _parts(questions, MAX_BARS):
        replies = all_served((yield from batch([one.call(detail=False) for one in part])))
        answers += [one.read_answer(reply) for one, reply in zip(part, replies, strict=True)]
    return answers


def examine(questions: Sequence[ReadyQuestion]) -> Steps[list[Readiness]]:
    """Ask as `ask` does, in detail."""
    return all_served((yield from examine_apart(questions)))


def examine_apart(questions: Sequence[ReadyQuestion], bars: int = MAX_BARS) -> Steps[list[Readiness | Exception]]:
    """Ask in detail, about so many bars in a round trip; of a series that cannot be read its error is the answer."""
    answers: list[Readiness | Exception] = []
    for part in _parts(questions, bars):
        replies: Sequence[Any]
        try:
            replies = yield from batch([one.call(detail=True) for one in part])
        except NodeUnavailable as error:
            # All of them were at one node.
            replies = [error] * len(part)
        answers += [
            reply if isinstance(reply, Exception) else one.read_detail(reply)
            for one, reply in zip(part, replies, strict=True)
        ]
    return answers


def wait(question: ReadyQuestion, timeout_s: float) -> Steps[bool]:
    """Ask until the answer is yes, or so many seconds are over.

    It is asked again at each close plus its grace, on word of a repair, when a lost subscription stands again, and
    after `ASK_AGAIN_S`. A Redis that is away is waited for; it is the error of the last question that is raised.
    """
    deadline = (yield Now()) + timeout_s
    yield Listen([question.repaired_channel])
    while True:
        error: Exception | None = None
        pause_s = _AWAY_S
        try:
            (answer,) = yield from examine([question])
        except Exception as failure:
            if not is_away(failure):
                raise
            error = failure
        else:
            if answer.is_ready:
                return True
            pause_s = _next_close_s(question, answer)
        left_s = deadline - (yield Now())
        if left_s <= 0:
            if error is not None:
                raise error
            return False
        yield Hear(min(pause_s, left_s))


def _next_close_s(question: ReadyQuestion, answer: Readiness) -> float:
    """Return when the next bar closes, its grace included, but at most `ASK_AGAIN_S` (s)."""
    closes = answer.window.stop + question.series.timeframe.step_ms + question.grace_ms
    return min(max(0.0, (closes - answer.at) / 1_000), ASK_AGAIN_S)


def _parts(questions: Sequence[ReadyQuestion], bars: int) -> Iterator[Sequence[ReadyQuestion]]:
    for part in shards((one.bars for one in questions), bars):
        yield questions[part.start : part.stop]


async def examine_all(client: TrioRedis, questions: Sequence[ReadyQuestion]) -> list[Readiness | StoreError]:
    """Ask a client of our own many questions, pipeline by pipeline; return the answers in the order asked.

    In place of the answer about a series that cannot be read there is the error.

    Raises:
        StoreUnavailable: Redis cannot be reached or did not answer in time.
    """
    answers = await converse(client, examine_apart(questions, _BATCH_BARS))
    # Our own client has no other errors.
    return cast("list[Readiness | StoreError]", answers)
