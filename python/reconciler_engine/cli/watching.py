"""Watching: shows a command's answer on the whole terminal, and redraws it until `q` or Ctrl-C."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stdout

import trio

from reconciler_engine.errors import ConfigError, StoreError
from reconciler_engine.observe.words import printable

EVERY_S = 2.0
"""Interval between two drawings of the answer (s)."""

_ENDS = b"qQ\x03"
# Switch to the alternate screen, hide the cursor and do not wrap long lines; then undo all of it.
_BEGIN, _END = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"


def check_watchable(*, as_json: bool) -> None:
    """Check that standard input and output are a terminal.

    Raises:
        ConfigError: One of them is not a terminal, or JSON is asked for.
    """
    if as_json:
        raise ConfigError(["--watch does not go with --json; allowed: one of them"])
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(["--watch: standard input and output are not a terminal; allowed: a terminal"])


async def watch(answer: Callable[[], Awaitable[None]]) -> None:
    """Draw the output of `answer` every two seconds, and when the terminal's size changes, until the user ends it.

    If Redis is away, its error is drawn instead.
    """
    changed = trio.Event()

    async def draw() -> None:
        nonlocal changed
        while True:
            changed = trio.Event()
            _show(await _printed(answer))
            with trio.move_on_after(EVERY_S):
                await changed.wait()

    async def obey(signals: AsyncIterator[int], end: trio.CancelScope) -> None:
        async for number in signals:
            if number == signal.SIGTERM:
                end.cancel()
            changed.set()

    with _whole_terminal(), trio.open_signal_receiver(signal.SIGWINCH, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(draw)
            nursery.start_soon(obey, signals, nursery.cancel_scope)
            await _hear_end()
            nursery.cancel_scope.cancel()


async def _printed(answer: Callable[[], Awaitable[None]]) -> list[str]:
    page = io.TextIOWrapper(io.BytesIO(), encoding=sys.stdout.encoding or "utf-8", write_through=True)
    try:
        with redirect_stdout(page):
            await answer()
    except StoreError as error:
        return [printable(str(error))]
    page.seek(0)
    return page.read().splitlines()


def _show(lines: list[str]) -> None:
    """Draw as many lines as there is room for, and a last line that says how to end."""
    room = max(1, shutil.get_terminal_size().lines - 1)
    hidden = len(lines) - room
    more = f"; {hidden} lines more" if hidden > 0 else ""
    foot = f"{time.strftime('%H:%M:%S', time.gmtime())} UTC, every {EVERY_S:g} s; q ends{more}"
    shown = [f"{line}{_REST_OF_LINE}" for line in [*lines[:room], *[""] * -hidden, foot]]
    sys.stdout.write(f"{_HOME}{chr(10).join(shown)}{_REST}")
    sys.stdout.flush()


async def _hear_end() -> None:
    while True:
        await trio.lowlevel.wait_readable(sys.stdin.fileno())
        heard = os.read(sys.stdin.fileno(), 64)
        if not heard or any(key in _ENDS for key in heard):
            return


@contextmanager
def _whole_terminal() -> Iterator[None]:
    """Use the whole terminal during the block: keys arrive without Enter, and Ctrl-C is a key instead of a signal."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        mode = termios.tcgetattr(keyboard)
        mode[3] &= ~termios.ISIG
        termios.tcsetattr(keyboard, termios.TCSADRAIN, mode)
        sys.stdout.write(_BEGIN)
        yield
    finally:
        sys.stdout.write(_END)
        sys.stdout.flush()
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
