"""Coverage: the state in which a pass last saw each series, kept in Redis for display.

Whether a series can be trusted now is decided by `is_ready`, which reads the cache itself.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from reconciler_engine.errors import StoreError, StoreUnavailable
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.observe.status import SeriesCoverage
from reconciler_engine.planning.known_slots import Known, extend
from reconciler_engine.planning.verification import DEFAULT_MAX_UNVERIFIED_MS
from reconciler_engine.store.client.reply_shapes import text, understanding, whole
from reconciler_engine.store.client.scripts import Script, run_batch
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.scope import MOST_SERIES, Scope
from reconciler_engine.store.scoped import read_record

KEPT_MS = 2 * 86_400_000
"""A series that no pass examined for this long is forgotten."""

# Series written by one command, and commands by one write: other clients of the server wait 0.2 ms a command.
_FIELDS = 250
_COMMANDS = 8
_READ = 1_000
# Bytes of the name of a series, past any.
_NAME_BYTES = 100
_PRUNE_EVERY_MS = 3_600_000
NOTE = Script.load("reconciler_engine.store", "lua/note.lua")
"""Writes fields of a hash for a job's director."""

_logger = logging.getLogger(__name__)

LookBack: TypeAlias = Callable[[Mapping[Series, int]], Awaitable[Mapping[Series, int]]]
"""Says from when on the slots before an instant (ms UTC) are whole, by series."""


class Checked(NamedTuple):
    """Findings of a pass on a series.

    Attributes:
        series: The series.
        window: The closed slots examined.
        unresolved: Slots still missing; None where the series could not be examined.
        obstacles: Slots that are not ready, by reason; None if the pass looked for missing slots only.
        confirmed: Slots that are confirmed to have no candle.
        unverified: Slots of unverified candles; None if the pass did not look at verification.
        has_doubts: Whether candles are in doubt, or slots wait for another answer.
    """

    series: Series
    window: Interval
    unresolved: Intervals | None
    obstacles: Mapping[Obstacle, Intervals] | None = None
    confirmed: Intervals = NOTHING
    unverified: Intervals | None = None
    has_doubts: bool = False


def without(one: Checked, settled: Intervals, known: Known) -> Checked:
    """Leave out missing slots that another pass settled meanwhile; `known` is the coverage after that pass."""
    unverified = None if one.unverified is None else one.unverified | (settled & (known.unverified or NOTHING))
    obstacles = one.obstacles and {
        reason: where - settled if reason.state == "missing" else where for reason, where in one.obstacles.items()
    }
    return one._replace(
        unresolved=(one.unresolved or NOTHING) - settled,
        obstacles=obstacles,
        confirmed=one.confirmed | (settled & known.confirmed),
        unverified=unverified,
    )


def unknown_at(checked_at: int) -> SeriesCoverage:
    """Return the coverage of a series that no pass has examined."""
    return SeriesCoverage(complete_from=None, complete_through=None, missing=None, checked_at=checked_at)


def coverage_of(known: Known, step: int, now: int, max_unverified_ms: int) -> SeriesCoverage:
    """Return the record shown at `now` (ms UTC) of a series with this grid's step (ms)."""
    complete = known.whole[-1] if known.whole else None
    counts = {one.value: where.size(step) for one, where in known.obstacles.items() if one is not Obstacle.NOT_ASKED}
    told: dict[str, int | None] = {}
    if known.unverified is not None:
        unverified = known.unverified - known.unresolved - known.confirmed - known.suspect
        present = known.window.slots(step).size(step) - (known.unresolved | known.confirmed).size(step)
        told = {
            "present": present,
            "verified": present - (unverified | (known.suspect & known.window)).size(step),
            "unverified": unverified.size(step),
            "unverified_since": unverified[0].start + step if unverified else None,
        }
        overdue = unverified & Interval(0, max(now - max_unverified_ms - step, 0))
        if overdue:
            counts[Obstacle.UNVERIFIED.value] = overdue.size(step)
    return SeriesCoverage(
        complete_from=None if complete is None else complete.start,
        complete_through=None if complete is None else complete.stop - step,
        missing=known.unresolved.size(step),
        checked_at=now,
        **told,
        obstacles=counts,
    )


