"""The int64 values of pandas' Series and indexes; pandas itself is never imported."""

from __future__ import annotations

from typing import Any

NULLABLE_INT64 = "Int64"


def is_pandas(values: object) -> bool:
    """Whether `values` is a column of pandas in its own memory; columns in Arrow's memory lend that themselves."""
    return (
        type(values).__module__.partition(".")[0] == "pandas"
        # A single Timestamp has `to_numpy`, too.
        and hasattr(values, "to_numpy")
        and hasattr(values, "__len__")
        and not str(getattr(values, "dtype", "")).endswith("[pyarrow]")
    )


def pandas_values(name: str, values: Any) -> object:
    """Return the NumPy array behind a Series or index: of int64, or an int64 view of instants in ms.

    Raises:
        TypeError: The column is of another type or unit; the message names the conversion.
        ValueError: An integer is null; the message has its index. NaT is the least int64, an instant of no grid.
    """
    if getattr(values, "ndim", 1) != 1:
        raise TypeError(f"{name} is a {type(values).__name__}; it must be one column of it")
    kind = str(values.dtype)
    accessor = ".dt" if hasattr(values, "dt") else ""
    if kind.startswith("period["):
        # Integers of periods count months, days or hours.
        raise TypeError(f"{name} is {kind}; convert it with {accessor}.to_timestamp(){accessor}.as_unit('ms')")
    if kind.startswith("datetime64["):
        unit = kind.removeprefix("datetime64[").partition(",")[0].rstrip("]")
        if unit != "ms":
            raise TypeError(f"{name} is {kind}; convert it with {accessor}.as_unit('ms')")
        # The array below a Series, with or without a time zone, counts in UTC.
        return values.array.asi8
    if kind == NULLABLE_INT64:
        nulls = values.isna()
        if nulls.any():
            raise ValueError(f"{name}[{int(nulls.argmax())}] is null; drop it")
        return values.to_numpy("int64")
    return values.to_numpy()
