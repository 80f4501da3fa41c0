"""Numbers on the command line that are no settings: what is refused is told with what was given."""

from __future__ import annotations

from collections.abc import Callable

import typer

# No bound that is asked for has more digits, and the interpreter reads no more than some thousands.
_MOST_DIGITS = 20
_SHOWN = 60


def whole(text: str) -> int | None:
    """Return the whole number that a text is, sign allowed, or None where it is none or has over 20 digits."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS else None


def whole_between(low: int, high: int) -> Callable[[str | int], int]:
    """Return a parser of whole numbers from `low` to `high`, both included."""

    def parse(text: str | int) -> int:
        number = whole(str(text))
        if number is None or not low <= number <= high:
            raise typer.BadParameter(f"{str(text)[:_SHOWN]!r} is not allowed; allowed: a whole number, {low} to {high}")
        return number

    return parse


def decimal(text: str | float) -> float:
    """Parse a number; which ones make sense is for whoever asked."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{str(text)[:_SHOWN]!r} is not allowed; allowed: a number such as 0.5") from None
