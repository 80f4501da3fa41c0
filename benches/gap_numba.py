"""Numba's answers: compiled loops, with one thread and with all."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import numpy as np

Columns = tuple[Any, Any]


@cache
def _compiled_walks() -> tuple[Any, Any]:
    """Return a walk by one thread, and one by many that each take a part of the array."""
    numba: Any = importlib.import_module("numba")

    # Arrays that are replaced in the loop, as growing ones are, would be counted at each value: 32 ns instead of 1.
    @numba.njit(error_model="numpy")
    def walk(timestamps: Any, expected: int, stop: int, step: int, starts: Any, counts: Any) -> tuple[int, int]:
        found, width = 0, np.uint64(step)
        for value in timestamps:
            if value == expected:
                expected += step
                continue
            if value < expected or value >= stop:
                continue
            distance = np.uint64(value - expected)
            steps = distance // width
            if steps * width == distance:
                starts[found], counts[found] = expected, steps
                found += 1
                expected = value + step
        return found, expected

    @numba.njit(error_model="numpy", parallel=True)
    def walk_parts(timestamps: Any, start: int, stop: int, step: int, starts: Any, counts: Any, parts: int) -> Any:
        ends = np.empty(parts, np.int64)
        found = np.empty(parts, np.int64)
        size = len(timestamps) // parts + 1
        for part in numba.prange(parts):
            low, high = min(part * size, len(timestamps)), min((part + 1) * size, len(timestamps))
            expected, at = start, low
            while at > 0 and timestamps[at - 1] >= start:
                at -= 1
                if timestamps[at] < stop and (timestamps[at] - start) % step == 0:
                    expected = timestamps[at] + step
                    break
            # A value ends at most one gap.
            found[part], ends[part] = walk(
                timestamps[low:high], expected, stop, step, starts[low:high], counts[low:high]
            )
        return found, ends[-1], size

    return walk, walk_parts


def numba_walk(timestamps: Any, grid: range) -> Columns:
    """A compiled loop over sorted input, strangers allowed; room for every possible gap is cheap until it is used."""
    starts, counts = np.empty(len(timestamps) + 1, np.int64), np.empty(len(timestamps) + 1, np.int64)
    found, expected = _compiled_walks()[0](timestamps, grid.start, grid.stop, grid.step, starts, counts)
    if expected < grid.stop:
        starts[found], counts[found] = expected, (grid.stop - expected) // grid.step
        found += 1
    return starts[:found], counts[:found]


def numba_parallel(timestamps: Any, grid: range) -> Columns:
    """The same by all cores."""
    numba: Any = importlib.import_module("numba")
    starts, counts = np.empty(len(timestamps) + 1, np.int64), np.empty(len(timestamps) + 1, np.int64)
    parts = numba.get_num_threads()
    each, expected, size = _compiled_walks()[1](timestamps, grid.start, grid.stop, grid.step, starts, counts, parts)
    columns = [[column[at * size : at * size + found] for at, found in enumerate(each)] for column in (starts, counts)]
    if expected < grid.stop:
        columns[0].append(np.array([expected]))
        columns[1].append(np.array([(grid.stop - expected) // grid.step]))
    return np.concatenate(columns[0]), np.concatenate(columns[1])


@cache
def _compiled_presence() -> Any:
    numba: Any = importlib.import_module("numba")

    @numba.njit(error_model="numpy")
    def fill(timestamps: Any, start: int, step: int, present: Any) -> None:
        width, points = np.uint64(step), np.uint64(len(present))
        for value in timestamps:
            distance = np.uint64(value - start)
            index = distance // width
            if index < points and index * width == distance:
                present[index] = 1

    return fill


def numba_presence(timestamps: Any, grid: range) -> Columns:
    """Any input: the map filled by a compiled loop, its edges found by NumPy."""
    present = np.zeros(len(grid) + 2, np.int8)
    present[0] = present[-1] = 1
    _compiled_presence()(timestamps, grid.start, grid.step, present[1:-1])
    edges = np.flatnonzero(present[1:] != present[:-1])
    return grid.start + edges[::2] * grid.step, edges[1::2] - edges[::2]


def numba_sorted(timestamps: Any, grid: range) -> Columns:
    return numba_walk(np.sort(timestamps), grid)
