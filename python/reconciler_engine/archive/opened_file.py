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

HEAD_BYTES = 16
"""First bytes that tell all these formats apart."""

_PIPE = "{} FILE | reconciler-engine ... -"
_COLUMNS = "write its columns as CSV"
_FORMS = (
    (b"PK", "a zip archive (as .xlsx is one)", _PIPE.format("unzip -p")),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", _PIPE.format("zstd -dc")),
    (b"BZh", "bzip2-compressed", _PIPE.format("bzip2 -dc")),
    (b"\xfd7zXZ", "xz-compressed", _PIPE.format("xz -dc")),
    (b"\x04\x22\x4d\x18", "lz4-compressed", _PIPE.format("lz4 -dc")),
    (b"7z\xbc\xaf", "a 7z archive", _PIPE.format("7z x -so")),
    (b"PAR1", "a Parquet file", _COLUMNS),
    (b"ARROW1", "an Arrow file", _COLUMNS),
    (b"ORC", "an ORC file", _COLUMNS),
    (b"\x89HDF", "an HDF5 file", _COLUMNS),
    (b"SQLite format 3", "an SQLite database", _COLUMNS),
    (b"\xff\xfe", "UTF-16 text", "iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "iconv -f UTF-16 -t UTF-8"),
    (b"s\0t\0", "UTF-16 text", "iconv -f UTF-16LE -t UTF-8"),
    (b"\0s\0t", "UTF-16 text", "iconv -f UTF-16BE -t UTF-8"),
    (b"{", "JSON", _COLUMNS),
    (b"[", "JSON", _COLUMNS),
    (b"<", "a web page or XML", "download the file itself"),
)

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


def describe_foreign(head: bytes) -> str | None:
    """Name the format of a file with these first bytes, and the cure; None if it may be a candle file."""
    for magic, kind, remedy in _FORMS:
        if head.startswith(magic):
            return f"is {kind}; allowed: CSV, plain or gzipped ({remedy})"
    return None
