"""The whole simulated product for half an hour: no worker grows, in bytes or in objects."""

from __future__ import annotations

import json
import os
import signal
import statistics
from pathlib import Path

import pytest
import trio
from tests.chaos.tree import Tree, is_alive
from tests.chaos.waiting import wait_until

RSS_LIMIT_MIB = 200
WARM_SHARE = 0.2
"""Of the run: caches fill and pools come to their size."""

GROWTH_LIMIT = 1.02

COUNTER = """
import gc, json, os, signal
def count(number, frame):
    gc.collect()
    path = os.path.join(os.path.dirname(__file__), str(os.getpid()))
    with open(path + ".new", "w") as file:
        json.dump(len(gc.get_objects()), file)
    os.rename(path + ".new", path)
signal.signal(signal.SIGUSR2, count)
"""
"""Read by every Python of the tree as it starts: counts its objects when it is asked to."""


def rss_mib(pid: int) -> float:
    """A process' resident memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


async def count_objects(pid: int, folder: Path) -> int:
    """Objects that a process' garbage collector knows."""
    answer = folder / str(pid)
    answer.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR2)
    await wait_until(answer.exists, lambda: f"objects of {pid}")
    count: int = json.loads(answer.read_text())
    return count


def growth(counts: list[float]) -> float:
    """The last third over the first, after the warm-up."""
    warm = counts[round(len(counts) * WARM_SHARE) :]
    third = max(1, len(warm) // 3)
    return statistics.median(warm[-third:]) / statistics.median(warm[:third])


@pytest.mark.soak
async def test_workers_do_not_grow(tmp_path, pytestconfig, tell_figure):
    minutes = pytestconfig.getoption("--minutes")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(COUNTER)
    paths = os.pathsep.join(filter(None, (str(hooks), os.environ.get("PYTHONPATH"))))
    tree = Tree(["--simulate"], tmp_path, PYTHONPATH=paths)
    try:
        await tree.start()
        pids = sorted(tree.workers())
        counts: dict[int, list[float]] = {pid: [] for pid in pids}
        sizes: dict[int, list[float]] = {pid: [] for pid in pids}
        ends = trio.current_time() + minutes * 60
        while trio.current_time() < ends:
            for pid in pids:
                counts[pid].append(await count_objects(pid, hooks))
                sizes[pid].append(rss_mib(pid))
            await trio.sleep(min(10, minutes))
        assert all(map(is_alive, pids))
        passes = sum(event["event"] == "pass done" for event in tree.events())
        assert await tree.stop() == 0
        await tree.wait_gone()
    finally:
        tree.kill_all()
    for pid in pids:
        many, size = counts[pid], sizes[pid]
        tell_figure(
            f"worker over {minutes:g} min, {passes} passes: RSS {size[0]:.0f} to at most {max(size):.0f} MiB; "
            f"objects {many[0]:,.0f} to {many[-1]:,.0f}, last third x{growth(many):.3f} of the first"
        )
    assert max(map(max, sizes.values())) < RSS_LIMIT_MIB
    assert max(map(growth, counts.values())) < GROWTH_LIMIT
