"""The picture of coverage: which cells it has, what they show, and that it is whole in every form."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.cli.coverage.svg_picture import draw_svg
from reconciler_engine.cli.coverage.terminal_picture import LEAST_COLUMNS, PLAIN_SIGNS, SIGNS, draw
from reconciler_engine.market.interval import Interval
from reconciler_engine.planning.coverage_picture import WORST_FIRST, Panel, Row, buckets, cells_of, panels_of
from reconciler_engine.planning.ledger import State
from reconciler_engine.planning.states import StateInterval

MINUTE = 60_000
T0 = 1_767_225_600_000  # 2026-01-01T00:00Z
_ODD = {State.UNLISTED: "l", State.UNVERIFIED: "v"}
LETTERS = {_ODD.get(state, state.value[0]): state for state in State}


def row(tale, *, name="BTC-USD:1m", step=MINUTE, note="", first=0):
    """A series whose slots are in the states of these letters; a blank leaves its slot out."""
    at = T0 + first * step
    runs = [StateInterval(at + n * step, at + (n + 1) * step, LETTERS[one]) for n, one in enumerate(tale) if one != " "]
    return Row(name, Interval(at, at + len(tale) * step), step, runs, note)


def drawn(tale, columns):
    one = row(tale)
    shown = cells_of(one, one.window, columns)
    return "".join(
        " " if cell is None else next(sign for sign, state in LETTERS.items() if state is cell) for cell in shown
    )


@pytest.mark.parametrize(
    ("tale", "columns", "cells"),
    [
        ("pmehlsuv ", 9, "pmehlsuv "),
        ("pmpp", 8, "ppmmpppp"),
        ("ppmpppppp", 3, "mpp"),
        ("mspu", 1, "m"),
        ("sulehp", 1, "s"),
        ("ulehp", 1, "u"),
        ("lehhp", 1, "h"),
        ("epppppp", 1, "p"),
        ("eeeppp", 1, "e"),
        ("lvvp", 1, "v"),
        ("eppppppeeeee", 2, "pe"),
        ("p ", 1, "p"),
        ("  ", 1, " "),
        ("ppp", 2, "pp"),
        ("pmp", 2, "mm"),
    ],
)
def test_a_bucket_shows_its_gravest_trouble_else_what_most_of_it_is(tale, columns, cells):
    assert drawn(tale, columns) == cells


def test_every_state_has_its_rank():
    assert set(WORST_FIRST) == set(State)


@given(tale=st.text("pmehlsu ", min_size=1, max_size=40), columns=st.integers(1, 60))
def test_nothing_bad_is_lost_and_nothing_made_up(tale, columns):
    one = row(tale)
    cells = cells_of(one, one.window, columns)
    assert len(cells) == columns
    for bucket, cell in zip(buckets(one.window, columns), cells, strict=True):
        inside = [run for run in one.runs if run.start < bucket.stop and bucket.start < run.stop]
        shares = {run.state: 0 for run in inside}
        for run in inside:
            shares[run.state] += min(run.stop, bucket.stop) - max(run.start, bucket.start)
        troubles = [state for state in WORST_FIRST[:3] if state in shares]
        most = sorted(shares, key=lambda state: (-shares[state], WORST_FIRST.index(state)))
        assert cell == [*troubles, *most, None][0]
    assert (State.MISSING in cells) is ("m" in tale)


@given(length=st.integers(1, 1_000), columns=st.integers(1, 200))
def test_buckets_cut_an_axis_without_a_rest(length, columns):
    axis = Interval(T0, T0 + length * MINUTE)
    parts = buckets(axis, columns)
    assert (parts[0].start, parts[-1].stop, len(parts)) == (axis.start, axis.stop, columns)
    assert all(one.stop == other.start for one, other in pairwise(parts))
    sizes = {part.stop - part.start for part in parts}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("bars", "room", "columns"), [(3, 64, 63), (64, 64, 64), (65, 64, 64), (1, 7, 7), (40, 64, 40)]
)
def test_bars_are_equally_wide_where_there_is_room(bars, room, columns):
    one = row("p" * bars)
    assert Panel(one.window, [one]).columns(room) == columns


def test_long_timeframes_have_an_axis_of_their_own():
    minutes, days = row("p" * 360), row("ppp", name="BTC-USD:1d", step=1_440 * MINUTE, first=-3)
    later = row("p" * 72, name="BTC-USD:5m", step=5 * MINUTE, first=1)
    panels = panels_of([days, minutes, later])
    assert [[one.name for one in panel.rows] for panel in panels] == [["BTC-USD:1m", "BTC-USD:5m"], ["BTC-USD:1d"]]
    assert panels[0].axis == Interval(T0, T0 + 365 * MINUTE)


def test_a_terminal_gets_a_line_a_series_an_axis_and_a_legend():
    rows = [row("ppmm" * 5, note="10 missing, 1 request"), row("el" * 10, name="A-USD:1m", note="complete")]
    assert draw(rows, 76, coloured=False) == [
        "            2026-01-01 00:00               00:20 UTC",
        "BTC-USD:1m  ████XXXX████XXXX████XXXX████XXXX████XXXX  10 missing, 1 request",
        "A-USD:1m    ··--··--··--··--··--··--··--··--··--··--  complete",
        "            X missing  · empty  - unlisted  █ present",
    ]


def without_colour(line):
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


def test_colour_adds_nothing_but_colour():
    rows = [row("pmehlsu "), row("ppppmmmm", name="ETH-USD:1m")]
    coloured = draw(rows, 60, coloured=True)
    assert [without_colour(line) for line in coloured] == draw(rows, 60, coloured=False)
    assert all("\x1b" in line for line in coloured[1:])
    assert all(line.count("\x1b[0m") * 2 == line.count("\x1b[") for line in coloured)


@pytest.mark.parametrize("signs", [SIGNS, PLAIN_SIGNS])
def test_states_are_told_apart_without_colour(signs):
    assert set(signs) == {*State, None}
    assert len(set(signs.values())) == len(signs)
    assert all(len(sign) == 1 for sign in signs.values())


def test_ascii_is_ascii():
    assert all(line.isascii() for line in draw([row("pmehlsu ")], 60, coloured=True, ascii_only=True))


@pytest.mark.parametrize("width", [1, 40, 80, 200])
def test_lines_fit_the_terminal_or_keep_their_least(width):
    rows = [row("p" * 500, note="3 missing"), row("m" * 500, name="LONGER-USD:1m")]
    lines = draw(rows, width, coloured=False)
    least = len("LONGER-USD:1m") + 2 + LEAST_COLUMNS + 2 + len("3 missing")
    assert max(map(len, lines[1:3])) <= max(width, least)


def test_nothing_is_drawn_of_nothing():
    assert draw([], 80, coloured=True) == []
    assert ET.fromstring(draw_svg([], "none")).tag.endswith("svg")


def test_an_svg_is_well_formed_complete_and_safe():
    rows = [row("ppmm", name='<A&"B">', note="2 < 3"), row("su h", name="B-USD:1m")]
    text = draw_svg(rows, "Coverage <now>")
    root = ET.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    said = [title.text for title in root.iter(f"{space}title")]
    assert said[0] == "Coverage <now>"
    assert said[1:] == [
        '<A&"B"> present, 2026-01-01 00:00 to 00:02 UTC',
        '<A&"B"> missing, 2026-01-01 00:02 to 00:04 UTC',
        "B-USD:1m suspect, 2026-01-01 00:00 to 00:01 UTC",
        "B-USD:1m unknown, 2026-01-01 00:01 to 00:02 UTC",
        "B-USD:1m halted, 2026-01-01 00:03 to 00:04 UTC",
    ]
    words = [one.text for one in root.iter(f"{space}text")]
    assert {"missing", "suspect", "unknown", "halted", "present", "2 < 3"} <= set(words)
    assert "prefers-color-scheme: dark" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    patterns = {one.get("id") for one in root.iter(f"{space}pattern")}
    assert set(re.findall(r"url\(#(\w+)\)", text)) <= patterns


def test_cells_of_an_svg_fill_their_row():
    root = ET.fromstring(draw_svg([row("pm" * 50)], "whole"))
    cells = [
        one for one in root.iter() if one.find("{http://www.w3.org/2000/svg}title") is not None and one.tag != root.tag
    ]
    assert sum(float(one.get("width") or 0) for one in cells) == pytest.approx(720, abs=2)
