"""The data directory: a lock for one process at a time, and a record by which others find the running server."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from reconciler_engine.errors import ConfigError, DataDirectoryBusy
from reconciler_engine.store.embedded.processes import is_there

_LOCK_FILE: Final = "lock"
_RECORD_FILE: Final = "server.json"

# Largest lock or record file that is read.
_MAX_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """The server that runs over a data directory.

    Attributes:
        socket: Path of its unix socket.
        pid: Process id of its engine's supervisor, or of the command that runs it.
        command: Command of that process, for messages.
        simulated: Whether its candles come from the simulated exchange.
    """

    socket: str
    pid: int
    command: str
    simulated: bool

    @property
    def url(self) -> str:
        """Address for `TrioRedis.from_url`."""
        return f"unix://{self.socket}"


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """A data directory of this user.

    Call `prepare` first, and hold `lock` while a server runs over the directory. Only its holder writes the record.
    """

    path: Path

    def __post_init__(self) -> None:
        # The server changes its working directory, so that a relative path would lead elsewhere.
        object.__setattr__(self, "path", self.path.absolute())

    def prepare(self) -> None:
        """Make the directory with mode 0700, parents included, or check the one that is there.

        Raises:
            ConfigError: It is not a directory, belongs to somebody else, others may write in it, or it cannot be made.
        """
        try:
            # One by one: `parents=True` ignores `mode` for all but the last.
            for folder in reversed(self.path.parents):
                if not folder.exists():
                    folder.mkdir(mode=0o700, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            found = self.path.stat()
        except OSError as error:
            raise self._unusable(error) from error
        if found.st_uid != os.geteuid():
            raise ConfigError([f"data_dir: {self.path} belongs to uid {found.st_uid}, not to {os.geteuid()}"])
        if found.st_mode & 0o022:
            mode = stat.S_IMODE(found.st_mode)
            raise ConfigError([f"data_dir: {self.path} has mode {mode:04o}; others must not write in it (0700)"])

    @contextmanager
    def lock(self, command: str) -> Iterator[int]:
        """Lock the directory during the block, which gets the descriptor of the lock.

        If this process is killed, the kernel frees the lock once the last process with the descriptor has ended. Only
        the server may inherit it: it may outlive its supervisor for a moment, in which no other server may start over
        the same files. `command`, such as `reconciler-engine start`, names the holder to other processes.

        Raises:
            DataDirectoryBusy: Another process holds the lock; the message names its command and pid.
            ConfigError: The lock file cannot be opened.
        """
        # The file stays: removing it would let two processes lock two files of one name.
        try:
            descriptor = os.open(self.path / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _busy(self.path, os.pread(descriptor, _MAX_BYTES, 0)) from error
            holder = json.dumps({"pid": os.getpid(), "command": command}).encode()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, holder, 0)
            try:
                yield descriptor
            finally:
                os.ftruncate(descriptor, 0)
                # Closing is not enough: a child between its fork and its exec still has a copy of the descriptor.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def find_holder(self) -> str:
        """Return the command and process id of the lock's holder; empty if the lock is free or the holder unnamed."""
        try:
            with (self.path / _LOCK_FILE).open("rb") as file:
                name, pid = _parse_holder(file.read(_MAX_BYTES))
        except (OSError, ValueError, TypeError, KeyError):
            return ""
        return name if is_there(pid) else ""

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError([f"data_dir: {self.path} cannot be used: {error.strerror}"])

    def write_record(self, record: ServerRecord) -> None:
        """Write the record of the server; a reader sees the whole record or the one before it."""
        draft = self.path / f"{_RECORD_FILE}.{os.getpid()}"
        draft.write_text(json.dumps(asdict(record)), "utf-8")
        draft.replace(self.path / _RECORD_FILE)

    def remove_record(self) -> None:
        """Remove the record: no server runs. Before a start, this removes the record of a killed one."""
        (self.path / _RECORD_FILE).unlink(missing_ok=True)

    def find_running(self) -> ServerRecord | None:
        """Return the record of the server that runs over this directory; None without a record, or if it is stale.

        A server counts as running while the process of its record exists and its socket accepts connections. The
        socket is tried because the process id may have been reused.

        Raises:
            ConfigError: The record cannot be read or is malformed, or its socket belongs to another user.
        """
        path = self.path / _RECORD_FILE
        try:
            with path.open("rb") as file:
                text = file.read(_MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError([f"{path} cannot be read: {error.strerror}"]) from error
        record = _parse_record(path, text)
        return record if is_there(record.pid) and _takes_connections(path, record.socket) else None


def _busy(path: Path, text: bytes) -> DataDirectoryBusy:
    try:
        name, pid = _parse_holder(text)
    except (ValueError, TypeError, KeyError):
        # The holder has just taken the lock and not written its name yet.
        return DataDirectoryBusy(str(path), "another process")
    if is_there(pid):
        return DataDirectoryBusy(str(path), name)
    return DataDirectoryBusy(str(path), f"the server that {name} left behind", orphan_of=pid)


def _parse_holder(text: bytes) -> tuple[str, int]:
    holder = json.loads(text)
    pid = int(holder["pid"])
    return f"{holder['command']} (pid {pid})", pid


def _parse_record(path: Path, text: bytes) -> ServerRecord:
    try:
        fields: Any = json.loads(text)
    except ValueError as error:
        raise ConfigError([f"{path} is not JSON: {error}; remove it if no server runs"]) from error
    kinds = {"socket": str, "pid": int, "command": str, "simulated": bool}
    faults = [
        f"{path}: {name} must be {kind.__name__}; remove the file if no server runs"
        for name, kind in kinds.items()
        if not isinstance(fields, dict) or type(fields.get(name)) is not kind
    ]
    if faults:
        raise ConfigError(faults)
    return ServerRecord(**{name: fields[name] for name in kinds})


def _takes_connections(record: Path, path: str) -> bool:
    try:
        owner = Path(path).lstat().st_uid
    except FileNotFoundError:
        return False
    if owner != os.geteuid():
        raise ConfigError([f"{record} names the socket {path}, which belongs to uid {owner}; it is not used"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(path)
        except BlockingIOError:
            # Its queue of connections is full: the server is busy, so it runs.
            return True
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True
