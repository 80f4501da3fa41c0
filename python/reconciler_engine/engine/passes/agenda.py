"""The agenda of the verify run: when each series is to be asked for next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import ceil

from reconciler_engine.market.series import Series
from reconciler_engine.planning.verification import Look, Standing, VerifyRules, choose_due, count_requests, standing_of

_RIGHT_IN_A_ROW = 3
"""Number of verifications by sums in a row after which a series is expected to need no request."""


class Agenda:
    """Holds the times of the next request for each series between the ticks of the verify run.

    Each run over all series rebuilds the agenda; an engine that takes over begins with such a run. An outdated
    agenda does no harm: a worker checks the cache before it asks for a page, and never asks for verified candles.
    """

    def __init__(self) -> None:
        self._standings: dict[Series, Standing] = {}
        self._proved: Counter[Series] = Counter()
        self._next_full = 0

    def begin(
        self, series: Sequence[Series], now: int, per_minute: float, *, next_full: int | None
    ) -> Sequence[Series]:
        """Return the series to examine in the run of `now` (ms UTC): all of them if a tick of the gap scan has passed.

        Args:
            series: All series of the engine.
            now: The instant of the run.
            per_minute: Rate of verification requests (per minute).
            next_full: Next tick of the gap scan after `now` (ms UTC); None if the schedule has no more ticks.
        """
        wanted = frozenset(series)
        if now >= self._next_full or not self._standings:
            self._standings = {}
            self._next_full = now if next_full is None else next_full
            return series
        self._standings = {one: standing for one, standing in self._standings.items() if one in wanted}
        unknown = [one for one in series if one not in self._standings]
        chosen = self._choose(now, per_minute)
        return unknown + chosen + self.companions(frozenset(chosen), now)

    def choose(self, looks: Mapping[Series, Look], now: int, per_minute: float, rules: VerifyRules) -> list[Series]:
        """Record the state of series at `now` (ms UTC) and return the series to ask for, the most urgent first."""
        self._note(looks, now, rules)
        return [one for one in self._choose(now, per_minute) if one in looks]

    def hurried(self, chosen: Iterable[Series], now: int) -> frozenset[Series]:
        """Return the chosen series that are not due yet at `now` (ms UTC) but go early to even out the load."""
        return frozenset(one for one in chosen if self._standings[one].due > now)

    def companions(self, chosen: frozenset[Series], now: int) -> list[Series]:
        """Return further series of the chosen symbols in which a candle could be verified at `now` (ms UTC).

        Once the finest candles of a symbol are verified, their sums can verify longer ones without a request.
        """
        symbols = {one.symbol for one in chosen}
        others = ((one, standing) for one, standing in self._standings.items() if one.symbol in symbols)
        return [one for one, standing in others if standing.ready <= now and one not in chosen]

    def note_asked(self, looks: Mapping[Series, Look], now: int, rules: VerifyRules) -> None:
        """Record the state of series that were asked for in the run of `now` (ms UTC).

        A series that is still due after its answer waits for the next run over all series, or until its `again_at`.
        """
        self._note(looks, now, rules)
        for series, look in looks.items():
            standing = self._standings[series]
            if standing.due <= now:
                again = min(self._next_full, look.again_at or self._next_full)
                self._standings[series] = Standing(max(standing.latest, again), again, again)

    def note_sums(self, proved: Iterable[Series], others: Iterable[Series]) -> None:
        """Count series that sums proved; reset the count of `others`, which were asked for or differed from their sums.

        A series that was right `_RIGHT_IN_A_ROW` times is expected to stay right: a feeder that writes one wrong bar of
        a timeframe usually writes more of them.
        """
        self._proved.update(proved)
        for one in others:
            del self._proved[one]

    def is_behind(self, now: int, per_minute: float) -> bool:
        """Whether the agenda still has series to ask for at `now` (ms UTC)."""
        return bool(self._choose(now, per_minute))

    def _note(self, looks: Mapping[Series, Look], now: int, rules: VerifyRules) -> None:
        for series, look in looks.items():
            self._standings[series] = standing_of(look, now, series.timeframe.step_ms, rules)

    def _choose(self, now: int, per_minute: float) -> list[Series]:
        # Limited to two minutes of requests; later runs choose the rest again.
        free = frozenset(one for one, times in self._proved.items() if times >= _RIGHT_IN_A_ROW)
        chosen, most = choose_due(self._standings, now, per_minute, free=free), ceil(2 * per_minute) + 1
        return [one for one, count in zip(chosen, count_requests(chosen, free), strict=True) if count <= most]
