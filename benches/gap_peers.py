"""Who answers the same question otherwise, each as its best user would write it.

A peer takes the timestamps and the grid, and returns starts and counts. Those that compare neighbours need sorted
input without strangers; `peers_for` knows who answers which workload.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.gap_workloads import Workload

Columns = tuple[Any, Any]


def _from_jumps(timestamps: Any, grid: range, at: Any) -> Columns:
    """Gaps before the positions `at`, and at the ends of the grid."""
    before, after = timestamps[at - 1], timestamps[at]
    if timestamps[0] > grid.start:
        before, after = np.concatenate([[grid.start - grid.step], before]), np.concatenate([timestamps[:1], after])
    if timestamps[-1] < grid[-1]:
        before = np.concatenate([before, timestamps[-1:]])
        after = np.concatenate([after, [grid[-1] + grid.step]])
    return before + grid.step, (after - before) // grid.step - 1


def numpy_diff(timestamps: Any, grid: range) -> Columns:
    """The usual way."""
    return _from_jumps(timestamps, grid, np.flatnonzero(np.diff(timestamps) > grid.step) + 1)


def numpy_blocked(timestamps: Any, grid: range, block: int = 1 << 16) -> Columns:
    """The same, block by block in cache."""
    found = [np.empty(0, np.int64)]
    for at in range(0, len(timestamps) - 1, block):
        part = timestamps[at : at + block + 1]
        found.append(np.flatnonzero(part[1:] - part[:-1] > grid.step) + (at + 1))
    return _from_jumps(timestamps, grid, np.concatenate(found))


def numpy_safe(timestamps: Any, grid: range) -> Columns:
    """Sorted input with strangers: filter, then differences."""
    low, high = np.searchsorted(timestamps, [grid.start, grid[-1] + 1])
    inside = timestamps[low:high]
    inside = inside[(inside - grid.start) % grid.step == 0]
    if not len(inside):
        return np.array([grid.start]), np.array([len(grid)])
    return numpy_diff(inside, grid)


def numpy_presence(timestamps: Any, grid: range) -> Columns:
    """Any input: a map of what is present."""
    index, rest = np.divmod(timestamps - grid.start, grid.step)
    missing = np.ones(len(grid) + 2, np.int8)
    missing[0] = missing[-1] = 0
    missing[1 + index[(rest == 0) & (index >= 0) & (index < len(grid))]] = 0
    edges = np.flatnonzero(np.diff(missing))
    return grid.start + edges[::2] * grid.step, edges[1::2] - edges[::2]


def pandas_diff(timestamps: Any, grid: range) -> Columns:
    pd: Any = importlib.import_module("pandas")
    distances = pd.Series(timestamps).diff().to_numpy()
    return _from_jumps(timestamps, grid, np.flatnonzero(distances > grid.step))


def polars_diff(timestamps: Any, grid: range) -> Columns:
    pl: Any = importlib.import_module("polars")
    at = (pl.Series(timestamps).diff() > grid.step).arg_true().to_numpy()
    return _from_jumps(timestamps, grid, at)


def pyarrow_diff(timestamps: Any, grid: range) -> Columns:
    pa: Any = importlib.import_module("pyarrow")
    pc: Any = importlib.import_module("pyarrow.compute")
    column = pa.array(timestamps)
    distances = pc.subtract(column.slice(1), column.slice(0, len(column) - 1))
    at = pc.indices_nonzero(pc.greater(distances, grid.step)).to_numpy().astype(np.int64) + 1
    return _from_jumps(timestamps, grid, at)


@cache
def _compiled_walk() -> Any:
    numba: Any = importlib.import_module("numba")

    # Arrays that are replaced in the loop, as growing ones are, would be counted at each value: 32 ns instead of 1.
    @numba.njit(error_model="numpy")
    def walk(timestamps: Any, start: int, step: int, points: int, starts: Any, counts: Any) -> int:
        stop = start + points * step
        found, expected, width = 0, start, np.uint64(step)
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
        if expected < stop:
            starts[found], counts[found] = expected, (stop - expected) // step
            found += 1
        return found

    return walk


def numba_walk(timestamps: Any, grid: range) -> Columns:
    """A compiled loop over sorted input, strangers allowed; room for every possible gap is cheap until it is used."""
    most = min(len(timestamps) + 1, len(grid))
    starts, counts = np.empty(most, np.int64), np.empty(most, np.int64)
    found = _compiled_walk()(timestamps, grid.start, grid.step, len(grid), starts, counts)
    return starts[:found], counts[:found]


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


def python_set(timestamps: Any, grid: range) -> Columns:
    """As it is first written in any language: ask a set for every expected instant. For sizes up to 1e7."""
    present = set(timestamps.tolist())
    starts: list[int] = []
    counts: list[int] = []
    open_run = False
    for instant in grid:
        if instant in present:
            open_run = False
        elif open_run:
            counts[-1] += 1
        else:
            starts.append(instant)
            counts.append(1)
            open_run = True
    return starts, counts


def peers_for(workload: Workload) -> dict[str, Callable[[Any, range], Columns]]:
    """The peers that are installed and answer this workload rightly."""
    have = {name for name in ("numba", "pandas", "polars", "pyarrow") if importlib.util.find_spec(name)}
    peers: dict[str, Callable[[Any, range], Columns]]
    if workload.ordered:
        peers = {
            "numpy_diff": numpy_diff,
            "numpy_blocked": numpy_blocked,
            "pandas": pandas_diff,
            "polars": polars_diff,
            "pyarrow": pyarrow_diff,
            "numba": numba_walk,
        }
    elif workload.name in ("dirty", "offgrid"):
        peers = {"numpy_safe": numpy_safe, "numpy_presence": numpy_presence, "numba": numba_walk}
    else:
        peers = {"numpy_presence": numpy_presence, "numba_presence": numba_presence, "numba_sorted": numba_sorted}
    return {name: peer for name, peer in peers.items() if name.split("_")[0] in have | {"numpy"}}
