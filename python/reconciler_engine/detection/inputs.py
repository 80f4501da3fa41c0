"""Convert inputs to int64 milliseconds, refuse other types with helpful errors, and check grids."""

from __future__ import annotations

import operator
import sys
from array import array
from collections.abc import Iterable
from typing import Any

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1

# Format codes of `struct` for a signed 64-bit integer in this machine's byte order.
_NATIVE_INT64 = frozenset({"q", "@q", "=q", ("<" if sys.byteorder == "little" else ">") + "q"}) | (
    {"l", "@l"} if array("l").itemsize == 8 else set()  # noqa: PLR2004  # bytes of an int64
)
_DATETIME_MS = "datetime64[ms]"


def int64_view(name: str, values: object) -> memoryview[int]:
    """Return `values` as a contiguous memoryview of int64; arrays are not copied.

    Args:
        name: The parameter's name, for messages.
        values: An int64 buffer, a NumPy `datetime64[ms]` array, a Series of pandas or polars, an Arrow array or
            stream of int64 or timestamp[ms], or an iterable of int.

    Raises:
        TypeError: `values` is of another type; the message names the conversion.
        ValueError: A value exceeds int64, is null or is masked; the message contains its index.
    """
    if isinstance(values, str):
        raise TypeError(f"{name} is a str; it must be an int64 array or an iterable of int (ms)")
    if is_pandas(values):
        values = pandas_values(name, values)
    if is_masked(values):
        _refuse_masked(name, values)
    values = _physical(name, values)
    try:
        view = memoryview(values)  # type: ignore[arg-type]  # asking is the check
    except TypeError:
        lent = _from_arrow(name, values)
        return _from_iterable(name, values) if lent is None else lent
    except (BufferError, ValueError) as refusal:
        raise TypeError(f"{name} lends no int64 buffer ({refusal}); convert it with .astype('int64')") from None
    return _checked(name, view)


def is_masked(values: object) -> bool:
    """Whether `values` is a masked array of NumPy. Its buffer would expose masked values as well."""
    return hasattr(values, "_mask")


def _refuse_masked(name: str, values: Any) -> None:
    if values.mask.any():
        raise ValueError(f"{name}[{int(values.mask.argmax())}] is masked; drop it with .compressed()")


def _from_arrow(name: str, values: Any) -> memoryview[int] | None:
    """Return the values of an Arrow producer; None for other types."""
    if not (hasattr(type(values), "__arrow_c_array__") or hasattr(type(values), "__arrow_c_stream__")):
        return None
    # Imported here because it loads ctypes, which the other paths do not need.
    from reconciler_engine.detection.arrow import array_view, stream_view  # noqa: PLC0415

    if hasattr(values, "__arrow_c_array__"):
        return array_view(name, values)
    return stream_view(name, values)


def _physical(name: str, values: object) -> object:
    """Return the int64 view of a `datetime64[ms]` array; other values unchanged."""
    unit = str(getattr(values, "dtype", ""))
    if unit.startswith("timedelta64"):
        raise TypeError(f"{name} is {unit}, durations; it must be instants (ms)")
    if unit == "object" and _holds_dates(values):
        raise TypeError(f"{name} is an array of dates; convert it with .astype('{_DATETIME_MS}')")
    if not unit.startswith("datetime64") or not hasattr(values, "view"):
        return values
    if unit != _DATETIME_MS:
        raise TypeError(f"{name} is {unit}; convert it with .astype('{_DATETIME_MS}')")
    return values.view("int64")


def _holds_dates(values: Any) -> bool:
    return values.size > 0 and hasattr(values.flat[0], "isoformat")


def _checked(name: str, view: memoryview) -> memoryview[int]:
    if view.ndim != 1:
        raise TypeError(f"{name} has {view.ndim} dimensions; it must have one: use .ravel()")
    if view.format not in _NATIVE_INT64:
        raise TypeError(f"{name} is an array of {_described(view)}; it must be int64: convert it with .astype('int64')")
    if not len(view):
        # The stride of an empty array is irrelevant: memoryview calls it strided, the C interface contiguous.
        return memoryview(array("q")).toreadonly()
    if not view.c_contiguous:
        raise TypeError(f"{name} is strided; it must be contiguous: use .copy()")
    return view if view.format == "q" else view.cast("B").cast("q")


def _described(view: memoryview) -> str:
    """Return the name of a buffer's type: `float64`, `int32`, `int64 in foreign byte order`, `format 'O'`."""
    letter = view.format[-1:]
    if view.format == "?":
        return "bool"
    kind = "float" if letter in "efd" else "int" if letter in "bhilqn" else "uint" if letter in "BHILQN" else ""
    if not kind or len(view.format) > 2:  # noqa: PLR2004  # byte order and letter
        return f"format {view.format!r}"
    foreign = " in foreign byte order" if view.format[0] in "<>!" and view.itemsize > 1 else ""
    return f"{kind}{8 * view.itemsize}{foreign}"


