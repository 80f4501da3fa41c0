"""`start` in bad surroundings: as process 1, without streams, disk or descriptors, with another's leftovers."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.conftest import COMMAND, PATIENCE_S, Running, clean_environment, wait_until
from tests.integration.processes import (
    children_of,
    command_of,
    core_limit_of,
    descendants,
    halt,
    is_pending,
    is_unreaped,
    wait_gone,
)

from reconciler_engine.store.embedded.data_directory import DataDirectory
from reconciler_engine.store.embedded.socket_directory import socket_directory, socket_path

NEVER = "0 0 1 1 *"


@pytest.fixture
def arguments(start_exchange, tmp_path):
    """The arguments of a small engine of its own."""
    return (
        "start", "--json", "--symbols", "BTC-USD", "--timeframes", "1h", "--workers", "1", "--gap-scan-cron", NEVER,
        "--full-reconcile-cron", NEVER, "--batch-size", "100", "--listen", "off", "--data-dir", str(tmp_path / "data"),
        "--base-url", start_exchange(public_rate=0).url,
    )  # fmt: skip


@pytest.fixture
def start_wrapped(arguments):
    """Start an engine below other programs, such as a shell that closes its streams."""
    started = []

    def start(*prefix: str, redis_url: str | None = None, **options):
        settings = {} if redis_url is None else {"RECONCILER_REDIS_URL": redis_url}
        process = subprocess.Popen([*prefix, COMMAND, *arguments], env=clean_environment(**settings), **options)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def has_worker(pid: int) -> bool:
    return any("reconciler_engine.supervisor.child_program" in command_of(child) for child in children_of(pid))


def redirected(redirections: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", f'exec "$@" {redirections}', "sh")


def streams_of(pid: int) -> set[Path]:
    """Return the files that the children of a process write their logs to."""
    if os.geteuid() != 0:
        pytest.skip("the kernel shows root alone the streams of processes that keep a secret")
    return {Path(f"/proc/{child}/fd/2").readlink() for child in children_of(pid)}


def socket_folder(tmp_path: Path) -> Path:
    """Return the folder of the embedded server's socket."""
    return Path(json.loads((tmp_path / "data" / "server.json").read_text())["socket"]).parent


def test_no_process_that_may_hold_the_key_leaves_a_core_nor_a_dead_engine_its_socket(start_wrapped, tmp_path):
    unlimited = ("/bin/sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh")
    engine = start_wrapped(*unlimited, cwd=tmp_path)
    wait_until(lambda: has_worker(engine.pid))
    below, directory = descendants(engine.pid), socket_folder(tmp_path)
    ours = [pid for pid in children_of(engine.pid) if "supervisor.child_program" in command_of(pid)]
    assert {core_limit_of(pid) for pid in (engine.pid, *ours)} == {"0"}
    for pid in ours:
        os.kill(pid, signal.SIGABRT)
    wait_gone(ours)
    engine.send_signal(signal.SIGABRT)
    assert engine.wait(PATIENCE_S) == -signal.SIGABRT
    assert list(tmp_path.rglob("*core*")) == []
    wait_gone(below)
    assert not directory.exists()


@pytest.mark.slow
def test_an_engine_without_standard_streams_works_and_a_second_one_exits(start_wrapped):
    engine = start_wrapped(*redirected("<&- 1>&- 2>&-"))
    wait_until(lambda: has_worker(engine.pid))
    # nobody writes a log into what was opened later
    assert streams_of(engine.pid) == {Path("/dev/null")}
    second = start_wrapped(*redirected("2>&-"))
    assert second.wait(PATIENCE_S) == 75
    engine.terminate()
    assert engine.wait(PATIENCE_S) == 0


def test_told_to_stop_it_does_not_wait_for_a_server_that_does_not_serve_yet(start_wrapped):
    engine = start_wrapped()
    wait_until(lambda: any("redis.sock" in command_of(one) for one in descendants(engine.pid)))
    (server,) = (one for one in descendants(engine.pid) if "redis.sock" in command_of(one))
    halt(server)
    engine.terminate()
    wait_until(lambda: is_pending(server, signal.SIGTERM))
    os.kill(server, signal.SIGCONT)
    assert engine.wait(PATIENCE_S) == 0


@pytest.mark.slow
def test_streams_that_are_full_change_nothing(start_wrapped, redis_url):
    engine = start_wrapped(*redirected("2>/dev/full"), redis_url=redis_url)
    wait_until(lambda: has_worker(engine.pid))
    assert streams_of(engine.pid) == {Path("/dev/full")}
    engine.terminate()
    assert engine.wait(PATIENCE_S) == 0


def test_a_fault_has_its_exit_code_without_a_place_to_tell_it():
    command = (*redirected("2>/dev/full"), str(COMMAND), "start", "--workers", "0")
    assert subprocess.run(command, env=clean_environment(), check=False).returncode == 78


