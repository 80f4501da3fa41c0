"""The state of a series as a pass last saw it, and the order in which people are shown many of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.obstacles import WAITING, Obstacle, describe_obstacles

if TYPE_CHECKING:
    from reconciler_engine.observe.status import SeriesCoverage


class Verification(NamedTuple):
    """How far the candles of a timeframe are verified.

    Attributes:
        present: Candles that are there.
        verified: Those of them that are verified.
        since: Close of the oldest one that is not (ms UTC); None where all are, or are in doubt.
        overdue: Number of those that have not been for longer than they may.
    """

    present: int
    verified: int
    since: int | None
    overdue: int


_ORDER = tuple(frame.value for frame in Timeframe)


def worst_first(series: Mapping[str, SeriesCoverage]) -> list[tuple[str, SeriesCoverage]]:
    """Return the series that lack most first, those of which nothing is known before them, then those in doubt.

    Then by symbol, and by the length of their bars.
    """

    def place(item: tuple[str, SeriesCoverage]) -> tuple[float, int, str, tuple[int, str]]:
        symbol, _, frame = item[0].rpartition(":")
        # Nothing known is more than any series can lack.
        lack = 1e12 if item[1].missing is None else item[1].missing
        return -lack, -sum(obstacles_of(item[1]).values()), symbol, rank_of(frame)

    return sorted(series.items(), key=place)


def lacks(state: SeriesCoverage) -> bool:
    """Whether slots of a series are in the way of readiness, or nothing is known of it."""
    return word_of(state) != "ready"


def obstacles_of(state: SeriesCoverage) -> dict[Obstacle, int]:
    """Return the number of slots that are not ready by their reason; words of another version are left out."""
    known = {one: state.obstacles[one] for one in Obstacle if one in state.obstacles}
    explained = sum(count for one, count in known.items() if one.state == "missing")
    return {**known, Obstacle.NOT_ASKED: max(0, (state.missing or 0) - explained)}


def why_unready(state: SeriesCoverage) -> str:
    """Return the slots that are not ready in words, with their reasons."""
    return "unknown" if state.missing is None else ", ".join(describe_obstacles(obstacles_of(state)))


def count_obstacles(series: Mapping[str, SeriesCoverage]) -> dict[Obstacle, int]:
    """Return the number of slots of all series that are not ready, by each reason there is."""
    counts = [obstacles_of(state) for state in series.values()]
    return {one: sum(each.get(one, 0) for each in counts) for one in Obstacle}


def count_states(series: Mapping[str, SeriesCoverage]) -> dict[str, int]:
    """Return the number of series in each state, by its word.

    Ready are those without a slot in the way of the gate. Waiting are those of which each slot in the way waits for
    another answer, as thin products' newest slots always do: nothing is overdue there. Of the others the worst slot
    counts: lacking before suspect, before unverified for too long; delisted where that is all that is missing.
    """
    counts = Counter(word_of(state) for state in series.values())
    return {state: counts[state] for state in SERIES_STATES}


SERIES_STATES = ("ready", "waiting", "lacking", "suspect", "unverified", "delisted", "unknown")


def word_of(state: SeriesCoverage) -> str:
    """Return the state of a series, one of `SERIES_STATES`."""
    if state.missing is None:
        return "unknown"
    found = {one for one, count in obstacles_of(state).items() if count}
    left = {one.state for one in found - WAITING - {Obstacle.DELISTED}}
    for kind, word in (("missing", "lacking"), ("suspect", "suspect"), ("unverified", "unverified")):
        if kind in left:
            return word
    return "ready" if not found else "delisted" if Obstacle.DELISTED in found else "waiting"


def count_verified(series: Mapping[str, SeriesCoverage]) -> dict[str, Verification]:
    """Return by timeframe, the shortest first, how far the candles of all series are verified, where that is known."""
    found: dict[str, list[SeriesCoverage]] = {}
    for name, state in series.items():
        frame = name.rpartition(":")[2]
        if frame in _ORDER and state.present is not None and state.verified is not None:
            found.setdefault(frame, []).append(state)
    return {
        frame: Verification(
            sum(state.present or 0 for state in found[frame]),
            sum(state.verified or 0 for state in found[frame]),
            min((state.unverified_since for state in found[frame] if state.unverified_since is not None), default=None),
            sum(state.obstacles.get(Obstacle.UNVERIFIED, 0) for state in found[frame]),
        )
        for frame in sorted(found, key=rank_of)
    }


def rank_of(frame: str) -> tuple[int, str]:
    """Return the place of a timeframe's name among all, the shortest first; those of another version come last."""
    return (_ORDER.index(frame) if frame in _ORDER else len(_ORDER), frame)
