"""Obstacles: why slots and series are not ready, and the cure, in the words that people and programs are told."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from reconciler_engine.observe.words import iso


class Obstacle(StrEnum):
    """Why a slot stands in the way of readiness: it is missing, or its candle is suspect or too long unverified."""

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
        """Whether the slot is `missing`, or holds a candle that is `suspect` or only `unverified`."""
        if self is Obstacle.UNVERIFIED:
            return "unverified"
        return "missing" if self in _OF_MISSING else "suspect"

    @property
    def label(self) -> str:
        """Its word as a label value of metrics."""
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
"""Those that the next answers settle: nothing is overdue there."""
STATES = ("missing", "suspect", "unverified")


def describe_obstacles(slots: Mapping[Obstacle, int]) -> list[str]:
    """Return how many slots are missing, suspect and unverified, with the reasons; nothing where there is none."""
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
"""Those of which the state says all."""


class Unready(NamedTuple):
    """A series that is not ready.

    Attributes:
        symbol: Product id.
        timeframe: Name of the timeframe, such as `5m`.
        reason: Why the oldest slot in the way is there; where the series cannot be read, the error.
        slots: Slots in the way by their kind: missing, suspect, not a candle, unverified; and fewer members.
        first: Open time of the oldest slot in the way (ms UTC); None where the series cannot be read.
        since: Since when that slot has been in the way (ms UTC); None where nothing says so.
        again_at: When an answer could say more about it (ms UTC); None where that is not known.
        cure: The way to put it in order.
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
        """Its name, such as `BTC-USD:5m`."""
        return f"{self.symbol}:{self.timeframe}"

    @property
    def trouble(self) -> float:
        """Number of slots in the way; more than any series has where it cannot be read."""
        return sum(self.slots.values()) if self.slots else 1e12

    def in_words(self) -> str:
        """Return the slots in the way in words, such as `3 missing, 1 suspect`; of an unread series, the error."""
        return ", ".join(f"{slots} {kind}" for kind, slots in self.slots.items()) or self.reason

    def why(self) -> str:
        """Return the slots in the way and the reason of the oldest, where that says more."""
        more = "" if self.reason in _NO_MORE or not self.slots else f" ({self.reason})"
        return f"{self.in_words()}{more}"

    def remedy(self) -> str:
        """Return the cure, and when the exchange is asked again where that is known."""
        return self.cure if self.again_at is None else f"{self.cure}; asked again from {iso(self.again_at)}"

    def of_product(self, reason: str | None) -> Unready:
        """Return the same with the reason why the product has no newer bars, if one is given and slots are missing."""
        if reason is None or "missing" not in self.slots:
            return self
        return self._replace(reason=reason, again_at=None, cure=cure_of(reason))


_NO_MORE: Final = frozenset(
    {Obstacle.NOT_ASKED, Obstacle.DOUBTED, Obstacle.UNVERIFIED, "not a candle", "fewer members"}
)
"""Reasons that say no more than their kind."""

NOT_LISTED: Final = "no such product"
"""Why all is missing of a product that is not in the exchange's list."""

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
"""Cure of a member after the closed bars that is not a candle: no pass looks there."""

_UNREAD: Final = "put right what the error names"


def cure_of(reason: str) -> str:
    """Return the cure of an obstacle; any other reason is an error."""
    return _CURES.get(reason, _UNREAD)
