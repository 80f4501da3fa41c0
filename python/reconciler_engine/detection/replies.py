"""The members of many keys, read from the bytes of their replies while these arrive.

The stream is RESP2, as a server answers `ZRANGEBYSCORE key start (stop WITHSCORES`: an array a key that alternates
members and ascending scores, or an error line. `detection.members` has the rule for candles. With
digests, the answer to `HMGET` of their fields, in the order of `detection.noted`, comes before it.
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
"""None: one candle in each slot of the span's grid, none a filler, nothing else, and no digest was asked for that does
not fit. The columns `unverified` and `changed` of `Members`: the same, but for the digests. All its columns: anything
else. Text: the server's error line, without its sign, the first one where both commands were refused."""


class SpanReplies(Protocol):
    """Reads the replies of spans, in the order asked. After an error the stream is of no further use."""

    def ask(self, symbol: str, timeframe: str, start: int, step: int, length: int, blocks: int = 0, /) -> None:
        """Expect one more reply: of this series, whose grid has `length` open times from `start` on (ms UTC).

        With `blocks` expect the digests of so many blocks before it, from the one that holds `start` on.
        """

    def feed(self, data: bytes | memoryview, /) -> int:
        """Take bytes of the stream; return how many answers are complete and not yet taken.

        Raises:
            ValueError: The bytes are not such a reply, nothing was asked, or a score is not a number or below the last.
        """

    def take(self) -> list[Answer]:
        """Return the answers complete so far, in the order asked, and forget them."""


class _Span(NamedTuple):
    symbol: str
    timeframe: str
    grid: range
    blocks: int


class PureSpanReplies:
    """The definition, in plain Python; the native one answers alike."""

    def __init__(self) -> None:
        self._asked: deque[_Span] = deque()
        self._answers: list[Answer] = []
        self._rest = b""
        self._left: int | None = None
        self._items: list[bytes] = []
        # Digests, or the error line, of the span whose members come next.
        self._noted: Noted | str | None = None

    def ask(self, symbol: str, timeframe: str, start: int, step: int, length: int, blocks: int = 0, /) -> None:
        """Expect one more reply; see `SpanReplies`."""
        self._asked.append(_Span(symbol, timeframe, range(start, start + length * step, step), blocks))

    def feed(self, data: bytes | memoryview, /) -> int:
        """Take bytes of the stream; see `SpanReplies`."""
        self._rest += bytes(data)
        while self._advance():
            pass
        return len(self._answers)

    def take(self) -> list[Answer]:
        """Return the answers complete so far and forget them."""
        answers, self._answers = self._answers, []
        return answers

    def _advance(self) -> bool:
        """Read one more piece of the stream; return False if more bytes are needed."""
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
    """Whether there is one candle in each slot of a grid, none a filler, and nothing else."""
    return not members.malformed and not members.fillers and members.timestamps.tolist() == list(grid)


def _bulk(data: bytes, *, may_be_absent: bool) -> tuple[bytes, bytes] | None:
    """Split off a string of stated length, empty if it is absent; None if a part has not come yet."""
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
    """Split off a line without its end; None if the end has not come yet."""
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
"""Makes a `SpanReplies` of the implementation in use."""
