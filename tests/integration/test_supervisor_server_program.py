"""The wrapper of the embedded server: it tells of the server, and its own death ends the server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
import redis as redis_py
from tests.integration.conftest import PATIENCE_S, wait_until
from tests.integration.processes import children_of, halt, is_pending, wait_gone

from reconciler_engine.store.client.scripts import Script
from reconciler_engine.store.embedded.binary import ServerPlan, find_binary
from reconciler_engine.store.embedded.socket_directory import socket_directory, socket_path

ORIGIN = Script.load("reconciler_engine", "limiting/origin.lua").text


@pytest.fixture
def plan(tmp_path):
    directory = socket_directory(tmp_path)
    yield ServerPlan(find_binary(), tmp_path, socket_path(directory))
    socket_path(directory).unlink(missing_ok=True)
    directory.rmdir()


@contextmanager
def wrapped(plan):
    """The wrapper over a server, and the server's process."""
    data = str(plan.data_directory)
    spec = {"arguments": plan.arguments(), "inherited": [], "socket": str(plan.socket), "data_directory": data}
    command = (sys.executable, "-m", "reconciler_engine.supervisor.server_program")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as wrapper:
        assert wrapper.stdin is not None
        wrapper.stdin.write(json.dumps(spec).encode() + b"\n")
        wrapper.stdin.flush()
        try:
            yield wrapper
        finally:
            wrapper.kill()


def usefulness(wrapper):
    """Return the figure of useful work of each beat, as they come."""
    return (json.loads(line)["done"] for line in wrapper.stdout)


def halted_server(wrapper) -> int:
    """The server, once it has served and stands still."""
    assert 1 in usefulness(wrapper)
    (server,) = children_of(wrapper.pid)
    halt(server)
    return server


def origin_of(plan):
    """The history that scripts of a server that serves see, and then its end in order."""
    with wrapped(plan) as wrapper:
        assert 1 in usefulness(wrapper)
        with redis_py.Redis(unix_socket_path=str(plan.socket)) as client:
            found = client.eval(f"{ORIGIN}\nreturn origin()", 0)
        wrapper.terminate()
        assert wrapper.wait(PATIENCE_S) == 0
    return found


def test_data_keep_their_history_over_an_end_in_order(plan):
    first = origin_of(plan)
    assert first.startswith(b"embedded:")
    assert origin_of(plan) == first


def test_data_of_a_server_that_was_killed_have_another_history(plan):
    first = origin_of(plan)
    with wrapped(plan) as wrapper:
        assert 1 in usefulness(wrapper)
        (server,) = children_of(wrapper.pid)
        os.kill(server, signal.SIGKILL)
        assert wrapper.wait(PATIENCE_S) == signal.SIGKILL
    second = origin_of(plan)
    assert second.startswith(b"embedded:")
    assert second != first


def test_it_is_of_use_once_the_server_serves(plan):
    with wrapped(plan) as wrapper:
        assert 1 in usefulness(wrapper)
        wrapper.terminate()
        assert wrapper.wait(PATIENCE_S) == 0


def test_a_server_that_cannot_read_its_data_is_of_no_use(plan):
    kept = plan.data_directory / "appendonlydir"
    kept.mkdir()
    (kept / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    (kept / "appendonly.aof.1.incr.aof").write_text("no command\r\n")
    with wrapped(plan) as wrapper:
        assert set(usefulness(wrapper)) == {0}
        assert wrapper.wait(PATIENCE_S) == 1


def test_killed_it_takes_a_server_that_stands_still_along(plan):
    """Going on later, that one would remove the socket of its successor, and write into its files."""
    with wrapped(plan) as wrapper:
        server = halted_server(wrapper)
        wrapper.kill()
        wait_gone([server])


def test_a_server_that_takes_long_to_end_does_not_hang(plan):
    with wrapped(plan) as wrapper:
        server = halted_server(wrapper)
        wrapper.terminate()
        wait_until(lambda: is_pending(server, signal.SIGTERM))
        os.set_blocking(wrapper.stdout.fileno(), False)
        while wrapper.stdout.read():
            pass
        os.set_blocking(wrapper.stdout.fileno(), True)
        assert next(usefulness(wrapper)) == 1
        os.kill(server, signal.SIGCONT)
        assert wrapper.wait(PATIENCE_S) == 0
