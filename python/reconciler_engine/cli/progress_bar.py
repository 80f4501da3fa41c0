"""A progress bar on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def open_bar(stream: TextIO, *texts: str) -> Iterator[Progress]:
    """Draw a progress bar until the block ends, then erase it; the first text is before the bar, others after it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    first, *others = (TextColumn(text, markup=False) for text in texts)
    # Standard output and error are not redirected: text that other code prints is not redrawn.
    with Progress(
        *(first, BarColumn(), TaskProgressColumn(), *others),
        console=Console(file=stream),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bar:
        yield bar
