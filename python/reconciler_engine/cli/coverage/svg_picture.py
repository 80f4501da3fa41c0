"""The picture of coverage as one SVG file, without scripts or external parts, for light and dark pages. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from reconciler_engine.market.interval import Interval
from reconciler_engine.planning.coverage_picture import (
    Panel,
    Row,
    buckets,
    cells_of,
    instants,
    panels_of,
    runs_of_cells,
    states_in,
)
from reconciler_engine.planning.ledger import State

COLUMNS = 240
"""Largest number of buckets in a row."""

_CELLS_WIDTH = 720
_LETTER = 7.3
_ROW, _BAR = 20, 14
_MARGIN = 16
_HEAD = 26
_LEGEND = 120

# Okabe and Ito's colours, which colour-blind people can tell apart. Most states get a pattern, too.
_FILLS = {
    State.PRESENT: "#009e73",
    State.UNVERIFIED: "#009e73",
    State.MISSING: "#d55e00",
    State.SUSPECT: "#cc79a7",
    State.EMPTY: "#56b4e9",
    State.HALTED: "#e69f00",
    State.UNLISTED: "#8c959f",
    State.UNKNOWN: "#8c959f",
}
_STYLE = """
text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #1f2328; }
.paper { fill: #ffffff; }
.quiet { fill: #59636e; }
.track { fill: #eff2f5; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .paper { fill: #0d1117; }
  .quiet { fill: #9198a1; }
  .track { fill: #21262d; }
}
"""
_PATTERNS = {
    State.UNVERIFIED: '<path d="M1.5 0V6M4.5 0V6" stroke="{fill}" stroke-width="1.6"/>',
    State.SUSPECT: '<path d="M0 6L6 0M0 0L6 6" stroke="{fill}" stroke-width="1.6"/>',
    State.EMPTY: '<circle cx="3" cy="3" r="1.5" fill="{fill}"/>',
    State.HALTED: '<path d="M0 1.5H6M0 4.5H6" stroke="{fill}" stroke-width="1.6"/>',
    State.UNLISTED: '<path d="M0 3H6" stroke="{fill}" stroke-width="1.2"/>',
    State.UNKNOWN: '<path d="M-1 7L7 -1M-1 1L1 -1M5 7L7 5" stroke="{fill}" stroke-width="1.2"/>',
}


def draw_svg(rows: Sequence[Row], title: str) -> str:
    """Return a picture as an SVG document; each run of cells has a title that describes the run."""
    panels = panels_of(rows)
    label = _MARGIN + _LETTER * max((len(row.name) for row in rows), default=0) + 12
    note = _LETTER * max((len(row.note) for row in rows), default=0)
    states = states_in(rows)
    width = max(label + _CELLS_WIDTH + 12 + note + _MARGIN, label + _LEGEND * len(states) + _MARGIN)
    parts: list[str] = []
    top: float = _MARGIN + _HEAD
    for panel in panels:
        parts += _panel(panel, label, top)
        top += _HEAD + _ROW * len(panel.rows)
    parts += _legend(states, label, top + _BAR)
    height = top + _BAR + _ROW + _MARGIN
    patterns = (
        f'<pattern id="{state.value}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f"{drawing.format(fill=_FILLS[state])}</pattern>"
        for state, drawing in _PATTERNS.items()
    )
    size = f'width="{width:.0f}" height="{height:.0f}"'
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f"<defs>{''.join(patterns)}</defs>",
            f'<rect class="paper" {size}/>',
            f'<text x="{_MARGIN}" y="{_MARGIN + 10}">{escape(title)}</text>',
            *parts,
            "</svg>\n",
        )
    )


def _panel(panel: Panel, left: float, top: float) -> Iterator[str]:
    columns = panel.columns(COLUMNS)
    parts = buckets(panel.axis, columns)
    cell = _CELLS_WIDTH / columns
    first, last = instants(panel.axis)
    right = left + _CELLS_WIDTH
    yield f'<text class="quiet" x="{left:.1f}" y="{top + 14:.1f}">{first}</text>'
    yield f'<text class="quiet" x="{right:.1f}" y="{top + 14:.1f}" text-anchor="end">{last}</text>'
    for number, row in enumerate(panel.rows):
        y = top + _HEAD + _ROW * number
        baseline = y + _BAR - 3
        yield f'<text x="{_MARGIN}" y="{baseline:.1f}">{escape(row.name)}</text>'
        yield f'<rect class="track" x="{left:.1f}" y="{y:.1f}" width="{_CELLS_WIDTH}" height="{_BAR}"/>'
        for column, count, state in runs_of_cells(cells_of(row, panel.axis, columns)):
            if state is None:
                continue
            start, stop = instants(Interval(parts[column].start, parts[column + count - 1].stop))
            yield (
                f'<rect fill="{_fill(state)}" x="{left + column * cell:.2f}" y="{y:.1f}" '
                f'width="{count * cell:.2f}" height="{_BAR}">'
                f"<title>{escape(row.name)} {state.value}, {start} to {stop}</title></rect>"
            )
        yield f'<text class="quiet" x="{right + 12:.1f}" y="{baseline:.1f}">{escape(row.note)}</text>'


def _legend(states: Sequence[State], left: float, top: float) -> Iterator[str]:
    for number, state in enumerate(states):
        x = left + _LEGEND * number
        yield f'<rect fill="{_fill(state)}" x="{x:.1f}" y="{top:.1f}" width="{_BAR}" height="{_BAR}"/>'
        yield f'<text x="{x + _BAR + 6:.1f}" y="{top + _BAR - 3:.1f}">{state.value}</text>'


def _fill(state: State) -> str:
    return f"url(#{state.value})" if state in _PATTERNS else _FILLS[state]
