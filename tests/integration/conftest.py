"""The product's own processes, as a user starts them."""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.integration.engines import shorten_second_looks

from reconciler_engine.cli.app import app
from reconciler_engine.engine import scheduled_passes, symbols
from reconciler_engine.engine.tasks import page_request
from reconciler_engine.planning.backoff import Backoff
from reconciler_engine.simulator.rules.exchange import ExchangeRules
from reconciler_engine.simulator.simulation import SimulatorSettings, simulate

COMMAND = Path(sys.executable).parent / "reconciler-engine"
PATIENCE_S = 30.0
"""Bound of every wait for a process; reached only when something is broken."""
LONGEST_S = 120.0
"""The same, where it says other things meanwhile."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch) -> None:
    """Have engines and commands of this process look again soon, at gaps and at leases."""
    shorten_second_looks(monkeypatch)
    monkeypatch.setattr(scheduled_passes, "_POLL_S", 0.02)


@pytest.fixture
def short_retries(monkeypatch) -> None:
    """Have engines of this process ask the exchange again soon after a failure."""
    for module in (page_request, symbols):
        monkeypatch.setattr(module, "_RETRY", Backoff(base_ms=20, cap_ms=100))


def clean_environment(**settings: str) -> dict[str, str]:
    """This environment without settings of the machine, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECONCILER_", "COINBASE_"))}
    return {**kept, **settings}


