"""Facts about candle files that the user states because the files do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import TypeVar

from reconciler_engine.archive.time_unit import TimeUnit
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.series import check_symbol
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.scheduling.zones import load_zone

_Value = TypeVar("_Value")

VALUES = ("open", "high", "low", "close", "volume")
"""Values of a candle, in the order of our own files."""

KINDS = ("time", *VALUES, "symbol", "timeframe")
"""Kinds of columns that are read."""


@dataclass(frozen=True, slots=True)
class Hints:
    """Facts about candle files from the user; None or empty where the user states nothing.

    Attributes:
        symbol: Product id of all candles.
        timeframe: Timeframe of all candles.
        columns: Names of columns by kind (of `KINDS`); for files without a header, column numbers from 1.
        unit: Unit of open times that are numbers.
        zone: Time zone for dates without one.
    """

    symbol: str | None = None
    timeframe: Timeframe | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    unit: TimeUnit | None = None
    zone: tzinfo | None = None


NO_HINTS = Hints()
"""Empty hints: the user states nothing about the files."""


def parse_hints(
    *, symbol: str | None, timeframe: str | None, columns: str | None, time_unit: str | None, time_zone: str | None
) -> Hints:
    """Return the hints in the values of command line flags.

    Raises:
        ConfigError: Values are not allowed; lists each with its flag.
    """
    faults: list[str] = []

    def parsed(flag: str, text: str | None, parse: Callable[[str], _Value]) -> _Value | None:
        try:
            return None if text is None else parse(text)
        except ValueError as error:
            faults.append(f"{flag}: {error}")
            return None

    hints = Hints(
        symbol=parsed("--symbol", symbol, check_symbol),
        timeframe=parsed("--timeframe", timeframe, Timeframe.parse),
        columns=parsed("--columns", columns, _parse_columns) or {},
        unit=parsed("--time-unit", time_unit, TimeUnit.parse),
        zone=parsed("--time-zone", time_zone, load_zone),
    )
    if faults:
        raise ConfigError(faults)
    return hints


def _parse_columns(text: str) -> dict[str, str]:
    allowed = f"allowed: KIND=NAME, with commas between, of the kinds {', '.join(KINDS)}, each once"
    columns: dict[str, str] = {}
    for pair in text.split(","):
        kind, equals, name = (part.strip() for part in pair.partition("="))
        if not (equals and name and kind in KINDS) or kind in columns:
            raise ValueError(f"{pair!r} is not allowed; {allowed}")
        columns[kind] = name
    return columns
