"""Conversations with Redis without I/O: a generator yields steps, and a driver sends it the result of each step.

Each kind of Redis client has a driver in `store/drivers`. The error of a step, and the cancellation of the caller, are
thrown into the generator. Its `finally` blocks may then yield further steps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

LISTEN_AGAIN_S: Final = 1.0
"""Pause before a lost subscription is renewed."""

_T = TypeVar("_T")

Argument = str | int | float | bytes
Command = Sequence[Argument]


@dataclass(frozen=True, slots=True)
class Send:
    """Send commands, in one write to each node. The result is the list of raw replies, in order.

    If a command failed, its reply is the exception.

    Attributes:
        commands: Commands that do not block and do not change the state of the connection.
        last_s: Timeout in seconds during which cancellation is deferred: a cancelled caller still waits for the
            replies, and is cancelled at the next step. None leaves timeout and cancellation to the client.
    """

    commands: Sequence[Command]
    last_s: float | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Group keys by node. The result is a list of groups of indexes into `keys`."""

    keys: Sequence[str | bytes]


@dataclass(frozen=True, slots=True)
class Pause:
    """Sleep for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Now:
    """Read a monotonic clock. The result is in seconds."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Subscribe to channels until the conversation ends. If the user may not subscribe, no messages come."""

    channels: Sequence[str]


@dataclass(frozen=True, slots=True)
class Hear:
    """Sleep for some seconds, or until a message comes or a lost subscription is renewed."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Run the Lua script that the conversation uses. The result is its reply.

    Attributes:
        arguments: Arguments of the script.
        last_s: As in `Send`.
    """

    arguments: Sequence[int | str]
    last_s: float | None = None


Step = Send | Split | Pause | Now | Listen | Hear | Ask
Steps = Generator[Step, Any, _T]


async def drive(steps: Steps[_T], do: Callable[[Step], Awaitable[Any]]) -> _T:
    """Carry out the steps of a conversation by awaiting `do` for each, and return its result; for any event loop."""
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
    """Run a coroutine that never suspends, and return its result."""
    try:
        work.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    raise RuntimeError("work that was to be over at once waits for something")
