"""Opens text files, plain or gzipped, and reads them line by line; refuses gzip bombs."""

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
"""Number of first bytes that identify a file's format."""

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
"""Path that stands for standard input."""

LINES_BETWEEN_LOOKS = 1024
"""Number of lines after which a reader reports progress and checks whether to stop."""

# The longest row in our sample files has 82 bytes; rows of tables with many indicators have a few hundred.
_LINE_LIMIT = 4096
_GZIP = b"\x1f\x8b"
# Gzip shrinks candle rows to about a tenth of their size, never below a hundredth.
_MOST_RATIO = 200
_PACKED_AT_ONCE = 512
# More than one read may unpack to: gzip's own reads, of 128 KB since Python 3.12, would hide how little was taken.
_UNPACKED_BETWEEN_LOOKS = 256 * _PACKED_AT_ONCE


class _Packed:
    """A gzipped file, with a count of the compressed bytes read so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.taken = 0
        self._seen = (0, 0)

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, _PACKED_AT_ONCE))
        self.taken += len(data)
        return data

    def is_bomb(self, unpacked: int) -> bool:
        """Return whether the data since the last check unpacked to over 200 times its size, as candles cannot."""
        taken_before, unpacked_before = self._seen
        grown = unpacked - unpacked_before
        if grown < _UNPACKED_BETWEEN_LOOKS:
            return False
        self._seen = (self.taken, unpacked)
        return grown > _MOST_RATIO * (self.taken - taken_before)


class Unreadable(Exception):
    """A file, or the rest of it, cannot be read; the message is the reason."""


class OpenedFile:
    """An open text file, to be read by `lines`, or by `read` as pyarrow does.

    Attributes:
        head: First bytes, unpacked.
        closed: Always False; pyarrow reads this attribute.
    """

    closed = False

    def __init__(self, file: gzip.GzipFile | BufferedReader, packed: _Packed | None = None) -> None:
        self._file = file
        self._packed = packed
        self._unpacked = 0
        self.head = file.peek(HEAD_BYTES)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield each line with its number, from 1.

        Raises:
            Unreadable: A line is over 4,096 bytes, the file is cut short or damaged, or it is a gzip bomb.
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
        """Return the next bytes, empty at the end; raises the errors of the underlying file."""
        data = self._file.read(size)
        self._unpacked += len(data)
        return data

    def is_bomb(self) -> bool:
        """Return whether the file is gzipped and its data since the last check expanded more than candles can."""
        return self._packed is not None and self._packed.is_bomb(self._unpacked)

    def bytes_read(self) -> int:
        """Return the number of bytes read from the file; compressed bytes if it is gzipped."""
        return self._unpacked if self._packed is None else self._packed.taken


@contextmanager
def open_text(path: Path) -> Iterator[OpenedFile]:
    """Open a file or a pipe, gzipped or not.

    Raises:
        Unreadable: The file cannot be opened or read.
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
    """Return the format that these first bytes show and how to convert it; None if the file may be a candle file."""
    for magic, kind, remedy in _FORMS:
        if head.startswith(magic):
            return f"is {kind}; allowed: CSV, plain or gzipped ({remedy})"
    return None
