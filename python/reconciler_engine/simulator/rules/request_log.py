"""Log of the requests to the exchange, in memory for tests and in a file for people."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from reconciler_engine.errors import ConfigError

_KEPT = 100_000
# Python refuses to parse integers with thousands of digits.
_INSTANT_DIGITS = 18


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request and its answer.

    Attributes:
        time_ms: Instant of the answer by the machine's clock, not the exchange's (ms UTC).
        path: Path without the query.
        product: Product in the path, if any.
        granularity: Granularity in the query, if any.
        start: Start in the query: seconds UTC, or the text if that is not a number.
        end: End in the query, in the same form.
        status: HTTP status; 0 if a fault prevented the answer.
        rows: Number of candles in the answer; None if it is not about candles.
        key: Name of the key that signed the request, if any.
        fault: Name of the fault that happened, if any.
    """

    time_ms: int
    path: str
    product: str | None
    granularity: str | None
    start: int | str | None
    end: int | str | None
    status: int
    rows: int | None
    key: str | None = None
    fault: str | None = None


class RequestLog:
    """Requests in the order of their answers: the last 100,000 in memory, and all of them in the file, if any.

    A request is logged before its answer is sent: a client that has received an answer finds it in the log.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.records: deque[RequestRecord] = deque(maxlen=_KEPT)
        self._file = file

    def add(self, record: RequestRecord) -> None:
        """Keep a record in memory and write it to the file as one line of JSON."""
        self.records.append(record)
        if self._file is not None:
            self._file.write(json.dumps(asdict(record), separators=(",", ":")) + "\n")
            self._file.flush()


@contextmanager
def open_request_log(path: Path | None) -> Iterator[RequestLog]:
    """Open a log that appends to `path`; without a path it is in memory only.

    Raises:
        ConfigError: The file cannot be opened.
    """
    try:
        file = nullcontext() if path is None else path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"log {str(path)!r} cannot be opened: {error.strerror}"]) from error
    with file as opened:
        yield RequestLog(opened)


def read_instant(text: str | None) -> int | str | None:
    """Return text of at most 18 digits as an integer, other text unchanged."""
    if text is None or len(text) > _INSTANT_DIGITS or not (text.isascii() and text.isdigit()):
        return text
    return int(text)
