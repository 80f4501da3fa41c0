"""Text files, plain or gzipped, read line by line; a file that unpacks too far is given up."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from reconciler_engine.archive.bad_rows import SHOWN_LIMIT
from reconciler_engine.archive.foreign_file import HEAD_BYTES

STANDARD_INPUT = Path("-")
"""A file of this name is standard input."""

LINES_BETWEEN_LOOKS = 1024
"""Lines between two checks whether a file is worth reading on."""

# The longest row of the known captures has 82 bytes; tables with many indicators have some hundred.
_LINE_LIMIT = 4096
_GZIP = b"\x1f\x8b"
# Rows of a candle file shrink to a tenth, not to less than a hundredth.
_MOST_RATIO = 200
_UNPACKED_BETWEEN_LOOKS = 512 * 1024


class _Packed:
    """A gzipped file that counts the bytes read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.taken = 0
        self._seen = (0, 0)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.taken += len(data)
        return data

    def is_bomb(self, unpacked: int) -> bool:
        """Whether the bytes since the last look unpacked so far that they cannot be candles."""
        taken_before, unpacked_before = self._seen
        grown = unpacked - unpacked_before
        if grown < _UNPACKED_BETWEEN_LOOKS:
            return False
        self._seen = (self.taken, unpacked)
        return grown > _MOST_RATIO * (self.taken - taken_before)


class Unreadable(Exception):
    """The rest of a file cannot be read; the message is the reason."""


class OpenedFile:
    """A text file: its lines, or its bytes through `read`, as other readers want them.

    Attributes:
        head: Its first bytes, unpacked.
        closed: Always false; other readers ask for it.
    """

    closed = False

    def __init__(self, file: gzip.GzipFile | BufferedReader, packed: _Packed | None = None) -> None:
        self._file = file
        self._packed = packed
        self._unpacked = 0
        self.head = file.peek(HEAD_BYTES)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines and their numbers, from 1.

        Raises:
            Unreadable: A line is too long, the file is cut short or damaged, or it unpacks too far.
        """
        number = 0
        try:
            while line := self._file.readline(_LINE_LIMIT):
                number += 1
                self._unpacked += len(line)
                if len(line) == _LINE_LIMIT and not line.endswith(b"\n"):
                    shown = line[:SHOWN_LIMIT].decode("ascii", "replace")
                    raise Unreadable(f"line {number}: row {shown!r} is longer than {_LINE_LIMIT} bytes")
                if number % LINES_BETWEEN_LOOKS == 0 and self.is_bomb():
                    problem = f"unpacks to more than {_MOST_RATIO} times its size, as no candles do"
                    raise Unreadable(f"after line {number}: {problem}")
                yield number, line
        except (EOFError, zlib.error) as error:
            problem = f"the gzip data is cut short or damaged: {error}"
            raise Unreadable(f"after line {number}: {problem}") from error

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, empty at the end; errors are those of the file."""
        data = self._file.read(size)
        self._unpacked += len(data)
        return data

    def is_bomb(self) -> bool:
        """Whether it is gzipped, and unpacked further since the last look than candles do."""
        return self._packed is not None and self._packed.is_bomb(self._unpacked)

    def bytes_read(self) -> int:
        """Return the number of bytes read of the file, packed as it is."""
        return self._unpacked if self._packed is None else self._packed.taken


@contextmanager
def open_text(path: Path) -> Iterator[OpenedFile]:
    """Open a file, gzipped or not, or a pipe. The first bytes are peeked at: those of a pipe come only once.

    Raises:
        Unreadable: The file cannot be opened; in the block: it cannot be read.
    """
    try:
        with open(0, "rb", closefd=False) if path == STANDARD_INPUT else path.open("rb") as file:
            if not file.peek(HEAD_BYTES).startswith(_GZIP):
                yield OpenedFile(file)
                return
            packed = _Packed(file)
            with gzip.GzipFile(fileobj=cast("BinaryIO", packed), mode="rb") as unzipped:
                yield OpenedFile(unzipped, packed)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise Unreadable(f"after line 1: the gzip data is cut short or damaged: {error}") from error
