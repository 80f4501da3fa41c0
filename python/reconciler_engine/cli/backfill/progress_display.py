"""Progress of a backfill: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from reconciler_engine.cli.plan_table import duration
from reconciler_engine.cli.progress_bar import open_bar
from reconciler_engine.engine.backfill.director import BackfillProgress
from reconciler_engine.observe.words import counted

if TYPE_CHECKING:
    from rich.progress import Progress

_LINE_EVERY_S = 10.0


class Pace:
    """The speed of a backfill in this process, in slots, and the time left at that speed.

    Args:
        began_s: When this process began (s, on any monotonic clock).
        slots_done: Number of slots that earlier processes had done.
    """

    def __init__(self, began_s: float, slots_done: int) -> None:
        self._began_s = began_s
        self._first = slots_done

    def rate(self, progress: BackfillProgress, now_s: float) -> float:
        """Return the slots per second so far; 0 before the first slot is done."""
        passed = now_s - self._began_s
        return max(0, progress.slots_done - self._first) / passed if passed > 0 else 0.0

    def eta_ms(self, progress: BackfillProgress, now_s: float) -> int | None:
        """Return the time (ms) that the remaining slots take at the rate so far; None while that is 0."""
        rate = self.rate(progress, now_s)
        return round((progress.slots - progress.slots_done) * 1_000 / rate) if rate else None


def describe(progress: BackfillProgress, pace: Pace, now_s: float) -> str:
    """Return rate, requests and time left in words."""
    eta_ms = pace.eta_ms(progress, now_s)
    left = f", {duration(eta_ms)} left" if eta_ms else ""
    return f"{pace.rate(progress, now_s):.0f} slots/s, {counted(progress.requests, 'request')}{left}"


class ProgressLines:
    """Shows progress of a backfill. This base class shows nothing, as programs that read the output want it."""

    _pace: Pace | None = None

    def show(self, progress: BackfillProgress) -> None:
        """Show this state of the backfill."""

    def tell(self, text: str) -> None:
        """Print a line that is not erased."""

    def _pace_at(self, now_s: float, progress: BackfillProgress) -> Pace:
        """Return the pace since the first call, which passes the first state."""
        self._pace = self._pace or Pace(now_s, progress.slots_done)
        return self._pace


@contextmanager
def show_progress(stream: TextIO, *, is_terminal: bool, quiet: bool) -> Iterator[ProgressLines]:
    """Show progress on `stream` until the block ends: a bar on a terminal, else a line every 10 s unless `quiet`."""
    if not is_terminal:
        yield ProgressLines() if quiet else _Lines(stream)
        return
    with show_bar(stream) as bar:
        yield bar


class _Lines(ProgressLines):
    """Writes a line every 10 s. The first comes after 10 s, so that a short backfill prints only its result."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._due_s: float | None = None

    def show(self, progress: BackfillProgress) -> None:
        """Write a line if the last one was 10 s ago."""
        now_s = time.monotonic()
        pace = self._pace_at(now_s, progress)
        if self._due_s is not None and now_s >= self._due_s:
            percent = 100 * progress.slots_done / max(1, progress.slots)
            self.tell(f"{progress.series}: {percent:.1f}% of {progress.slots} slots, {describe(progress, pace, now_s)}")
        if self._due_s is None or now_s >= self._due_s:
            self._due_s = now_s + _LINE_EVERY_S

    def tell(self, text: str) -> None:
        """Write a line."""
        self._stream.write(f"{text}\n")
        self._stream.flush()


class ProgressBar(ProgressLines):
    """One bar over all series: slots read, percent, rate, requests, time left."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("reading", total=None, facts="")

    def show(self, progress: BackfillProgress) -> None:
        """Draw this state."""
        now_s = time.monotonic()
        self._bar.update(
            self._task,
            description=progress.series or "done",
            total=progress.slots,
            completed=progress.slots_done,
            facts=describe(progress, self._pace_at(now_s, progress), now_s),
        )

    def tell(self, text: str) -> None:
        """Write a line above the bar."""
        self._bar.console.print(text, markup=False)


@contextmanager
def show_bar(stream: TextIO) -> Iterator[ProgressBar]:
    """Draw a progress bar on a terminal until the block ends, then erase it."""
    with open_bar(stream, "{task.description}", "{task.fields[facts]}") as bar:
        yield ProgressBar(bar)
