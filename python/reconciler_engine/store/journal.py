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
"""Entries of one series, 0.2 MB when full; past it the oldest are dropped."""

LIFE_MS: Final = 30 * 86_400_000
"""A journal to which nothing was added for so long is dropped."""

_SERIES_A_WRITE = 250
_logger = logging.getLogger(__name__)


class Why(StrEnum):
    """Why something was changed."""

    DUPLICATE = "duplicate"
    """Another candle of the slot has a greater volume or sequence."""
    FOREIGN = "foreign"
    """The member was not a candle of the series."""
    REPAIRED = "repaired"
    """The exchange has other values."""
    REWRITTEN = "rewritten"
    """It was verified, and the exchange has other values since."""
    DISAGREES = "disagrees"
    """The exchange has it twice otherwise than as the sum of finer ones; it stays."""
    FILLER = "filler"
    """It stood for no trades, and the exchange has a candle."""
    GHOST = "ghost"
    """The exchange does not have its candle."""
    MARKED = "marked"
    """An operator set the state of these slots."""
    FORGOTTEN = "forgotten"
    """Somebody said that nothing is known of these slots."""


class Change(NamedTuple):
    """One entry of a journal.

    Attributes:
        at: When, by Redis' clock (ms UTC).
        number: Tells changes of one millisecond apart.
        series: Whose.
        start: First open time concerned (ms UTC).
        stop: First open time not concerned any more.
        old: The member before; or, of a change by hand, how many slots were in which state
            (JSON). Cut to its beginning where it is longer than any candle.
        new: The member or the counts since.
        why: Why.
        by: A run's id, or the command.
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
        """Return the newest changes of these series, from `since` on and before `until` (ms UTC), newest last.

        At most `limit`.

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
    """Return the change in an entry; None, and a log line, for an entry of another program."""
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
