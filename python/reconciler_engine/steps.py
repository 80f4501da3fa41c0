"""Conversations with Redis without I/O: a generator says the next step, and a driver sends it the result.

`store/drivers` carries the steps out, for each kind of client in its own way. An error of a step is thrown into the
generator, and so is the end of a caller that was cancelled: its `finally` blocks may say steps, too.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
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
        last_s: Seconds that a caller who was cancelled waits for the replies all the same; None for none.
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
    """Subscribe to channels until the conversation ends; a user who may not listen hears nothing."""

    channels: Sequence[str]


@dataclass(frozen=True, slots=True)
class Hear:
    """Let so many seconds pass, fewer where a message comes or the subscription was lost and is there again."""

    seconds: float


Step = Send | Split | Pause | Now | Listen | Hear
Steps = Generator[Step, Any, _T]
