"""The feed of changes: an entry for each write that changed something in a series, beside its candles.

The script that writes candles and evidence writes the entry in the same step (lua/feed.lua). A feed keeps a few
hundred numbered entries, so that a reader notices dropped ones. The scope's index names the series written last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.ledger import Ledger, State
from reconciler_engine.store.client.reply_shapes import text, whole
from reconciler_engine.store.client.scripts import Script, ScriptCall
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.evidence_fields import day_of
from reconciler_engine.store.findings import DAY_MS, decode_day
from reconciler_engine.store.scope import Scope

ENTRIES_KEPT: Final = 1_000
"""Entries of one series that are kept at least, about 0.1 MB; the server drops the oldest a hundred at a time."""

LIFE_MS: Final = 30 * DAY_MS
"""A feed, or the index, without a new entry for this long is dropped."""

_PROVED: Final = (State.EMPTY, State.HALTED, State.UNLISTED)
_TOUCH: Final = Script.load("reconciler_engine.store", "lua/touch.lua")
_WORD: Final = re.compile(r"([a-z])(\d{1,14}):(\d{1,9})")


class Kind(StrEnum):
    """The change of slots in a row."""

    ADDED = "added"
    """A candle was added where there was none, or only a filler."""
    CHANGED = "changed"
    """The candle was replaced, or duplicates were reduced to one."""
    REMOVED = "removed"
    """The member was removed: the exchange does not have the candle, or it was not a candle."""
    VERIFIED = "verified"
    """The candle was verified: it equals the exchange's."""
    PROVED = "proved"
    """The slot is settled without a candle: no trades, a halt of the venue, or no listing of the product."""
    RETRACTED = "retracted"
    """A proof was withdrawn, or the candle is in doubt."""
    LOST = "lost"
    """Entries before this one were dropped; their slots are unknown."""


LETTERS: Final = {"a": Kind.ADDED, "c": Kind.CHANGED, "g": Kind.REMOVED, "v": Kind.VERIFIED, "p": Kind.PROVED,
                  "r": Kind.RETRACTED}  # fmt: skip


class Place(NamedTuple):
    """A place in a feed: the id of an entry, and its number; 0 where only an instant is known."""

    at: int
    sequence: int
    number: int

    @property
    def entry(self) -> str:
        """The id of the entry."""
        return f"{self.at}-{self.sequence}"


class FeedEntry(NamedTuple):
    """One write: its place in the feed, and the slots it changed by kind."""

    place: Place
    slots: tuple[tuple[Kind, Interval], ...]


def read_entry(series: Series, entry: Any) -> FeedEntry:
    """Return an entry of a stream.

    Raises:
        ValueError: The entry does not have the form of a feed's.
    """
    name, flat = entry
    at, sequence = map(whole, text(name).split("-"))
    fields = dict(zip(map(text, flat[::2]), map(text, flat[1::2]), strict=True))
    step = series.timeframe.step_ms
    slots = []
    for word in fields["d"].split(" "):
        found = _WORD.fullmatch(word)
        if found is None:
            raise ValueError(f"{word[:40]!r} is not a word of a feed")
        first = int(found[2]) * step
        slots.append((LETTERS[found[1]], Interval(first, first + int(found[3]) * step)))
    return FeedEntry(Place(at, sequence, whole(fields["n"], 1)), tuple(slots))


def touch(scope: Scope, series: Series) -> ScriptCall:
    """Return the call that tells the index of a scope that a series was written."""
    return _TOUCH.call([scope.index_key()], [str(series), LIFE_MS])


def judged_words(ledger: Ledger, read: Mapping[str, bytes], names: Iterable[str], step: int) -> list[str]:
    """Return the entry's words for slots whose proof is new or was withdrawn, on the days of these fields."""
    proved = retracted = NOTHING
    for name in names:
        day = day_of(name)
        if day < 0 or not name.isdecimal():
            continue
        span = Interval(day * DAY_MS, (day + 1) * DAY_MS)
        before = Ledger(_decoded(read[name], day, step))
        proofs = [one.in_state(span, *_PROVED) for one in (before, ledger)]
        doubts = [one.in_state(span, State.SUSPECT) for one in (before, ledger)]
        proved |= proofs[1] - proofs[0]
        retracted |= (proofs[0] - proofs[1]) | (doubts[1] - doubts[0])
    return [*_words("p", proved, step), *_words("r", retracted, step)]


def _decoded(body: bytes, day: int, step: int) -> list[Any]:
    try:
        return [*decode_day(body, day, step)] if body else []
    except ValueError:
        # It counted as unknown when it was read, and that was logged.
        return []


def _words(letter: str, slots: Intervals, step: int) -> list[str]:
    return [f"{letter}{one.start // step}:{(one.stop - one.start) // step}" for one in slots]


async def is_written(client: TrioRedis, scope: Scope) -> bool:
    """Return whether engines of a scope wrote anything within the life of its index.

    Raises:
        StoreError: Redis did not answer.
    """
    return bool(await client.execute_command("EXISTS", scope.index_key()))
