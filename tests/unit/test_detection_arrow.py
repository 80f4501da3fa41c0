"""Arrow in and out, with a producer and a consumer of our own that spell out every structure."""

from __future__ import annotations

import ctypes
import gc
import weakref
from ctypes import byref, c_int64, c_void_p

import numpy as np
import pytest

from reconciler_engine.detection import arrow, detect_gaps
from reconciler_engine.detection.arrow import Array, Schema, Stream
from reconciler_engine.detection.inputs import int64_view

new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.argtypes = [c_void_p, ctypes.c_char_p, c_void_p]
new_capsule.restype = ctypes.py_object


class Producer:
    """An Arrow producer; what it lends lives as long as it does, and it counts what is released."""

    def __init__(self, values, kind=b"l", offset=0, nulls=(), null_count=None, fails=None):
        self.released: list[str] = []
        self.chunks = [self.chunk(part, offset, nulls, null_count) for part in values]
        self.fails = fails
        self.release_schema = arrow.ReleaseSchema(lambda _: self.released.append("schema"))
        self.schema = Schema(format=kind, release=self.release_schema)

    def chunk(self, values, offset, nulls, null_count):
        data = np.concatenate([np.full(offset, 99), np.asarray(values, dtype=np.int64)]).astype(np.int64)
        valid = np.packbits(~np.isin(np.arange(len(data)) - offset, nulls), bitorder="little")
        buffers = (c_void_p * 2)(valid.ctypes.data if len(nulls) else None, data.ctypes.data)
        release = arrow.ReleaseArray(lambda _: self.released.append("array"))
        array = Array(
            length=len(data) - offset,
            null_count=len(nulls) if null_count is None else null_count,
            offset=offset,
            n_buffers=2,
            buffers=buffers,
            release=release,
        )
        array.kept = (data, valid, buffers, release)
        return array


class ArrayProducer(Producer):
    def __arrow_c_array__(self, requested_schema=None):
        assert requested_schema is None
        return (
            new_capsule(ctypes.addressof(self.schema), b"arrow_schema", None),
            new_capsule(ctypes.addressof(self.chunks[0]), b"arrow_array", None),
        )


class StreamProducer(Producer):
    def __arrow_c_stream__(self, requested_schema=None):
        assert requested_schema is None
        waiting = list(self.chunks)

        def get_schema(_, out):
            ctypes.memmove(out, byref(self.schema), ctypes.sizeof(Schema))
            return 0

        def get_next(_, out):
            if self.fails:
                return 5
            chunk = waiting.pop(0) if waiting else Array()
            ctypes.memmove(out, byref(chunk), ctypes.sizeof(Array))
            return 0

        self.callbacks = (
            arrow.GetSchema(get_schema),
            arrow.GetNext(get_next),
            arrow.GetLastError(lambda _: ctypes.cast(ctypes.c_char_p(self.fails), c_void_p).value),
        )
        error_type = arrow.GetLastError
        self.stream = Stream(
            get_schema=self.callbacks[0],
            get_next=self.callbacks[1],
            get_last_error=ctypes.cast(self.last_error(), error_type),
        )
        return new_capsule(ctypes.addressof(self.stream), b"arrow_array_stream", None)

    def last_error(self):
        words = ctypes.create_string_buffer(self.fails or b"")
        pointers = ctypes.CFUNCTYPE(c_void_p, c_void_p)
        self.error_callback = pointers(lambda _: ctypes.addressof(words))
        return self.error_callback


@pytest.mark.parametrize("kind", [b"l", b"tsm:", b"tsm:UTC"])
@pytest.mark.parametrize("offset", [0, 3])
@pytest.mark.parametrize("producer", [ArrayProducer, StreamProducer])
def test_one_array_is_read_in_place(producer, kind, offset):
    source = producer([[5, 7]], kind=kind, offset=offset)
    view = int64_view("timestamps", source)
    assert view.tolist() == [5, 7]
    assert np.shares_memory(np.asarray(view), source.chunks[0].kept[0])
    assert view.readonly
    assert detect_gaps(source, range(5, 9)).to_list() == [(6, 6, 1), (8, 8, 1)]


def test_chunks_are_put_together():
    source = StreamProducer([[5], [], [7, 8], [1]])
    assert int64_view("timestamps", source).tolist() == [5, 7, 8, 1]
    gc.collect()
    assert source.released == ["schema", *["array"] * 4]


def test_a_stream_without_arrays_and_an_empty_array():
    assert int64_view("timestamps", StreamProducer([])).tolist() == []
    assert int64_view("timestamps", ArrayProducer([[]])).tolist() == []


def test_an_array_is_released_with_its_view():
    source = StreamProducer([[5, 7]])
    view = int64_view("timestamps", source)
    gc.collect()
    assert source.released == ["schema"]
    del view
    gc.collect()
    assert source.released == ["schema", "array"]


@pytest.mark.parametrize("null_count", [1, -1])
@pytest.mark.parametrize("offset", [0, 3])
@pytest.mark.parametrize("producer", [ArrayProducer, StreamProducer])
def test_nulls_are_refused_by_index(producer, offset, null_count):
    source = producer([[5, 7, 9]], offset=offset, nulls=[1], null_count=null_count)
    with pytest.raises(ValueError, match=r"^timestamps\[1\] is null; drop it$"):
        detect_gaps(source, range(3))