@pytest.mark.parametrize(
    ("redirections", "arguments", "code"),
    [
        (">/dev/full", ("start", "--help"), 1),
        (">/dev/full", ("ready", "--script"), 1),
        ("<&-", ("cron", "--stdin"), 0),
    ],
)
def test_a_stream_that_is_full_or_closed_is_told_in_a_line(redirections, arguments, code):
    command = (*redirected(redirections), str(COMMAND), *arguments)
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == ("reconciler-engine: [Errno 28] No space left on device\n" if code else "")


def test_a_closed_terminal_ends_it_in_order(start_wrapped, redis_url):
    ours, theirs = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    engine = start_wrapped(**streams, redis_url=redis_url, start_new_session=True, preexec_fn=_take_terminal)
    os.close(theirs)
    wait_until(lambda: has_worker(engine.pid))
    os.close(ours)
    assert engine.wait(PATIENCE_S) == 0


def _take_terminal() -> None:
    import fcntl  # noqa: PLC0415
    import termios  # noqa: PLC0415

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.slow
def test_a_stale_socket_is_replaced_none_is_left_and_descriptors_are_waited_for(start_process, arguments, tmp_path):
    data = DataDirectory(tmp_path / "data")
    data.prepare()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path(socket_directory(data.path))))
    (data.path / "server.json").write_text('{"socket": "/nowhere", "pid": 1, "command": "start", "simulated": false}')
    engine: Running = start_process(*arguments)
    worker = engine.wait_event("child ready", child="worker-1")["pid"]
    engine.wait_event("pass done")
    directory = socket_folder(tmp_path)
    assert directory.stat().st_mode & 0o777 == 0o700

    before = resource.prlimit(engine.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(engine.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    os.kill(worker, signal.SIGKILL)
    assert "Too many open files" in engine.wait_event("child did not start")["error"]
    resource.prlimit(engine.process.pid, resource.RLIMIT_NOFILE, before)
    engine.wait_line(lambda line: "child ready" in line and '"worker-' in line)
    assert engine.stop() == 0
    assert not directory.exists()


def unshare_works(*flags: str) -> bool:
    return subprocess.run(["unshare", *flags, "true"], check=False, capture_output=True).returncode == 0


needs_namespaces = pytest.mark.skipif(
    sys.platform != "linux" or not unshare_works("--user", "--map-root-user", "--pid", "--mount", "--fork"),
    reason="this system gives no user, process and mount namespaces",
)

ADOPTED = """
import os, subprocess, sys, time
# Below the first process of its own: a grandchild that loses its parent, and ends later.
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(0.2)
        os._exit(0)
    os._exit(0)
os.wait()
os.execv(sys.argv[1], sys.argv[1:])
"""


@needs_namespaces
def test_as_process_1_without_root_it_reaps_what_it_adopts_and_leaves_nothing(start_wrapped, redis_url):
    namespaces = ("unshare", "--user", "--map-user=1000", "--pid", "--fork", "--mount-proc", "--kill-child")
    adopting = (*namespaces, sys.executable, "-c", ADOPTED)
    outer = start_wrapped(*adopting, redis_url=redis_url, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(children_of(outer.pid)) == 1)
    (first,) = children_of(outer.pid)
    wait_until(lambda: has_worker(first) and not any(map(is_unreaped, children_of(first))))
    os.kill(first, signal.SIGTERM)
    assert outer.wait(PATIENCE_S) == 0


@pytest.mark.slow
@needs_namespaces
def test_a_full_disk_is_waited_out(start_process, start_exchange, tmp_path):
    disk = tmp_path / "data"
    disk.mkdir(mode=0o700)
    mount = f'mount -t tmpfs -o size=24m,mode=0700 none {disk} && exec "$@"'
    exchange = start_exchange(public_rate=0)
    engine: Running = start_process(
        "start", "--json", "--symbols", "BTC-USD", "--timeframes", "1m", "--max-candles", "0", "--workers", "1",
        "--full-reconcile-window-ms", str(30 * 300 * 60_000), "--gap-scan-cron", NEVER,
        "--full-reconcile-cron", "* * * * * *", "--batch-size", "10", "--listen", "off", "--data-dir", str(disk),
        "--base-url", exchange.url,
        below=("unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", mount, "sh"),
    )  # fmt: skip
    exchange.wait_requests(10)
    filler = Path(f"/proc/{engine.process.pid}/root{disk}/filler")
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(32 * 1024 * 1024))
    engine.wait_event("waiting for Redis")
    filler.unlink()
    engine.wait_event("Redis serves again")
    # Pages not claimed while the disk was full are left to the next pass.
    while engine.wait_event("pass done", job="full_reconcile")["unresolved"]:
        pass
    assert engine.stop() == 0
    assert not any("child died" in line for line in engine.read_all())
