"""Files of other formats, known by their first bytes, and the way to convert each to CSV."""

from __future__ import annotations

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


def describe_foreign(head: bytes) -> str | None:
    """Name the format of a file with these first bytes, and the cure; None if it may be a candle file."""
    for magic, kind, remedy in _FORMS:
        if head.startswith(magic):
            return f"is {kind}; allowed: CSV, plain or gzipped ({remedy})"
    return None
