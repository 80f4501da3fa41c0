"""Recognises columns by the names that many programs give them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from reconciler_engine.archive.hints import KINDS, VALUES
from reconciler_engine.archive.time_unit import TimeUnit

_WORDS = {
    "time": (
        "start start_time start_at time timestamp ts t date datetime date_time unix unix_time unix_timestamp unixtime "
        "epoch epoch_time open_time opentime time_open open_timestamp time_start period_start time_period_start "
        "bar_time candle_time begin begins_at"
    ),
    "open": "open o open_price openprice price_open",
    "high": "high h high_price highprice price_high max",
    "low": "low l low_price lowprice price_low min",
    "close": "close c close_price closeprice price_close last",
    "volume": "volume v vol base_volume volume_base volumefrom volume_from volume_traded",
    "symbol": "symbol product product_id productid pair market ticker instrument",
    "timeframe": "timeframe interval granularity resolution",
}
_SPELLINGS = {kind: frozenset(words.split()) for kind, words in _WORDS.items()}
"""By kind, the recognised names, in lower case with `_` for other characters; names of times without unit and zone."""

_UNITS = {
    **dict.fromkeys(("s", "sec", "seconds"), TimeUnit.SECONDS),
    **dict.fromkeys(("ms", "millis", "milliseconds"), TimeUnit.MILLISECONDS),
    **dict.fromkeys(("us", "micros", "microseconds"), TimeUnit.MICROSECONDS),
    **dict.fromkeys(("ns", "nanos", "nanoseconds"), TimeUnit.NANOSECONDS),
}
_UTC = {"utc", "gmt"}


def find_columns(
    names: Sequence[str], said: Mapping[str, str], is_number: Callable[[int], bool], *, base: str | None = None
) -> dict[str, tuple[int, ...]]:
    """Return, for each kind, the indices of its columns: several where the names are ambiguous.

    Args:
        names: Names of all columns, in order; numbers from 1 in a file without a header.
        said: By kind, column names from the user; they override recognised names.
        is_number: Whether the column at an index holds numbers; numeric times are preferred to dates.
        base: Currency of the volume (`BTC` for `BTC-USD`), if known.

    Raises:
        ValueError: The file lacks a column that the user named.
    """
    bare = [_bare(name) for name in names]
    found = {kind: tuple(i for i, name in enumerate(bare) if _matches(kind, name)) for kind in KINDS}
    if not found["volume"]:
        found["volume"] = tuple(i for i, name in enumerate(bare) if name.startswith("volume_"))
        own = tuple(i for i in found["volume"] if base is not None and bare[i] == f"volume_{base.lower()}")
        found["volume"] = own or found["volume"]
    found["time"] = tuple(filter(is_number, found["time"])) or found["time"]
    for kind, indices in found.items():
        exact = tuple(i for i in indices if bare[i] == kind)
        found[kind] = exact if len(exact) == 1 else indices
    for kind, name in said.items():
        if name not in names:
            raise ValueError(f"--columns {kind}={name}: the file has no such column; allowed: {', '.join(names)}")
        found[kind] = (names.index(name),)
    return {kind: indices for kind, indices in found.items() if indices}


def choose_columns(
    names: Sequence[str], found: Mapping[str, tuple[int, ...]], needed: Collection[str]
) -> dict[str, int]:
    """Return the index of each kind's column.

    The result has all five values or none of them. A kind with several columns is left out unless it is needed.

    Raises:
        ValueError: A needed kind has no column, or several; the message names them.
    """
    for kind in needed:
        indices = found.get(kind, ())
        if len(indices) != 1:
            which = " or ".join(repr(names[i]) for i in indices)
            problem = f"column {which} may hold the {kind}" if indices else f"no column holds the {kind}"
            raise ValueError(f"{problem}; allowed: --columns {kind}=NAME, of the names {', '.join(names)}")
    chosen = {kind: indices[0] for kind, indices in found.items() if len(indices) == 1}
    if not all(kind in chosen for kind in VALUES):
        chosen = {kind: index for kind, index in chosen.items() if kind not in VALUES}
    return chosen


def unit_in_name(name: str) -> TimeUnit | None:
    """Return the unit in the name of a time column, such as ms in `start_ms`, or None."""
    return next((_UNITS[word] for word in _bare(name).split("_") if word in _UNITS), None)


def is_utc_by_name(name: str) -> bool:
    """Return whether the name of a time column contains `utc` or `gmt`."""
    return not _UTC.isdisjoint(_bare(name).split("_"))


def matches(kind: str, name: str) -> bool:
    """Return whether a column with this name is recognised as a kind of `KINDS`."""
    return _matches(kind, _bare(name))


def _matches(kind: str, bare: str) -> bool:
    if kind == "time":
        words = bare.split("_")
        kept = [word for index, word in enumerate(words) if word not in _UTC and (not index or word not in _UNITS)]
        bare = "_".join(kept)
    return bare in _SPELLINGS[kind]


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
