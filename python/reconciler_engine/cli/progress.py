"""Progress of a backfill: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from reconciler_engine.cli.pace import Pace, describe
from reconciler_engine.engine.backfill.director import HistoryProgress

_LINE_EVERY_S = 10.0


class ProgressLines(Protocol):
    """Something that shows how far a backfill is."""

    def show(self, progress: HistoryProgress) -> None:
        """Show this state."""


@contextmanager
def show_progress(stream: TextIO, *, is_terminal: bool, quiet: bool) -> Iterator[ProgressLines]:
    """Show progress on `stream` until the block ends: a bar on a terminal, else a line every 10 s unless `quiet`."""
    if not is_terminal:
        yield _Quiet() if quiet else _Lines(stream)
        return
    from reconciler_engine.cli.progress_bar import show_bar

    with show_bar(stream) as bar:
        yield bar


class _Quiet:
    def show(self, progress: HistoryProgress) -> None:
        """Show nothing."""


class _Lines:
    """A line now and then; the first after the first wait, so that a short backfill says nothing but its result."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._pace: Pace | None = None
        self._due_s = 0.0

    def show(self, progress: HistoryProgress) -> None:
        """Write a line if the last one is long enough ago."""
        now_s = time.monotonic()
        if self._pace is None:
            self._pace = Pace(now_s, progress.slots_done)
            self._due_s = now_s + _LINE_EVERY_S
        elif now_s >= self._due_s:
            self._due_s = now_s + _LINE_EVERY_S
            percent = 100 * progress.slots_done / max(1, progress.slots)
            facts = describe(progress, self._pace, now_s)
            self._stream.write(f"{progress.series}: {percent:.1f}% of {progress.slots} slots, {facts}\n")
            self._stream.flush()
