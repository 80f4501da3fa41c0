"""Named workloads for gap detection, and the peers that answer the same question."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

Columns = tuple[Any, Any]

START, STEP = 1_577_836_800_000, 60_000
SEED = 20240601


@dataclass(frozen=True)
class Workload:
    """Timestamps and the grid they are held against; `ordered` if sorted and without strangers."""

    name: str
    timestamps: np.ndarray[Any, Any]
    grid: range
    ordered: bool
    unique: bool = True


def _grid(points: int) -> range:
    return range(START, START + points * STEP, STEP)


def _full(points: int) -> np.ndarray[Any, Any]:
    return START + STEP * np.arange(points, dtype=np.int64)


def _without(points: int, runs: list[tuple[int, int]]) -> np.ndarray[Any, Any]:
    keep = np.ones(points, dtype=bool)
    for first, stop in runs:
        keep[first:stop] = False
    return _full(points)[keep]


def _rand(points: int, share: float) -> np.ndarray[Any, Any]:
    return _full(points)[np.random.default_rng(SEED).random(points) >= share]


def _dirty(points: int) -> np.ndarray[Any, Any]:
    """5 % out of range, 1 % twice, 1 % off the grid, 1 % missing; sorted."""
    random = np.random.default_rng(SEED)
    full = _full(points)
    kept = full[random.random(points) >= 0.01]
    shifted = np.where(random.random(len(kept)) < 0.01, kept + 1 + random.integers(0, STEP - 1, len(kept)), kept)
    twice = shifted[random.random(len(shifted)) < 0.01]
    outside = points // 40
    before = START - STEP * np.arange(1, outside + 1, dtype=np.int64)
    behind = START + STEP * (points + np.arange(outside, dtype=np.int64))
    return np.sort(np.concatenate([before, shifted, twice, behind]))


def _gaps10(points: int) -> np.ndarray[Any, Any]:
    width = max(points // 10_000, 1)
    inner = [(points * k // 9, points * k // 9 + width) for k in range(1, 9)]
    return _without(points, [(0, width), *inner, (points - width, points)])


def _pages(points: int) -> np.ndarray[Any, Any]:
    full = _full(points)
    return np.concatenate([full[at : at + 1000] for at in range(0, points, 1000)][::-1])


def _shuffled(points: int) -> np.ndarray[Any, Any]:
    full = _full(points)
    np.random.default_rng(SEED).shuffle(full)
    return full


MAKERS: dict[str, Callable[[int], Workload]] = {
    "none": lambda n: Workload("none", _full(n), _grid(n), ordered=True),
    "gaps10": lambda n: Workload("gaps10", _gaps10(n), _grid(n), ordered=True),
    "rand0.1": lambda n: Workload("rand0.1", _rand(n, 0.001), _grid(n), ordered=True),
    "rand10": lambda n: Workload("rand10", _rand(n, 0.1), _grid(n), ordered=True),
    "dups": lambda n: Workload("dups", np.repeat(_full(n // 2), 2), _grid(n // 2), ordered=True, unique=False),
    "alt": lambda n: Workload("alt", _full(n)[::2].copy(), _grid(n), ordered=True),
    "dirty": lambda n: Workload("dirty", _dirty(n), _grid(n), ordered=False),
    "offgrid": lambda n: Workload("offgrid", _full(n) + 1, _grid(n), ordered=False),
    "pages": lambda n: Workload("pages", _pages(n), _grid(n), ordered=False),
    "shuffled": lambda n: Workload("shuffled", _shuffled(n), _grid(n), ordered=False),
    "reversed": lambda n: Workload("reversed", _full(n)[::-1].copy(), _grid(n), ordered=False),
}


def _from_edges(grid: range, before: Any, after: Any) -> Columns:
    """Gaps from neighbours (before, after) that are more than a step apart, the grid's ends included."""
    starts = before + grid.step
    return starts, (after - before) // grid.step - 1


def _framed(grid: range, timestamps: Any) -> tuple[Any, Any]:
    return grid.start - grid.step - timestamps[0], grid[-1] + grid.step - timestamps[-1]


def numpy_diff(timestamps: Any, grid: range) -> Columns:
    """The usual way; sorted input on the grid only."""
    distances = np.diff(timestamps, prepend=grid.start - grid.step, append=grid[-1] + grid.step)
    at = np.flatnonzero(distances > grid.step)
    counts = distances[at] // grid.step - 1
    before = (
        np.concatenate([[grid.start - grid.step], timestamps])[at] if len(at) and at[0] == 0 else timestamps[at - 1]
    )
    return before + grid.step, counts