def test_the_index_of_a_null_counts_the_chunks_before():
    source = StreamProducer([[5, 7], [9, 11]], nulls=[1])
    source.chunks[0].null_count = 0
    with pytest.raises(ValueError, match=r"^timestamps\[3\] is null"):
        int64_view("timestamps", source)
    gc.collect()
    assert source.released.count("array") == 2


@pytest.mark.parametrize(
    ("kind", "name"),
    [(b"g", "float64"), (b"i", "int32"), (b"tsu:UTC", "timestamp[us]"), (b"tdm", "date64"), (b"+w:3", "format '+w:3'")],
)
@pytest.mark.parametrize("producer", [ArrayProducer, StreamProducer])
def test_other_types_are_refused(producer, kind, name):
    with pytest.raises(TypeError) as refusal:
        detect_gaps(producer([[5]], kind=kind), range(3))
    assert str(refusal.value) == f"timestamps is an Arrow array of {name}; it must be int64 or timestamp[ms]: cast it"


def test_a_dictionary_is_refused():
    source = ArrayProducer([[5]])
    source.schema.dictionary = ctypes.addressof(source.schema)
    with pytest.raises(TypeError, match="is an Arrow array of dictionary"):
        detect_gaps(source, range(3))


def test_a_failing_stream_is_an_error():
    with pytest.raises(ValueError, match=r"^timestamps: the Arrow stream failed: out of paper \(errno 5\)$"):
        detect_gaps(StreamProducer([[1]], fails=b"out of paper"), range(3))


class Table(Array):
    """A table as our consumer receives it."""


def consume(capsule):
    """Read a stream of one table of int64 columns: names and values, released afterwards."""
    stream = Stream.from_address(arrow._capsule_pointer(capsule, b"arrow_array_stream"))
    schema, table, end = Schema(), Array(), Array()
    assert stream.get_schema(byref(stream), byref(schema)) == 0
    assert schema.format == b"+s"
    children = (ctypes.POINTER(Schema) * 3).from_address(schema.children)
    names = [child.contents.name.decode() for child in children]
    assert [child.contents.format for child in children] == [b"l"] * 3
    schema.release(byref(schema))
    assert not schema.release
    assert stream.get_next(byref(stream), byref(table)) == 0
    assert stream.get_next(byref(stream), byref(end)) == 0
    assert not end.release
    columns = [child.contents for child in (ctypes.POINTER(Array) * 3).from_address(table.children)]
    assert all(column.length == table.length and column.null_count == 0 for column in columns)
    addresses = [column.buffers[1] for column in columns]
    values = [list((c_int64 * table.length).from_address(at)) if table.length else [] for at in addresses]
    table.release(byref(table))
    assert not table.release
    return dict(zip(names, values, strict=True)), addresses


@pytest.mark.parametrize("expected", [range(10), list(range(10))])
def test_gaps_are_lent_without_a_copy(expected):
    gaps = detect_gaps([2, 4, 8], expected)
    columns, addresses = consume(gaps.__arrow_c_stream__())
    assert columns == {"start": [0, 3, 5, 9], "end": [1, 3, 7, 9], "count": [2, 1, 3, 1]}
    assert addresses == [np.asarray(column).ctypes.data for column in (gaps.starts, gaps.ends, gaps.counts)]


def test_no_gaps_are_an_empty_table():
    assert consume(detect_gaps([0], range(1)).__arrow_c_stream__())[0] == {"start": [], "end": [], "count": []}


def test_streams_and_schemas_nobody_reads_are_released():
    gaps = detect_gaps([2, 4, 8], range(10))
    column = np.asarray(gaps.starts)
    capsules = [gaps.__arrow_c_stream__(), gaps.__arrow_c_schema__()]
    alive = weakref.ref(column)
    del capsules, gaps
    gc.collect()
    assert column.tolist() == [0, 3, 5, 9]
    assert alive() is column


def test_a_table_outlives_its_gaps_and_its_stream():
    gaps = detect_gaps([2, 4, 8], range(10))
    capsule = gaps.__arrow_c_stream__()
    stream = Stream.from_address(arrow._capsule_pointer(capsule, b"arrow_array_stream"))
    table = Array()
    assert stream.get_next(byref(stream), byref(table)) == 0
    del gaps, stream, capsule
    gc.collect()
    column = (ctypes.POINTER(Array) * 3).from_address(table.children)[0].contents
    assert list((c_int64 * 4).from_address(column.buffers[1])) == [0, 3, 5, 9]
    table.release(byref(table))


@pytest.mark.parametrize("kind", ["Int64", "Datetime"])
def test_polars_both_ways(kind):
    polars = pytest.importorskip("polars", reason="polars is in the bench extra, not in test")
    column = polars.Series([0, 120_000]).cast(polars.Int64 if kind == "Int64" else polars.Datetime("ms", "UTC"))
    gaps = detect_gaps(column, range(0, 240_000, 60_000))
    assert polars.DataFrame(gaps).rows() == [(60_000, 60_000, 1), (180_000, 180_000, 1)]


def test_pyarrow_both_ways():
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is in the bench extra, not in test")
    chunked = pyarrow.chunked_array([[0], [], [2]], type=pyarrow.timestamp("ms", "UTC"))
    gaps = detect_gaps(chunked, range(4))
    assert pyarrow.table(gaps).to_pylist() == [{"start": 1, "end": 1, "count": 1}, {"start": 3, "end": 3, "count": 1}]
    assert pyarrow.schema(gaps).names == ["start", "end", "count"]
