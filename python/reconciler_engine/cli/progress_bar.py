"""The bar that a terminal gets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from reconciler_engine.cli.pace import Pace, describe
from reconciler_engine.engine.backfill.director import HistoryProgress

_COLUMNS = ("{task.description}", "{task.fields[facts]}")


class ProgressBar:
    """One bar over all series: what is read, percent, rate, requests, time left."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("reading", total=None, facts="")
        self._pace: Pace | None = None

    def show(self, progress: HistoryProgress) -> None:
        """Draw this state."""
        now_s = time.monotonic()
        if self._pace is None:
            self._pace = Pace(now_s, progress.slots_done)
        self._bar.update(
            self._task,
            description=progress.series or "done",
            total=progress.slots,
            completed=progress.slots_done,
            facts=describe(progress, self._pace, now_s),
        )


@contextmanager
def show_bar(stream: TextIO) -> Iterator[ProgressBar]:
    """Draw a bar on a terminal until the block ends, then take it away."""
    description, facts = (TextColumn(text, markup=False) for text in _COLUMNS)
    columns = (description, BarColumn(), TaskProgressColumn(), facts)
    # Standard output and error stay as they are: what others print is not ours to redraw.
    with Progress(
        *columns, console=Console(file=stream), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        yield ProgressBar(bar)
