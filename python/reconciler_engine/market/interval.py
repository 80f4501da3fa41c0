"""Half-open spans of time."""

from __future__ import annotations

from dataclasses import dataclass

_set = object.__setattr__


@dataclass(frozen=True, slots=True, order=True, init=False)
class Interval:
    """The instants t with `start <= t < stop` (ms UTC); empty when both are equal."""

    start: int
    stop: int

    # Written out: the one that is made for a frozen class takes more than twice as long, and evidence is intervals.
    def __init__(self, start: int, stop: int) -> None:
        """Make an interval.

        Raises:
            ValueError: It ends before it starts.
        """
        if stop < start:
            raise ValueError(f"interval stop {stop} lies before its start {start}")
        _set(self, "start", start)
        _set(self, "stop", stop)

    def __contains__(self, instant: int) -> bool:
        return self.start <= instant < self.stop

    def grid(self, step: int) -> range:
        """Return the open times in this interval, as an ascending range of multiples of `step` (ms).

        An instant off the grid is moved to the next open time.
        """
        return range(-(-self.start // step) * step, self.stop, step)
