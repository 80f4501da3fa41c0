"""`--watch` on a terminal of its own: drawn again, sized anew, ended by a key, and the terminal as it was before."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest
from tests.integration.conftest import PATIENCE_S, clean_environment


class Terminal:
    """A command on a pseudo-terminal of a given size."""

    def __init__(self, lines: int, columns: int, *command: str, **environment: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(lines, columns)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reconciler_engine", *command],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            # No size but the terminal's own.
            env={**clean_environment(**environment, COLUMNS="", LINES=""), "TERM": "xterm"},
            start_new_session=True,
        )
        self.shown = ""

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait_shown(self, wanted: str) -> str:
        """Read until a pattern is shown; return and forget all up to its end."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := re.search(wanted, self.shown)) is None:
            assert time.monotonic() < deadline, self.shown
            if select.select([self.master], [], [], 0.1)[0]:
                self.shown += os.read(self.master, 65_536).decode()
        told, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return told

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal() -> Iterator[type[Terminal]]:
    opened: list[Terminal] = []

    class Closed(Terminal):
        def __init__(self, *arguments, **environment) -> None:
            super().__init__(*arguments, **environment)
            opened.append(self)

    yield Closed
    for one in opened:
        one.close()


def row_length(drawn: str) -> int:
    return max(map(len, re.findall("X+", drawn)))


def check_ended(shown: Terminal) -> None:
    shown.wait_shown(re.escape("\x1b[?1049l"))
    assert shown.process.wait(PATIENCE_S) == 0
    assert termios.tcgetattr(shown.slave) == shown.before


@pytest.fixture
def coverage(terminal, redis_url):
    words = ("coverage", "--watch", "--symbols", "BTC-USD", "--timeframes", "1m,5m")
    return terminal(24, 100, *words, RECONCILER_REDIS_URL=redis_url)


def test_ctrl_c_ends_it(coverage):
    coverage.wait_shown(r"q ends")
    os.write(coverage.master, b"\x03")
    check_ended(coverage)


def test_coverage_is_drawn_again_and_sized_anew_until_a_key_ends_it(coverage):
    shown = coverage
    wide = shown.wait_shown(r"q ends")
    assert "BTC-USD:1m" in wide
    assert "\x1b[?1049h" in wide
    shown.resize(24, 60)
    os.kill(shown.process.pid, signal.SIGWINCH)
    # A picture may be under way in the size of before.
    after = [row_length(shown.wait_shown(r"q ends")) for _ in range(2)]
    assert after[-1] < row_length(wide)
    shown.resize(4, 60)
    os.kill(shown.process.pid, signal.SIGWINCH)
    shown.wait_shown(r"q ends; \d+ lines more")
    # and without a change of size, too
    shown.wait_shown(r"q ends; \d+ lines more")
    os.write(shown.master, b"q")
    check_ended(shown)


def test_status_is_watched_through_a_redis_that_goes_away_and_comes_back(terminal, own_server):
    shown = terminal(24, 100, "status", "--watch", RECONCILER_REDIS_URL=own_server.url)
    shown.wait_shown(r"nothing runs at unix:")
    own_server.kill()
    shown.wait_shown(r"(?i)cannot be reached|refused|no such file")
    own_server.start()
    shown.wait_shown(r"nothing runs at unix:")
    shown.process.send_signal(signal.SIGTERM)
    check_ended(shown)


@pytest.mark.parametrize("command", [["status"], ["coverage", "--symbols", "BTC-USD"]])
@pytest.mark.parametrize(
    ("flag", "fault"), [("", "are not a terminal"), ("--json", "--watch does not go with --json; allowed: one of them")]
)
def test_what_cannot_be_watched_is_refused(run_inside, redis_url, command, flag, fault):
    done = run_inside(*command, "--watch", *filter(None, [flag]), "--redis-url", redis_url)
    assert done.code == 78
    assert fault in done.err
