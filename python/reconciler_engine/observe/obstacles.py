"""Obstacles: why slots are not ready, in the words that people, programs and metrics are told."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Obstacle(StrEnum):
    """Why a slot stands in the way of readiness, and whether it is missing or its candle suspect."""

    NOT_ASKED = "not asked for"
    SECOND_SIGHTING = "waiting for a second sighting"
    REFERENCE = "waiting for a reference"
    UNUSABLE = "row unusable"
    WITHDRAWN = "withdrawn"
    VALUES_DIFFER = "values differ"
    LACKED = "lacked once"
    NOT_AT_EXCHANGE = "not at the exchange"
    CONTESTED = "contested"
    DOUBTED = "doubted"

    @property
    def state(self) -> str:
        """Whether the slot is `missing`, or `suspect`: it holds a candle."""
        return "missing" if self in _OF_MISSING else "suspect"

    @property
    def label(self) -> str:
        """Its word as a label value of metrics."""
        return self.value.replace(" ", "_")


_OF_MISSING = frozenset(
    {Obstacle.NOT_ASKED, Obstacle.SECOND_SIGHTING, Obstacle.REFERENCE, Obstacle.UNUSABLE, Obstacle.WITHDRAWN}
)
STATES = ("missing", "suspect")


def describe_obstacles(slots: Mapping[Obstacle, int]) -> list[str]:
    """Return how many slots are missing and suspect, each with its reasons; nothing where there is none."""
    told = []
    for state in STATES:
        counts = {one: count for one, count in slots.items() if one.state == state and count}
        reasons = ", ".join(f"{counts[one]} {one}" for one in Obstacle if one in counts and one not in _PLAIN)
        if counts:
            told.append(f"{sum(counts.values())} {state}{f' ({reasons})' if reasons else ''}")
    return told


_PLAIN = frozenset({Obstacle.NOT_ASKED, Obstacle.DOUBTED})
"""Those of which the state says all."""
