"""The picture of coverage for a terminal: a line for each series, a sign for each bucket. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler_engine.planning.coverage_picture import (
    Cell,
    Panel,
    Row,
    cells_of,
    instants,
    panels_of,
    runs_of_cells,
    states_in,
)
from reconciler_engine.planning.ledger import State

LEAST_COLUMNS = 10
"""Least number of cells in a line, however narrow the terminal is."""

SIGNS: dict[Cell, str] = {
    State.PRESENT: "█",
    State.UNVERIFIED: "▒",
    State.MISSING: "X",
    State.SUSPECT: "?",
    State.EMPTY: "·",
    State.HALTED: "=",
    State.UNLISTED: "-",
    State.UNKNOWN: "░",
    None: " ",
}
"""Sign of each state. Each sign is different, so that the picture needs no colour."""

PLAIN_SIGNS: dict[Cell, str] = {
    **SIGNS,
    State.PRESENT: "#",
    State.UNVERIFIED: "+",
    State.EMPTY: ".",
    State.UNKNOWN: "~",
}
"""The same for a terminal or a file that has only ASCII."""

# Select Graphic Rendition; the sixteen colours that every terminal adapts to a light or a dark background.
_COLOURS = {
    State.PRESENT: "32",
    State.UNVERIFIED: "2;32",
    State.MISSING: "1;31",
    State.SUSPECT: "1;35",
    State.EMPTY: "36",
    State.HALTED: "33",
    State.UNLISTED: "34",
    State.UNKNOWN: "2",
}
_BETWEEN = "  "


def draw(rows: Sequence[Row], width: int, *, coloured: bool, ascii_only: bool = False) -> list[str]:
    """Return the lines of a picture.

    Args:
        rows: Rows of the picture, one for each series.
        width: Columns of the terminal. Lines are longer if labels and notes leave no room for `LEAST_COLUMNS`.
        coloured: Whether to write colours.
        ascii_only: Whether to write only ASCII.
    """
    if not rows:
        return []
    signs = PLAIN_SIGNS if ascii_only else SIGNS
    label = max(len(row.name) for row in rows)
    note = max(len(row.note) for row in rows)
    room = max(LEAST_COLUMNS, width - label - note - 2 * len(_BETWEEN))
    lines: list[str] = []
    for panel in panels_of(rows):
        columns = panel.columns(room)
        lines.append(f"{'':{label}}{_BETWEEN}{_axis(panel, columns)}".rstrip())
        for row in panel.rows:
            cells = _painted(cells_of(row, panel.axis, columns), signs, coloured=coloured)
            lines.append(f"{row.name:{label}}{_BETWEEN}{cells}{_BETWEEN}{row.note}".rstrip())
    legend = (f"{_painted([state], signs, coloured=coloured)} {state.value}" for state in states_in(rows))
    return [*lines, f"{'':{label}}{_BETWEEN}{_BETWEEN.join(legend)}"]


def _painted(cells: Sequence[Cell], signs: dict[Cell, str], *, coloured: bool) -> str:
    text = []
    for _, count, cell in runs_of_cells(cells):
        run = signs[cell] * count
        text.append(f"\x1b[{_COLOURS[cell]}m{run}\x1b[0m" if coloured and cell is not None else run)
    return "".join(text)


def _axis(panel: Panel, columns: int) -> str:
    """Return the line above the cells, with the first and last instant of the axis."""
    first, last = instants(panel.axis)
    space = columns - len(first) - len(last)
    if space >= 1:
        return f"{first}{' ' * space}{last}"
    return f"{first} .. {last}"
