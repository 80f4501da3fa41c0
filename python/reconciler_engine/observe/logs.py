"""Structured logs: one event a line, JSON for machines, short lines for a terminal."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal

from reconciler_engine.observe.words import describe_span, iso, printable

Style = Literal["human", "coloured", "json"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PACKAGE: Final = "reconciler_engine"

# Extra field that describes the other extra fields in words; a terminal shows it instead of them.
_SUMMARY: Final = "summary"

# Extra field with the name of a routine event; a terminal shows one event of each name in a minute.
_ROUTINE: Final = "routine"
_ROUTINE_S: Final = 60.0


# Within this time an event with the same error is shown once; the next one shown tells how many were hidden.
_REPEAT_S: Final = 600.0


_HIDDEN: Final = _STANDARD | {_SUMMARY, _ROUTINE}


_about: ContextVar[dict[str, object] | None] = ContextVar("about", default=None)


@contextmanager
def about(**facts: object) -> Iterator[None]:
    """Add these facts to each JSON line that the block's task, or a task started in the block, writes.

    For example, a run's id connects the lines that several processes write about the run.
    """
    token = _about.set({**(_about.get() or {}), **facts})
    try:
        yield
    finally:
        _about.reset(token)


def note(**facts: object) -> None:
    """Add facts to the enclosing `about` block; outside such a block they are dropped."""
    known = _about.get()
    if known is not None:
        known.update(facts)


def configure(style: Style, level: str, *, process: str, simulated: bool = False) -> None:
    """Send the package's log to standard error; call once in each process.

    Args:
        style: `json` for one JSON object a line, `human` for plain text, `coloured` for text with terminal colours.
        level: Name of the lowest level shown, such as `INFO`.
        process: Name of this process in the engine, for each line.
        simulated: Whether every line says SIMULATED.
    """
    handler = logging.StreamHandler(sys.stderr)
    human = _Human(process, simulated, coloured=style == "coloured")
    handler.setFormatter(_Json(process, simulated) if style == "json" else human)
    handler.addFilter(_Repeated())
    if style != "json":
        handler.addFilter(_Routine())
    logger = logging.getLogger(_PACKAGE)
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


def settle() -> None:
    """Flush standard error, and drop lines that cannot be written; call last.

    Otherwise a full disk or a closed pipe would change the exit code to 120.
    """
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _HIDDEN}


class _Json(logging.Formatter):
    def __init__(self, process: str, simulated: bool) -> None:
        super().__init__()
        self._fixed = {"process": process, **({"simulated": True} if simulated else {})}

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        event: dict[str, object] = {
            "time": _iso(record.created),
            "level": record.levelname,
            "logger": record.name.removeprefix(f"{_PACKAGE}."),
            "event": record.getMessage(),
            **self._fixed,
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        # An extra field never replaces a field of the line itself.
        known = {**(_about.get() or {}), **_extra(record)}
        extra = {name: _plain(value) for name, value in known.items() if name not in event}
        return json.dumps({**event, **extra}, allow_nan=False)


class _Human(logging.Formatter):
    def __init__(self, process: str, simulated: bool, *, coloured: bool = False) -> None:
        super().__init__()
        # Most lines are the supervisor's; without its name they are shorter.
        self._process = "" if process == "supervisor" else f"{process}: "
        self._mark = "SIMULATED " if simulated else ""
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, broken into indented lines where the terminal is narrower."""
        clock = time.strftime("%H:%M:%S", time.gmtime(record.created))
        level = "" if record.levelno <= logging.INFO else f"{record.levelname} "
        summary = getattr(record, _SUMMARY, None)
        fields = summary or " ".join(_field(name, value) for name, value in _extra(record).items())
        said = printable(f"{record.getMessage()}{'  ' if fields else ''}{fields}")
        head = f"{clock} {self._mark}{self._process}"
        text = _wrapped(f"{head}{level}{said}")
        if self._coloured:
            painted = f"{_COLOURS.get(record.levelname, '')}{record.levelname}{_PLAIN} " if level else ""
            text = f"{_DIM}{head}{_PLAIN}{painted}{text[len(head + level) :]}"
        if record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            text = "\n".join([text, *map(printable, trace)])
        return text


_DIM: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"
_COLOURS: Final = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}
_INDENT: Final = " " * len("00:00:00 ")
_NARROWEST: Final = 60


def _wrapped(line: str) -> str:
    """Break a line between words if standard error is a terminal that is too narrow for it."""
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return line
    if not _NARROWEST <= width < len(line):
        return line
    return textwrap.fill(line, width, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False)


def _field(name: str, value: object) -> str:
    """Return a field for people: durations and instants are shown in words instead of milliseconds."""
    if isinstance(value, int) and not isinstance(value, bool):
        if name.endswith("_ms"):
            sign = "-" if value < 0 else ""
            return f"{name.removesuffix('_ms')}={sign}{describe_span(abs(value))}"
        if _FIRST_INSTANT <= value < 10 * _FIRST_INSTANT:
            return f"{name}={iso(value, 'seconds')}"
    return f"{name}=[{len(value) or ''}]" if isinstance(value, tuple | list) else f"{name}={value}"


# An instant in 2001 (ms UTC); other numbers in the log are smaller.
_FIRST_INSTANT: Final = 10**12


class _Routine(logging.Filter):
    """Shows one routine event of each name in a minute, with the number of those hidden before it."""

    def __init__(self) -> None:
        super().__init__()
        self._shown_at: dict[str, float] = {}
        self._hidden: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to show a record, after adding the number of hidden ones to its summary."""
        name = getattr(record, _ROUTINE, None)
        if name is None:
            return True
        # After the clock is set back, the event must still be shown.
        if 0 <= record.created - self._shown_at.get(name, -math.inf) < _ROUTINE_S:
            self._hidden[name] = self._hidden.get(name, 0) + 1
            return False
        self._shown_at[name] = record.created
        hidden = self._hidden.pop(name, 0)
        if hidden:
            setattr(record, _SUMMARY, f"{getattr(record, _SUMMARY, '')}; {hidden} more like it not shown")
        return True


class _Repeated(logging.Filter):
    """Shows an event with the same error once in `_REPEAT_S`, with the number of those hidden before it.

    At most `_REPEATS_KEPT` errors are remembered; then all are forgotten, and each is shown again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[tuple[str, object, object], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to show a record."""
        error = getattr(record, "error", None)
        if record.levelno < logging.INFO or error is None or record.exc_info:
            return True
        key = (record.getMessage(), getattr(record, "job", None), str(error))
        at, hidden = self._shown.get(key, (-math.inf, 0))
        # After the clock is set back, the event must still be shown.
        if 0 <= record.created - at < _REPEAT_S:
            self._shown[key] = (at, hidden + 1)
            return False
        if len(self._shown) >= _REPEATS_KEPT:
            self._shown.clear()
        self._shown[key] = (record.created, 0)
        if hidden:
            record.repeated = hidden
        return True


_REPEATS_KEPT: Final = 500


def _iso(instant_s: float) -> str:
    whole, milliseconds = divmod(round(instant_s * 1_000), 1_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03d}Z"


def _plain(value: object) -> object:
    """Return a value that strict JSON can hold; values of other types become text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {str(name): _plain(item) for name, item in value.items()}
        case _:
            return str(value)