def numpy_blocked(timestamps: Any, grid: range, block: int = 1 << 16) -> Columns:
    """The same, block by block in cache."""
    found = []
    for at in range(0, len(timestamps) - 1, block):
        part = timestamps[at : at + block + 1]
        wide = np.flatnonzero(part[1:] - part[:-1] > grid.step)
        if len(wide):
            found.append(wide + at)
    wide = np.concatenate(found) if found else np.empty(0, np.int64)
    before, after = timestamps[wide], timestamps[wide + 1]
    if timestamps[0] > grid.start:
        before = np.concatenate([[grid.start - grid.step], before])
        after = np.concatenate([timestamps[:1], after])
    if timestamps[-1] < grid[-1]:
        before = np.concatenate([before, timestamps[-1:]])
        after = np.concatenate([after, [grid[-1] + grid.step]])
    return _from_edges(grid, before, after)


def numpy_presence(timestamps: Any, grid: range) -> Columns:
    """Any input: a map of what is present."""
    index, rest = np.divmod(timestamps - grid.start, grid.step)
    missing = np.ones(len(grid) + 2, np.int8)
    missing[0] = missing[-1] = 0
    missing[1 + index[(rest == 0) & (index >= 0) & (index < len(grid))]] = 0
    edges = np.flatnonzero(np.diff(missing))
    return grid.start + edges[::2] * grid.step, edges[1::2] - edges[::2]


def numpy_safe(timestamps: Any, grid: range) -> Columns:
    """Sorted input with strangers: filter, then differences."""
    low, high = np.searchsorted(timestamps, [grid.start, grid[-1] + 1])
    inside = timestamps[low:high]
    inside = inside[(inside - grid.start) % grid.step == 0]
    if not len(inside):
        return np.array([grid.start]), np.array([len(grid)])
    return numpy_diff(inside, grid)


def pandas_diff(timestamps: Any, grid: range) -> Columns:
    pd: Any = importlib.import_module("pandas")
    series = pd.Series(timestamps)
    distances = series.diff().to_numpy()
    at = np.flatnonzero(distances > grid.step)
    return numpy_edges(timestamps, grid, at)


def numpy_edges(timestamps: Any, grid: range, at: Any) -> Columns:
    before, after = timestamps[at - 1], timestamps[at]
    if timestamps[0] > grid.start:
        before, after = np.concatenate([[grid.start - grid.step], before]), np.concatenate([timestamps[:1], after])
    if timestamps[-1] < grid[-1]:
        before = np.concatenate([before, timestamps[-1:]])
        after = np.concatenate([after, [grid[-1] + grid.step]])
    return _from_edges(grid, before, after)


def polars_diff(timestamps: Any, grid: range) -> Columns:
    pl: Any = importlib.import_module("polars")
    series = pl.Series(timestamps)
    at = (series.diff() > grid.step).arg_true().to_numpy()
    return numpy_edges(timestamps, grid, at)


def pyarrow_diff(timestamps: Any, grid: range) -> Columns:
    pa: Any = importlib.import_module("pyarrow")
    pc: Any = importlib.import_module("pyarrow.compute")
    column = pa.array(timestamps)
    distances = pc.subtract(column.slice(1), column.slice(0, len(column) - 1))
    at = pc.indices_nonzero(pc.greater(distances, grid.step)).to_numpy().astype(np.int64) + 1
    return numpy_edges(timestamps, grid, at)


_compiled: dict[str, Any] = {}


def numba_walk(timestamps: Any, grid: range) -> Columns:
    """A compiled loop over sorted input; two growing passes: count, then fill."""
    if "walk" not in _compiled:
        numba: Any = importlib.import_module("numba")

        @numba.njit(cache=False)
        def walk(values: Any, start: int, step: int, points: int) -> Any:
            stop = start + points * step
            starts, counts = np.empty(1024, np.int64), np.empty(1024, np.int64)
            found, expected = 0, start
            for value in values:
                if value < expected or value >= stop:
                    continue
                if value != expected:
                    distance = value - expected
                    if distance % step != 0:
                        continue
                    if found == len(starts):
                        starts = np.concatenate((starts, np.empty(found, np.int64)))
                        counts = np.concatenate((counts, np.empty(found, np.int64)))
                    starts[found], counts[found] = expected, distance // step
                    found += 1
                expected = value + step
            if expected < stop:
                if found == len(starts):
                    starts = np.concatenate((starts, np.empty(1, np.int64)))
                    counts = np.concatenate((counts, np.empty(1, np.int64)))
                starts[found], counts[found] = expected, (stop - expected) // step
                found += 1
            return starts[:found], counts[:found]

        _compiled["walk"] = walk
    starts, counts = _compiled["walk"](timestamps, grid.start, grid.step, len(grid))
    return starts, counts


def numba_sorted(timestamps: Any, grid: range) -> Columns:
    return numba_walk(np.sort(timestamps), grid)


def peers_for(workload: Workload) -> dict[str, Callable[[Any, range], Columns]]:
    """The peers that are installed and answer this workload rightly."""
    have = {name for name in ("numba", "pandas", "polars", "pyarrow") if importlib.util.find_spec(name)}
    if workload.ordered:
        peers: dict[str, Callable[[Any, range], Columns]] = {
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
        peers = {"numpy_presence": numpy_presence, "numba_sorted": numba_sorted}
    return {name: peer for name, peer in peers.items() if name.split("_")[0] in have | {"numpy"}}
