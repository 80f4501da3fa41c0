"""Inspect candle files and find the flaws of every series in them, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler_engine.archive.bar_columns import BarBlock, read_blocks
from reconciler_engine.archive.found_files import Source
from reconciler_engine.archive.hints import Hints
from reconciler_engine.archive.series_gaps import PartSum, SeriesGaps, walk
from reconciler_engine.detection.summary import GapSummary
from reconciler_engine.errors import CandleFileError
from reconciler_engine.inspection.bar_scan import BarScan
from reconciler_engine.inspection.flaws import PLACES_KEPT, Flaw, Rule
from reconciler_engine.market.series import Series


@dataclass(frozen=True, slots=True)
class InspectedFile(SeriesGaps):
    """A series in the files of a source, with its flaws; errors come first."""

    flaws: Sequence[Flaw] = ()


class _Inspection:
    """Collects the gaps and flaws of one series."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._gaps = PartSum()
        self._scan = BarScan(series.timeframe.step_ms)

    def add(self, block: BarBlock) -> None:
        self._gaps.add(GapSummary.of(block.times, self._series.timeframe.step_ms), block.read_as)
        self._scan.add(block.times, block.values)
        if block.unread is None:
            return
        flaws, bad = self._scan.flaws, block.unread
        for row in bad.rows[:PLACES_KEPT]:
            flaws.note(Rule.UNREADABLE, None, None, 1, str(row))
        if bad.total > PLACES_KEPT:
            flaws.add_untold(Rule.UNREADABLE, bad.total - PLACES_KEPT)

    def end(self, source: Path) -> InspectedFile:
        self._scan.finish()
        flaws = self._scan.flaws
        summary, read_as = self._gaps.total()
        if unseen := summary.duplicates - flaws.rows(Rule.REPEATED_ROW) - flaws.rows(Rule.TWO_VALUES):
            flaws.note(
                Rule.REPEATED_ROW, None, None, unseen, "far apart or in two files: their values were not compared"
            )
        return InspectedFile(source, self._series, summary, read_as, flaws.ranked())


def inspect_files(
    sources: Sequence[Source], hints: Hints, advance: Callable[[int], None]
) -> Iterator[tuple[list[InspectedFile], list[CandleFileError]]]:
    """Yield, for each source, its series and the errors of its unreadable files.

    Args:
        sources: Files to read.
        hints: Facts about the files that the user supplied.
        advance: Called from time to time with the number of bytes read from all sources.
    """
    return walk(
        sources,
        lambda file, tell: read_blocks(file, hints, tell),
        _Inspection,
        _Inspection.add,
        lambda path, _, inspection: inspection.end(path),
        advance,
    )
