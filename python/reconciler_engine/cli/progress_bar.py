"""A bar on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def open_bar(stream: TextIO, *texts: str) -> Iterator[Progress]:
    """Draw a bar on a terminal until the block ends, then take it away; the first text stands before it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    first, *others = (TextColumn(text, markup=False) for text in texts)
    # Standard output and error stay as they are: text of other code is not redrawn.
    with Progress(
        *(first, BarColumn(), TaskProgressColumn(), *others),
        console=Console(file=stream),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bar:
        yield bar
