"""Columns of pandas, by stand-ins that have its names; the real one is met where the bench extra is installed."""

from __future__ import annotations

import numpy as np
import pytest

from reconciler_engine.detection.inputs import int64_view


class Column:
    """The part of a pandas Series that detection uses."""

    __module__ = "pandas.core.series"

    def __init__(self, values, dtype, nulls=()):
        self.values = np.asarray(values)
        self.dtype = dtype
        self.nulls = np.isin(np.arange(len(self.values)), nulls)
        self.array = self
        self.ndim = self.values.ndim

    def __len__(self):
        return len(self.values)

    def to_numpy(self, dtype=None):
        return self.values if dtype is None else self.values.astype(dtype)

    @property
    def asi8(self):
        return self.values.view("int64")

    def isna(self):
        return self.nulls


class SeriesOfInstants(Column):
    __module__ = Column.__module__
    dt = None


INSTANTS = np.array([5, 7], dtype="M8[ms]")


@pytest.mark.parametrize(
    "column",
    [
        Column(np.array([5, 7]), "int64"),
        Column(np.array([5, 7]), "Int64"),
        Column(INSTANTS, "datetime64[ms]"),
        Column(INSTANTS, "datetime64[ms, Europe/Berlin]"),
    ],
)
def test_columns_of_int64_and_of_instants(column):
    assert int64_view("timestamps", column).tolist() == [5, 7]


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        (Column([1.5], "float64"), TypeError, r"^x is an array of float64; .*\.astype\('int64'\)$"),
        (Column([5, 7, 8], "Int64", nulls=[1]), ValueError, r"^x\[1\] is null; drop it$"),
        (Column(INSTANTS, "datetime64[ns]"), TypeError, r"^x is datetime64\[ns\]; convert it with \.as_unit\('ms'\)$"),
        (
            Column([672], "period[M]"),
            TypeError,
            r"^x is period\[M\]; convert it with \.to_timestamp\(\)\.as_unit\('ms'\)$",
        ),
        (
            SeriesOfInstants([672], "period[M]"),
            TypeError,
            r"^x is period\[M\]; convert it with \.dt\.to_timestamp\(\)\.dt\.as_unit\('ms'\)$",
        ),
        (
            SeriesOfInstants(INSTANTS, "datetime64[us, UTC]"),
            TypeError,
            r"^x is datetime64\[us, UTC\]; convert it with \.dt\.as_unit\('ms'\)$",
        ),
    ],
)
def test_columns_refused(column, error, message):
    with pytest.raises(error, match=message):
        int64_view("x", column)


def test_a_lone_timestamp_is_no_column():
    instant = type("Timestamp", (), {"__module__": "pandas", "to_numpy": lambda _: None})()
    with pytest.raises(TypeError, match=r"^x is Timestamp; it must be an int64 array or an iterable of int \(ms\)$"):
        int64_view("x", instant)


def test_a_table_is_no_column():
    table = Column([[1]], "int64")
    with pytest.raises(TypeError, match=r"^x is a Column; it must be one column of it$"):
        int64_view("x", table)


@pytest.mark.parametrize("dtype", ["int64", "Int64", "datetime64[ms]", "datetime64[ms, UTC]", "int64[pyarrow]"])
def test_the_real_one(dtype):
    pandas = pytest.importorskip("pandas", reason="pandas is in the bench extra, not in test")
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow", reason="pyarrow is in the bench extra, not in test")
    series = pandas.Series([5, 7]).astype(dtype)
    assert int64_view("timestamps", series).tolist() == [5, 7]
    assert int64_view("timestamps", pandas.Index(series)).tolist() == [5, 7]


def test_the_real_ones_dates_are_converted_as_the_refusal_says():
    pandas = pytest.importorskip("pandas", reason="pandas is in the bench extra, not in test")
    months = pandas.period_range("2026-01", periods=3, freq="M")
    for column in (months, pandas.Series(months)):
        with pytest.raises(TypeError, match=r"convert it with \.") as refused:
            int64_view("x", column)
        advice = str(refused.value).partition("convert it with ")[2]
        values = int64_view("x", eval(f"column{advice}", {"column": column}))
        assert values[0] == 1_767_225_600_000
    day = pandas.Timestamp("2026-01-01", tz="UTC")
    with pytest.raises(TypeError, match=r"Timestamp; it must be int \(ms\): convert it with round\(1000"):
        int64_view("x", [day])
    assert round(1000 * day.timestamp()) == 1_767_225_600_000
