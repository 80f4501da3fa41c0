"""Obstacles: the reasons why slots and series are not ready, and their cures, as people and programs are told them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from reconciler_engine.observe.words import iso


class Obstacle(StrEnum):
    """Reason why a slot is not ready: it is missing, or its candle is suspect, or has been unverified for too long."""

    NOT_ASKED = "not asked for"
    SECOND_SIGHTING = "waiting for a second sighting"
    REFERENCE = "waiting for a reference"
    UNUSABLE = "row unusable"
    WITHDRAWN = "withdrawn"
    DELISTED = "product delisted"
    VALUES_DIFFER = "values differ"
    SECOND_ANSWER = "waiting for a second answer"
    LACKED = "lacked once"
    NOT_AT_EXCHANGE = "not at the exchange"
    CONTESTED = "contested"
    DOUBTED = "doubted"
    UNVERIFIED = "unverified"

    @property
    def state(self) -> str:
        """State of the slot: `missing`, or `suspect` or `unverified` for the state of its candle."""
        if self is Obstacle.UNVERIFIED:
            return "unverified"
        return "missing" if self in _OF_MISSING else "suspect"

    @property
    def label(self) -> str:
        """Label value of the obstacle in metrics."""
        return self.value.replace(" ", "_")


_OF_MISSING = frozenset(
    {
        Obstacle.NOT_ASKED,
        Obstacle.SECOND_SIGHTING,
        Obstacle.REFERENCE,
        Obstacle.UNUSABLE,
        Obstacle.WITHDRAWN,
        Obstacle.DELISTED,
    }
)
WAITING = frozenset({Obstacle.SECOND_SIGHTING, Obstacle.REFERENCE, Obstacle.SECOND_ANSWER, Obstacle.LACKED})
"""Obstacles that wait for further answers of the exchange; their slots are not overdue."""
STATES = ("missing", "suspect", "unverified")


def describe_obstacles(slots: Mapping[Obstacle, int]) -> list[str]:
    """Describe each state that has slots, with their number and reasons, such as `2 missing (2 withdrawn)`."""
    told = []
    for state in STATES:
        counts = {one: count for one, count in slots.items() if one.state == state and count}
        reasons = ", ".join(f"{counts[one]} {one}" for one in Obstacle if one in counts and one not in _PLAIN)
        if len(counts) == 1:
            reasons = reasons.partition(" ")[2]
        if counts:
            told.append(f"{sum(counts.values())} {state}{f' ({reasons})' if reasons else ''}")
    return told


_PLAIN = frozenset({Obstacle.NOT_ASKED, Obstacle.DOUBTED, Obstacle.UNVERIFIED})
"""Obstacles that say no more than their state."""


class Unready(NamedTuple):
    """A series that is not ready.

    Attributes:
        symbol: Product id.
        timeframe: Name of the timeframe, such as `5m`.
        reason: Why the oldest slot that is not ready is so; the error if the series cannot be read.
        slots: Number of slots that are not ready by kind: `missing`, `suspect`, `not a candle`, `unverified`; or
            `fewer members`, the number of members that the series lacks.
        first: Open time of the oldest slot that is not ready (ms UTC); None if the series cannot be read.
        since: Since when that slot has not been ready (ms UTC); None if unknown.
        again_at: When the exchange can be asked about that slot again (ms UTC); None if unknown.
        cure: Action that makes the series ready.
    """

    symbol: str
    timeframe: str
    reason: str
    slots: Mapping[str, int]
    first: int | None
    since: int | None
    again_at: int | None
    cure: str

    @property
    def series(self) -> str:
        """Name of the series, such as `BTC-USD:5m`."""
        return f"{self.symbol}:{self.timeframe}"

    @property
    def trouble(self) -> float:
        """Number of slots that are not ready; a series that cannot be read counts more than any other."""
        return sum(self.slots.values()) if self.slots else 1e12

    def in_words(self) -> str:
        """Return the numbers of slots, such as `3 missing, 1 suspect`; the error if the series cannot be read."""
        return ", ".join(f"{slots} {kind}" for kind, slots in self.slots.items()) or self.reason

    def why(self) -> str:
        """Return the numbers of slots, and the reason of the oldest slot if that adds anything."""
        more = "" if self.reason in _NO_MORE or not self.slots else f" ({self.reason})"
        return f"{self.in_words()}{more}"

    def remedy(self) -> str:
        """Return the cure, and from when on the exchange is asked again, if known."""
        return self.cure if self.again_at is None else f"{self.cure}; asked again from {iso(self.again_at)}"

    def of_product(self, reason: str | None) -> Unready:
        """Return a copy with the product's reason for missing slots; `self` if that is None or no slot is missing."""
        if reason is None or "missing" not in self.slots:
            return self
        return self._replace(reason=reason, again_at=None, cure=cure_of(reason))


_NO_MORE: Final = frozenset(
    {Obstacle.NOT_ASKED, Obstacle.DOUBTED, Obstacle.UNVERIFIED, "not a candle", "fewer members"}
)
"""Reasons that say no more than the kind of the slot."""

NOT_LISTED: Final = "no such product"
"""Reason of the missing slots of a product that the exchange does not list."""

_CURES: Final[Mapping[str, str]] = {
    Obstacle.NOT_ASKED: "the next pass, or reconcile now",
    Obstacle.SECOND_SIGHTING: "a second answer, 4 min after the first",
    Obstacle.REFERENCE: "an answer to compare with, of the product with the greatest turnover",
    Obstacle.UNUSABLE: "a good row of the exchange, or evidence mark",
    Obstacle.WITHDRAWN: "answers that prove it empty, or evidence mark",
    Obstacle.DELISTED: "none: leave the product out of the symbols",
    NOT_LISTED: "none: correct the symbol, or leave it out",
    Obstacle.VALUES_DIFFER: "repair once the bar is final, or evidence mark --state accepted",
    Obstacle.SECOND_ANSWER: "a second answer, 4 min after the first",
    Obstacle.LACKED: "a second answer, 4 min after the first",
    Obstacle.NOT_AT_EXCHANGE: "removal after two more answers, or evidence mark --state accepted",
    Obstacle.CONTESTED: "repair after a day, or evidence mark --state accepted",
    Obstacle.DOUBTED: "the next answer",
    Obstacle.UNVERIFIED: "the verify run, or reconcile --verify all",
    "not a candle": "the next pass, or reconcile now",
    "fewer members": "backfill, or fewer bars",
}
NEWER: Final = "the feeder's next candle there, or removal by hand"
"""Cure of a member that is newer than the closed bars and not a candle: passes do not look there."""

_UNREAD: Final = "fix the fault that the error names"


def cure_of(reason: str) -> str:
    """Return the cure of a reason; an unknown reason is taken for an error message."""
    return _CURES.get(reason, _UNREAD)