def settled_grace_ms(step_ms: int) -> int:
    """A grace (ms) with which no bar of this length closes for half of one from now on: none in the middle of a test.

    A day's is longer than the settings allow.
    """
    return (time.time_ns() // 1_000_000 + step_ms // 2) % step_ms


@dataclass
class Running:
    """A process whose lines can be waited for."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    _fresh: queue.Queue[str | None] = field(default_factory=queue.Queue)

    @classmethod
    def start(
        cls, *arguments: str, output: str = "stderr", environment: Mapping[str, str], below: Sequence[str] = ()
    ) -> Running:
        """Start it, `below` other programs that become it in the end."""
        process = subprocess.Popen(
            [*below, COMMAND, *arguments],
            text=True,
            env=dict(environment),
            stdout=subprocess.PIPE if output == "stdout" else subprocess.DEVNULL,
            stderr=subprocess.PIPE if output == "stderr" else None,
        )
        running = cls(process)
        threading.Thread(target=running._read, args=(getattr(process, output),), daemon=True).start()
        return running

    def _read(self, stream) -> None:
        with stream:
            for line in stream:
                self._fresh.put(line)
        self._fresh.put(None)

    def wait_line(self, wanted: Callable[[str], bool]) -> str:
        """The first line that is wanted and was not given before; events of several processes come in any order."""
        position = 0
        deadline = time.monotonic() + LONGEST_S
        while True:
            while position < len(self.lines):
                if wanted(self.lines[position]):
                    return self.lines.pop(position)
                position += 1
            try:
                line = self._fresh.get(timeout=max(0, min(PATIENCE_S, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"never said it:\n{''.join(self.lines)}") from None
            if line is None:
                raise AssertionError(f"ended with {self.process.wait()} and never said it:\n{''.join(self.lines)}")
            self.lines.append(line)
            self.history.append(line)

    def read_all(self) -> list[str]:
        """Every line it said in its life, once it has ended."""
        while (line := self._fresh.get(timeout=PATIENCE_S)) is not None:
            self.history.append(line)
        return self.history

    def wait_event(self, event: str, **fields: object) -> dict[str, Any]:
        """The next log event of that name with those fields."""

        def is_it(line: str) -> bool:
            found = json.loads(line) if line.startswith("{") else {}
            return found.get("event") == event and all(found.get(name) == value for name, value in fields.items())

        said: dict[str, Any] = json.loads(self.wait_line(is_it))
        return said

    def stop(self) -> int:
        """End it as an operator does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def start_process() -> Iterator[Callable[..., Running]]:
    """Start processes that are gone when the test ends."""
    started: list[Running] = []

    def start(
        *arguments: str,
        output: str = "stderr",
        environment: Mapping[str, str] | None = None,
        below: Sequence[str] = (),
    ) -> Running:
        running = Running.start(*arguments, output=output, environment=environment or clean_environment(), below=below)
        started.append(running)
        return running

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.terminate()
            try:
                running.process.wait(30)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()


def find_node(package: str) -> str:
    """Return the interpreter of JavaScript, if it finds this package; skip the test if not."""
    found = shutil.which("node")
    asked = ["-e", f"require({package!r})"]
    if found is None or subprocess.run([found, *asked], capture_output=True, check=False).returncode:
        pytest.skip(f"no node with the package {package} (`npm install {package}`, and NODE_PATH names its folder)")
    return found


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def run_command() -> Callable[..., Outcome]:
    """Run a command to its end."""

    def run(*arguments: object, **settings: str) -> Outcome:
        done = subprocess.run(
            [COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env=clean_environment(**settings),
            timeout=PATIENCE_S,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def run_inside(capsys, monkeypatch) -> Iterator[Callable[..., Outcome]]:
    """Run a command to its end in this process: the same code, without a second's start."""

    def run(*arguments: object, **settings: str) -> Outcome:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            for name in os.environ.keys() - clean_environment().keys():
                patch.delenv(name)
            for name, value in settings.items():
                patch.setenv(name, value)
            # An engine that starts though it should be refused is told to end.
            late = threading.Timer(LONGEST_S, signal.raise_signal, (signal.SIGTERM,))
            late.start()
            try:
                with pytest.raises(SystemExit) as end:
                    app([str(argument) for argument in arguments])
            finally:
                late.cancel()
        out, err = capsys.readouterr()
        assert isinstance(end.value.code, int | None)
        return Outcome(end.value.code or 0, out, err)

    logger = logging.getLogger("reconciler_engine")
    kept = logger.handlers[:], logger.level, logger.propagate
    yield run
    logger.handlers[:], logger.level, logger.propagate = kept


@dataclass
class Exchange:
    """A simulated exchange on a socket of its own."""

    url: str
    log: Path
    _read_to: int = 0
    _asked: list[dict[str, Any]] = field(default_factory=list)

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests for candles so far."""
        with self.log.open("rb") as log:
            log.seek(self._read_to)
            written = log.read()
        whole = written[: written.rfind(b"\n") + 1]
        self._read_to += len(whole)
        asked = map(json.loads, whole.splitlines())
        self._asked += [request for request in asked if request["path"].endswith("/candles")]
        return self._asked[:]

    def wait_requests(self, count: int) -> None:
        """Wait until it was asked for candles so often."""
        wait_until(lambda: len(self.requests()) >= count)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for what no event tells."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def start_exchange(tmp_path) -> Iterator[Callable[..., Exchange]]:
    """Start a simulated exchange of these settings, which is gone when the test ends."""
    log = tmp_path / "requests.jsonl"
    with ExitStack() as stack:

        def start(*, public_rate: float = 10.0, **settings: Any) -> Exchange:
            made = SimulatorSettings(log=log, rules=ExchangeRules(public_rate=public_rate), **settings)
            return Exchange(stack.enter_context(_exchange_thread(made)), log)

        yield start


@contextmanager
def _exchange_thread(settings: SimulatorSettings) -> Iterator[str]:
    """Run what `simulate` runs in a thread, without a process' start; gives its address."""
    told: queue.Queue[tuple[str, Callable[[], None]]] = queue.Queue()

    async def run() -> None:
        with trio.CancelScope() as life:
            token = trio.lowlevel.current_trio_token()
            await simulate(settings, lambda line: told.put((line, partial(token.run_sync_soon, life.cancel))))

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    line, end = told.get(timeout=PATIENCE_S)
    yield line.removeprefix("listening on ")
    end()
    thread.join()
