"""Standard output: lines, tables and JSON, labelled SIMULATED if the candles are invented."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, Final

import click

from reconciler_engine.observe.words import printable, quoted

UNKNOWN: Final = "-"
"""Shown in place of a number for a series of which no slot was read; 0 would suggest that all is well."""

_NARROWEST = 20
"""Least width of wrapped text, however narrow the terminal is."""

_BELOW = "    "
"""Indent of the columns that are printed below their row."""


@dataclass(slots=True)
class Output:
    """The answer of a command, for people or for programs.

    Attributes:
        as_json: Whether to write JSON, for programs.
        simulated: Whether the candles are invented; set when a session is opened.
    """

    as_json: bool
    simulated: bool = False

    @property
    def mark(self) -> str:
        """Prefix of lines about invented candles; empty for real candles."""
        return "SIMULATED " if self.simulated else ""

    def print_json(self, told: Mapping[str, Any]) -> None:
        """Print an object as one line of JSON."""
        print(json.dumps({**told, "simulated": True} if self.simulated else told), flush=True)

    def print_line(self, text: str) -> None:
        """Print a line for people, with the prefix `mark`."""
        say(f"{self.mark}{text}")


class _Page(io.StringIO):
    """Collects printed text for a pager; the code that prints takes it for a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        """Return True: people read the page."""
        return True


@contextmanager
def paged() -> Iterator[None]:
    """Show the output of this block in a pager, if the terminal has too few lines for it."""
    if not sys.stdout.isatty():
        yield
        return
    page = _Page()
    try:
        with redirect_stdout(page):
            yield
    finally:
        text = page.getvalue()
        if text.count("\n") < shutil.get_terminal_size().lines:
            sys.stdout.write(text)
        else:
            # The same options as git's: colours are shown, and the text stays on the screen at the end.
            os.environ.setdefault("LESS", "FRX")
            click.echo_via_pager(text)


def say(text: str) -> None:
    """Print a line for people, broken between words if the terminal is too narrow.

    Control characters are replaced by escapes, so that foreign text in the line cannot steer the terminal.
    """
    encoding = sys.stdout.encoding or "utf-8"
    line = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(line)
    if len(line) > max(width, _NARROWEST):
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        line = textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    print(line)


def _fitted(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[int]]:
    """Return the lines of a table, made safe for a terminal, and the widths of its columns."""
    lines = [[printable(quoted(text)) for text in line] for line in (heads, *rows)]
    return lines, [max(len(line[column]) for line in lines) for column in range(len(heads))]


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column is left-aligned, the others are right-aligned."""
    lines, widths = _fitted(heads, rows)
    for line in lines:
        cells = [text.rjust(width) for text, width in zip(line, widths, strict=True)]
        cells[0] = line[0].ljust(widths[0])
        say("  ".join(cells))


def print_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print left-aligned columns of words; if the terminal is too narrow, the last columns go below the first ones."""
    lines, widths = _fitted(heads, rows)
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sum(widths) + 2 * len(widths)
    beside = len(widths)
    while beside > 1 and sum(widths[:beside]) + 2 * (beside - 1) > room:
        beside -= 1
    for line in lines:
        cells = [text.ljust(width) for text, width in zip(line[:beside], widths, strict=False)]
        say("  ".join(cells).rstrip())
        below = "" if set(line[beside:]) <= {"", "-"} else "  ".join(line[beside:])
        for part in textwrap.wrap(below, max(room, _NARROWEST), initial_indent=_BELOW, subsequent_indent=_BELOW):
            say(part)
