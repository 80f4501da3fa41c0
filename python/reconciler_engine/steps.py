"""Conversations with Redis without I/O: a generator says the next step, and a driver sends it the result.

`store/drivers` carries the steps out, for each kind of client in its own way. An error of a step is thrown into the
generator, and so is the end of a caller that was cancelled: its `finally` blocks may say steps, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

LISTEN_AGAIN_S: Final = 1.0
"""Pause before a subscription that was lost is tried again."""

_T = TypeVar("_T")

Argument = str | int | float | bytes
Command = Sequence[Argument]


@dataclass(frozen=True, slots=True)
class Send:
    """Send commands, in one write to each node; gives their raw replies in order.

    An exception stands in place of the reply of a command that failed.

    Attributes:
        commands: They neither block nor change the connection.
        last_s: Seconds after which no reply is waited for any more; until then a caller who is cancelled waits for
            it all the same, and is cancelled at the next step. None leaves the time to the client.
    """

    commands: Sequence[Command]
    last_s: float | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Give the indexes of keys in parts, each of one node's keys."""

    keys: Sequence[str | bytes]


@dataclass(frozen=True, slots=True)
class Pause:
    """Let so many seconds pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Now:
    """Give the seconds of a clock that nobody sets."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Subscribe to channels until the conversation ends; without the right to listen nothing is heard."""

    channels: Sequence[str]


@dataclass(frozen=True, slots=True)
class Hear:
    """Let so many seconds pass, fewer where a message comes or the subscription was lost and is there again."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Give the reply of the one script that a conversation is about.

    Attributes:
        arguments: Arguments of the script.
        last_s: As that of `Send`.
    """

    arguments: Sequence[int | str]
    last_s: float | None = None


Step = Send | Split | Pause | Now | Listen | Hear | Ask
Steps = Generator[Step, Any, _T]


async def drive(steps: Steps[_T], do: Callable[[Step], Awaitable[Any]]) -> _T:
    """Carry out steps by awaiting `do`, under any event loop, and return the result of the conversation."""
    reply: Any = None
    failure: BaseException | None = None
    while True:
        try:
            step = steps.send(reply) if failure is None else steps.throw(failure)
        except StopIteration as end:
            result: _T = end.value
            return result
        reply = failure = None
        try:
            reply = await do(step)
        except BaseException as error:  # noqa: BLE001  the conversation raises it again, or goes on
            failure = error


def at_once(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that never waits, and return its result."""
    try:
        work.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    raise RuntimeError("work that was to be over at once waits for something")
