"""Replies of another kind than was asked for: reading one ends in an answer or in a `StoreError`, never otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reconciler_engine.errors import StoreError

MOST_MS = 2**53
"""The last instant (ms) that Lua and JSON count exactly."""

_QUOTED = 200
_DIGITS = 16


@contextmanager
def understanding(what: str) -> Iterator[None]:
    """Read a reply in a block; an error there is the reply's fault.

    Raises:
        StoreError: The block raised an error that a value of another type or shape causes; `what` was asked for.
    """
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise StoreError(f"redis does not answer as asked for {what}: {repr(error)[:_QUOTED]}") from error


def whole(value: object, least: int = 0, most: int = MOST_MS) -> int:
    """Return a reply that must be a whole number within bounds, sent as one or as its digits.

    Raises:
        ValueError: It is another one, or something else.
    """
    if isinstance(value, bytes | str) and len(value) <= _DIGITS:
        value = int(value)
    if not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{repr(value)[:_QUOTED]} is not a number from {least} to {most}")
    return value


def text(value: object) -> str:
    """Return a reply that must be bytes, as text; bytes that are not UTF-8 become replacement signs.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(value, bytes):
        raise TypeError(f"{repr(value)[:_QUOTED]} is not text")
    return value.decode("utf-8", "replace")


def optional_bytes(value: object) -> bytes | None:
    """Return a reply that must be bytes, or None where there is nothing.

    Raises:
        ValueError: It is something else.
    """
    if value is not None and not isinstance(value, bytes):
        raise ValueError(f"{repr(value)[:_QUOTED]} is not text")
    return value
