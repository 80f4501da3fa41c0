"""Knowledge about a series as the fields of its evidence hash.

| field      | value                                                                                |
|------------|--------------------------------------------------------------------------------------|
| `<day>`    | findings of a day since the epoch, as `findings` writes them                         |
| `e<day>`   | slots of that day which are known to exist: version (u8), then first slot and number |
|            | of slots (u16 each, little-endian) of each run                                       |
| `recent`   | JSON: `brought`, slots that answers of the last hour filled: [start, stop, at];      |
|            | `repaired`, slots whose candles gave way within a day: [slot, times, first at];      |
|            | `waits`, rows that wait for a second answer: [slot, first at, digest of the values]  |
| `accepted` | members that an operator accepted: JSON, {open time: first 8 bytes of SHA-1 in hex}     |
| `late`     | candles that came after an answer without them, counted by the script                |
| `origin`   | history of writes under which the script last noted something, see `origin.lua`      |
"""

from __future__ import annotations

import json
import logging
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.hand_marks import MOST_ACCEPTED
from reconciler_engine.planning.ledger import MOST_BROUGHT, Brought, FindingInterval, Knowledge, Ledger, Repaired, Wait
from reconciler_engine.planning.second_answers import MOST_REPAIRED, MOST_WAITS
from reconciler_engine.store.client.reply_shapes import optional_bytes
from reconciler_engine.store.findings import DAY_MS, decode_day, encode_day, span_of

RECENT, ACCEPTED = "recent", "accepted"
"""Names of the fields that belong to no single day."""

_VERSION = b"\x01"
_RUN = struct.Struct("<HH")
_EXISTS = "e"
_DAY = re.compile(f"{_EXISTS}?([0-9]{{1,5}})")
_logger = logging.getLogger(__name__)


def fields_of(days: Iterable[int]) -> list[str]:
    """Return the names of the fields that hold all knowledge about these days."""
    return [name for day in days for name in (str(day), f"{_EXISTS}{day}")] + [RECENT, ACCEPTED]


def bodies_of(names: Iterable[str], reply: Sequence[bytes | None]) -> dict[str, bytes]:
    """Return the named fields of a reply; an empty string stands for a missing field."""
    return {name: optional_bytes(body) or b"" for name, body in zip(names, reply, strict=True)}


def encode_fields(known: Knowledge, names: Iterable[str], step: int) -> dict[str, bytes]:
    """Encode knowledge as fields with these names; an empty string stands for a missing field."""
    return {name: _encode(known, name, step) for name in names}


def decode_fields(series: Series, bodies: Mapping[str, bytes]) -> Knowledge:
    """Decode fields; a field that cannot be decoded is logged and counts as missing."""
    step = series.timeframe.step_ms
    stretches: list[FindingInterval] = []
    exists: list[Interval] = []
    brought: list[Brought] = []
    repaired: list[Repaired] = []
    waits: list[Wait] = []
    accepted: dict[int, str] = {}
    for name in sorted(bodies, key=day_of):
        body = bodies[name]
        try:
            if name == RECENT:
                brought, repaired, waits = _decode_recent(body)
            elif name == ACCEPTED:
                accepted = _decode_accepted(body, step)
            elif name.startswith(_EXISTS):
                exists += _decode_exists(body, day_of(name), step)
            else:
                stretches += decode_day(body, day_of(name), step)
        except ValueError as error:
            _logger.warning("evidence unreadable", extra={"series": str(series), "field": name, "error": str(error)})
    return Knowledge(Ledger(stretches), Intervals(exists), tuple(brought), tuple(repaired), accepted, tuple(waits))


def day_of(name: str | bytes) -> int:
    """Return the day of a field; fields without a day come before all."""
    found = _DAY.fullmatch(name if isinstance(name, str) else name.decode("utf-8", "replace"))
    return int(found[1]) if found else -1


def is_of_a_day(name: bytes) -> bool:
    """Whether a field holds something about one day."""
    return day_of(name) >= 0


def _encode(known: Knowledge, name: str, step: int) -> bytes:
    if name == RECENT:
        brought = [(one.slots.start, one.slots.stop, one.at) for one in known.brought]
        more = {name: slots for name, slots in (("repaired", known.repaired), ("waits", known.waits)) if slots}
        return _json_of({"brought": brought, **more} if brought or more else {})
    if name == ACCEPTED:
        return _json_of(known.accepted)
    day = day_of(name)
    if not name.startswith(_EXISTS):
        return encode_day(known.ledger.within(span_of(day)), day, step)
    start = day * DAY_MS
    runs = [((one.start - start) // step, (one.stop - one.start) // step) for one in known.exists & span_of(day)]
    return _VERSION + b"".join(_RUN.pack(*run) for run in runs) if runs else b""


def _json_of(value: Mapping[Any, Any]) -> bytes:
    """Encode an object as JSON; an empty object becomes the empty string."""
    return json.dumps(dict(value), separators=(",", ":")).encode() if value else b""


def _decode_exists(body: bytes, day: int, step: int) -> list[Interval]:
    """Read the slots of a day that are known to exist.

    Raises:
        ValueError: These are not slots of a day.
    """
    if not body:
        return []
    runs, rest = divmod(len(body) - len(_VERSION), _RUN.size)
    if not body.startswith(_VERSION) or rest or runs * step > DAY_MS:
        raise ValueError(f"{len(body)} bytes are not slots of a day")
    start = day * DAY_MS
    found = [
        Interval(start + first * step, start + (first + count) * step)
        for first, count in _RUN.iter_unpack(body[len(_VERSION) :])
    ]
    if any(one.stop > start + DAY_MS for one in found):
        raise ValueError("a slot lies outside its day")
    return found


def _decode_recent(body: bytes) -> tuple[list[Brought], list[Repaired], list[Wait]]:
    """Read the slots that answers filled, those in which candles gave way, and the rows that wait.

    Raises:
        ValueError: The value does not have this form.
    """
    if not body:
        return [], [], []
    try:
        recent = json.loads(body)
        brought = recent["brought"][:MOST_BROUGHT]
        repaired = recent.get("repaired", [])[-MOST_REPAIRED:]
        waits = recent.get("waits", [])[-MOST_WAITS:]
        return (
            [Brought(Interval(int(start), int(stop)), int(at)) for start, stop, at in brought],
            [Repaired(int(slot), int(times), int(first)) for slot, times, first in repaired],
            [Wait(int(slot), int(first), str(row)) for slot, first, row in waits],
        )
    except (TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{len(body)} bytes are not a list of slots: {error}") from error


def _decode_accepted(body: bytes, step: int) -> dict[int, str]:
    """Read the digests of accepted members; those off the grid are left out.

    Raises:
        ValueError: The value is not a JSON object of digests.
    """
    if not body:
        return {}
    try:
        found = ((int(open_time), str(digest)) for open_time, digest in json.loads(body).items())
        return dict(islice(((slot, digest) for slot, digest in found if slot % step == 0), MOST_ACCEPTED))
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{len(body)} bytes are not digests: {error}") from error
