"""Half-open spans of time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """The instants t with `start <= t < stop` (ms UTC); empty when both are equal."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if self.stop < self.start:
            raise ValueError(f"interval stop {self.stop} lies before its start {self.start}")

    def __contains__(self, instant: int) -> bool:
        return self.start <= instant < self.stop

    def grid(self, step: int) -> range:
        """Return the open times in this interval, as an ascending range of multiples of `step` (ms).

        An instant off the grid is moved to the next open time.
        """
        return range(-(-self.start // step) * step, self.stop, step)
