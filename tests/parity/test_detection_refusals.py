"""Inputs that `detect_gaps` refuses and its messages, word for word, in both implementations."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import numpy as np
import pytest

INT64 = np.arange(6, dtype=np.int64)
GRID = range(6)
CONVERT = "convert it with .astype('int64')"
NO_ZONE = "it must be int (ms): if it is UTC convert it with round(1000 * it.replace(tzinfo=UTC).timestamp())"
MIDNIGHT = "it must be int (ms): convert the datetime of its midnight in UTC with round(1000 * it.timestamp())"

TYPES = {
    "none": (None, "timestamps is NoneType; it must be an int64 array or an iterable of int (ms)"),
    "number": (3, "timestamps is int; it must be an int64 array or an iterable of int (ms)"),
    "str": ("012", "timestamps is a str; it must be an int64 array or an iterable of int (ms)"),
    "bytes": (b"01", "timestamps is an array of uint8; it must be int64: " + CONVERT),
    "float64": (
        INT64 * 1.0,
        "timestamps is an array of float64; it must be int64: " + CONVERT,
    ),
    "int32": (
        INT64.astype("i4"),
        "timestamps is an array of int32; it must be int64: " + CONVERT,
    ),
    "uint64": (
        INT64.astype("u8"),
        "timestamps is an array of uint64; it must be int64: " + CONVERT,
    ),
    "bool": (INT64 > 2, "timestamps is an array of bool; it must be int64: " + CONVERT),
    "object": (
        INT64.astype(object),
        "timestamps is an array of format 'O'; it must be int64: " + CONVERT,
    ),
    "foreign_endian": (
        INT64.astype(">i8"),
        "timestamps is an array of int64 in foreign byte order; it must be int64: " + CONVERT,
    ),
    "strided": (INT64[::2], "timestamps is strided; it must be contiguous: use .copy()"),
    "reversed_view": (INT64[::-1], "timestamps is strided; it must be contiguous: use .copy()"),
    "matrix": (INT64.reshape(2, 3), "timestamps has 2 dimensions; it must have one: use .ravel()"),
    "scalar": (np.array(3), "timestamps has 0 dimensions; it must have one: use .ravel()"),
    "datetime_ns": (
        INT64.astype("M8[ns]"),
        "timestamps is datetime64[ns]; convert it with .astype('datetime64[ms]')",
    ),
    "datetime_strided": (
        INT64.astype("M8[ms]")[::2],
        "timestamps is strided; it must be contiguous: use .copy()",
    ),
    "durations": (INT64.astype("m8[ms]"), "timestamps is timedelta64[ms], durations; it must be instants (ms)"),
    "array_of_datetimes": (
        np.array([datetime(2026, 1, 1)]),  # noqa: DTZ001 - as users have them
        "timestamps is an array of dates; convert it with .astype('datetime64[ms]')",
    ),
    "datetime_in_list": (
        [datetime(2026, 1, 1, tzinfo=UTC)],
        "timestamps[0] is datetime; it must be int (ms): convert it with round(1000 * it.timestamp())",
    ),
    "naive_datetime_in_list": (
        [datetime(2026, 1, 1)],  # noqa: DTZ001 - as users have them
        "timestamps[0] is datetime; " + NO_ZONE,
    ),
    "date_in_list": (
        [date(2026, 1, 1)],
        "timestamps[0] is date; " + MIDNIGHT,
    ),
    "datetime64_in_list": (
        [np.datetime64("2026-01-01", "ns")],
        "timestamps[0] is datetime64; it must be int (ms): convert all with numpy.array(..., 'datetime64[ms]')",
    ),
    "float_in_list": ([0, 1.0], "timestamps[1] is float; it must be int (ms): convert it with int()"),
    "bool_in_list": ([0, 1, True], "timestamps[2] is bool; it must be int (ms): convert it with int()"),
    "none_in_list": ([None], "timestamps[0] is NoneType; it must be int (ms): convert it with int()"),
    "str_in_iterable": (iter([1, "2"]), "timestamps[1] is str; it must be int (ms): convert it with int()"),
}
VALUES = {
    "above_int64": ([0, 2**63], "timestamps[1] is 9223372036854775808; it must be an int64 value (ms)"),
    "below_int64": ([-(2**63) - 1], "timestamps[0] is -9223372036854775809; it must be an int64 value (ms)"),
    "masked": (np.ma.array(INT64, mask=INT64 == 2), "timestamps[2] is masked; drop it with .compressed()"),
    "masked_instants": (
        np.ma.array(INT64.astype("M8[ms]"), mask=INT64 == 0),
        "timestamps[0] is masked; drop it with .compressed()",
    ),
    "far_beyond": ([1 << 5000], "timestamps[0] is a number of 5001 bits; it must be an int64 value (ms)"),
}


@pytest.mark.parametrize("expected", [GRID, list(GRID)], ids=["range", "explicit"])
@pytest.mark.parametrize("name", TYPES)
def test_timestamps_of_another_type(detect, name, expected):
    timestamps, message = TYPES[name]
    if name == "str_in_iterable":
        timestamps = iter([1, "2"])
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        detect(timestamps, expected)


@pytest.mark.parametrize("expected", [GRID, list(GRID)], ids=["range", "explicit"])
@pytest.mark.parametrize("name", VALUES)
def test_timestamps_that_are_no_int64_values(detect, name, expected):
    timestamps, message = VALUES[name]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        detect(timestamps, expected)


@pytest.mark.parametrize("name", [name for name in TYPES if name != "str_in_iterable"])
def test_expected_of_another_type(detect, name):
    expected, message = TYPES[name]
    with pytest.raises(TypeError, match=f"^{re.escape(message.replace('timestamps', 'expected'))}$"):
        detect([], expected)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (range(5, 0, -1), "expected is range(5, 0, -1); its step must be positive: use expected[::-1]"),
        (range(0, 5, -1), "expected is range(0, 5, -1); its step must be positive: use expected[::-1]"),
        (
            range(2**70),
            "expected is range(0, 1180591620717411303424); its instants must be int64 values (ms)",
        ),
        (
            range(-(2**63) - 1, 0, 2),
            "expected is range(-9223372036854775809, 0, 2); its instants must be int64 values (ms)",
        ),
        (
            range(-(2**63), 2**63),
            f"expected is {range(-(2**63), 2**63)}; it must not have more than 2**63 - 1 points",
        ),
        (
            [0, 5, 5, 7],
            "expected[2] is 5 after 5; it must be strictly increasing: sort it and drop duplicates",
        ),
        (
            np.array([3, 1]),
            "expected[1] is 1 after 3; it must be strictly increasing: sort it and drop duplicates",
        ),
        ([2**63], "expected[0] is 9223372036854775808; it must be an int64 value (ms)"),
        (np.ma.array([1, 3], mask=[False, True]), "expected[1] is masked; drop it with .compressed()"),
    ],
)
def test_expected_that_is_no_grid(detect, expected, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        detect([1], expected)


def test_a_mask_that_hides_nothing_is_none(detect):
    assert detect(np.ma.array(INT64[:3]), GRID).to_list() == [(3, 5, 3)]
    assert detect([0], np.ma.array(INT64, mask=False)).to_list() == [(1, 5, 5)]


def test_trusted_needs_a_range(detect):
    with pytest.raises(ValueError, match=r"^trusted=True needs expected as a range; it is list$"):
        detect([1], [1, 2], trusted=True)


def test_refusals_come_in_one_order(detect):
    with pytest.raises(ValueError, match="step must be positive"):
        detect(None, range(5, 0, -1))
    with pytest.raises(TypeError, match="expected is NoneType"):
        detect(None, None)
    with pytest.raises(TypeError, match="timestamps is NoneType"):
        detect(None, [2, 1])


def test_error_of_an_iterator_travels_on(detect):
    def broken():
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        detect(broken(), range(3))


@pytest.mark.parametrize("expected", [GRID, INT64], ids=["range", "explicit"])
def test_threads_are_a_number_from_zero_on(detect, expected):
    for threads in (0, 1, np.int64(2), 10**30):
        assert detect(INT64[1:], expected, threads=threads).to_list() == [(0, 0, 1)]
    with pytest.raises(ValueError, match=r"^threads is -1; it must be 0 \(as many as help\) or more$"):
        detect(INT64, expected, threads=-1)
    with pytest.raises(TypeError, match=r"^threads is float; it must be int"):
        detect(INT64, expected, threads=2.0)
