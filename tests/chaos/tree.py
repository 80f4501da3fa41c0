"""The real tree of processes: `reconciler-engine start` as an operator or a service manager runs it."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio
from tests.chaos.waiting import PATIENCE_S, wait_until
from tests.integration.conftest import COMMAND, clean_environment

from reconciler_engine.store.embedded.socket_directory import remove_socket_directory, socket_directory, socket_path

_MARK = "CHAOS_TREE"


class Tree:
    """One `start` after another over the same settings, and every process that is below it.

    Args:
        arguments: Arguments after `reconciler-engine start --json`.
        folder: Where its data directory is, and the file for what it says on its standard error.

    Attributes:
        socket: Where its embedded server listens, should it have one.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, **environment: str) -> None:
        data = folder / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        self.socket = socket_path(socket_directory(data))
        self._arguments = (str(COMMAND), "start", "--json", "--data-dir", str(data), *arguments)
        self._token = secrets.token_hex(8)
        self._environment = clean_environment(**environment, **{_MARK: self._token})
        self._log = folder / "engine.log"
        self._seen = 0
        self._events: list[dict[str, Any]] = []
        self._names: dict[int, str] = {}
        self._process: trio.Process | None = None
        self.lives = 0

    async def start(self, workers: int = 2) -> None:
        """Start it; return when its workers are ready."""
        with self._log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(self._arguments, stderr=log, env=self._environment)
        self.lives += 1
        already = {pid for pid, name in self._names.items() if name.startswith("worker-")}

        def are_ready() -> bool:
            self.ensure_running()
            return len(self.workers() - already) >= workers

        await wait_until(are_ready, lambda: f"{workers} workers ready")

    def ensure_running(self) -> None:
        """Fail with its last words where it ended."""
        status = self.status
        if status is not None:
            words = "\n".join(self._log.read_text().splitlines()[-20:])
            raise AssertionError(f"the engine ended with {status}:\n{words}")

    @property
    def pid(self) -> int:
        """The supervisor's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def status(self) -> int | None:
        """How it ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    def events(self) -> list[dict[str, Any]]:
        """Every event so far, of all lives."""
        with self._log.open("rb") as log:
            log.seek(self._seen)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._seen += len(whole)
        for line in whole.decode().splitlines():
            if line.startswith("{"):
                event = json.loads(line)
                self._events.append(event)
                if event["event"] == "child ready":
                    self._names[event["pid"]] = event["child"]
        return self._events

    def text(self) -> str:
        """All it said so far, of all lives."""
        return self._log.read_text()

    def workers(self) -> set[int]:
        """Processes of the workers that are ready and alive."""
        self.events()
        return {pid for pid, name in self._names.items() if name.startswith("worker-") and is_alive(pid)}

    def processes(self) -> dict[int, str]:
        """Every process of this tree, of any life: command line by pid."""
        mark, server = f"{_MARK}={self._token}".encode(), str(self.socket).encode()
        found: dict[int, str] = {}
        for folder in Path("/proc").iterdir():
            # A process may end between two looks at it.
            with suppress(OSError):
                command = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
                # A server writes its title over its environment; it has its socket in it.
                if command and (server in command or mark in (folder / "environ").read_bytes().split(b"\0")):
                    found[int(folder.name)] = command.replace(b"\0", b" ").decode()
        return found

    def server(self) -> int | None:
        """The embedded server's process, if there is one."""
        return next((pid for pid, command in self.processes().items() if str(self.socket) in command), None)

    async def stop(self) -> int:
        """Have it drain; return its exit code."""
        assert self._process is not None
        self._process.terminate()
        with trio.fail_after(PATIENCE_S):
            return await self._process.wait()

    async def kill(self) -> None:
        """End the supervisor with SIGKILL, and wait until it is gone."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def wait_gone(self) -> None:
        """Wait until no process of it is left; fail with those that are."""
        await wait_until(lambda: not self.processes(), lambda: f"an end of {self.processes()}")

    def kill_all(self) -> None:
        """Leave nothing behind, after a failure too."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            # Killed; nobody else reaps it.
            with suppress(ChildProcessError):
                os.waitpid(self._process.pid, 0)
            self._process.poll()
        remove_socket_directory(self.socket.parent)


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