def _from_iterable(name: str, values: object) -> memoryview[int]:
    if not isinstance(values, Iterable):
        raise TypeError(f"{name} is {type(values).__name__}; it must be an int64 array or an iterable of int (ms)")
    numbers = array("q", (_int64(name, index, value) for index, value in enumerate(values)))
    return memoryview(numbers).toreadonly()


def _int64(name: str, index: int, value: object) -> int:
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name}[{index}] is {type(value).__name__}; it must be int (ms): {_conversion(value)}")
    number = operator.index(value)  # type: ignore[arg-type]  # just looked at
    if not INT64_MIN <= number <= INT64_MAX:
        shown = str(number) if number.bit_length() <= 256 else f"a number of {number.bit_length()} bits"  # noqa: PLR2004  # fits a line
        raise ValueError(f"{name}[{index}] is {shown}; it must be an int64 value (ms)")
    return number


def _conversion(value: Any) -> str:
    """Return advice on how to convert a value to ms."""
    if type(value).__name__ == "datetime64":
        return f"convert all with numpy.array(..., '{_DATETIME_MS}')"
    if not hasattr(value, "isoformat"):
        return "convert it with int()"
    if not hasattr(value, "timestamp"):
        return "convert the datetime of its midnight in UTC with round(1000 * it.timestamp())"
    if value.tzinfo is None:
        return "if it is UTC convert it with round(1000 * it.replace(tzinfo=UTC).timestamp())"
    return "convert it with round(1000 * it.timestamp())"


def range_length(expected: range) -> int:
    """Return the number of instants of an ascending range of int64 instants.

    Raises:
        ValueError: The step is negative, an instant exceeds int64, or there are more than 2**63 - 1 instants.
    """
    if expected.step < 0:
        raise ValueError(f"expected is {expected!r}; its step must be positive: use expected[::-1]")
    try:
        length = len(expected)
    except OverflowError:
        length = -1
    if length and (expected.start < INT64_MIN or expected[-1] > INT64_MAX):
        raise ValueError(f"expected is {expected!r}; its instants must be int64 values (ms)")
    if length < 0:
        raise ValueError(f"expected is {expected!r}; it must not have more than 2**63 - 1 points")
    return length


def check_increasing(expected: memoryview[int]) -> None:
    """Check that instants strictly increase.

    Raises:
        ValueError: An instant is not above its predecessor; the message contains the index of the first such instant.
    """
    for index in range(1, len(expected)):
        if expected[index] <= expected[index - 1]:
            raise ValueError(
                f"expected[{index}] is {expected[index]} after {expected[index - 1]}; it must be strictly "
                "increasing: sort it and drop duplicates"
            )


def is_pandas(values: object) -> bool:
    """Whether `values` is a pandas column that is not stored in Arrow memory (such columns export Arrow themselves)."""
    return (
        type(values).__module__.partition(".")[0] == "pandas"
        # A single Timestamp also has `to_numpy`, but no length.
        and hasattr(values, "to_numpy")
        and hasattr(values, "__len__")
        and not str(getattr(values, "dtype", "")).endswith("[pyarrow]")
    )


def pandas_values(name: str, values: Any) -> object:
    """Return the NumPy array behind a Series or index; instants in ms are viewed as int64.

    NaT becomes the smallest int64, which is in no grid.

    Raises:
        TypeError: The column is of another type or unit; the message names the conversion.
        ValueError: An integer is null; the message contains its index.
    """
    if getattr(values, "ndim", 1) != 1:
        raise TypeError(f"{name} is a {type(values).__name__}; it must be one column of it")
    kind = str(values.dtype)
    accessor = ".dt" if hasattr(values, "dt") else ""
    if kind.startswith("period["):
        # The integers of periods are numbers of months, days or hours, not ms.
        raise TypeError(f"{name} is {kind}; convert it with {accessor}.to_timestamp(){accessor}.as_unit('ms')")
    if kind.startswith("datetime64["):
        unit = kind.removeprefix("datetime64[").partition(",")[0].rstrip("]")
        if unit != "ms":
            raise TypeError(f"{name} is {kind}; convert it with {accessor}.as_unit('ms')")
        # The underlying integers are UTC, with or without a time zone.
        return values.array.asi8
    if kind == "Int64":
        nulls = values.isna()
        if nulls.any():
            raise ValueError(f"{name}[{int(nulls.argmax())}] is null; drop it")
        return values.to_numpy("int64")
    return values.to_numpy()
