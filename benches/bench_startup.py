"""Startup: what a process costs before it does anything.

    bare Python                       the interpreter alone
    detect_gaps                       `from reconciler_engine import detect_gaps`; goal: bare Python + 50 ms
    --help                            `reconciler-engine --help`; goal: 0.3 s
    worker                            a worker child as the supervisor starts it, idle; goal: 80 MiB resident

Times are medians of ten starts each, one after the other in turn. Resident memory is asserted: it does not depend on
other work on the machine. Imports of each of them are asserted in tests/unit/test_import_cost.py.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import trio

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.simulator.rules.request_log import RequestLog, RequestRecord
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulation import SimulatorSettings, build_exchange
from reconciler_engine.supervisor.running_child import RunningChild

MIB = 1024 * 1024
GOAL_MIB = 80
STATUS = Path("/proc/self/status")


async def run(*command: str) -> None:
    await trio.run_process(command, capture_stdout=True)


def test_starts(comparison):
    python = sys.executable
    script = str(Path(python).with_name("reconciler-engine"))
    trio.run(
        lambda: comparison.run(
            "start of a process",
            {
                "bare Python": lambda: run(python, "-c", "pass"),
                "python -c 'from reconciler_engine import detect_gaps'": lambda: run(
                    python, "-c", "from reconciler_engine import detect_gaps"
                ),
                "reconciler-engine --help": lambda: run(script, "--help"),
            },
            rounds=10,
        )
    )


class FirstRequest(RequestLog):
    """A log that tells when there is something in it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = trio.Event()

    def add(self, record: RequestRecord) -> None:
        super().add(record)
        self.asked.set()


def resident_mib(pid: int) -> dict[str, float]:
    """Return a process' resident MiB: all, and the anonymous part (kernel: Documentation/filesystems/proc)."""
    fields = dict(re.findall(r"(\w+):\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()))
    return {name: int(fields[name]) * 1024 / MIB for name in ("VmRSS", "RssAnon")}


@pytest.mark.skipif(not STATUS.exists(), reason="what is resident is read from /proc, which Linux alone has")
def test_worker_memory(redis_url, comparison, make_worker_spec):
    async def main() -> dict[str, float]:
        log = FirstRequest()
        async with open_exchange(build_exchange(SimulatorSettings(), log)) as base_url:
            config = ReconciliationConfig.check({"base_url": base_url, "symbols": "BTC-USD"})
            child = await RunningChild.start(make_worker_spec("worker-1", config, redis_url))
            try:
                # Its first deed is to ask for the exchange's time: then every part of it has been in use.
                with trio.fail_after(20):
                    await log.asked.wait()
                return resident_mib(child.pid)
            finally:
                await child.kill()

    held = trio.run(main)
    comparison.tell(f"worker, idle: {held['VmRSS']:.1f} MiB resident, of it {held['RssAnon']:.1f} MiB anonymous")
    assert held["VmRSS"] <= GOAL_MIB
