"""The native module of `reconciler_engine`, for internal use by that package."""

import sys
from collections.abc import Iterable
from typing import Final, TypeAlias, final

from reconciler_engine.market.candle import Candle

__all__ = [
    "DEBUG_BUILD",
    "Int64Column",
    "SpanReplies",
    "check_members",
    "detect_gaps",
    "detect_gaps_explicit",
    "export_gaps",
    "export_gaps_schema",
    "gap_ends",
    "gap_tuples",
    "watch_lifeline",
    "write_members",
]

DEBUG_BUILD: Final[bool]
"""Whether this is a debug build, which must not be used for measurements."""

_Column: TypeAlias = memoryview[int]
_Columns: TypeAlias = tuple[_Column, _Column, _Column, _Column, _Column, _Column]
_Doubts: TypeAlias = tuple[_Column, _Column]

@final
class Int64Column:
    """Read-only int64 values, owned by Rust; `memoryview(column)` gives access without a copy."""

    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class SpanReplies:
    """Parses replies about many keys; see `detection.replies.SpanReplies`."""

    def __new__(cls) -> SpanReplies: ...
    def ask(self, symbol: str, timeframe: str, start: int, step: int, length: int, blocks: int = 0, /) -> None: ...
    def feed(self, data: bytes | memoryview, /) -> int: ...
    def take(self) -> list[_Columns | _Doubts | str | None]: ...

def check_members(
    reply: list[bytes], symbol: str, timeframe: str, step: int, /
) -> tuple[memoryview[int], memoryview[int], memoryview[int], memoryview[int]]:
    """Return the columns timestamps, duplicates, malformed and fillers; see `detection.members.Members`.

    Raises:
        TypeError: An item of the reply is not bytes.
        ValueError: The reply is not a list of alternating members and ascending scores.
    """

def detect_gaps(
    timestamps: object, start: int, step: int, length: int, trusted: bool, threads: int, /
) -> tuple[memoryview[int], memoryview[int], int] | None:
    """Return starts, counts and the number of missing points of a regular grid.

    `timestamps` is a contiguous int64 buffer, which is read in place, or a list of int64 numbers. For anything else,
    None is returned. The interpreter is released for long input. `trusted` promises sorted, unique timestamps in the
    grid. `threads` is the most threads for sorted input, or 0 for as many as help; all of them end before this returns.

    Raises:
        ValueError: `step` is 0, the grid exceeds int64, or it has more than 2**63 - 1 points.
        OverflowError: `start`, `step` or `length` does not fit 64 bits.
    """

def detect_gaps_explicit(
    timestamps: object, expected: object, /
) -> tuple[memoryview[int], memoryview[int], memoryview[int]] | None:
    """Return starts, ends and counts for a strictly increasing `expected`.

    Returns None if an argument is neither an int64 buffer nor a list of int64 numbers, or if `expected` does not
    strictly increase.
    """

def export_gaps(starts: memoryview[int], ends: memoryview[int], counts: memoryview[int], /) -> object:
    """Return a capsule with an Arrow stream of one table: int64 columns `start`, `end`, `count`, not copied."""

def export_gaps_schema() -> object:
    """Return a capsule with the Arrow schema of a table of gaps."""

def gap_ends(starts: memoryview[int], counts: memoryview[int], step: int, /) -> memoryview[int]:
    """Return the last missing open time of each gap.

    Raises:
        ValueError: The columns are not int64 buffers of equal length.
    """

def gap_tuples(
    starts: memoryview[int], ends: memoryview[int], counts: memoryview[int], /
) -> list[tuple[int, int, int]]:
    """Return a tuple (start, end, count) for each gap.

    Raises:
        ValueError: The columns are not int64 buffers of equal length.
    """

def watch_lifeline(fd: int, exit_code: int, /) -> None:
    """End this process with `_exit(exit_code)` as soon as the other end of `fd` is closed.

    A native thread reads from a duplicate of `fd` and discards the data. End of file or an error ends the process at
    once, without cleanup, even if the interpreter hangs. The thread receives no signals, cannot be stopped, and does
    not survive a fork. The caller may close `fd`.

    Raises:
        OSError: `fd` is not an open file, or no thread could be started.
        ValueError: `exit_code` is not within 0..255.
    """

def write_members(candles: Iterable[Candle], names: str, /) -> list[bytes]:
    """Return open times and members; see `store.members.write_members_pure`.

    Numbers may be written differently, but are read as the same values.
    """
