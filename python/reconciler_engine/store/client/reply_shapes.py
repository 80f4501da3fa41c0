"""Checks of replies: within `understanding`, a reply of an unexpected type or shape raises a `StoreError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reconciler_engine.errors import StoreError

MOST_MS = 2**53
"""Last instant (ms UTC) that numbers of Lua and JSON represent exactly."""

_QUOTED = 200
_DIGITS = 16


@contextmanager
def understanding(what: str) -> Iterator[None]:
    """Turn an error of a block that reads a reply into a StoreError.

    Raises:
        StoreError: A reply of another type or shape made the block fail. The message says that `what` was asked for.
    """
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise StoreError(f"redis does not answer as asked for {what}: {repr(error)[:_QUOTED]}") from error


def whole(value: object, least: int = 0, most: int = MOST_MS) -> int:
    """Return a reply that must be a whole number from `least` to `most`, or its digits.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(value, bytes | str) and len(value) <= _DIGITS:
        value = int(value)
    if not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{repr(value)[:_QUOTED]} is not a number from {least} to {most}")
    return value


def text(value: object) -> str:
    """Return a reply that must be bytes, as text; bytes that are not UTF-8 become replacement characters.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(value, bytes):
        raise TypeError(f"{repr(value)[:_QUOTED]} is not text")
    return value.decode("utf-8", "replace")


def optional_bytes(value: object) -> bytes | None:
    """Return a reply that must be bytes or None.

    Raises:
        ValueError: It is something else.
    """
    if value is not None and not isinstance(value, bytes):
        raise ValueError(f"{repr(value)[:_QUOTED]} is not text")
    return value
