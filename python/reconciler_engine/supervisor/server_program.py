"""The program of the embedded server's child: starts the server and watches the lifeline for it.

It runs in its own session, so that a Ctrl-C in the terminal does not end the server before the engine has drained. It
stops the server in order on SIGTERM or when the lifeline closes; if this process is killed, the kernel kills the
server. Its beats report work done once the server answers. At each start, the server gets the number of its data (see
`lineage`).
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from reconciler_engine.planning.restart import BEAT_S
from reconciler_engine.store.embedded import lineage
from reconciler_engine.store.embedded.socket_directory import remove_socket_directory

STOP_S = 10.0
"""Longest time that the server may take to write its append-only file before it is killed."""

_LOOK_S = 0.05
"""Pause between two checks whether a starting server answers."""

_ANSWER_S = 0.5
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the server until told to stop; return its exit code."""
    parent = os.getppid()
    message = json.loads(sys.stdin.buffer.readline())
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: None)
    data = Path(message["data_directory"])
    number = lineage.begin(data)
    # S603: the arguments come from our parent over the pipe.
    server = subprocess.Popen(  # noqa: S603
        [*message["arguments"], "--repl-backlog-size", str(number)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=message["inherited"],
        preexec_fn=_die_with_parent,  # noqa: PLW1509  this process has one thread at this point
    )
    threading.Thread(target=_tell_end, args=(server, wake_write), daemon=True).start()
    stop_asked = _watch(wake_read, server, message["socket"])
    if stop_asked:
        _end(server)
    status = server.wait()
    if status == 0:
        lineage.note_end(data, number)
    if os.getppid() != parent:
        # The parent was killed and cannot remove the directory.
        remove_socket_directory(Path(message["socket"]).parent)
    return 0 if stop_asked else abs(status) or 1


def _watch(wake: int, server: subprocess.Popen[bytes], address: str) -> bool:
    """Send beats; return False when the server has ended, True when a signal or a closed lifeline asks to stop it."""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        has_served = False
        while True:
            if not _beat(int(has_served)):
                return True
            for key, _ in selector.select(BEAT_S if has_served else _LOOK_S):
                received = os.read(key.fd, 4_096)
                if key.fd == wake:
                    return server.poll() is None
                if not received:
                    return True
            has_served = has_served or _serves(address)


def _end(server: subprocess.Popen[bytes]) -> None:
    """Stop the server in order; send beats meanwhile, so that the parent does not take this process for hanging."""
    server.terminate()
    for _ in range(round(STOP_S / BEAT_S)):
        try:
            server.wait(BEAT_S)
        except subprocess.TimeoutExpired:
            _beat(1)
        else:
            return
    server.kill()


def _beat(done: int) -> bool:
    """Send a beat; return False if the parent no longer reads."""
    try:
        os.write(1, b'{"done": %d}\n' % done)
    except BrokenPipeError:
        return False
    return True


def _serves(address: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.settimeout(_ANSWER_S)
        try:
            door.connect(address)
            door.sendall(b"PING\r\n")
            return door.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _tell_end(server: subprocess.Popen[bytes], wake: int) -> None:
    server.wait()
    os.write(wake, b"e")


def _die_with_parent() -> None:
    """Have the kernel kill the server when its parent, the main thread of this process, ends.

    SIGKILL rather than SIGTERM: a server that ends slowly would write the files, and remove the socket, of its
    successor.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
