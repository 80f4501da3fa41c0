"""The purpose of a request to the exchange, for the account of the budget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple


class Purpose(NamedTuple):
    """Purpose of a request: a job or a piece of housekeeping, and the lane of its task (`-` without one)."""

    job: str
    lane: str = "-"


_OTHER = Purpose("other")
_purpose: ContextVar[Purpose] = ContextVar("purpose", default=_OTHER)


@contextmanager
def asking_for(job: str, lane: str = "-") -> Iterator[None]:
    """Have the requests of the block's task, and of tasks that are started in it, counted as for this purpose."""
    token = _purpose.set(Purpose(job, lane))
    try:
        yield
    finally:
        _purpose.reset(token)


def current_purpose() -> Purpose:
    """Return the purpose of this task's requests."""
    return _purpose.get()
