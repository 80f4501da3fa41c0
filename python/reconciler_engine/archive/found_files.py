"""Finds candle files by path: files, folders, patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler_engine.archive.arrow_file import is_arrow, read_arrow_places
from reconciler_engine.archive.candle_rows import CandleRows
from reconciler_engine.archive.hints import Hints
from reconciler_engine.archive.naming import SUFFIXES, Naming
from reconciler_engine.archive.opened_file import STANDARD_INPUT, Unreadable, open_text
from reconciler_engine.errors import ConfigError

_SUFFIXES = (*SUFFIXES, ".csv.gz", ".tsv.gz", ".txt.gz")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file, its series as far as it is known before reading, and its size in bytes."""

    path: Path
    naming: Naming
    size: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A path that the user gave, and the files behind it.

    Attributes:
        path: A file, a folder or a pattern.
        files: Candle files, ordered by name.
        left_out: Files in a folder or of a pattern that are not candle files, or whose series is unknown.
    """

    path: Path
    files: tuple[FoundFile, ...]
    left_out: tuple[Path, ...] = ()


def find_sources(paths: Sequence[Path], hints: Hints) -> list[Source]:
    """Find the files behind paths; a folder or pattern stands for all files in it and below it that are not hidden.

    Raises:
        ConfigError: The series of a file is unknown, or a folder or pattern has no candle file; lists every mistake.
    """
    sources: list[Source] = []
    faults: list[str] = []
    for path in paths:
        below = _files_below(path)
        if below is None:
            file = _found(path, hints)
            source = Source(path, (file,))
            if _lacks_series(file, hints):
                is_there = path == STANDARD_INPUT or path.exists()
                faults.append(file.naming.fault if is_there else f"{str(path)!r}: no such file or folder")
        else:
            named: list[FoundFile] = []
            left_out: list[FoundFile] = []
            for one in below:
                file = _found(one, hints)
                is_taken = one.name.endswith(_SUFFIXES) and not _lacks_series(file, hints)
                (named if is_taken else left_out).append(file)
            source = Source(path, tuple(named), tuple(file.path for file in left_out))
            if not named:
                faults.append(f"{str(path)!r} holds no candle file; allowed: names that end in {', '.join(_SUFFIXES)}")
        sources.append(source)
    if faults:
        raise ConfigError(faults)
    return sources


def _files_below(path: Path) -> list[Path] | None:
    """Return the files below a folder or of a pattern, ordered by name; None for other paths."""
    if path.is_dir():
        return sorted(_walk(path))
    if path.exists() or not glob.has_magic(str(path)):
        return None
    found = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - of a path that may be absolute
    return sorted({file for one in found for file in (_walk(one) if one.is_dir() else [one])})


def _walk(folder: Path) -> Iterator[Path]:
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        yield from (Path(at, name) for name in names if not name.startswith((".", "_")))


def _found(path: Path, hints: Hints) -> FoundFile:
    size = 0
    with suppress(OSError):
        size = path.stat().st_size
    return FoundFile(path, Naming.of(path, hints), size)


def _lacks_series(file: FoundFile, hints: Hints) -> bool:
    return bool(file.naming.fault) and file.naming.lacks(_read_places(file.path, hints))


def _read_places(path: Path, hints: Hints) -> Collection[str]:
    """Return the kinds of columns in a file; empty for a pipe, and for a file that is not recognised."""
    with suppress(Unreadable):
        if path != STANDARD_INPUT and path.is_file():
            if is_arrow(path):
                return read_arrow_places(path, hints)
            with open_text(path) as file:
                rows = CandleRows(path, None, on_grid=False)
                rows.begin(file, hints, ())
                return rows.dialect.places
    return ()
