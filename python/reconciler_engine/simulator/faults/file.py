"""Reads fault rules from TOML or JSON."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reconciler_engine.errors import ConfigError
from reconciler_engine.market.interval import Interval
from reconciler_engine.simulator.faults.modes import MODES
from reconciler_engine.simulator.faults.rules import FaultRule, Faults, Value

_PATTERNS = ("path", "product", "granularity")
_COUNTS = {"first": 1, "every": 1, "count": 0}
_TIMES = ("from", "until")
_COMMON = ("name", "mode", *_PATTERNS, *_COUNTS, "probability", *_TIMES)
_COUNT_LIMIT = 1 << 40
_RULES_LIMIT = 1000
_SIZE_LIMIT = 1024 * 1024
# The TOML parser's time and memory grow with the square of the number of dots in a key.
_DOTS_IN_A_LINE = 250
_FAR = 1 << 62


def read_fault_file(path: Path) -> list[FaultRule]:
    """Read rules from a file: JSON if its name ends in `.json`, else TOML. `parse_faults` describes the content.

    Raises:
        ConfigError: The file cannot be read or parsed, or rules in it are wrong; lists every mistake found.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_SIZE_LIMIT + 1)
        if len(text) > _SIZE_LIMIT or any(line.count(".") > _DOTS_IN_A_LINE for line in text.split("\n")):
            raise ConfigError([f"faults {str(path)!r}: is over 1 MiB, or has a line with over 250 dots"])
        content: object = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError([f"faults {str(path)!r} cannot be read: {error.strerror}"]) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"faults {str(path)!r}: {str(error)[:200]}"]) from error
    return parse_faults(content)


class FaultFile:
    """A faults file that is read again when it changes.

    Where a changed file has mistakes, the rules stay as they are.

    Args:
        path: The file.
        faults: Rules in force, which the file's rules replace.
        complain: Called with the mistakes of a changed file.

    Raises:
        ConfigError: The first reading failed, as in `read_fault_file`.
    """

    def __init__(self, path: Path, faults: Faults, complain: Callable[[str], None]) -> None:
        self._path = path
        self._faults = faults
        self._complain = complain
        self._seen = self._stamp()
        faults.set(read_fault_file(path))

    def refresh(self) -> None:
        """Read the file again if its size or time of change differs; one `stat` call if not."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._faults.set(read_fault_file(self._path))
        except ConfigError as error:
            self._complain(f"faults stay as they were: {error}")

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            # The file is missing or being replaced; if it stays missing, reading it reports that.
            return None
        return status.st_mtime_ns, status.st_size


def parse_faults(content: object) -> list[FaultRule]:
    """Return the rules of a document `{"fault": [{...}, ...]}`.

    A rule has a `mode` and that mode's settings. It may have a `name`, the patterns `path`, `product` and
    `granularity`, the numbers `first`, `every` and `count`, a `probability`, and the times `from` and `until` (ISO 8601
    or ms UTC, by the exchange's clock).

    Raises:
        ConfigError: Rules are wrong; lists every mistake found.
    """
    if not isinstance(content, Mapping) or set(content) - {"fault"} or not isinstance(content.get("fault", []), list):
        raise ConfigError(["faults: allowed is a list of rules called 'fault' and nothing else"])
    listed = content.get("fault", [])
    if len(listed) > _RULES_LIMIT:
        raise ConfigError([f"faults: {len(listed)} rules; allowed: {_RULES_LIMIT}"])
    faults: list[str] = []
    rules: list[FaultRule] = []
    for position, table in enumerate(listed, 1):
        if not isinstance(table, Mapping):
            faults.append(f"fault {position}: {table!r} is not a table")
            continue
        reading = _Rule(position, table)
        rules.append(reading.read())
        faults += reading.faults
    names = [rule.name for rule in rules]
    faults += [f"fault {name!r} is named twice" for name in sorted({name for name in names if names.count(name) > 1})]
    if faults:
        raise ConfigError(faults)
    return rules


class _Rule:
    """Reads one table of the file as a rule; collects the table's mistakes in `faults`."""

    def __init__(self, position: int, table: Mapping[str, Any]) -> None:
        self._table = table
        name = table.get("name", f"fault {position}")
        self._name = name if isinstance(name, str) and name else f"fault {position}"
        self.faults: list[str] = []
        if name != self._name:
            self._refuse("name", name, "is not text")

    def read(self) -> FaultRule:
        """Return the rule; it must not be used if `faults` is not empty afterwards."""
        mode = self._table.get("mode")
        settings = MODES.get(mode, {}) if isinstance(mode, str) else {}
        if not isinstance(mode, str) or mode not in MODES:
            self._refuse("mode", mode, f"is none of {', '.join(MODES)}")
        else:
            for key in self._table:
                if key not in settings and key not in _COMMON:
                    known = ", ".join((*settings, *_COMMON))
                    self._refuse(key, self._table[key], f"is unknown to mode {mode}; allowed: {known}")
        # First the settings of this mode, then the fields that all modes share.
        values: dict[str, Value] = {key: setting.default for key, setting in settings.items()}
        for key in values.keys() & self._table.keys():
            problem = settings[key].find_problem(self._table[key])
            if problem is not None:
                self._refuse(key, self._table[key], problem)
            values[key] = self._table[key]
        return FaultRule(
            self._name,
            str(mode),
            path=self._read_pattern("path"),
            product=self._read_pattern("product"),
            granularity=self._read_pattern("granularity"),
            first=self._read_count("first"),
            every=self._read_count("every"),
            count=self._read_count("count"),
            probability=self._read_probability(),
            window=self._read_window(),
            values=MappingProxyType(values),
        )

    def _read_pattern(self, key: str) -> str:
        value = self._table.get(key, "*")
        if not isinstance(value, str):
            self._refuse(key, value, "is not a pattern")
        return str(value)

    def _read_count(self, key: str) -> int:
        least = _COUNTS[key]
        value = self._table.get(key, least)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _COUNT_LIMIT:
            self._refuse(key, value, f"is not a whole number >= {least}")
            return least
        return value

    def _read_probability(self) -> float:
        value = self._table.get("probability", 1.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            self._refuse("probability", value, "is not between 0 and 1")
            return 1.0
        return float(value)

    def _read_window(self) -> Interval:
        start, stop = (self._read_time(key) for key in _TIMES)
        start, stop = -_FAR if start is None else start, _FAR if stop is None else stop
        if stop < start:
            self._refuse("until", self._table["until"], "lies before 'from'")
            return Interval(start, start)
        return Interval(start, stop)

    def _read_time(self, key: str) -> int | None:
        value = self._table.get(key)
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                value = float("nan")
        if isinstance(value, datetime):
            value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self._refuse(key, self._table[key], "is not an ISO 8601 time or a number of milliseconds")
            return None
        return int(value)

    def _refuse(self, key: str, value: object, problem: str) -> None:
        self.faults.append(f"fault {self._name!r}: {key} {value!r} {problem}")
