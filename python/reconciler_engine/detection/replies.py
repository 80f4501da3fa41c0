"""Parse the members of many keys from a stream of replies, while its bytes arrive.

The stream is RESP2. Each key has a reply to `ZRANGEBYSCORE key start (stop WITHSCORES`: an array of alternating members
and ascending scores, or an error line. If digests were asked for, the reply to `HMGET` of their fields, in the order of
`detection.noted`, comes before it. `detection.members` has the rule for candles.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

from reconciler_engine.detection.implementation import IMPLEMENTATION
from reconciler_engine.detection.members import Members, check_members_pure
from reconciler_engine.detection.noted import Noted, read_noted

_LINE_LIMIT: Final = 64 * 1024
_COUNT = re.compile(rb"[0-9]{1,9}")

_Column: TypeAlias = "memoryview[int]"
Columns = tuple[_Column, _Column, _Column, _Column, _Column, _Column]
Doubts = tuple[_Column, _Column]

Answer = Columns | Doubts | str | None
"""The members of a span, in one of four forms:

- None if each slot of the grid holds one candle, no candle is a filler, there are no other members, and all candles are
  verified or no digests were asked for.
- The columns `unverified` and `changed` of `Members` if the same is true, except that some candles are not verified.
- All columns of `Members` in any other case.
- The server's error line without the `-`. If both commands failed, it is the first one's.
"""


class SpanReplies(Protocol):
    """Parses the replies about spans, in the order of `ask`. After an error the stream cannot be used any more."""

    def ask(self, symbol: str, timeframe: str, start: int, step: int, length: int, blocks: int = 0, /) -> None:
        """Expect one more reply, about `length` open times of this series from `start` (ms UTC).

        If `blocks` is not 0, expect the digests of that many blocks before it; the first block holds `start`.
        """

    def feed(self, data: bytes | memoryview, /) -> int:
        """Parse more bytes of the stream; return how many answers are complete and not yet taken.

        Raises:
            ValueError: The bytes are not the expected reply, no reply is expected, or a score is not a number or below
                the one before it.
        """

    def take(self) -> list[Answer]:
        """Remove and return the complete answers, in the order of `ask`."""


class _Span(NamedTuple):
    symbol: str
    timeframe: str
    grid: range
    blocks: int


class PureSpanReplies:
    """The reference implementation, in pure Python. The native one must give the same answers."""

    def __init__(self) -> None:
        self._asked: deque[_Span] = deque()
        self._answers: list[Answer] = []
        self._rest = b""
        self._left: int | None = None
        self._items: list[bytes] = []
        # The digests of the next span, or the error line that came in their place.
        self._noted: Noted | str | None = None

    def ask(self, symbol: str, timeframe: str, start: int, step: int, length: int, blocks: int = 0, /) -> None:
        """Expect one more reply; see `SpanReplies`."""
        self._asked.append(_Span(symbol, timeframe, range(start, start + length * step, step), blocks))

    def feed(self, data: bytes | memoryview, /) -> int:
        """Parse more bytes of the stream; see `SpanReplies`."""
        self._rest += bytes(data)
        while self._advance():
            pass
        return len(self._answers)

    def take(self) -> list[Answer]:
        """Remove and return the complete answers."""
        answers, self._answers = self._answers, []
        return answers

    def _advance(self) -> bool:
        """Parse one more part of the stream; return False if more bytes are needed."""
        if not self._asked:
            if self._rest:
                raise ValueError("a reply that nobody asked for")
            return False
        span = self._asked[0]
        awaits_digests = span.blocks > 0 and self._noted is None
        if self._left is None:
            return self._open(span, awaits_digests)
        if self._left:
            found = _bulk(self._rest, may_be_absent=awaits_digests)
            if found is None:
                return False
            item, self._rest = found
            self._items.append(item)
            self._left -= 1
            return True
        self._left = None
        if awaits_digests:
            self._noted = read_noted(self._items, span.grid.start, span.grid.step)
        else:
            self._answer(self._judge(span))
        return True

    def _open(self, span: _Span, awaits_digests: bool) -> bool:
        found = _line(self._rest)
        if found is None:
            return False
        line, self._rest = found
        if line.startswith(b"-"):
            refusal = line[1:].decode("utf-8", "replace")
            if awaits_digests:
                self._noted = refusal
            else:
                self._answer(self._noted if isinstance(self._noted, str) else refusal)
            return True
        if not line.startswith(b"*"):
            raise _bad_framing()
        self._left, self._items = _number(line[1:]), []
        if awaits_digests and self._left != span.blocks + 1:
            raise _bad_framing()
        if not awaits_digests and self._left % 2:
            raise ValueError("a member has no score")
        return True

    def _judge(self, span: _Span) -> Answer:
        if isinstance(self._noted, str):
            return self._noted
        members = check_members_pure(self._items, span.symbol, span.timeframe, span.grid.step, self._noted)
        if not fills(members, span.grid):
            return (*members,)
        return (members.unverified, members.changed) if members.unverified else None

    def _answer(self, answer: Answer) -> None:
        self._asked.popleft()
        self._answers.append(answer)
        self._noted = None


def fills(members: Members, grid: range) -> bool:
    """Whether each slot of the grid holds one candle, no candle is a filler, and there are no other members."""
    return not members.malformed and not members.fillers and members.timestamps.tolist() == list(grid)


def _bulk(data: bytes, *, may_be_absent: bool) -> tuple[bytes, bytes] | None:
    """Split off a bulk string; a null one gives b"". None if it is not complete yet."""
    found = _line(data)
    if found is None:
        return None
    line, rest = found
    if may_be_absent and line == b"$-1":
        return b"", rest
    if not line.startswith(b"$"):
        raise _bad_framing()
    length = _number(line[1:])
    end = rest[length : length + 2]
    if not b"\r\n".startswith(end):
        raise _bad_framing()
    return (rest[:length], rest[length + 2 :]) if end == b"\r\n" else None


def _line(data: bytes) -> tuple[bytes, bytes] | None:
    """Split off a line without its line end; None if it is not complete yet."""
    at = data.find(b"\r", 0, _LINE_LIMIT)
    if at < 0 and len(data) < _LINE_LIMIT:
        return None
    end = data[at : at + 2]
    if at < 0 or not b"\r\n".startswith(end):
        raise _bad_framing()
    return (data[:at], data[at + 2 :]) if end == b"\r\n" else None


def _number(digits: bytes) -> int:
    if not _COUNT.fullmatch(digits):
        raise _bad_framing()
    return int(digits)


def _bad_framing() -> ValueError:
    return ValueError("no RESP2 array of members and scores")


def _maker() -> Callable[[], SpanReplies]:
    if IMPLEMENTATION == "pure":
        return PureSpanReplies
    from reconciler_engine import _native  # noqa: PLC0415  # built or not is only known here

    return _native.SpanReplies


make_span_replies: Final = _maker()
"""Makes a `SpanReplies` of the native or the pure implementation."""
