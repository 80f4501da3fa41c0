"""Keeps the three standard streams usable, even if the parent process has closed them."""

from __future__ import annotations

import os
import sys
from typing import Literal, TextIO

_STANDARD = (0, 1, 2)


def hold_standard_streams() -> None:
    """Open the null device in place of standard streams that are closed.

    Otherwise files opened later would get the streams' numbers, and children, which inherit the numbers, would write
    logs into those files.
    """
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            # The system gives the lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 - the function's only form
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process


def terminal_style() -> Literal["human", "coloured", "json"]:
    """Return the style of the log: JSON, or if standard error is a terminal, text for people, in colour if possible."""
    if not sys.stderr.isatty():
        return "json"
    return "coloured" if shows_colours(sys.stderr) else "human"


def shows_colours(stream: TextIO) -> bool:
    """Whether to write colours: on a terminal that supports them, unless NO_COLOR is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
