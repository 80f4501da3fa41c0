"""Read int64 columns of any Arrow producer in place, through the Arrow PyCapsule interface.

Layouts: https://arrow.apache.org/docs/format/CDataInterface.html, read 2026-11-23. A view keeps its capsule alive, and
the capsule releases the memory when it is deleted. Arrays of a stream are owned by this module, and released with their
view. Addresses and lengths are trusted, as by every consumer of the interface.
"""

from __future__ import annotations

import ctypes
from array import array
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_int64, c_void_p
from typing import Any, Final, Protocol

TIMESTAMP_MS: Final = "tsm:"
_NAMES: Final = {
    b"n": "null",
    b"b": "bool",
    b"c": "int8",
    b"C": "uint8",
    b"s": "int16",
    b"S": "uint16",
    b"i": "int32",
    b"I": "uint32",
    b"L": "uint64",
    b"e": "float16",
    b"f": "float32",
    b"g": "float64",
    b"u": "string",
    b"U": "large string",
    b"vu": "string view",
    b"tdD": "date32",
    b"tdm": "date64",
    b"+s": "struct",
}
_UNITS: Final = {b"tss:": "timestamp[s]", b"tsu:": "timestamp[us]", b"tsn:": "timestamp[ns]"}


class Schema(Structure):
    """The C struct `ArrowSchema`."""


class Array(Structure):
    """The C struct `ArrowArray`."""


class Stream(Structure):
    """The C struct `ArrowArrayStream`."""


ReleaseSchema = ctypes.CFUNCTYPE(None, POINTER(Schema))
ReleaseArray = ctypes.CFUNCTYPE(None, POINTER(Array))
ReleaseStream = ctypes.CFUNCTYPE(None, POINTER(Stream))
GetSchema = ctypes.CFUNCTYPE(c_int, POINTER(Stream), POINTER(Schema))
GetNext = ctypes.CFUNCTYPE(c_int, POINTER(Stream), POINTER(Array))
GetLastError = ctypes.CFUNCTYPE(c_char_p, POINTER(Stream))

Schema._fields_ = [
    ("format", c_char_p),
    ("name", c_char_p),
    ("metadata", c_void_p),
    ("flags", c_int64),
    ("n_children", c_int64),
    ("children", c_void_p),
    ("dictionary", c_void_p),
    ("release", ReleaseSchema),
    ("private_data", c_void_p),
]
Array._fields_ = [
    ("length", c_int64),
    ("null_count", c_int64),
    ("offset", c_int64),
    ("n_buffers", c_int64),
    ("n_children", c_int64),
    ("buffers", POINTER(c_void_p)),
    ("children", c_void_p),
    ("dictionary", c_void_p),
    ("release", ReleaseArray),
    ("private_data", c_void_p),
]
Stream._fields_ = [
    ("get_schema", GetSchema),
    ("get_next", GetNext),
    ("get_last_error", GetLastError),
    ("release", ReleaseStream),
    ("private_data", c_void_p),
]

_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.argtypes = [ctypes.py_object, c_char_p]
_capsule_pointer.restype = c_void_p


class ArrowArrayExporter(Protocol):
    """An object that exports an Arrow array."""

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]: ...


class ArrowStreamExporter(Protocol):
    """An object that exports an Arrow stream."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


def array_view(name: str, exporter: ArrowArrayExporter) -> memoryview[int]:
    """Return the values of an Arrow array without copying them.

    Raises:
        TypeError: The array is not of int64 or timestamp[ms]; the message names its type.
        ValueError: A value is null; the message contains its index.
    """
    schema, values = exporter.__arrow_c_array__()
    _check_type(name, Schema.from_address(_capsule_pointer(schema, b"arrow_schema")))
    return _view(name, Array.from_address(_capsule_pointer(values, b"arrow_array")), values, 0)


def stream_view(name: str, exporter: ArrowStreamExporter) -> memoryview[int]:
    """Return the values of an Arrow stream. A single array is not copied; several arrays are copied into one.

    Raises:
        TypeError: The arrays are not of int64 or timestamp[ms]; the message names their type.
        ValueError: A value is null (the message contains its index), or the producer failed (it contains its message).
    """
    capsule = exporter.__arrow_c_stream__()
    stream = Stream.from_address(_capsule_pointer(capsule, b"arrow_array_stream"))
    schema = Schema()
    _ask(name, stream, stream.get_schema(byref(stream), byref(schema)))
    try:
        _check_type(name, schema)
    finally:
        schema.release(byref(schema))
    chunks: list[memoryview[int]] = []
    length = 0
    while (chunk := _next_chunk(name, stream)) is not None:
        view = _view(name, chunk.array, chunk, length)
        length += len(view)
        if len(view):
            chunks.append(view)
    if len(chunks) == 1:
        return chunks[0]
    together = array("q")
    for view in chunks:
        together.frombytes(view.cast("B"))
    return memoryview(together).toreadonly()


class _Chunk:
    """An array of a stream, released when this object is deleted."""

    def __init__(self) -> None:
        self.array = Array()

    def __del__(self) -> None:
        if self.array.release:
            self.array.release(byref(self.array))


def _next_chunk(name: str, stream: Stream) -> _Chunk | None:
    chunk = _Chunk()
    _ask(name, stream, stream.get_next(byref(stream), byref(chunk.array)))
    return chunk if chunk.array.release else None


def _ask(name: str, stream: Stream, failure: int) -> None:
    if failure:
        words = stream.get_last_error(byref(stream)) or b"no reason given"
        raise ValueError(f"{name}: the Arrow stream failed: {words.decode(errors='replace')} (errno {failure})")


def _check_type(name: str, schema: Schema) -> None:
    spelled: bytes = schema.format or b""
    if schema.dictionary:
        kind = "dictionary"
    elif spelled == b"l" or spelled.startswith(TIMESTAMP_MS.encode()):
        return
    else:
        kind = _NAMES.get(spelled) or _UNITS.get(spelled[:4]) or f"format {spelled.decode(errors='replace')!r}"
    raise TypeError(f"{name} is an Arrow array of {kind}; it must be int64 or timestamp[ms]: cast it")


def _view(name: str, values: Array, owner: object, base: int) -> memoryview[int]:
    """Return a view of `values` that keeps `owner` alive; `base` is the index of the first value in messages."""
    if values.length == 0:
        return memoryview(array("q")).toreadonly()
    validity, data = values.buffers[0], values.buffers[1]
    if validity and values.null_count != 0:
        _check_validity(name, validity, values.offset, values.length, base)
    items: Any = (c_int64 * values.length).from_address(data + values.offset * ctypes.sizeof(c_int64))
    items.owner = owner
    return memoryview(items).cast("B").cast("q").toreadonly()


def _check_validity(name: str, validity: int, offset: int, length: int, base: int) -> None:
    bits = (ctypes.c_uint8 * ((offset + length + 7) // 8)).from_address(validity)
    for index in range(offset, offset + length):
        if not bits[index // 8] >> (index % 8) & 1:
            raise ValueError(f"{name}[{base + index - offset}] is null; drop it")
