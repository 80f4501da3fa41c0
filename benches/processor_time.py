"""Processor time of processes: what a busy machine does to times by the clock, it hardly does to these."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import trio

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Spent(NamedTuple):
    """Seconds by the clock, and of processor time of this process and of others."""

    clock_s: float
    processor_s: float


def measure(run: Callable[[], object], others: Sequence[int]) -> Spent:
    """Run a function; return its time by the clock, and of processors, of this process and of those with these ids."""
    before = _now(others)
    run()
    return Spent(*(after - first for after, first in zip(_now(others), before, strict=True)))


def median(rounds: Sequence[Spent]) -> Spent:
    """Return the median of each."""
    return Spent(*(statistics.median(values) for values in zip(*rounds, strict=True)))


def describe(one: Spent) -> str:
    """Write both."""
    return f"{one.clock_s * 1e3:.0f} ms, {one.processor_s * 1e3:.0f} ms of processors"


def _now(others: Sequence[int]) -> tuple[float, float]:
    return time.perf_counter(), time.process_time() + sum(map(_used_s, others))


def _used_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def run_trio(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    """Return a call that runs a coroutine function to its end."""
    return lambda: trio.run(function, *arguments)  # type: ignore[arg-type]
