"""Reading the feeds of changes, as a conversation with any client, from the cursor of a reader on."""

from __future__ import annotations

import json
import logging
import time
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple, Self

from reconciler_engine.market.series import Series
from reconciler_engine.steps import Now, Pause, Steps
from reconciler_engine.store.change_feed import FeedEntry, Kind, Place, read_entry
from reconciler_engine.store.client.reply_shapes import text, understanding, whole
from reconciler_engine.store.client.scripts import Script, batch
from reconciler_engine.store.client.trio_redis import all_served
from reconciler_engine.store.scope import Scope

SWEEP_S: Final = 60
"""How often all series are read: a writer that died may not have updated the index."""

LOOK_S: Final = 1.0
"""Pause of a waiting reader between two looks at the index."""

_SERIES_A_WRITE: Final = 100
_ENTRIES_A_SERIES: Final = 500
_INDEX: Final = Script.load("reconciler_engine.store", "lua/read_index.lua")
_FEED: Final = Script.load("reconciler_engine.store", "lua/read_feed.lua")
_logger = logging.getLogger(__name__)


class SeriesChange(NamedTuple):
    """Slots of a series that changed.

    Attributes:
        symbol: Product id.
        timeframe: Such as `1m`.
        at: When it was written, by Redis' clock (ms UTC).
        kind: The change; `lost` where entries fell out before this one.
        start: First open time concerned (ms UTC); of `lost` 0.
        stop: First open time not concerned any more; of `lost` 0.
    """

    symbol: str
    timeframe: str
    at: int
    kind: Kind
    start: int
    stop: int


class ChangeBatch(NamedTuple):
    """Changes in the order they were written, series by series, and the cursor to go on from.

    Attributes:
        changes: Changes, each returned once unless an earlier cursor is used again.
        cursor: Cursor for the next call, once these changes are processed.
        is_all: Whether everything was read.
    """

    changes: tuple[SeriesChange, ...]
    cursor: str
    is_all: bool


class _Read(NamedTuple):
    changes: list[SeriesChange]
    cursor: Cursor
    is_all: bool


def read_changes(scope: Scope, cursor: Cursor, limit: int, wait_s: float) -> Steps[ChangeBatch]:
    """Read the changes after a cursor, some `limit` at most; wait for the first one for so many seconds."""
    deadline = (yield Now()) + wait_s
    while True:
        read = yield from _read_once(scope, cursor, limit)
        cursor = read.cursor
        left_s = deadline - (yield Now())
        if read.changes or left_s <= 0:
            return ChangeBatch(tuple(read.changes), str(cursor), read.is_all)
        yield Pause(min(LOOK_S, left_s))


def _read_once(scope: Scope, cursor: Cursor, limit: int) -> Steps[_Read]:
    now = int(time.time())
    sweeps = not cursor.note or not 0 <= now - cursor.swept_at < SWEEP_S
    call = _INDEX.call([scope.index_key()], [0 if sweeps else cursor.note])
    (reply,) = all_served((yield from batch([call])))
    with understanding("the index of changes"):
        last, names = int(reply[0]), [text(name) for name in reply[1]]
    if last < cursor.note:
        # The index was lost, and begins anew.
        return (yield from _read_once(scope, replace(cursor, note=0), limit))
    changes: list[SeriesChange] = []
    places, is_all = dict(cursor.places), True
    for start in range(0, len(names), _SERIES_A_WRITE):
        if len(changes) >= limit:
            is_all = False
            break
        found = yield from _read_named(scope, names[start : start + _SERIES_A_WRITE], cursor, limit)
        for name, entries, place, has_more in found:
            changes += entries
            places[name] = place
            is_all = is_all and not has_more
    # Until all is read, the next reader begins with the same notes again.
    swept_at = now if sweeps else cursor.swept_at
    return _Read(changes, replace(cursor, places=places, note=last if is_all else 0, swept_at=swept_at), is_all)


class _SeriesRead(NamedTuple):
    name: str
    changes: list[SeriesChange]
    place: Place
    has_more: bool


