"""The journal of a series: old and new members, written in the same step as the change."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import StrEnum
from heapq import nlargest
from operator import attrgetter
from typing import Any, Final, NamedTuple

from reconciler_engine.market.series import Series
from reconciler_engine.store.client.reply_shapes import MOST_MS, understanding, whole
from reconciler_engine.store.client.trio_redis import all_served
from reconciler_engine.store.scoped import Scoped

ENTRIES_KEPT: Final = 500
"""Entries kept for one series (0.2 MB when full); the oldest are dropped."""

LIFE_MS: Final = 30 * 86_400_000
"""A journal without a new entry for this long is dropped."""

_SERIES_A_WRITE = 250
_logger = logging.getLogger(__name__)


class Why(StrEnum):
    """Reason of a change."""

    DUPLICATE = "duplicate"
    """Another candle of the slot has a greater volume or sequence."""
    FOREIGN = "foreign"
    """The member was not a candle of the series."""
    REPAIRED = "repaired"
    """The exchange's values differ."""
    REWRITTEN = "rewritten"
    """The candle was verified, and the exchange changed its values later."""
    DISAGREES = "disagrees"
    """The exchange's bar, read twice, differs from the sum of its finer bars; the candle stays."""
    FILLER = "filler"
    """The filler stood for no trades, and the exchange has a candle."""
    GHOST = "ghost"
    """The exchange does not have the candle."""
    MARKED = "marked"
    """An operator set the state of these slots."""
    FORGOTTEN = "forgotten"
    """An operator reset what is known about these slots."""


class Change(NamedTuple):
    """One entry of a journal.

    Attributes:
        at: Instant of the change, by Redis' clock (ms UTC).
        number: Sequence number among changes of one millisecond.
        series: Series that changed.
        start: First open time of the changed slots (ms UTC).
        stop: First open time after them.
        old: Member before the change; for a change by an operator, the number of slots in each state
            (JSON). Text longer than any candle is cut.
        new: Member or counts after the change.
        why: Reason.
        by: Author: a run's id, or a command.
    """

    at: int
    number: int
    series: Series
    start: int
    stop: int
    old: str
    new: str
    why: Why
    by: str


class Journal(Scoped):
    """The journals of one scope, each a stream beside its series' candles."""

    async def read(self, series: Sequence[Series], *, since: int, until: int = MOST_MS, limit: int) -> list[Change]:
        """Return the newest `limit` changes of these series in `since` <= at < `until` (ms UTC), newest last.

        Entries that cannot be understood are left out and logged.

        Raises:
            StoreError: A key is not a stream.
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        newest: list[Change] = []
        for start in range(0, len(series), _SERIES_A_WRITE):
            part = series[start : start + _SERIES_A_WRITE]
            commands = [("XREVRANGE", self._scope.journal_key(one), f"({until}", since, "COUNT", limit) for one in part]
            for one, reply in zip(part, all_served(await self._client.pipe(commands)), strict=True):
                with understanding("a journal"):
                    found = [_change(one, entry) for entry in reply]
                newest += [change for change in found if change is not None]
            # Never more than two lists of the limit's length, however many series there are.
            newest = nlargest(limit, newest, key=attrgetter("at", "number"))
        return newest[::-1]


def _change(series: Series, entry: Any) -> Change | None:
    """Return the change in an entry; log an entry that cannot be parsed, and return None."""
    try:
        name, flat = entry
        texts = [text.decode("utf-8", "replace") for text in flat]
        fields = dict(zip(texts[::2], texts[1::2], strict=True))
        at, number = map(whole, name.split(b"-"))
        bounds = (whole(fields["start"]), whole(fields["stop"]))
        return Change(at, number, series, *bounds, fields["old"], fields["new"], Why(fields["why"]), fields["by"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        _logger.warning("no entry of a journal", extra={"series": str(series), "error": repr(error)})
        return None
