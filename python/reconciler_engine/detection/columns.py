"""Compute ends, tuples and Arrow tables from the columns of gaps, in pure Python; the native module is faster."""

from __future__ import annotations

import importlib
from array import array
from typing import Any


def gap_ends(starts: memoryview[int], counts: memoryview[int], step: int, /) -> memoryview[int]:
    """Return the last missing open time of each gap (int64, ms UTC)."""
    pairs = zip(starts, counts, strict=True)
    return memoryview(array("q", [start + (count - 1) * step for start, count in pairs])).toreadonly()


def gap_tuples(
    starts: memoryview[int], ends: memoryview[int], counts: memoryview[int], /
) -> list[tuple[int, int, int]]:
    """Return a tuple (start, end, count) for each gap."""
    return list(zip(starts.tolist(), ends.tolist(), counts.tolist(), strict=True))


def export_gaps(starts: memoryview[int], ends: memoryview[int], counts: memoryview[int], /) -> object:
    """Return a capsule with an Arrow stream of one table of gaps; needs pyarrow.

    Raises:
        ImportError: pyarrow is not installed.
    """
    return _table(starts, ends, counts).__arrow_c_stream__()


def export_gaps_schema() -> object:
    """Return a capsule with the Arrow schema of a table of gaps; needs pyarrow.

    Raises:
        ImportError: pyarrow is not installed.
    """
    empty = memoryview(array("q"))
    return _table(empty, empty, empty).schema.__arrow_c_schema__()


def _table(starts: memoryview[int], ends: memoryview[int], counts: memoryview[int]) -> Any:
    try:
        pyarrow: Any = importlib.import_module("pyarrow")
    except ModuleNotFoundError:
        raise ImportError("without the native module, Arrow export needs pyarrow: install it") from None
    columns = {"start": starts, "end": ends, "count": counts}
    return pyarrow.table({name: pyarrow.array(column, pyarrow.int64()) for name, column in columns.items()})
