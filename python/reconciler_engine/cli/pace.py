"""How fast a backfill goes, and how long the rest of it takes."""

from __future__ import annotations

from reconciler_engine.cli.history_report import duration
from reconciler_engine.engine.backfill.director import HistoryProgress
from reconciler_engine.observe.words import counted


class Pace:
    """How fast slots are done in this life, and how long the rest takes at that.

    Args:
        began_s: When the first state was seen (s of any steady clock).
        slots_done: Slots done by then, which earlier lives did.
    """

    def __init__(self, began_s: float, slots_done: int) -> None:
        self._began_s = began_s
        self._first = slots_done

    def rate(self, progress: HistoryProgress, now_s: float) -> float:
        """Return slots a second so far; 0 before any is done."""
        passed = now_s - self._began_s
        return max(0, progress.slots_done - self._first) / passed if passed > 0 else 0.0

    def eta_ms(self, progress: HistoryProgress, now_s: float) -> int | None:
        """Return the time (ms) the rest takes at the rate so far, or None before there is a rate."""
        rate = self.rate(progress, now_s)
        return round((progress.slots - progress.slots_done) * 1_000 / rate) if rate else None


def describe(progress: HistoryProgress, pace: Pace, now_s: float) -> str:
    """Return rate, requests and time left in words."""
    eta_ms = pace.eta_ms(progress, now_s)
    left = f", {duration(eta_ms)} left" if eta_ms else ""
    return f"{pace.rate(progress, now_s):.0f} slots/s, {counted(progress.requests, 'request')}{left}"
