"""The gaps of each series in the files of a source, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import or_
from pathlib import Path

from reconciler_engine.archive.arrow_file import is_arrow, read_times
from reconciler_engine.archive.candle_file import read_parts
from reconciler_engine.archive.found_files import FoundFile, Source
from reconciler_engine.archive.hints import Hints
from reconciler_engine.archive.orderly_text import summarise_orderly
from reconciler_engine.detection.summary import GapSummary
from reconciler_engine.errors import CandleFileError
from reconciler_engine.market.series import Series

# Some 80 MB of text: rows that repeat another one are compared with those of the same part.
_ROWS_AT_ONCE = 250_000


@dataclass(slots=True)
class SeriesGaps:
    """One series in the files of a source.

    Attributes:
        source: Path that the user gave.
        series: The series.
        summary: Its rows and gaps.
        read_as: How its files are written, where that was recognised; each way once.
    """

    source: Path
    series: Series
    summary: GapSummary
    read_as: tuple[str, ...] = ()


class _Sum:
    """Parts of one series, joined as far as needed: each that is kept has fewer gaps than the one before.

    So a gap is copied a few times, however many parts there are.
    """

    def __init__(self) -> None:
        self._parts: list[GapSummary] = []
        self._read_as: dict[str, None] = {}

    def add(self, part: GapSummary, read_as: str) -> None:
        while self._parts and len(self._parts[-1].gaps) <= len(part.gaps):
            part |= self._parts.pop()
        self._parts.append(part)
        if read_as:
            self._read_as[read_as] = None

    def total(self) -> tuple[GapSummary, tuple[str, ...]]:
        """Return the summary of all parts, and how they are written."""
        return reduce(or_, self._parts), tuple(self._read_as)


@dataclass(slots=True)
class SourceGaps:
    """What the files of a source hold.

    Attributes:
        series: Its series, in alphabetical order, without those that may have rows in a file that failed.
        faults: Faults of the files that failed.
    """

    series: list[SeriesGaps]
    faults: list[CandleFileError]


def survey(sources: Sequence[Source], hints: Hints, advance: Callable[[int], None]) -> Iterator[SourceGaps]:
    """Yield what each source holds. Memory is that of the gaps, and of a part of a file.

    Args:
        sources: Files to read.
        hints: What the user says of them.
        advance: Called now and then with how many bytes of all sources have been read.
    """
    done = 0
    for source in sources:
        sums: dict[Series, _Sum] = {}
        faults: list[CandleFileError] = []
        failed: set[Series | None] = set()
        for file in source.files:
            try:
                for series, part, read_as in _parts(file, hints, partial(_advance, advance, done)):
                    sums.setdefault(series, _Sum()).add(part, read_as)
            except CandleFileError as fault:
                faults.append(fault)
                failed.add(None if file.naming.fault else file.naming.series())
            done += file.size
            advance(done)
        whole = [] if None in failed else sorted(sums.keys() - failed, key=str)
        yield SourceGaps([SeriesGaps(source.path, one, *sums[one].total()) for one in whole], faults)


def _advance(advance: Callable[[int], None], before: int, read: int) -> None:
    advance(before + read)


def _parts(file: FoundFile, hints: Hints, advance: Callable[[int], None]) -> Iterator[tuple[Series, GapSummary, str]]:
    if is_arrow(file.path):
        for series, instants, read_as in read_times(file.path, file.naming, hints, advance):
            yield series, GapSummary.of(instants, series.timeframe.step_ms), read_as
        return
    if (orderly := summarise_orderly(file, hints, advance)) is not None:
        yield orderly
        return
    for part in read_parts(file.path, naming=file.naming, hints=hints, needed=(), most=_ROWS_AT_ONCE, advance=advance):
        if part.series is not None:
            rows = part.starts + part.repeats
            yield part.series, GapSummary.of(rows, part.series.timeframe.step_ms), part.read_as
