"""Conversations of the ready gate, for any client: how questions are batched, and when they are repeated."""

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
"""Longest pause of `wait` between two questions."""

_AWAY_S: Final = 1.0
_BATCH_BARS: Final = 2_000
"""Most bars of one pipeline where nobody waits for the reply. The server examines them in about 4 ms."""


def ask(questions: Sequence[ReadyQuestion]) -> Steps[list[bool]]:
    """Return whether the bars of each question are ready; one round trip per node and `MAX_BARS` bars."""
    answers: list[bool] = []
    for part in _parts(questions, MAX_BARS):
        replies = all_served((yield from batch([one.call(detail=False) for one in part])))
        answers += [one.read_answer(reply) for one, reply in zip(part, replies, strict=True)]
    return answers


def examine(questions: Sequence[ReadyQuestion]) -> Steps[list[Readiness]]:
    """Return the state of each question's bars, in as many round trips as `ask`."""
    return all_served((yield from examine_apart(questions)))


def examine_apart(questions: Sequence[ReadyQuestion], bars: int = MAX_BARS) -> Steps[list[Readiness | Exception]]:
    """Do as `examine`, `bars` bars a round trip; if a series cannot be read, return the error in place of its state."""
    answers: list[Readiness | Exception] = []
    for part in _parts(questions, bars):
        replies: Sequence[Any]
        try:
            replies = yield from batch([one.call(detail=True) for one in part])
        except NodeUnavailable as error:
            # A batch fails as a whole only if all its keys are on this node.
            replies = [error] * len(part)
        answers += [
            reply if isinstance(reply, Exception) else one.read_detail(reply)
            for one, reply in zip(part, replies, strict=True)
        ]
    return answers


def wait(question: ReadyQuestion, timeout_s: float) -> Steps[bool]:
    """Ask until the bars are ready; return False if they are not after `timeout_s`.

    The question is repeated once a bar's close and grace have passed, when a repair is announced, when a lost
    subscription is restored, and after `ASK_AGAIN_S`. While Redis is unreachable, it is repeated too; if the last
    question failed, its error is raised.
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
    """Return the time until the next bar's close plus grace, at most `ASK_AGAIN_S` (s)."""
    closes = answer.window.stop + question.series.timeframe.step_ms + question.grace_ms
    return min(max(0.0, (closes - answer.at) / 1_000), ASK_AGAIN_S)


def _parts(questions: Sequence[ReadyQuestion], bars: int) -> Iterator[Sequence[ReadyQuestion]]:
    for part in shards((one.bars for one in questions), bars):
        yield questions[part.start : part.stop]


async def examine_all(client: TrioRedis, questions: Sequence[ReadyQuestion]) -> list[Readiness | StoreError]:
    """Ask many questions through our own client in small pipelines; return the answers in the same order.

    If a series cannot be read, its error takes the place of the answer.

    Raises:
        StoreUnavailable: Redis cannot be reached or did not answer in time.
    """
    answers = await converse(client, examine_apart(questions, _BATCH_BARS))
    # Our own client raises no other errors.
    return cast("list[Readiness | StoreError]", answers)
