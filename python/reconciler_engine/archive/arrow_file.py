"""Times in Parquet and Arrow files, a batch at a time, by pyarrow; no other values are read."""

from __future__ import annotations

import importlib
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
"""First bytes of the files that are read here: Parquet, Arrow files (Feather is one) and Arrow streams."""

_ROWS_AT_ONCE = 1 << 18
_BYTES_AT_ONCE = 1 << 20


class Times(NamedTuple):
    """Times of one series in a batch: an Arrow array of int64 (ms UTC), and how the file writes them."""

    series: Series
    instants: Any
    read_as: str


def is_arrow(path: Path) -> bool:
    """Whether a file, which can be read twice, begins as one of `ARROW_FORMS`."""
    if not path.is_file():
        return False
    with suppress(OSError), path.open("rb") as file:
        return file.read(len(_ARROW)).startswith(ARROW_FORMS)
    return False


def read_arrow_places(path: Path, hints: Hints) -> Collection[str]:
    """Return the kinds of columns that a file has.

    Raises:
        Unreadable: It cannot be read, or has no column of times.
    """
    with _opened(path) as file:
        return _choose(file, hints)


def read_times(path: Path, naming: Naming, hints: Hints, advance: Callable[[int], None]) -> Iterator[Times]:
    """Yield the times of each series in each batch of a file.

    Args:
        path: A file that begins as one of `ARROW_FORMS`.
        naming: What is known of its series.
        hints: What the user says of it.
        advance: Called after each batch with how many bytes of the file that makes.

    Raises:
        CandleFileError: The file cannot be read or recognised, a time is null or none, or the times look like another
            unit or timeframe. What was yielded before is void.
    """
    size = path.stat().st_size
    seen: set[Series] = set()
    try:
        with _opened(path) as file:
            places = _choose(file, hints)
            if naming.lacks(places):
                raise Unreadable(naming.fault)
            keys = [kind for kind in ("symbol", "timeframe") if kind in places]
            time, *cells = (file.schema.names[places[kind]] for kind in ("time", *keys))
            times: ArrowTimes | None = None
            for batch, share in file.batches([time, *cells]):
                times = times or ArrowTimes(file.arrow, time, batch[time], hints)
                read_as = ", ".join([f"time {time!r} ({times.told})", *map("{} {!r}".format, keys, cells)])
                instants = times.to_ms(batch[time])
                for key, own in _by_cells(file.arrow, instants, [batch[name] for name in cells]):
                    series = naming.series(**dict(zip(keys, key, strict=True)))
                    if series not in seen:
                        seen.add(series)
                        if (misleading := times.find_misleading(own, series.timeframe)) is not None:
                            raise Unreadable(misleading)
                    yield Times(series, own, read_as)
                advance(round(size * share))
    except (Unreadable, ValueError) as fault:
        raise CandleFileError(str(path), [str(fault)]) from None


class _ArrowFile(NamedTuple):
    """A file whose columns can be read: `batches` yields them with the share of the file that is read by then."""

    arrow: Any
    schema: Any
    batches: Callable[[Sequence[str]], Iterator[tuple[Any, float]]]


@contextmanager
def _opened(path: Path) -> Iterator[_ArrowFile]:
    """Open a file.

    Raises:
        Unreadable: It cannot be opened, or pyarrow is not installed; in the block, too, where it cannot be read.
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
            # Pages come through a small buffer: a row group of any size takes no more memory than that.
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
        # Of Arrow nothing is decoded, and so nothing checked: offsets beyond the memory would end the process.
        batch.validate(full=True)
        yield batch, source.tell() / source.size() if is_stream else number / reader.num_record_batches


def _choose(file: _ArrowFile, hints: Hints) -> dict[str, int]:
    """Return the places of the columns of a file that are read.

    Raises:
        Unreadable: There is no column of times, or there are several.
    """
    names, kinds = file.schema.names, file.schema.types
    types = file.arrow.types

    def is_number(index: int) -> bool:
        return bool(
            types.is_integer(kinds[index]) or types.is_floating(kinds[index]) or types.is_timestamp(kinds[index])
        )

    try:
        return choose_columns(names, find_columns(names, hints.columns, is_number), ["time"])
    except ValueError as fault:
        raise Unreadable(str(fault)) from None


def _by_cells(arrow: Any, instants: Any, columns: Sequence[Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield instants by the cells beside them, one of each column."""
    if not columns:
        if len(instants):
            yield (), instants
        return
    names = [str(index) for index in range(len(columns))]
    table = arrow.table([*(column.cast(arrow.string()) for column in columns), instants], [*names, "instants"])
    grouped = table.group_by(names, use_threads=False).aggregate([("instants", "list")])
    cells = zip(*(grouped[name].to_pylist() for name in names), strict=True)
    for key, times in zip(cells, grouped["instants_list"], strict=True):
        yield tuple(map(str, key)), times.values
