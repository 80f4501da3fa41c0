"""Candle files of a command: progress of reading, files left out, files that cannot be read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from reconciler_engine.archive.found_files import Source
from reconciler_engine.cli.progress_bar import open_bar
from reconciler_engine.errors import CandleFileError
from reconciler_engine.observe.words import counted, printable

_SHOWN = 3


@contextmanager
def reading(sources: Sequence[Source]) -> Iterator[Callable[[int], None]]:
    """Give a function that shows on a terminal how many bytes of the sources are read."""
    for source in sources:
        _warn_of_left_out(source)
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with open_bar(sys.stderr, "{task.description}") as bar:
        task = bar.add_task("reading", total=sum(file.size for source in sources for file in source.files))
        yield lambda read: bar.update(task, completed=read)


def _warn_of_left_out(source: Source) -> None:
    if source.left_out:
        shown = ", ".join(path.name for path in source.left_out[:_SHOWN])
        more = len(source.left_out) - _SHOWN
        told = f"{source.path}: left out {counted(len(source.left_out), 'file')} that say no series: {shown}"
        sys.stderr.write(f"reconciler-engine: {printable(told)}{f' and {more} more' if more > 0 else ''}\n")


def raise_all(faults: Sequence[CandleFileError]) -> None:
    """Raise the faults of the files that cannot be read, if there are any."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise ExceptionGroup("candle files", faults)
