"""Other programs that answer the same question, each as its best user would write it.

A peer takes the timestamps and the grid, and returns starts and counts. Those that compare neighbours need sorted
input without strangers; `peers_for` returns those that answer a workload.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
from benches.gap_numba import Columns, numba_parallel, numba_presence, numba_sorted, numba_walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.gap_workloads import Workload


def _from_jumps(timestamps: Any, grid: range, at: Any) -> Columns:
    """Gaps before the positions `at`, and at the ends of the grid."""
    return _from_pairs(timestamps, grid, timestamps[at - 1], timestamps[at])


def _from_pairs(timestamps: Any, grid: range, before: Any, after: Any) -> Columns:
    """Gaps between neighbours that are more than a step apart, and at the ends of the grid."""
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


def pyarrow_pairwise(timestamps: Any, grid: range) -> Columns:
    pc: Any = importlib.import_module("pyarrow.compute")
    distances = pc.pairwise_diff(_arrow(timestamps)["t"].chunk(0))
    at = pc.indices_nonzero(pc.greater(distances, grid.step)).to_numpy().astype(np.int64)
    return _from_jumps(timestamps, grid, at)


def polars_lazy(timestamps: Any, grid: range) -> Columns:
    pl: Any = importlib.import_module("polars")
    plan = pl.LazyFrame({"t": timestamps}).with_columns(before=pl.col("t").shift())
    found = plan.filter(pl.col("t") - pl.col("before") > grid.step).collect(engine="streaming")
    return _from_pairs(timestamps, grid, found["before"].to_numpy(), found["t"].to_numpy())


def duckdb_lag(timestamps: Any, grid: range) -> Columns:
    duckdb: Any = importlib.import_module("duckdb")
    connection = duckdb.connect()
    connection.register("stored", _arrow(timestamps))
    found = connection.execute(_neighbours("lag(t) OVER ()", "stored", grid.step)).fetchnumpy()
    return _from_pairs(timestamps, grid, found["before"], found["t"])


def datafusion_lag(timestamps: Any, grid: range) -> Columns:
    datafusion: Any = importlib.import_module("datafusion")
    context = datafusion.SessionContext()
    context.register_record_batches("stored", [_arrow(timestamps).to_batches()])
    # Without an order its threads hand the rows over as they come.
    query = _neighbours("lag(t) OVER (ORDER BY t)", "stored", grid.step) + " ORDER BY t"
    found = context.sql(query).to_arrow_table()
    return _from_pairs(timestamps, grid, found["before"].to_numpy(), found["t"].to_numpy())


def chdb_lag(timestamps: Any, grid: range) -> Columns:
    chdb: Any = importlib.import_module("chdb")
    stored = _arrow(timestamps)  # noqa: F841  # the query finds it by its name
    # One thread keeps the order without a sort, which takes three times as long.
    lag = "lagInFrame(toNullable(t)) OVER (ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)"
    query = _neighbours(lag, "Python(stored)", grid.step) + " SETTINGS max_threads = 1"
    found = chdb.query(query, "ArrowTable")
    return _from_pairs(timestamps, grid, found["before"].to_numpy(), found["t"].to_numpy())


def _arrow(timestamps: Any) -> Any:
    """A table of one column `t` that shares the memory of the array."""
    pa: Any = importlib.import_module("pyarrow")
    return pa.table({"t": pa.array(timestamps)})


def _neighbours(lag: str, table: str, step: int) -> str:
    return f"SELECT before, t FROM (SELECT t, {lag} AS before FROM {table}) WHERE t - before > {step}"


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
    peers: dict[str, Callable[[Any, range], Columns]]
    if workload.ordered:
        peers = {
            "numpy_diff": numpy_diff,
            "numpy_blocked": numpy_blocked,
            "pandas": pandas_diff,
            "polars": polars_diff,
            "polars_lazy": polars_lazy,
            "pyarrow": pyarrow_diff,
            "pyarrow_pairwise": pyarrow_pairwise,
            "duckdb": duckdb_lag,
            "datafusion": datafusion_lag,
            "chdb": chdb_lag,
            "numba": numba_walk,
            "numba_parallel": numba_parallel,
        }
    elif workload.name in ("dirty", "offgrid"):
        peers = {
            "numpy_safe": numpy_safe,
            "numpy_presence": numpy_presence,
            "numba": numba_walk,
            "numba_parallel": numba_parallel,
        }
    else:
        peers = {"numpy_presence": numpy_presence, "numba_presence": numba_presence, "numba_sorted": numba_sorted}
    have = {name: importlib.util.find_spec(name.split("_")[0]) for name in peers}
    return {name: peer for name, peer in peers.items() if have[name]}