def _read_named(scope: Scope, names: Sequence[str], cursor: Cursor, limit: int) -> Steps[list[_SeriesRead]]:
    """Read new entries of the feeds of the series of these names."""
    known: list[Series] = []
    for name in names:
        try:
            known.append(Series.parse(name))
        except ValueError:
            _logger.warning("no series in the index of changes", extra={"series": name[:80]})
    return (yield from read_feeds(scope, known, cursor, limit)) if known else []


def read_feeds(scope: Scope, series: Sequence[Series], cursor: Cursor, limit: int) -> Steps[list[_SeriesRead]]:
    """Read new entries of the feeds of some series, so many of each at most."""
    count = min(limit, _ENTRIES_A_SERIES)
    known = [(one, cursor.places.get(str(one), Place(cursor.since, 0, 0))) for one in series]
    calls = [_FEED.call([scope.feed_key(one)], [place.entry, count]) for one, place in known]
    replies = all_served((yield from batch(calls)))
    found = []
    for (one, place), reply in zip(known, replies, strict=True):
        with understanding(f"the changes of {one}"):
            entries, first = ([read_entry(one, entry) for entry in part] for part in reply)
        found.append(_told(one, place, entries, first, has_more=len(entries) == count))
    return found


def _told(
    series: Series, place: Place, entries: Sequence[FeedEntry], oldest: Sequence[FeedEntry], *, has_more: bool
) -> _SeriesRead:
    """Return new entries as changes, with a `lost` change wherever entries are missing."""
    changes: list[SeriesChange] = []
    told = partial(SeriesChange, series.symbol, series.timeframe.value)
    # Of an instant alone it is not known which entry was the last before it: the oldest that is kept tells.
    expected = place.number + 1 if place.number else 0
    for entry in entries:
        if not expected:
            expected = 1 if oldest[0].place == entry.place and entry.place.number > 1 else entry.place.number
        if entry.place.number != expected:
            changes.append(told(entry.place.at, Kind.LOST, 0, 0))
        changes += [told(entry.place.at, kind, slots.start, slots.stop) for kind, slots in entry.slots]
        expected = entry.place.number + 1
        place = entry.place
    return _SeriesRead(str(series), changes, place, has_more)


_VERSION: Final = 1
_MOST_BYTES: Final = 16 * 1024 * 1024
_MOST_LETTERS: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a reader has read.

    Attributes:
        owner: Owner of the series, as in key names.
        since: Instant from which changes of series not in `places` are read (ms UTC, by Redis' clock).
        note: Last entry of the index that was followed; 0 for none.
        swept_at: When all series were last looked at, by the reader's clock (s).
        places: Last entry read of each series, by its name.
    """

    owner: str
    since: int = 0
    note: int = 0
    swept_at: int = 0
    places: Mapping[str, Place] = field(default_factory=dict)

    def __str__(self) -> str:
        values = {"v": _VERSION, "o": self.owner, "s": self.since, "n": self.note, "w": self.swept_at, "p": self.places}
        return urlsafe_b64encode(zlib.compress(json.dumps(values, separators=(",", ":")).encode())).decode()

    @classmethod
    def read(cls, text: str, owner: str) -> Self:
        """Return the cursor of a text.

        Raises:
            ValueError: The text is not a cursor of this owner.
        """
        try:
            if len(text) > _MOST_LETTERS:
                raise ValueError(f"it has {len(text)} letters")
            unpacker = zlib.decompressobj()
            packed = urlsafe_b64decode(text.encode("ascii"))
            values: dict[str, Any] = json.loads(unpacker.decompress(packed, _MOST_BYTES))
            if values["v"] != _VERSION:
                raise ValueError(f"it is of version {values['v']!r}")
            places = {str(name): Place(*map(whole, place)) for name, place in values["p"].items()}
            cursor = cls(str(values["o"]), whole(values["s"]), whole(values["n"]), whole(values["w"]), places)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, zlib.error) as error:
            raise ValueError(f"cursor {text[:40]!r} is not one that changes() gave: {str(error)[:80]}") from error
        if cursor.owner != owner:
            raise ValueError(f"cursor is one for {cursor.owner}; allowed: one for {owner}")
        return cursor
