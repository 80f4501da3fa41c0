"""Standard output: lines, tables and JSON, each marked where the candles are invented."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler_engine.observe.words import printable, quoted


@dataclass(slots=True)
class Output:
    """The answer of a command, for people or for programs.

    Attributes:
        as_json: Whether programs read it.
        simulated: Whether it is about invented candles, as the opened session says.
    """

    as_json: bool
    simulated: bool = False

    @property
    def mark(self) -> str:
        """Word before lines about invented candles; empty for real ones."""
        return "SIMULATED " if self.simulated else ""

    def print_json(self, told: Mapping[str, Any]) -> None:
        """Print an object on a line."""
        print(json.dumps({**told, "simulated": True} if self.simulated else told), flush=True)

    def print_line(self, text: str) -> None:
        """Print a line that begins with the mark."""
        say(f"{self.mark}{text}")


def say(text: str) -> None:
    """Print a line for people. Names, errors and file names in it may be anybody's: they cannot steer the terminal."""
    encoding = sys.stdout.encoding or "utf-8"
    print(printable(text).encode(encoding, "backslashreplace").decode(encoding))


def _shown(lines: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[printable(quoted(text)) for text in line] for line in lines]


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, the first one left-aligned, the others right-aligned."""
    lines = _shown([heads, *rows])
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = [text.rjust(width) for text, width in zip(line, widths, strict=True)]
        cells[0] = line[0].ljust(widths[0])
        say("  ".join(cells))


def print_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns of words, all left-aligned, the last one as long as it is."""
    lines = _shown([heads, *rows])
    *widths, _ = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        say("  ".join([*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[-1]]))
