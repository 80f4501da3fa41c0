"""Cost of bringing values in and gaps out, beside the ways there are without us."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from benches.gap_peers import python_set
from benches.gap_workloads import MAKERS

from reconciler_engine.detection import Gaps, detect_gaps

if TYPE_CHECKING:
    from collections.abc import Callable

    Runners = dict[str, Callable[[], Any]]


def gaps_as_columns(items: int) -> Runners:
    """From an answer of so many gaps to NumPy arrays that share its memory."""
    gaps = _gaps(items)

    def columns() -> Any:
        return np.asarray(gaps.starts), np.asarray(gaps.counts)

    copies = [np.array(column) for column in (gaps.starts, gaps.counts)]
    assert [column.tolist() for column in columns()] == [column.tolist() for column in copies]
    return {"ours": columns, "copies": lambda: [np.array(column) for column in (gaps.starts, gaps.counts)]}


def gaps_as_tuples(items: int) -> Runners:
    """To a list of plain tuples.

    `floor` is the interpreter's own loop of the same C calls, a tuple and three ints an item: `struct.iter_unpack`
    over rows that are already interleaved. Nothing needs a compiler.
    """
    gaps = _gaps(items)
    columns = gaps.starts, gaps.ends, gaps.counts
    rows = np.stack([np.asarray(column) for column in columns], axis=1).tobytes()
    row = struct.Struct("=qqq")
    runners: Runners = {
        "ours": gaps.to_list,
        "floor": lambda: list(row.iter_unpack(rows)),
        "zip": lambda: list(zip(*(column.tolist() for column in columns), strict=True)),
    }
    assert runners["ours"]() == runners["floor"]() == runners["zip"]()
    return runners


def list_as_input(items: int) -> Runners:
    """From a list of int: our whole answer beside NumPy's conversion alone."""
    workload = MAKERS["none"](items)
    numbers = workload.timestamps.tolist()
    assert not detect_gaps(numbers, workload.grid)
    return {"ours": lambda: detect_gaps(numbers, workload.grid), "np.array": lambda: np.array(numbers, np.int64)}


def set_of_present(items: int) -> Runners:
    """As it is first written: a set of what is present, asked for every expected instant."""
    workload = MAKERS["gaps10"](items)
    gaps = detect_gaps(workload.timestamps, workload.grid)
    starts, counts = python_set(workload.timestamps, workload.grid)
    assert (starts, counts) == (list(gaps.starts), list(gaps.counts))
    return {
        "ours": lambda: detect_gaps(workload.timestamps, workload.grid),
        "set": lambda: python_set(workload.timestamps, workload.grid),
    }


def _gaps(items: int) -> Gaps:
    workload = MAKERS["alt"](2 * items)
    return detect_gaps(workload.timestamps, workload.grid)


BOUNDARY: dict[str, Callable[[int], Runners]] = {
    "gaps_as_columns": gaps_as_columns,
    "gaps_as_tuples": gaps_as_tuples,
    "list_as_input": list_as_input,
    "set_of_present": set_of_present,
}
