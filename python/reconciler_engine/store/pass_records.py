"""Records of finished passes: end, run and results."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from reconciler_engine.errors import StoreError
from reconciler_engine.market.result import ReconciliationResult, SeriesResult
from reconciler_engine.store.client.reply_shapes import MOST_MS, understanding
from reconciler_engine.store.client.trio_redis import all_served
from reconciler_engine.store.scoped import Scoped

KEPT_MS: Final = 4 * 86_400_000
"""Life of the record of a pass."""

PASSES_KEPT: Final = 12_000
"""Most records kept. The default schedules write fewer than this in four days; they take about 2 MB."""

ROWS_KEPT: Final = 400
"""Most series recorded for one pass: those with the most changes."""

_ERRORS_KEPT = 3
_ERROR_LETTERS = 200
_READ = 1_000
_RECORD_BYTES = 200_000
_Count = Annotated[int, Field(ge=0, le=MOST_MS)]
_Name = Annotated[str, Field(max_length=200)]
_TOTALS = (
    *("gaps_found", "missing", "filled", "proved", "unresolved", "mismatched", "repaired", "rewritten"),
    *("newly_verified", "by_sum", "wrong_sums", "requests", "references"),
)
_DONE = ("filled", "proved", "mismatched", "repaired")
_logger = logging.getLogger(__name__)


class SeriesRecord(BaseModel):
    """Results of a pass in one series, as numbers of slots."""

    model_config = ConfigDict(frozen=True)

    series: _Name
    filled: _Count = 0
    proved: _Count = 0
    mismatched: _Count = 0
    repaired: _Count = 0


class PassRecord(BaseModel):
    """A finished pass.

    Attributes:
        run: Id of its run, as the journal and the log name it.
        job: Name of the job.
        at: When it was recorded, by Redis' clock (ms UTC).
        node: Machine that directed it.
        duration_ms: How long it took.
        scanned: Series that were examined.
        gaps_found: Gaps found; the numbers not listed here are those of `ReconciliationResult`.
        errors: Number of errors.
        first_errors: Texts of the first errors.
        series: Changed series, those with the most changes first; at most `ROWS_KEPT`.
    """

    model_config = ConfigDict(frozen=True)

    run: _Name
    job: _Name
    at: _Count
    node: _Name = ""
    duration_ms: _Count = 0
    scanned: _Count = 0
    gaps_found: _Count = 0
    missing: _Count = 0
    filled: _Count = 0
    proved: _Count = 0
    unresolved: _Count = 0
    mismatched: _Count = 0
    repaired: _Count = 0
    rewritten: _Count = 0
    newly_verified: _Count = 0
    by_sum: _Count = 0
    wrong_sums: _Count = 0
    requests: _Count = 0
    references: _Count = 0
    errors: _Count = 0
    first_errors: Annotated[tuple[str, ...], Field(max_length=_ERRORS_KEPT)] = ()
    series: Annotated[tuple[SeriesRecord, ...], Field(max_length=ROWS_KEPT)] = ()

    @property
    def is_routine(self) -> bool:
        """Whether the pass found nothing and changed nothing."""
        return not (self.missing or self.errors or self.requests or any(getattr(self, name) for name in _DONE))


class PassRecords(Scoped):
    """The records of one scope, a stream in Redis. The caller closes the client."""

    _name = "passes"

    async def note(self, run: str, job: str, now: int, result: ReconciliationResult, *, node: str) -> None:
        """Record the result of a pass that ended at `now` (ms UTC), directed by `node`; delete old records.

        The records are only for display, so an error of Redis is logged and not raised.
        """
        told = {name: count for name in _TOTALS if (count := getattr(result, name))}
        told |= {"run": run, "job": job, "node": node, "duration_ms": result.duration_ms}
        told |= {"scanned": sum(row.expected > 0 for row in result.series)}
        if result.errors:
            told |= {"errors": len(result.errors)}
            told |= {"first_errors": [error[:_ERROR_LETTERS] for error in result.causes[:_ERRORS_KEPT]]}
        if rows := _rows(result.series):
            told["series"] = rows
        limit = ("MAXLEN", "~", PASSES_KEPT)
        body = json.dumps(told, separators=(",", ":"))
        commands = [
            ("XADD", self._key, *limit, "*", "pass", body),
            ("XTRIM", self._key, "MINID", "~", max(now - KEPT_MS, 0)),
            ("PEXPIRE", self._key, KEPT_MS),
        ]
        try:
            all_served(await self._client.pipe(commands))
        except StoreError as error:
            _logger.info("a pass is not recorded", extra={"error": str(error)})

    async def read(self, since: int, until: int) -> list[PassRecord]:
        """Return the passes recorded from `since` to before `until` (ms UTC), oldest first.

        Malformed records are logged and left out.

        Raises:
            StoreError: Redis did not answer, or the key is not a stream.
        """
        found: list[PassRecord] = []
        start = f"{since}"
        while True:
            page = await self._client.execute_command("XRANGE", self._key, start, f"({until}", "COUNT", _READ)
            with understanding("the records of passes"):
                found += [one for entry, fields in page if (one := _parse(entry, fields)) is not None]
                if len(page) < _READ:
                    return found
                start = f"({page[-1][0].decode()}"


def _rows(series: Sequence[SeriesResult]) -> list[dict[str, Any]]:
    counts = [(row, {name: count for name in _DONE if (count := getattr(row, name))}) for row in series]
    done = sorted((pair for pair in counts if pair[1]), key=lambda pair: -sum(pair[1].values()))
    return [{"series": f"{row.symbol}:{row.timeframe}", **told} for row, told in done[:ROWS_KEPT]]


def _parse(entry: bytes, fields: Any) -> PassRecord | None:
    try:
        told = json.loads(fields[b"pass"][:_RECORD_BYTES])
        return PassRecord.model_validate({**told, "at": int(entry.partition(b"-")[0])})
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        _logger.warning("no record of a pass", extra={"error": repr(error)[:_ERROR_LETTERS]})
        return None
