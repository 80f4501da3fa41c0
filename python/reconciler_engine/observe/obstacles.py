"""Obstacles: why slots are not ready, in the words that people, programs and metrics are told."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


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
