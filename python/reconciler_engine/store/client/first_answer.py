"""The first answer of several servers, any of which may be down or cut off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

import trio

from reconciler_engine.errors import StoreError, StoreUnavailable

HEAD_START_S: Final = 0.25
"""Time without an answer after which the next server is asked as well (s)."""

_Place = TypeVar("_Place")
_Answer = TypeVar("_Answer")


async def first_answer(places: Iterable[_Place], ask: Callable[[_Place], Awaitable[_Answer]]) -> _Answer:
    """Ask places in order and return the first answer.

    The next place is asked once the one before has failed, or after `HEAD_START_S`.

    Raises:
        StoreUnavailable: All places were unavailable; the message joins their errors.
        StoreError: No place answered, and one had another error than StoreUnavailable: the first such error.
    """
    answers: list[_Answer] = []
    errors: list[StoreError] = []

    async def ask_one(place: _Place, failed: trio.Event) -> None:
        try:
            answers.append(await ask(place))
        except StoreError as error:
            errors.append(error)
            failed.set()
        else:
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for place in places:
            failed = trio.Event()
            nursery.start_soon(ask_one, place, failed)
            with trio.move_on_after(HEAD_START_S):
                await failed.wait()
    if answers:
        return answers[0]
    for error in errors:
        if not isinstance(error, StoreUnavailable):
            raise error
    raise StoreUnavailable("; ".join(dict.fromkeys(map(str, errors))))
