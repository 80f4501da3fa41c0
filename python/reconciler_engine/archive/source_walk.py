"""A walk over the files of sources that adds up the parts of each series."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from reconciler_engine.archive.found_files import FoundFile, Source
from reconciler_engine.errors import CandleFileError
from reconciler_engine.market.series import Series

Part = TypeVar("Part")
Sum = TypeVar("Sum")
Told = TypeVar("Told")


def walk(
    sources: Sequence[Source],
    read: Callable[[FoundFile, Callable[[int], None]], Iterator[tuple[Series, Part]]],
    begin: Callable[[Series], Sum],
    add: Callable[[Sum, Part], None],
    end: Callable[[Path, Series, Sum], Told],
    advance: Callable[[int], None],
) -> Iterator[tuple[list[Told], list[CandleFileError]]]:
    """Yield what is told of the series of each source, and the faults of its files that failed.

    Series are in alphabetical order, without those that may have rows in a file that failed.

    Args:
        sources: Files to read, in this order.
        read: Yields the parts of each series in a file; calls its second argument with the bytes read of that file.
        begin: Makes the sum of a series, empty.
        add: Adds a part to a sum.
        end: Returns what is told of a series in the files of a path.
        advance: Called now and then with the bytes read of all sources.
    """
    done = 0
    for source in sources:
        sums: dict[Series, Sum] = {}
        faults: list[CandleFileError] = []
        failed: set[Series | None] = set()
        for file in source.files:
            try:
                for series, part in read(file, partial(_advance, advance, done)):
                    if series not in sums:
                        sums[series] = begin(series)
                    add(sums[series], part)
            except CandleFileError as fault:
                faults.append(fault)
                failed.add(None if file.naming.fault else file.naming.series())
            done += file.size
            advance(done)
        whole = [] if None in failed else sorted(sums.keys() - failed, key=str)
        yield [end(source.path, one, sums[one]) for one in whole], faults


def _advance(advance: Callable[[int], None], before: int, read: int) -> None:
    advance(before + read)
