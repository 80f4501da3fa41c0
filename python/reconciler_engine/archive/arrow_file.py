"""Reads open times from Parquet and Arrow files in batches, through pyarrow; reads other columns only on request."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from reconciler_engine.archive.arrow_times import ArrowTimes
from reconciler_engine.archive.column_names import choose_columns, find_columns
from reconciler_engine.archive.hints import Hints
from reconciler_engine.archive.naming import Naming
from reconciler_engine.archive.opened_file import Unreadable
from reconciler_engine.errors import CandleFileError
from reconciler_engine.market.series import Series

_PARQUET = b"PAR1"
_ARROW = b"ARROW1"
_STREAM = b"\xff\xff\xff\xff"
ARROW_FORMS = (_PARQUET, _ARROW, _STREAM)
"""First bytes of Parquet files, of Arrow files (Feather is one) and of Arrow streams."""

_ROWS_AT_ONCE = 1 << 18
_BYTES_AT_ONCE = 1 << 20


class Times(NamedTuple):
    """Open times of one series in a batch, with the values that were asked for.

    Attributes:
        series: Series of the rows.
        instants: Open times: Arrow array of int64 (ms UTC).
        read_as: Dialect of the file.
        values: Arrow array of float64 for each kind asked for, in the order of `instants`; NaN where a cell is null.
    """

    series: Series
    instants: Any
    read_as: str
    values: Sequence[Any] = ()


def is_arrow(path: Path) -> bool:
    """Return whether a file begins with one of `ARROW_FORMS`; False for a pipe, since reading it would use it up."""
    if not path.is_file():
        return False
    with suppress(OSError), path.open("rb") as file:
        return file.read(len(_ARROW)).startswith(ARROW_FORMS)
    return False


def read_arrow_places(path: Path, hints: Hints) -> Collection[str]:
    """Return the kinds of columns in a file.

    Raises:
        Unreadable: The file cannot be read, or has no time column.
    """
    with _opened(path) as file:
        return _choose(file, hints)


def read_times(
    path: Path, naming: Naming, hints: Hints, advance: Callable[[int], None], *, kinds: Sequence[str] = ()
) -> Iterator[Times]:
    """Yield, for each batch of a file, the open times of each series.

    Args:
        path: A file that begins with one of `ARROW_FORMS`.
        naming: Series of the file, as far as it is known before reading.
        hints: Facts from the user.
        advance: Called after each batch with the bytes read so far.
        kinds: Kinds of values to read with the times; a file without one of them is refused.

    Raises:
        CandleFileError: The file, a time or a value cannot be read, or the times look like another unit or timeframe.
            Discard everything yielded before.
    """
    size = path.stat().st_size
    seen: set[Series] = set()
    try:
        with _opened(path) as file:
            places = _choose(file, hints, kinds)
            if naming.lacks(places):
                raise Unreadable(naming.fault)
            keys = [kind for kind in ("symbol", "timeframe") if kind in places]
            time, *names = (file.schema.names[places[kind]] for kind in ("time", *keys, *kinds))
            cells, values = names[: len(keys)], names[len(keys) :]
            times: ArrowTimes | None = None
            for batch, share in file.batches([time, *names]):
                times = times or ArrowTimes(file.arrow, time, batch[time], hints)
                read_as = ", ".join([f"time {time!r} ({times.told})", *map("{} {!r}".format, keys, cells)])
                columns = [times.to_ms(batch[time]), *(_numbers(file.arrow, name, batch[name]) for name in values)]
                for key, (own, *others) in _by_cells(file.arrow, columns, [batch[name] for name in cells]):
                    series = naming.series(**dict(zip(keys, key, strict=True)))
                    if series not in seen:
                        seen.add(series)
                        if (misleading := times.find_misleading(own, series.timeframe)) is not None:
                            raise Unreadable(misleading)
                    yield Times(series, own, read_as, others)
                advance(round(size * share))
    except (Unreadable, ValueError) as fault:
        raise CandleFileError(str(path), [str(fault)]) from None


class _ArrowFile(NamedTuple):
    """An open file; `batches(names)` yields batches of these columns, each with the share of the file read so far."""

    arrow: Any
    schema: Any
    batches: Callable[[Sequence[str]], Iterator[tuple[Any, float]]]


@contextmanager
def _opened(path: Path) -> Iterator[_ArrowFile]:
    """Open a file.

    Raises:
        Unreadable: The file cannot be opened or read, or pyarrow is not installed.
    """
    try:
        arrow, _, parquet = map(importlib.import_module, ("pyarrow", "pyarrow.compute", "pyarrow.parquet"))
    except ImportError:
        what = "is a Parquet or Arrow file, which pyarrow reads"
        raise Unreadable(f"{what}: install reconciler-engine[archive], or write its columns as CSV") from None
    try:
        with path.open("rb") as file:
            form = file.read(len(_ARROW))
        if form.startswith(_PARQUET):
            # Read pages through a small buffer, so that memory does not depend on the size of a row group.
            with parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BYTES_AT_ONCE) as opened:
                yield _ArrowFile(arrow, opened.schema_arrow, lambda names: _parquet_batches(opened, names))
        else:
            with arrow.OSFile(str(path)) as source:
                make = arrow.ipc.open_file if form == _ARROW else arrow.ipc.open_stream
                schema = make(source).schema
                yield _ArrowFile(arrow, schema, lambda names: _arrow_batches(arrow, make, source, schema, names))
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from error
    except arrow.ArrowException as error:
        raise Unreadable(f"cannot be read: {error}") from error


def _parquet_batches(file: Any, names: Sequence[str]) -> Iterator[tuple[Any, float]]:
    done = 0
    for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=[*names], use_threads=False):
        done += len(batch)
        yield batch, done / file.metadata.num_rows


def _arrow_batches(
    arrow: Any, make: Any, source: Any, schema: Any, names: Sequence[str]
) -> Iterator[tuple[Any, float]]:
    source.seek(0)
    fields = [schema.names.index(name) for name in names]
    reader = make(source, options=arrow.ipc.IpcReadOptions(included_fields=fields))
    is_stream = make is arrow.ipc.open_stream
    batches = reader if is_stream else map(reader.get_batch, range(reader.num_record_batches))
    for number, batch in enumerate(batches, start=1):
        # Arrow files are used as they are, without decoding: a wrong offset would crash the process, so check them.
        batch.validate(full=True)
        yield batch, source.tell() / source.size() if is_stream else number / reader.num_record_batches


def _choose(file: _ArrowFile, hints: Hints, needed: Sequence[str] = ()) -> dict[str, int]:
    """Return the index of each column to read.

    Raises:
        Unreadable: The time column or a needed column is missing, or several columns match its kind.
    """
    names, kinds = file.schema.names, file.schema.types
    types = file.arrow.types

    def is_number(index: int) -> bool:
        return bool(
            types.is_integer(kinds[index]) or types.is_floating(kinds[index]) or types.is_timestamp(kinds[index])
        )

    try:
        return choose_columns(names, find_columns(names, hints.columns, is_number), ["time", *needed])
    except ValueError as fault:
        raise Unreadable(str(fault)) from None


def _numbers(arrow: Any, name: str, column: Any) -> Any:
    """Return a column of numbers, stored as numbers or as text, as float64.

    Raises:
        ValueError: A value is not a number.
    """
    try:
        return column.cast(arrow.float64(), safe=False).fill_null(math.nan)
    except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError) as error:
        raise ValueError(f"column {name!r}: {error}") from error


def _by_cells(arrow: Any, columns: Sequence[Any], cells: Sequence[Any]) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Group the rows of `columns` by their cells in the key columns `cells`; yield each key with its rows."""
    if not cells:
        if len(columns[0]):
            yield (), [*columns]
        return
    keys = [f"key{index}" for index in range(len(cells))]
    names = [str(index) for index in range(len(columns))]
    table = arrow.table([*(cell.cast(arrow.string()) for cell in cells), *columns], [*keys, *names])
    grouped = table.group_by(keys, use_threads=False).aggregate([(name, "list") for name in names])
    lists = zip(*(grouped[f"{name}_list"] for name in names), strict=True)
    for key, own in zip(zip(*(grouped[name].to_pylist() for name in keys), strict=True), lists, strict=True):
        yield tuple(map(str, key)), [one.values for one in own]
