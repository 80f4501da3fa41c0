"""Finds the gaps of each series in the files of a source, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import Any, TypeVar

from reconciler_engine.archive.arrow_file import is_arrow, read_times
from reconciler_engine.archive.candle_file import read_parts
from reconciler_engine.archive.found_files import FoundFile, Source
from reconciler_engine.archive.hints import Hints
from reconciler_engine.archive.orderly_text import summarise_orderly
from reconciler_engine.detection.summary import GapSummary
from reconciler_engine.errors import CandleFileError
from reconciler_engine.market.series import Series

# Rows of a part: about 80 MB of text. Repeated rows are found only within a part.
_ROWS_AT_ONCE = 250_000


@dataclass(frozen=True, slots=True)
class SeriesGaps:
    """One series in the files of a source.

    Attributes:
        source: Path that the user gave.
        series: The series.
        summary: Rows and gaps of the series.
        read_as: Dialects of the files, each once; our own dialect is left out.
    """

    source: Path
    series: Series
    summary: GapSummary
    read_as: tuple[str, ...] = ()

    def as_object(self, **more: object) -> dict[str, Any]:
        """Return the series as a JSON object (instants in ms UTC); `more` are further fields, put after `missing`."""
        summary = self.summary
        told: dict[str, Any] = {
            "file": str(self.source),
            "symbol": self.series.symbol,
            "timeframe": self.series.timeframe.value,
            "rows": summary.count,
            "first": summary.first,
            "last": summary.last,
            "missing": summary.missing,
            **more,
            "duplicates": summary.duplicates,
            "off_grid": summary.strangers,
        }
        return {**told, "read_as": [*self.read_as]} if self.read_as else told


class PartSum:
    """The sum of the parts of one series.

    Keeps only a few summaries, each with fewer gaps than the one before it, so that each gap is copied only a few times
    however many parts are added.
    """

    def __init__(self) -> None:
        self._parts: list[GapSummary] = []
        self._read_as: dict[str, None] = {}

    def add(self, part: GapSummary, read_as: str) -> None:
        """Add a part and its dialect."""
        while self._parts and len(self._parts[-1].gaps) <= len(part.gaps):
            part |= self._parts.pop()
        self._parts.append(part)
        if read_as:
            self._read_as[read_as] = None

    def total(self) -> tuple[GapSummary, tuple[str, ...]]:
        """Return the summary of all parts and their dialects."""
        return reduce(or_, self._parts), tuple(self._read_as)


def survey(
    sources: Sequence[Source], hints: Hints, advance: Callable[[int], None]
) -> Iterator[tuple[list[SeriesGaps], list[CandleFileError]]]:
    """Yield the gaps of each source's series, and the errors of its files. Memory use is the gaps and part of a file.

    Args:
        sources: Files to read.
        hints: Facts from the user.
        advance: Called from time to time with the bytes read from all sources so far.
    """
    return walk(
        sources,
        lambda file, tell: _parts(file, hints, tell),
        lambda _: PartSum(),
        lambda total, part: total.add(*part),
        lambda path, series, total: SeriesGaps(path, series, *total.total()),
        advance,
    )


def _parts(
    file: FoundFile, hints: Hints, advance: Callable[[int], None]
) -> Iterator[tuple[Series, tuple[GapSummary, str]]]:
    if is_arrow(file.path):
        for series, instants, read_as, _ in read_times(file.path, file.naming, hints, advance):
            yield series, (GapSummary.of(instants, series.timeframe.step_ms), read_as)
        return
    if (orderly := summarise_orderly(file, hints, advance)) is not None:
        series, summary, read_as = orderly
        yield series, (summary, read_as)
        return
    for part in read_parts(file.path, naming=file.naming, hints=hints, needed=(), most=_ROWS_AT_ONCE, advance=advance):
        if part.series is not None:
            rows = part.starts + part.repeats
            yield part.series, (GapSummary.of(rows, part.series.timeframe.step_ms), part.read_as)


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
    """Add up the parts of each series in a source; yield, for each source, the results and the errors of its files.

    Series are in alphabetical order. A series that may have rows in a file that failed has no result.

    Args:
        sources: Files to read, in this order.
        read: Yields the parts of each series in a file; calls its second argument with the bytes read from that file.
        begin: Returns an empty sum for a series.
        add: Adds a part to a sum.
        end: Returns the result of a series from the source's path, the series and its sum.
        advance: Called from time to time with the bytes read from all sources so far.
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
