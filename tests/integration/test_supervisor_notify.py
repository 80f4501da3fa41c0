"""Messages to a service manager, over its own kind of socket."""

from __future__ import annotations

import os
import socket

import pytest
import trio
import trio.testing

from reconciler_engine.supervisor.notify import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """The manager's socket and its address."""
    path = str(tmp_path / "manager")
    address = path if request.param == "path" else f"@reconciler-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(path if request.param == "path" else f"\0{address[1:]}")
        door.settimeout(0)
        yield door, address


def fill(door: socket.socket) -> int:
    """Say so much to it that nothing more can be said; return how many words that were."""
    count = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.settimeout(0)
        while True:
            try:
                other.sendto(b"X_WORD=1", door.getsockname())
            except BlockingIOError:
                return count
            count += 1


async def test_it_hears_each_word_at_once(manager):
    door, address = manager
    await ServiceManager(address).tell("READY=1", "STATUS=at work")
    assert door.recv(4_096) == b"READY=1\nSTATUS=at work"


@pytest.mark.usefixtures("mock_clock")
async def test_one_that_is_busy_hears_it_when_it_listens_again(manager):
    door, address = manager
    untaken = fill(door)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ServiceManager(address).tell, "READY=1")
        await trio.testing.wait_all_tasks_blocked()
        assert [door.recv(4_096) for _ in range(untaken)] == [b"X_WORD=1"] * untaken
    assert door.recv(4_096) == b"READY=1"


async def test_one_that_listens_no_more_is_not_waited_for(manager, caplog):
    door, address = manager
    fill(door)
    await ServiceManager(address).tell("STOPPING=1")
    assert "service manager not told" in caplog.messages


async def test_one_that_is_gone_is_not_waited_for(manager, caplog):
    door, address = manager
    door.close()
    await ServiceManager(address).tell("STOPPING=1")
    assert "service manager not told" in caplog.messages


async def test_one_whose_address_is_no_address_is_said_to_be(caplog):
    await ServiceManager(f"/{'x' * 200}").tell("STOPPING=1")
    assert [record.error for record in caplog.records] == ["AF_UNIX path too long"]
