"""Reads the candle files given to a command; shows progress, files left out, and files that cannot be read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from reconciler_engine.archive.found_files import Source, find_sources
from reconciler_engine.archive.hints import Hints
from reconciler_engine.archive.series_gaps import SeriesGaps
from reconciler_engine.cli.output import Output, say
from reconciler_engine.cli.progress_bar import open_bar
from reconciler_engine.errors import CandleFileError
from reconciler_engine.observe.words import counted, iso_uncut, printable

_SHOWN = 3
_Told = TypeVar("_Told", bound=SeriesGaps)
Reader: TypeAlias = Callable[
    [Sequence[Source], Hints, Callable[[int], None]], Iterator[tuple[list[_Told], list[CandleFileError]]]
]


def read_series(
    files: Sequence[Path],
    hints: Hints,
    output: Output,
    read: Reader[_Told],
    fields: Callable[[_Told], dict[str, Any]],
) -> tuple[list[_Told], list[CandleFileError]]:
    """Return the series in files, and the faults of files that cannot be read.

    JSON of a series is printed as soon as the series is read; on a terminal, progress is shown.
    """
    sources = find_sources(files, hints)
    for source in sources:
        _warn_of_left_out(source)
    told: list[_Told] = []
    faults: list[CandleFileError] = []
    with _reading(sources) as advance:
        for found, failed in read(sources, hints, advance):
            faults += failed
            told += found
            if output.as_json:
                for one in found:
                    output.print_json(fields(one))
    if not output.as_json:
        for one in told:
            for way in one.read_as:
                say(f"{one.source.name} {one.series}: read as {way}")
    return told, faults


@contextmanager
def _reading(sources: Sequence[Source]) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows on a terminal how many bytes of the sources are read."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with open_bar(sys.stderr, "{task.description}") as bar:
        task = bar.add_task("reading", total=sum(file.size for source in sources for file in source.files))
        yield lambda read: bar.update(task, completed=read)


FILE_HEADS = ("file", "series", "rows", "first", "last", "missing")


def file_cells(one: SeriesGaps) -> tuple[str, ...]:
    """Return a row's cells for the columns `FILE_HEADS`."""
    summary = one.summary
    first, last = ("-" if instant is None else iso_uncut(instant) for instant in (summary.first, summary.last))
    return (one.source.name, str(one.series), str(summary.count), first, last, str(summary.missing))


def _warn_of_left_out(source: Source) -> None:
    if source.left_out:
        shown = ", ".join(path.name for path in source.left_out[:_SHOWN])
        more = len(source.left_out) - _SHOWN
        told = f"{source.path}: left out {counted(len(source.left_out), 'file')} that say no series: {shown}"
        sys.stderr.write(f"reconciler-engine: {printable(told)}{f' and {more} more' if more > 0 else ''}\n")


def raise_all(faults: Sequence[CandleFileError]) -> None:
    """Raise the faults of the files that cannot be read, if there are any."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise ExceptionGroup("candle files", faults)
