"""Numbers of timely and late bars for the objective, kept in Redis: one hash per scope, one field per timeframe."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from reconciler_engine.errors import StoreError
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.objective import WINDOWS, BarCounts, Objective, Window
from reconciler_engine.observe.status import EngineStatus
from reconciler_engine.planning.timely_bars import Judged, Reached, TimelyBars
from reconciler_engine.store.client.reply_shapes import MOST_MS, understanding
from reconciler_engine.store.client.scripts import run_batch
from reconciler_engine.store.client.trio_redis import all_served
from reconciler_engine.store.coverage import NOTE
from reconciler_engine.store.scoped import Scoped, read_record

KEPT_MS: Final = WINDOWS[-1].length_ms + WINDOWS[-1].part_ms
"""Life of the hash after its last write."""

_MOST_PARTS = 100
_RECORD_BYTES = 50_000
_FRAMES = tuple(frame.value for frame in Timeframe)
_Whole = Annotated[int, Field(ge=0, le=MOST_MS)]
_Part = tuple[_Whole, _Whole, _Whole, _Whole, _Whole]
_logger = logging.getLogger(__name__)


class FrameCounts(BaseModel):
    """Stored numbers of bars of one timeframe.

    Attributes:
        complete: Bars that closed by this instant have been judged complete or not (ms UTC).
        verified: Bars that closed by this instant have been judged verified or not (ms UTC).
        parts: Parts of each window by its name, ascending: the part's start (ms UTC), then the fields of `BarCounts`.
    """

    model_config = ConfigDict(frozen=True)

    complete: _Whole
    verified: _Whole
    parts: dict[Annotated[str, Field(max_length=10)], Annotated[tuple[_Part, ...], Field(max_length=_MOST_PARTS)]] = {}

    def total(self, window: Window, now: int) -> BarCounts:
        """Return the numbers of bars in a window that ends at `now` (ms UTC)."""
        parts = self.parts.get(window.name, ())
        return BarCounts.total(BarCounts(*counts) for start, *counts in parts if now - window.length_ms < start <= now)

    def plus(self, counts: BarCounts, reached: Reached, now: int) -> Self:
        """Return a copy with the bars judged at `now` (ms UTC) added, and parts older than their window removed."""
        parts = {window.name: self._parts(window, counts, now) for window in WINDOWS}
        return self.model_copy(update={"complete": reached.complete, "verified": reached.verified, "parts": parts})

    def _parts(self, window: Window, counts: BarCounts, now: int) -> tuple[_Part, ...]:
        start = now - now % window.part_ms
        others = [part for part in self.parts.get(window.name, ()) if now - window.length_ms < part[0] <= now]
        same = [BarCounts(*part[1:]) for part in others if part[0] == start]
        bars, late, unverified, waiting = BarCounts.total([*same, counts])
        return (*(part for part in others if part[0] != start), (start, bars, late, unverified, waiting))


class ObjectiveCounts(Scoped):
    """Stored numbers of bars of one scope."""

    _name = "objective"

    async def read(self) -> dict[str, FrameCounts]:
        """Return the stored numbers by timeframe; malformed records are left out.

        Raises:
            StoreError: Redis did not answer, or the key is of another type.
        """
        bodies = await self._client.execute_command("HMGET", self._key, *_FRAMES)
        found = {}
        with understanding("the counts of bars"):
            for frame, body in zip(_FRAMES, bodies, strict=True):
                if (one := read_record(FrameCounts, body, _RECORD_BYTES)) is not None:
                    found[frame] = one
        return found

    async def read_objective(self, engine: EngineStatus) -> Objective | None:
        """Return how an engine of this scope meets its objective; None without an objective. Raises as `read` does."""
        target, limit, now = engine.completeness_slo, engine.max_unverified_ms, engine.written_at
        if target is None or limit is None:
            return None
        kept = await self.read()
        totals = {frame: {window.name: one.total(window, now) for window in WINDOWS} for frame, one in kept.items()}
        return Objective(target, limit, totals)

    async def judge(self, bars: TimelyBars, max_unverified_ms: int, now: int, *, job: str, epoch: int) -> None:
        """Add the bars of the last look, if any, to the stored numbers.

        An error of Redis is logged and not raised; the next call judges the same bars again.
        """
        try:
            kept = await self.read()
        except StoreError as error:
            _logger.info("counts of bars not read", extra={"error": str(error)})
            return
        reached = {frame: Reached(one.complete, one.verified) for frame, one in kept.items()}
        judged = bars.judge(reached, max_unverified_ms)
        if judged is not None:
            await self.add(kept, judged, now, job=job, epoch=epoch)

    async def add(
        self, kept: Mapping[str, FrameCounts], judged: Judged, now: int, *, job: str = "", epoch: int = 0
    ) -> None:
        """Store `kept` with the bars that were judged at `now` (ms UTC) added.

        The write is atomic. Redis refuses it once another engine directs `job`: `epoch` is that of the lease, 0 for no
        lease. An error of Redis is logged, and the next look judges the same bars again.
        """
        texts: list[str] = []
        for frame, reached in judged.reached.items():
            before = kept.get(frame) or FrameCounts(complete=reached.complete, verified=reached.verified)
            texts += [frame, before.plus(judged.counts[frame], reached, now).model_dump_json()]
        call = NOTE.call([self._key, self._scope.fence_key(job)], [epoch, KEPT_MS, len(_FRAMES), *texts])
        try:
            all_served(await run_batch(self._client, [call]))
        except StoreError as error:
            _logger.info("counts of bars not written", extra={"error": str(error)})
