"""A walk over the files of sources that adds up the parts of each series."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from reconciler_engine.archive.found_files import FoundFile, Source
from reconciler_engine.errors import CandleFileError
from reconciler_engine.market.series import Series

Part = TypeVar("Part")
Sum = TypeVar("Sum")


@dataclass(frozen=True, slots=True)
class SourceSums(Generic[Sum]):
    """The sums of a source.

    Attributes:
        source: The source.
        series: Series with their sums, in alphabetical order, without those that may have rows in a file that failed.
        faults: Faults of the files that failed.
    """

    source: Source
    series: list[tuple[Series, Sum]]
    faults: list[CandleFileError]


def walk(
    sources: Sequence[Source],
    read: Callable[[FoundFile, Callable[[int], None]], Iterator[tuple[Series, Part]]],
    begin: Callable[[Series], Sum],
    add: Callable[[Sum, Part], None],
    advance: Callable[[int], None],
) -> Iterator[SourceSums[Sum]]:
    """Yield the sums of each source.

    Args:
        sources: Files to read, in this order.
        read: Yields the parts of each series in a file; calls its second argument with the bytes read of that file.
        begin: Makes the sum of a series, empty.
        add: Adds a part to a sum.
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
        yield SourceSums(source, [(one, sums[one]) for one in whole], faults)


def _advance(advance: Callable[[int], None], before: int, read: int) -> None:
    advance(before + read)
