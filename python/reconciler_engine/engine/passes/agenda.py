"""The agenda of the verify run: when each series is to be asked for next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import ceil

from reconciler_engine.market.series import Series
from reconciler_engine.planning.verification import Look, Standing, VerifyRules, choose_due, count_requests, standing_of

_RIGHT_IN_A_ROW = 3
"""A series whose bars followed from finer ones so many times in a row is expected to take no request."""


class Agenda:
    """Holds the standings of series between the ticks of the verify run.

    Each full look makes it anew; an engine that takes the run over begins with one. It is a memory of work to do, never
    of truth: a page that was verified meanwhile is seen to be so before it is asked for.
    """

    def __init__(self) -> None:
        self._standings: dict[Series, Standing] = {}
        self._proved: Counter[Series] = Counter()
        self._next_full = 0

    def begin(
        self, series: Sequence[Series], now: int, per_minute: float, *, next_full: int | None
    ) -> Sequence[Series]:
        """Return the series to look at in the run of `now` (ms UTC): all of them once `next_full` has passed.

        Args:
            series: All series of the engine.
            now: The instant of the run.
            per_minute: How many requests of verification may go out a minute.
            next_full: When the scan tick after this instant is (ms UTC); None where there are no more.
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
        """Take note of how series stand at `now` (ms UTC) and return those to ask for, the most urgent first."""
        self._note(looks, now, rules)
        return [one for one in self._choose(now, per_minute) if one in looks]

    def hurried(self, chosen: Iterable[Series], now: int) -> frozenset[Series]:
        """Return those of the chosen series that go before they are due (`now` in ms UTC), as all could not later."""
        return frozenset(one for one in chosen if self._standings[one].due > now)

    def companions(self, chosen: frozenset[Series], now: int) -> list[Series]:
        """Return the other series of the chosen ones' symbols in which a candle could be verified at `now` (ms UTC).

        With the finest candles of a symbol those of longer timeframes can be had, too.
        """
        symbols = {one.symbol for one in chosen}
        others = ((one, standing) for one, standing in self._standings.items() if one.symbol in symbols)
        return [one for one, standing in others if standing.ready <= now and one not in chosen]

    def note_asked(self, looks: Mapping[Series, Look], now: int, rules: VerifyRules) -> None:
        """Take note of how series stand that were asked for in the run of `now` (ms UTC).

        One that its answer did not settle waits for the next full look, or for the time that the answer set.
        """
        self._note(looks, now, rules)
        for series, look in looks.items():
            standing = self._standings[series]
            if standing.due <= now:
                again = min(self._next_full, look.again_at or self._next_full)
                self._standings[series] = Standing(max(standing.latest, again), again, again)

    def note_sums(self, proved: Iterable[Series], others: Iterable[Series]) -> None:
        """Take note of series whose bars followed from finer ones, and of those that were unlike, or asked for.

        A series that was right `_RIGHT_IN_A_ROW` times is expected to stay so: a feeder that writes one wrong bar of a
        timeframe writes more of them.
        """
        self._proved.update(proved)
        for one in others:
            del self._proved[one]

    def is_behind(self, now: int, per_minute: float) -> bool:
        """Whether series are left that are to be asked for at `now` (ms UTC)."""
        return bool(self._choose(now, per_minute))

    def _note(self, looks: Mapping[Series, Look], now: int, rules: VerifyRules) -> None:
        for series, look in looks.items():
            self._standings[series] = standing_of(look, now, series.timeframe.step_ms, rules)

    def _choose(self, now: int, per_minute: float) -> list[Series]:
        # Pages beyond two minutes' worth are chosen anew before they are asked for.
        free = frozenset(one for one, times in self._proved.items() if times >= _RIGHT_IN_A_ROW)
        chosen, most = choose_due(self._standings, now, per_minute, free=free), ceil(2 * per_minute) + 1
        return [one for one, count in zip(chosen, count_requests(chosen, free), strict=True) if count <= most]
