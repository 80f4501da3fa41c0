"""The state of a series when a pass last looked, and the order in which many series are shown."""

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
        present: Number of candles.
        verified: Number of verified candles.
        since: Close of the oldest candle that is neither verified nor suspect (ms UTC); None if there is none.
        overdue: Number of candles that have been unverified for too long.
    """

    present: int
    verified: int
    since: int | None
    overdue: int


_ORDER = tuple(frame.value for frame in Timeframe)


def worst_first(series: Mapping[str, SeriesCoverage]) -> list[tuple[str, SeriesCoverage]]:
    """Return the series, the worst first: unknown ones, then by missing slots, then by slots that are not ready.

    Series that are equal in this are sorted by symbol, then by timeframe.
    """

    def place(item: tuple[str, SeriesCoverage]) -> tuple[float, int, str, tuple[int, str]]:
        symbol, _, frame = item[0].rpartition(":")
        # An unknown number sorts before all others.
        lack = 1e12 if item[1].missing is None else item[1].missing
        return -lack, -sum(obstacles_of(item[1]).values()), symbol, rank_of(frame)

    return sorted(series.items(), key=place)


def lacks(state: SeriesCoverage) -> bool:
    """Whether a series has slots that are not ready, or nothing is known of it."""
    return word_of(state) != "ready"


def obstacles_of(state: SeriesCoverage) -> dict[Obstacle, int]:
    """Return the number of slots that are not ready, by obstacle; obstacles of other versions are left out."""
    known = {one: state.obstacles[one] for one in Obstacle if one in state.obstacles}
    explained = sum(count for one, count in known.items() if one.state == "missing")
    return {**known, Obstacle.NOT_ASKED: max(0, (state.missing or 0) - explained)}


def why_unready(state: SeriesCoverage) -> str:
    """Return the numbers of slots that are not ready, in words, with their reasons."""
    return "unknown" if state.missing is None else ", ".join(describe_obstacles(obstacles_of(state)))


def count_obstacles(series: Mapping[str, SeriesCoverage]) -> dict[Obstacle, int]:
    """Return the number of slots that are not ready over all series, for each obstacle."""
    counts = [obstacles_of(state) for state in series.values()]
    return {one: sum(each.get(one, 0) for each in counts) for one in Obstacle}


def count_states(series: Mapping[str, SeriesCoverage]) -> dict[str, int]:
    """Return the number of series in each state.

    `ready`: every slot is ready. `waiting`: each slot that is not ready waits for another answer of the exchange, as
    the newest slots of thin products always do; nothing is overdue. `lacking`, `suspect`, `unverified` (for too long):
    the state of the worst slot, in this order. `delisted`: slots are missing only because the product was delisted.
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
    """Count verified and unverified candles of each timeframe, shortest first; leave out series without counts."""
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
    """Return the sort key of a timeframe's name: shortest first, names of other versions last."""
    return (_ORDER.index(frame) if frame in _ORDER else len(_ORDER), frame)