class Coverage:
    """The coverage of one scope's series: a hash in Redis, a field a series, written after each pass.

    Remembers its writes in this process, so that a quick pass adds to the findings of a full one.
    """

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        self._client = client
        self._scope = scope
        self._key = scope.key("coverage")
        self._known: dict[Series, Known] = {}
        self._last: dict[Series, tuple[int, Interval]] = {}
        self.records = 0
        """How many passes have written their findings."""
        self._pruned_at = 0

    async def record(
        self,
        checked: Iterable[Checked],
        now: int,
        *,
        max_unverified_ms: int = DEFAULT_MAX_UNVERIFIED_MS,
        job: str = "",
        epoch: int = 0,
        look_back: LookBack | None = None,
        afresh: bool = False,
        since: int | None = None,
    ) -> None:
        """Write the findings of a pass of `job` at `now` (ms UTC).

        Coverage is for display only: an error of Redis is logged and not raised.

        `epoch` is that of the pass' lease, 0 for none: nothing is written once another engine holds the lease.
        Candles that closed more than `max_unverified_ms` ago and are not verified are not ready. With
        `look_back` series are looked at further back whose examined slots are whole from the first one on: all of them
        `afresh`, or those of which nobody has. `since` is the number of `records` when the pass began.
        """
        since, self.records = self.records if since is None else since, self.records + 1
        checked = [*checked]
        for each in checked:
            self._learn(each, since)
        keys = [self._key, self._scope.fence_key(job)]
        try:
            if look_back is not None:
                await self._look_back(look_back, afresh=afresh)
            fields = [text for one in checked for text in (str(one.series), self._told(one, now, max_unverified_ms))]
            calls = [
                NOTE.call(keys, [epoch, KEPT_MS, MOST_SERIES, *fields[start : start + 2 * _FIELDS]])
                for start in range(0, len(fields), 2 * _FIELDS)
            ]
            for start in range(0, len(calls), _COMMANDS):
                all_served(await run_batch(self._client, calls[start : start + _COMMANDS]))
            if now - self._pruned_at >= _PRUNE_EVERY_MS:
                self._pruned_at = now
                await self._prune(now)
        except StoreError as error:
            level = logging.INFO if isinstance(error, StoreUnavailable) else logging.WARNING
            _logger.log(level, "coverage not written", extra={"error": str(error)})

    async def read(self) -> dict[str, SeriesCoverage]:
        """Return every series' coverage, by `symbol:timeframe`, sorted; fields that are none are left out.

        Raises:
            StoreError: Redis did not answer, or the key is of another type.
        """
        found: dict[str, SeriesCoverage] = {}
        cursor: int | None = None
        seen = 0
        while cursor != 0:
            # A thousand at a time: other clients of the server wait half a millisecond.
            reply = await self._client.execute_command("HSCAN", self._key, cursor or 0, "COUNT", _READ)
            with understanding("the coverage"):
                cursor, page = reply
                cursor = whole(cursor, most=2**64)
                for name, body in page.items():
                    one = read_record(SeriesCoverage, body) if len(name) <= _NAME_BYTES else None
                    if one is not None:
                        found[text(name)] = one
            seen += len(page)
            if seen > MOST_SERIES:
                raise StoreError(f"{self._key} has more than {MOST_SERIES} fields; allowed: a field a series")
        return dict(sorted(found.items()))

    def _learn(self, one: Checked, since: int) -> None:
        if one.unresolved is None:
            self._known.pop(one.series, None)
            return
        number, window = self._last.get(one.series, (0, one.window))
        known = self._known.get(one.series)
        if number > since and known is not None:
            one = without(one, (one.unresolved & window) - known.unresolved, known)
        self._last[one.series] = self.records, one.window
        self._known[one.series] = extend(
            self._known.get(one.series),
            one.window,
            one.unresolved or NOTHING,
            one.obstacles,
            confirmed=one.confirmed,
            unverified=one.unverified,
        )

    async def _look_back(self, look_back: LookBack, *, afresh: bool) -> None:
        """Learn how far back the series are whole whose newest whole interval is as old as the window, or older."""
        wanted = {
            series: known.window.start
            for series, known in self._known.items()
            if (afresh or known.whole_from is None) and known.whole and known.whole[-1].start <= known.window.start
        }
        for series, whole_from in (await look_back(wanted)).items():
            known = self._known.get(series)
            # Another pass may have moved the window meanwhile.
            if known is not None and known.window.start == wanted[series]:
                self._known[series] = known._replace(whole_from=whole_from)

    def _told(self, one: Checked, now: int, max_unverified_ms: int) -> str:
        known = self._known.get(one.series)
        if known is None:
            return unknown_at(now).as_field()
        return coverage_of(known, one.series.timeframe.step_ms, now, max_unverified_ms).as_field()

    async def _prune(self, now: int) -> None:
        old = [name for name, one in (await self.read()).items() if one.checked_at < now - KEPT_MS]
        for start in range(0, len(old), _FIELDS):
            await self._client.execute_command("HDEL", self._key, *old[start : start + _FIELDS])
